//! SmolLM2 on the CPU beside llama.cpp: decode at batch 1 and prefill of 512 tokens, the two engines taking
//! turns in one run, medians. Neither samples; both are fed the same kind of fixed tokens.

use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::{Value, json};
use weighbridge_inference_server::backend::cpu::{CpuBackend, CpuOptions, KvMemory};
use weighbridge_inference_server::backend::{Backend, Logits, LogitsWanted, SequenceChunk};
use weighbridge_inference_server::gguf::GgufFile;
use weighbridge_inference_server::kv::{BLOCK_SIZE, BlockId};
use weighbridge_tests::figures::{Figures, quantile};
use weighbridge_tests::measured::sample;

/// Measures decode and prefill beside llama.cpp.
#[derive(Parser)]
struct Args {
    /// The model; default: the sample in the cache.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Threads of each engine.
    #[arg(long, default_value = "2")]
    threads: NonZeroUsize,
    /// Rounds; each measures both engines once.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Tokens before the ones that are timed.
    #[arg(long, default_value_t = 16)]
    depth: usize,
    /// Tokens decoded one by one in a round.
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Tokens of a prefill.
    #[arg(long, default_value_t = 512)]
    prefill: usize,
    /// What figures' names begin with.
    #[arg(long, default_value = "smollm2")]
    name: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let model = args.model.clone().map_or_else(sample, Ok)?;
    let mut ours = Ours::load(&model, &args)?;
    let mut peer = Peer::start(&model, &args)?;
    let mut out = std::io::stdout();
    let description = ours.backend.description();
    writeln!(out, "ours:      {} kernels, {} threads", description.kernels, args.threads)?;
    writeln!(out, "llama.cpp: {}", peer.ready["system_info"].as_str().unwrap_or_default())?;
    writeln!(out, "cpu:       {}", peer.ready["cpu"].as_str().unwrap_or_default())?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    writeln!(out, "load:      {} (1, 5, 15 minutes, before the run)", load.trim())?;

    let mut speeds = [const { Vec::new() }; 4];
    for round in 0..args.rounds {
        let measured = [
            ours.decode(args.depth, args.tokens)?,
            peer.ask(&json!({"cmd": "decode", "prompt_tokens": args.depth, "tokens": args.tokens}))?,
            ours.prefill(args.prefill)?,
            peer.ask(&json!({"cmd": "prefill", "tokens": args.prefill}))?,
        ];
        let [decode, peer_decode, prefill, peer_prefill] = measured;
        writeln!(
            out,
            "round {round}: decode {decode:.1} and {peer_decode:.1}, prefill {prefill:.1} and {peer_prefill:.1} tokens/s"
        )?;
        speeds.iter_mut().zip(measured).for_each(|(all, one)| all.push(one));
    }

    let mut figures = Figures::new("cpu-decode");
    let [decode, peer_decode, prefill, peer_prefill] = &mut speeds;
    for (what, ours, peer) in [("decode", decode, peer_decode), ("prefill", prefill, peer_prefill)] {
        let prefix = format!("{}_{what}", args.name);
        let (median, peer_median) = (quantile(ours, 0.5), quantile(peer, 0.5));
        figures.add(&format!("{prefix}_tokens_per_second"), median, "tokens/s")?;
        figures.add(&format!("{prefix}_llama_cpp_tokens_per_second"), peer_median, "tokens/s")?;
        figures.add(&format!("{prefix}_ratio"), median / peer_median, "ratio")?;
        // Neighbours slow the two engines differently; the best round is the nearest to an idle machine.
        let best = quantile(ours, 1.0) / quantile(peer, 1.0);
        figures.add(&format!("{prefix}_best_round_ratio"), best, "ratio")?;
    }
    figures.write()?;
    Ok(())
}

/// Our engine's backend, called as the engine calls it.
struct Ours {
    backend: CpuBackend,
    blocks: Vec<BlockId>,
    logits: Logits,
}

impl Ours {
    fn load(model: &Path, args: &Args) -> Result<Self> {
        let positions = (args.depth + args.tokens).max(args.prefill);
        let blocks = positions.div_ceil(BLOCK_SIZE);
        let options =
            CpuOptions { threads: Some(args.threads), kv: KvMemory::Blocks(blocks), ..CpuOptions::default() };
        let backend = CpuBackend::load(&GgufFile::open(model)?, &options, &mut |_| ())?;
        let blocks = (0..u32::try_from(blocks)?).map(BlockId).collect();
        let mut ours = Self { backend, blocks, logits: Logits::default() };
        // As the peer: the first run touches memory for the first time and is nobody's figure.
        ours.prefill(args.prefill)?;
        Ok(ours)
    }

    /// Fixed ids as the peer's: nothing special, spread over the embedding table.
    fn token(&self, index: usize) -> u32 {
        let spread = self.backend.vocabulary_size().saturating_sub(2000).max(1);
        let first = 1000.min(self.backend.vocabulary_size() - spread);
        u32::try_from(first + (index * 7919) % spread).unwrap_or_default()
    }

    fn step(&mut self, start: usize, count: usize) -> Result<()> {
        let tokens: Vec<u32> = (start..start + count).map(|index| self.token(index)).collect();
        let chunk =
            SequenceChunk { tokens: &tokens, start, blocks: &self.blocks, logits: LogitsWanted::Last };
        Ok(self.backend.forward(&[chunk], &mut self.logits)?)
    }

    fn decode(&mut self, depth: usize, tokens: usize) -> Result<f64> {
        if depth > 0 {
            self.step(0, depth)?;
        }
        let start = Instant::now();
        for position in depth..depth + tokens {
            self.step(position, 1)?;
        }
        Ok(tokens as f64 / start.elapsed().as_secs_f64())
    }

    fn prefill(&mut self, tokens: usize) -> Result<f64> {
        let start = Instant::now();
        self.step(0, tokens)?;
        Ok(tokens as f64 / start.elapsed().as_secs_f64())
    }
}

/// llama.cpp behind `tests/peers/bench_llama_decode.py`; it sleeps between questions.
struct Peer {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    ready: Value,
}

impl Peer {
    fn start(model: &Path, args: &Args) -> Result<Self> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let install = Command::new(peers.join("install.sh")).stderr(Stdio::inherit()).output()?;
        if !install.status.success() {
            bail!("tests/peers/install.sh failed: {}", install.status);
        }
        let python = String::from_utf8(install.stdout)?;
        let context = (args.depth + args.tokens).max(args.prefill) + 8;
        let mut process = Command::new(python.trim())
            .arg(peers.join("bench_llama_decode.py"))
            .args(["--threads", &args.threads.to_string(), "--context", &context.to_string()])
            .arg("--model")
            .arg(model)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start the peer")?;
        let questions = process.stdin.take().context("the peer has no input")?;
        let answers = BufReader::new(process.stdout.take().context("the peer has no output")?);
        let mut peer = Self { process, questions, answers, ready: Value::Null };
        peer.ready = peer.read()?;
        Ok(peer)
    }

    /// Asks one question; the answer's tokens a second.
    fn ask(&mut self, question: &Value) -> Result<f64> {
        writeln!(self.questions, "{question}")?;
        let answer = self.read()?;
        answer["tokens_per_second"].as_f64().with_context(|| format!("the peer answered {answer}"))
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the peer ended: {}", self.process.wait()?);
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It holds no state worth an orderly end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
