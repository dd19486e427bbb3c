//! llama.cpp behind `tests/peers/bench_llama_decode.py`; it sleeps between questions.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Common, Model};

/// A running llama.cpp with a model.
pub struct Peer {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it said of itself.
    pub ready: Value,
}

impl Peer {
    /// Starts it with `model` and room for `positions`.
    ///
    /// # Errors
    /// Where it can't be installed, or does not start.
    pub fn start(model: &Model, common: &Common, positions: usize) -> Result<Self> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let install = Command::new(peers.join("install.sh")).stderr(Stdio::inherit()).output()?;
        if !install.status.success() {
            bail!("tests/peers/install.sh failed: {}", install.status);
        }
        let python = String::from_utf8(install.stdout)?;
        let context = (positions + 8).to_string();
        let mut process = Command::new(python.trim())
            .arg(peers.join("bench_llama_decode.py"))
            .args(["--threads", &common.threads.to_string(), "--context", &context])
            .arg("--model")
            .arg(&model.path)
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

    /// Tokens a second of `tokens` decoded one by one after a prompt of `depth`, which it reads first.
    ///
    /// # Errors
    /// Where it ended, or could not do it; as everywhere here.
    pub fn decode(&mut self, depth: usize, tokens: usize) -> Result<f64> {
        self.speed(&json!({"cmd": "decode", "prompt_tokens": depth, "tokens": tokens}))
    }

    /// Reads a prompt of `depth` tokens, to be gone on from.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn fill(&mut self, depth: usize) -> Result<()> {
        self.speed(&json!({"cmd": "fill", "tokens": depth})).map(|_| ())
    }

    /// Tokens a second of `tokens` decoded after what was filled, then forgotten.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn go_on(&mut self, tokens: usize) -> Result<f64> {
        self.speed(&json!({"cmd": "go_on", "tokens": tokens}))
    }

    /// Tokens a second of a prompt.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn prefill(&mut self, tokens: usize) -> Result<f64> {
        self.speed(&json!({"cmd": "prefill", "tokens": tokens}))
    }

    fn speed(&mut self, question: &Value) -> Result<f64> {
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
