//! The load: one client, many that wait for their answers, and one that waits for nobody.
//!
//! It runs in one thread. What it can do at most is the row of the upstream without a gateway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::target::Target;
use crate::door::{Answer, Client, Streamed};
use crate::figures::quantile;

/// How often requests are sent that have become due: a runtime's timers are coarser, and a thread that does not sleep takes a
/// core. A request waits half of it on average, which counts as if the gateway had taken it.
const TICK: Duration = Duration::from_micros(200);

/// One request, sent again and again.
#[derive(Clone)]
pub struct Load {
    target: Target,
    body: Bytes,
}

/// Latencies of one round.
pub struct Latency {
    /// Half of them are below, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 are below, in milliseconds.
    pub p99_ms: f64,
}

impl Latency {
    fn of(mut milliseconds: Vec<f64>) -> Self {
        Self { p50_ms: quantile(&mut milliseconds, 0.5), p99_ms: quantile(&mut milliseconds, 0.99) }
    }
}

impl Load {
    /// A chat request to `target`, with a prompt of about `prompt` bytes on top of a small one.
    ///
    /// # Errors
    /// Never: it is JSON.
    pub fn chat(target: &Target, prompt: usize, stream: bool) -> Result<Self> {
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(prompt / 45 + 1);
        let body = serde_json::json!({
            "model": target.model,
            "stream": stream,
            "temperature": 0.7,
            "max_tokens": 256,
            "messages": [{"role": "user", "content": text}],
        });
        Ok(Self { target: target.clone(), body: Bytes::from(serde_json::to_vec(&body)?) })
    }

    /// Where it goes.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A connection to the target.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn connect(&self) -> Result<Client> {
        Client::connect(self.target.address).await
    }

    /// Sends it, and waits until the answer begins.
    ///
    /// # Errors
    /// Where none does, or it is an error.
    pub async fn open(&self, client: &mut Client) -> Result<Streamed> {
        let own = self.target.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<_> = own.chain([("content-type", "application/json")]).collect();
        let answer = client.open(Method::POST, self.target.path, &headers, self.body.clone()).await?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        let name = self.target.name;
        let Answer { status, body, headers: _ } = answer.whole().await?;
        anyhow::bail!("{name} answered {status}: {}", String::from_utf8_lossy(&body))
    }

    /// Sends it, and waits for the whole answer.
    ///
    /// # Errors
    /// Where there is none, or it is an error.
    pub async fn send(&self, client: &mut Client) -> Result<Answer> {
        self.open(client).await?.whole().await
    }

    /// Sends it `times`, so that everything is as warm as it gets, and looks for `expected` in the answers.
    ///
    /// # Errors
    /// Where it is not there.
    pub async fn warm(&self, times: usize, expected: &str) -> Result<()> {
        let mut client = self.connect().await?;
        for _ in 0..times {
            let answer = self.send(&mut client).await?;
            ensure!(answer.text()?.contains(expected), "{} answered {answer:?}", self.target.name);
        }
        Ok(())
    }

    /// One client, one request after the other.
    ///
    /// # Errors
    /// Where one is not answered.
    pub async fn sequential(&self, requests: usize) -> Result<Latency> {
        let mut client = self.connect().await?;
        let mut milliseconds = Vec::with_capacity(requests);
        for _ in 0..requests {
            let began = Instant::now();
            self.send(&mut client).await?;
            milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
        }
        Ok(Latency::of(milliseconds))
    }

    /// `clients` that each send as soon as they are answered; how many were answered in `time`.
    ///
    /// # Errors
    /// Where one is not.
    pub async fn closed_loop(&self, clients: usize, time: Duration) -> Result<usize> {
        let until = Instant::now() + time;
        let one = |_| async {
            let mut client = self.connect().await?;
            let mut done = 0;
            while Instant::now() < until {
                self.send(&mut client).await?;
                done += 1;
            }
            anyhow::Ok(done)
        };
        let done = futures::future::try_join_all((0..clients).map(one)).await?;
        Ok(done.iter().sum())
    }

    /// `rate` requests a second for `time`, over as many as `clients` connections, however fast the answers are; latencies
    /// from when each was due.
    ///
    /// # Errors
    /// Where one is not answered.
    pub async fn open_loop(&self, rate: f64, clients: usize, time: Duration) -> Result<Latency> {
        let (sender, due) = unbounded_channel();
        let clock = std::thread::spawn(move || {
            let began = Instant::now();
            let mut sent = 0_u32;
            while began.elapsed() < time {
                while began.elapsed().as_secs_f64() * rate >= f64::from(sent) {
                    // Nobody listens any more where a request failed.
                    if sender.send(began + Duration::from_secs_f64(f64::from(sent) / rate)).is_err() {
                        return;
                    }
                    sent += 1;
                }
                std::thread::sleep(TICK);
            }
        });
        let due = Arc::new(Mutex::new(due));
        let one = |_| self.as_due(Arc::clone(&due));
        let milliseconds = futures::future::try_join_all((0..clients).map(one)).await?;
        clock.join().map_err(|_| anyhow::anyhow!("the clock panicked"))?;
        Ok(Latency::of(milliseconds.concat()))
    }

    /// One connection's share of an open loop.
    async fn as_due(&self, due: Arc<Mutex<UnboundedReceiver<Instant>>>) -> Result<Vec<f64>> {
        let mut client = self.connect().await?;
        let mut milliseconds = Vec::new();
        loop {
            let Some(at) = due.lock().await.recv().await else { return Ok(milliseconds) };
            self.send(&mut client).await?;
            milliseconds.push(at.elapsed().as_secs_f64() * 1e3);
        }
    }
}
