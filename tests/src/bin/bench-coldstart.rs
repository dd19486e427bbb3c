//! `make bench B=coldstart`: from the start of `weighbridge up` to the first streamed token, with the weights
//! in the page cache, and the memory that the process holds beside weights and KV.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use weighbridge_inference_server::gguf::{GgufFile, TensorType};
use weighbridge_inference_server::model::{Dimensions, TensorSource as _};
use weighbridge_tests::cpu::llama;
use weighbridge_tests::figures::{Figures, median};
use weighbridge_tests::measured::{MEGABYTE, memory, sample};

/// Starts of the sample.
const RUNS: usize = 9;
/// Starts of the larger model, whose memory is what is asked for.
const LARGE_RUNS: usize = 3;

/// What is started and asked.
struct Subject {
    manifest: PathBuf,
    /// Of `up`, beside the file.
    flags: Vec<String>,
    /// Body of the request.
    question: String,
    /// Bytes of the file.
    weight_bytes: u64,
    /// Bytes of keys and values that a token takes.
    kv_bytes_a_token: u64,
}

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
    let mut figures = Figures::new("coldstart");
    let subject = smollm2(&root)?;
    let mut runs = runs(&subject, RUNS)?;
    figures.add("first_token_seconds", of(&mut runs, |run| run.first_token.as_secs_f64()), "s")?;
    figures.add("serving_seconds", of(&mut runs, |run| run.serving.as_secs_f64()), "s")?;
    let slowest = runs.iter().map(|run| run.first_token.as_secs_f64()).fold(0.0, f64::max);
    figures.add("first_token_slowest_seconds", slowest, "s")?;
    figures.add("rss_over_weights_kv_mb", of(&mut runs, |run| subject.over(run.rss, run)), "MB")?;
    figures.add("peak_rss_over_weights_kv_mb", of(&mut runs, |run| subject.over(run.peak_rss, run)), "MB")?;
    figures.add("rss_mb", of(&mut runs, |run| run.rss as f64 / MEGABYTE), "MB")?;

    let folder = tempfile::tempdir()?;
    let subject = large(folder.path())?;
    let mut runs = self::runs(&subject, LARGE_RUNS)?;
    figures.add("large_serving_seconds", of(&mut runs, |run| run.serving.as_secs_f64()), "s")?;
    figures.add("large_tokens", of(&mut runs, |run| run.tokens as f64), "tokens")?;
    figures.add("large_rss_over_weights_kv_mb", of(&mut runs, |run| subject.over(run.rss, run)), "MB")?;
    let peak = of(&mut runs, |run| subject.over(run.peak_rss, run));
    figures.add("large_peak_rss_over_weights_kv_mb", peak, "MB")?;
    figures.write()?;
    Ok(())
}

/// The example as it stands, with a short question.
fn smollm2(root: &Path) -> anyhow::Result<Subject> {
    let weights = sample()?;
    let models = weights.parent().context("the sample is in no folder")?;
    Ok(Subject {
        manifest: root.join("examples/smollm2.yaml"),
        flags: vec!["--claim".to_owned(), format!("models={}", models.display())],
        question: question("smollm2", "Why is the sky blue?"),
        weight_bytes: into_page_cache(&weights)?,
        // 30 layers, keys and values, 3 heads of 64, two bytes each.
        kv_bytes_a_token: 30 * 2 * 3 * 64 * 2,
    })
}

/// A generated model of 1.1 billion parameters in Q4_K, with a prompt of several steps: what a step needs beside
/// weights and KV is then touched whole.
fn large(folder: &Path) -> anyhow::Result<Subject> {
    let weights = llama("1.1b", 1, TensorType::Q4K)?;
    let manifest = folder.join("large.yaml");
    let text = format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{ name: large }}\n\
         spec: {{ openWeights: {{ source: 'file://{}' }} }}\n",
        weights.display()
    );
    std::fs::write(&manifest, text)?;
    let dimensions = Dimensions::read(&GgufFile::open(&weights)?.keys()?)?;
    let elements = dimensions.layers * 2 * dimensions.kv_heads * dimensions.head;
    Ok(Subject {
        manifest,
        flags: Vec::new(),
        question: question("large", &"Why is the sky blue? ".repeat(110)),
        weight_bytes: into_page_cache(&weights)?,
        kv_bytes_a_token: elements as u64 * 2,
    })
}

fn question(model: &str, text: &str) -> String {
    let messages = serde_json::json!([{"role": "user", "content": text}]);
    serde_json::json!({"model": model, "stream": true, "stream_options": {"include_usage": true},
                       "max_tokens": 32, "ignore_eos": true, "messages": messages})
    .to_string()
}

/// Reads `file` into the page cache, and gives its size.
fn into_page_cache(file: &Path) -> anyhow::Result<u64> {
    Ok(std::io::copy(&mut std::fs::File::open(file)?, &mut std::io::sink())?)
}

impl Subject {
    /// MB of `rss` beside weights and the KV of the tokens that were computed, not of those that would fit: pages never
    /// written are not held.
    fn over(&self, rss: u64, run: &Run) -> f64 {
        (rss as f64 - self.weight_bytes as f64 - (run.tokens * self.kv_bytes_a_token) as f64) / MEGABYTE
    }
}

fn of(runs: &mut [Run], value: impl Fn(&Run) -> f64) -> f64 {
    median(&mut runs.iter().map(value).collect::<Vec<_>>())
}

fn runs(subject: &Subject, count: usize) -> anyhow::Result<Vec<Run>> {
    (0..count).map(|_| run(subject)).collect()
}

fn run(subject: &Subject) -> anyhow::Result<Run> {
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe()?.with_file_name("weighbridge"))
        .args(["up", "--listen", "127.0.0.1:0", "-f"])
        .arg(&subject.manifest)
        .args(&subject.flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("can't start weighbridge from beside this program: cargo build --release -p weighbridge")?;
    let measured = measure(&mut child, began, &subject.question);
    kill_process(Pid::from_child(&child), Signal::INT)?;
    child.wait()?;
    measured
}

fn measure(child: &mut Child, began: Instant, question: &str) -> anyhow::Result<Run> {
    let address = address(child)?;
    let serving = began.elapsed();
    let (first_token, tokens) = ask(&address, began, question)?;
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
fn ask(address: &str, began: Instant, question: &str) -> anyhow::Result<(Duration, u64)> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{question}",
        question.len()
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
