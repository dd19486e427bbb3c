//! `make bench B=coldstart`: from the start of `weighbridge up` to the first streamed token, with the weights
//! in the page cache, and the memory that the process holds beside weights and KV.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use weighbridge_tests::figures::{Figures, median};
use weighbridge_tests::measured::{MEGABYTE, memory, sample};

const RUNS: usize = 9;
/// SmolLM2: 30 layers, keys and values, 3 heads of 64, two bytes each.
const KV_BYTES_A_TOKEN: u64 = 30 * 2 * 3 * 64 * 2;
const QUESTION: &str = r#"{"model":"smollm2","stream":true,"stream_options":{"include_usage":true},"max_tokens":32,"messages":[{"role":"user","content":"Why is the sky blue?"}]}"#;

/// What one start took.
struct Run {
    serving: Duration,
    first_token: Duration,
    rss: u64,
    peak_rss: u64,
    tokens: u64,
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let weights = sample()?;
    let models = weights.parent().context("the sample is in no folder")?;
    // Reading it puts it into the page cache.
    let weight_bytes = std::fs::read(&weights)?.len() as u64;

    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(run(&root, models)?);
    }
    let of = |value: &dyn Fn(&Run) -> f64| median(&mut runs.iter().map(value).collect::<Vec<_>>());
    let over =
        |rss: u64, run: &Run| rss as f64 - weight_bytes as f64 - (run.tokens * KV_BYTES_A_TOKEN) as f64;
    let mut figures = Figures::new("coldstart");
    figures.add("first_token_seconds", of(&|run| run.first_token.as_secs_f64()), "s")?;
    figures.add("serving_seconds", of(&|run| run.serving.as_secs_f64()), "s")?;
    let slowest = runs.iter().map(|run| run.first_token.as_secs_f64()).fold(0.0, f64::max);
    figures.add("first_token_slowest_seconds", slowest, "s")?;
    // KV of the tokens that were computed, not of those that would fit: pages never written are not held.
    figures.add("rss_over_weights_kv_mb", of(&|run| over(run.rss, run) / MEGABYTE), "MB")?;
    figures.add("peak_rss_over_weights_kv_mb", of(&|run| over(run.peak_rss, run) / MEGABYTE), "MB")?;
    figures.add("rss_mb", of(&|run| run.rss as f64 / MEGABYTE), "MB")?;
    figures.write()?;
    Ok(())
}

fn run(root: &Path, models: &Path) -> anyhow::Result<Run> {
    let began = Instant::now();
    let mut child = Command::new(root.join("target/release/weighbridge"))
        .args(["up", "--listen", "127.0.0.1:0", "--claim"])
        .arg(format!("models={}", models.display()))
        .arg("-f")
        .arg(root.join("examples/smollm2.yaml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("can't start target/release/weighbridge: cargo build --release -p weighbridge")?;
    let measured = measure(&mut child, began);
    kill_process(Pid::from_child(&child), Signal::INT)?;
    child.wait()?;
    measured
}

fn measure(child: &mut Child, began: Instant) -> anyhow::Result<Run> {
    let address = address(child)?;
    let serving = began.elapsed();
    let (first_token, tokens) = ask(&address, began)?;
    let (rss, peak_rss) = (memory(child.id(), "VmRSS")?, memory(child.id(), "VmHWM")?);
    Ok(Run { serving, first_token, rss, peak_rss, tokens })
}

/// The door's address, from what `up` prints when everything answers.
fn address(child: &mut Child) -> anyhow::Result<String> {
    let output = child.stdout.take().context("no output")?;
    for line in BufReader::new(output).lines() {
        if let Some((_, url)) = line?.split_once("serves at http://") {
            return Ok(url.trim_end_matches("/v1").to_owned());
        }
    }
    let mut said = String::new();
    child.stderr.take().context("no errors")?.read_to_string(&mut said)?;
    bail!("`weighbridge up` ended before it served: {said}")
}

/// When the first text came, and how many tokens the question and the answer had.
fn ask(address: &str, began: Instant) -> anyhow::Result<(Duration, u64)> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{QUESTION}",
        QUESTION.len()
    )?;
    let (mut first, mut tokens, mut answer) = (None, None, String::new());
    let mut lines = BufReader::new(stream);
    while lines.read_line(&mut answer)? > 0 {
        let line = answer.split_off(0);
        let Some(event) = line.trim().strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            continue;
        };
        let event: serde_json::Value = serde_json::from_str(event).context(line.clone())?;
        let text = event.pointer("/choices/0/delta/content").and_then(serde_json::Value::as_str);
        if text.is_some_and(|text| !text.is_empty()) {
            first.get_or_insert_with(|| began.elapsed());
        }
        tokens = event.pointer("/usage/total_tokens").and_then(serde_json::Value::as_u64).or(tokens);
    }
    lines.read_to_string(&mut answer)?;
    Ok((first.context("no token came")?, tokens.context("no usage came")?))
}
