//! The load generator.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use http::{Method, StatusCode};
use weighbridge_tests::door::Client;
use weighbridge_tests::figures::quantile;

use super::apiserver::KEY;

const PATH: &str = "/v1/chat/completions";

/// One request, sent again and again.
pub struct Load {
    body: Bytes,
}

/// Latencies of one round.
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Load {
    /// A chat request with a prompt of about `prompt` bytes on top of a small one.
    pub fn chat(prompt: usize, stream: bool) -> anyhow::Result<Self> {
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(prompt / 45 + 1);
        let body = serde_json::json!({
            "model": "mock",
            "stream": stream,
            "temperature": 0.7,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": text},
            ],
        });
        Ok(Self { body: Bytes::from(serde_json::to_vec(&body)?) })
    }

    async fn send(&self, client: &mut Client) -> anyhow::Result<()> {
        let headers = [("content-type", "application/json"), ("x-api-key", KEY)];
        let answer = client.open(Method::POST, PATH, &headers, self.body.clone()).await?.whole().await?;
        ensure!(answer.status == StatusCode::OK, "{answer:?}");
        Ok(())
    }
}

/// One client, one request after the other.
pub async fn sequential(address: SocketAddr, load: &Load, requests: usize) -> anyhow::Result<Latency> {
    let mut client = Client::connect(address).await?;
    let mut milliseconds = Vec::with_capacity(requests);
    for _ in 0..requests {
        let began = Instant::now();
        load.send(&mut client).await?;
        milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Latency { p50_ms: quantile(&mut milliseconds, 0.5), p99_ms: quantile(&mut milliseconds, 0.99) })
}

/// The median time of a whole burst in milliseconds.
pub async fn burst(address: SocketAddr, load: &Load, bursts: usize) -> anyhow::Result<f64> {
    Ok(sequential(address, load, bursts).await?.p50_ms)
}

/// `clients` that each send as soon as they are answered; how many requests were answered in `time`.
pub async fn closed_loop(
    address: SocketAddr,
    load: &Load,
    clients: usize,
    time: Duration,
) -> anyhow::Result<u64> {
    let until = Instant::now() + time;
    let one = |_| async {
        let mut client = Client::connect(address).await?;
        let mut done = 0;
        while Instant::now() < until {
            load.send(&mut client).await?;
            done += 1;
        }
        anyhow::Ok(done)
    };
    let done = futures::future::try_join_all((0..clients).map(one)).await?;
    Ok(done.iter().sum())
}
