//! The load of the cluster's demo: streams that follow one another and requests at a steady rate, each on a connection of its
//! own, with what failed and what was cut counted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::door::{Client, Streamed};

/// Failures that are kept in words.
const WORDS: usize = 10;
/// Between two tries of a stream that failed: a load that fails must not become another load.
const PAUSE: Duration = Duration::from_millis(200);
/// For a whole answer, however long it is held: a gateway's own longest is an hour, a demo's never.
const ANSWER: Duration = Duration::from_secs(300);

/// What is sent, and where.
#[derive(Clone, Debug)]
pub struct Steady {
    /// The gateway.
    pub address: SocketAddr,
    /// The model's public name.
    pub model: String,
    /// The caller's key.
    pub key: String,
    /// Streams at once.
    pub streams: usize,
    /// Tokens of each of them.
    pub stream_tokens: usize,
    /// Requests a second beside them, of one token each.
    pub rate: u32,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests answered whole.
    pub requests: u64,
    /// Requests, or streams before their first piece, that were answered with an error or not at all.
    pub failed: u64,
    /// Streams that reached their end.
    pub streams: u64,
    /// Streams that began and did not reach it.
    pub cut: u64,
    /// The first failures.
    pub words: Vec<String>,
}

/// How a stream went wrong.
enum Broken {
    BeforeItBegan(anyhow::Error),
    AfterItBegan(anyhow::Error),
}

impl Steady {
    /// Sends until `stop`, then lets what is open finish.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Outcome {
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let steady = Arc::new(self);
        let mut running = JoinSet::new();
        for _ in 0..steady.streams {
            running.spawn(stream_on(Arc::clone(&steady), stop.clone(), Arc::clone(&outcome)));
        }
        let mut tick = tokio::time::interval(Duration::from_secs(1) / steady.rate.max(1));
        let mut stopped = stop;
        while !*stopped.borrow() {
            tokio::select! {
                _ = tick.tick(), if steady.rate > 0 => {
                    let (steady, outcome) = (Arc::clone(&steady), Arc::clone(&outcome));
                    running.spawn(async move {
                        let sent = within(steady.request()).await;
                        note(&outcome, |outcome| match sent {
                            Ok(()) => outcome.requests += 1,
                            Err(error) => outcome.fail(&error),
                        });
                    });
                }
                _ = stopped.changed() => {}
                Some(_) = running.join_next(), if !running.is_empty() => {}
            }
        }
        while running.join_next().await.is_some() {}
        let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.clone()
    }

    async fn request(&self) -> Result<()> {
        let (answer, _connection) = self.open(1, false).await?;
        let answer = answer.whole().await?;
        ensure!(answer.status == StatusCode::OK, "{}: {}", answer.status, answer.text()?);
        let tokens = &answer.json()?["usage"]["completion_tokens"];
        ensure!(
            tokens.as_u64().is_some_and(|tokens| tokens > 0),
            "an answer of no tokens: {}",
            answer.text()?
        );
        Ok(())
    }

    async fn stream(&self) -> Result<(), Broken> {
        let opened = self.open(self.stream_tokens, true).await;
        let (mut stream, _connection) = opened.map_err(Broken::BeforeItBegan)?;
        if stream.status != StatusCode::OK {
            let status = stream.status;
            let words = stream.whole().await.and_then(|answer| Ok(answer.text()?.to_owned()));
            return Err(Broken::BeforeItBegan(anyhow::anyhow!("{status}: {}", words.unwrap_or_default())));
        }
        let reading = async {
            let mut finished = false;
            while let Some(event) = stream.event().await? {
                let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
                if data == "[DONE]" {
                    ensure!(finished, "it ended without a finish reason");
                    return Ok(());
                }
                let data: Value = serde_json::from_str(data)?;
                if data.get("error").is_some() {
                    bail!("an error within: {data}");
                }
                finished |= data["choices"][0]["finish_reason"].is_string();
            }
            bail!("it ended without [DONE]")
        };
        reading.await.map_err(Broken::AfterItBegan)
    }

    /// An answer, and the connection that it comes by, which lives as long as it is kept.
    async fn open(&self, tokens: usize, stream: bool) -> Result<(Streamed, Client)> {
        let body = json!({"model": self.model, "max_tokens": tokens, "stream": stream, "temperature": 0.7,
            "messages": [{"role": "user", "content": "Say something."}]});
        let authorization = format!("Bearer {}", self.key);
        let headers = [("content-type", "application/json"), ("authorization", authorization.as_str())];
        let mut client = Client::connect(self.address).await.context("no connection")?;
        let body = Bytes::from(body.to_string());
        let answer = client.open(Method::POST, "/v1/chat/completions", &headers, body).await?;
        Ok((answer, client))
    }
}

impl Outcome {
    fn fail(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.say(error);
    }

    fn say(&mut self, error: &anyhow::Error) {
        if self.words.len() < WORDS {
            self.words.push(format!("{error:#}"));
        }
    }
}

async fn stream_on(steady: Arc<Steady>, stop: watch::Receiver<bool>, outcome: Arc<Mutex<Outcome>>) {
    while !*stop.borrow() {
        let ended = tokio::time::timeout(ANSWER, steady.stream()).await;
        let ended =
            ended.unwrap_or_else(|_| Err(Broken::AfterItBegan(anyhow::anyhow!("no end within {ANSWER:?}"))));
        let broken = ended.is_err();
        note(&outcome, |outcome| match ended {
            Ok(()) => outcome.streams += 1,
            Err(Broken::BeforeItBegan(error)) => outcome.fail(&error),
            Err(Broken::AfterItBegan(error)) => {
                outcome.cut += 1;
                outcome.say(&error);
            }
        });
        if broken {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn within<T>(sending: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(ANSWER, sending).await.context("no answer in time")?
}

fn note(outcome: &Mutex<Outcome>, change: impl FnOnce(&mut Outcome)) {
    change(&mut outcome.lock().unwrap_or_else(PoisonError::into_inner));
}
