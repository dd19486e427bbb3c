//! Two revisions of a model behind one gateway, over real connections: who gets what, and what is counted of it.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use tokio::net::TcpListener;
use weighbridge_crds::{GatewayState, RevisionFigures, TrialFigures, TrialKey};
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::directory::{Directory, Entry, Split, World};
use weighbridge_tests::door::{Client, Door, entry};
use weighbridge_tests::scripted::Engines;

/// The model `m`, whose revision `old` is at the first address and `new` at the second.
fn model(stable: &[SocketAddr], canary: &[SocketAddr], traffic: u64, step: i32) -> Result<Entry> {
    let mut model = entry("m", World::Open, &[stable, canary].concat());
    for (place, endpoint) in model.endpoints.iter_mut().enumerate() {
        let revision = if place < stable.len() { "old" } else { "new" };
        endpoint.name = format!("m-{revision}-7d9f8b6c5-x{place}");
    }
    let key = TrialKey {
        stable: "old".to_owned(),
        canary: "new".to_owned(),
        step,
        begun_at: serde_json::from_value(json!("2026-01-01T00:00:00Z"))?,
    };
    let split = Split { stable: "old".to_owned(), canary: "new".to_owned(), traffic, key: Some(key) };
    Ok(Entry { split: Some(split), ..model })
}

struct Bed {
    directory: Directory,
    door: Door,
    told_at: SocketAddr,
}

impl Bed {
    async fn new(model: Entry) -> Result<Self> {
        let directory = Directory::from_entries(vec![model]);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (door, told_at) =
            Door::telling(GatewayConfig::default(), directory.clone(), listener, None).await?;
        Ok(Self { directory, door, told_at })
    }

    /// Statuses of so many requests, one after the other.
    async fn ask(&self, count: usize, stream: bool) -> Result<Vec<u16>> {
        let mut caller = Client::connect(self.door.address).await?;
        let messages = json!([{"role": "user", "content": "hi"}]);
        let body = json!({"model": "team/m", "messages": messages, "stream": stream}).to_string();
        let mut heard = Vec::new();
        for _ in 0..count {
            let headers = [("content-type", "application/json")];
            let path = "/v1/chat/completions";
            let answer = caller.open(Method::POST, path, &headers, body.clone()).await?.whole().await?;
            heard.push(answer.status.as_u16());
        }
        Ok(heard)
    }

    /// What the operator is told once so many attempts were counted in all.
    async fn told(&self, attempts: u64) -> Result<TrialFigures> {
        let mut operator = Client::connect(self.told_at).await?;
        let mut version = None;
        loop {
            let after = version.map_or_else(String::new, |version| format!("?after={version}"));
            let answer = operator.get(&format!("/state{after}")).await?;
            let state: GatewayState = serde_json::from_slice(&answer.body)?;
            version = Some(state.version);
            let Some(model) = state.models.into_iter().next() else { continue };
            let trial = model.trial.context("nothing is measured")?;
            if trial.stable_figures.requests + trial.canary_figures.requests >= attempts {
                return Ok(trial);
            }
        }
    }
}

#[tokio::test]
async fn each_revision_gets_its_share_and_its_failures_are_its_own() -> Result<()> {
    let (stable, by_stable) = Engines::one(None).await?;
    let (canary, by_canary) = Engines::one(Some(5)).await?;
    let bed = Bed::new(model(&[stable.address], &[canary.address], 20, 1)?).await?;
    let heard = bed.ask(200, false).await?;
    // What failed at the one on trial was made good at the one that runs: nobody heard of it.
    ensure!(heard.iter().all(|status| *status == 200), "{heard:?}");
    ensure!(
        by_canary.counts() == (32, 8),
        "a fifth of 200, of which a fifth fails: {:?}",
        by_canary.counts()
    );
    ensure!(by_stable.counts() == (168, 0), "{:?}", by_stable.counts());
    let TrialFigures { key, stable_figures, canary_figures } = bed.told(208).await?;
    ensure!(key.step == 1);
    ensure!((canary_figures.requests, canary_figures.failed) == (40, 8), "{canary_figures:?}");
    ensure!((stable_figures.requests, stable_figures.failed) == (168, 0), "{stable_figures:?}");
    ensure!(stable_figures.time_to_first_token.count() == 0, "nobody streamed");

    // Another step is counted for itself, and streams by their tokens too.
    bed.directory.replace(vec![model(&[stable.address], &[canary.address], 50, 2)?]);
    ensure!(bed.ask(20, true).await?.iter().all(|status| *status == 200));
    let TrialFigures { key, stable_figures, canary_figures } = bed.told(22).await?;
    ensure!(key.step == 2);
    ensure!((canary_figures.requests, canary_figures.failed) == (10, 2), "{canary_figures:?}");
    let RevisionFigures { requests, failed, time_to_first_token, inter_token_latency } = stable_figures;
    ensure!((requests, failed, time_to_first_token.count()) == (12, 0, 12));
    ensure!(inter_token_latency.count() == 12 * 3, "of four tokens three come after another");
    Ok(())
}

/// The caller's own mistakes are nobody's failures, and a revision without a pod loses no request.
#[tokio::test]
async fn a_revision_without_pods_loses_nothing() -> Result<()> {
    let (stable, by_stable) = Engines::one(None).await?;
    let (canary, by_canary) = Engines::one(None).await?;
    let bed = Bed::new(model(&[stable.address], &[], 50, 1)?).await?;
    ensure!(bed.ask(10, false).await?.iter().all(|status| *status == 200));
    bed.directory.replace(vec![model(&[], &[canary.address], 50, 1)?]);
    ensure!(bed.ask(10, false).await?.iter().all(|status| *status == 200));
    ensure!((by_stable.counts(), by_canary.counts()) == ((10, 0), (10, 0)));
    // Aborted: its pods are ready still, and get nothing.
    let mut aborted = model(&[stable.address], &[canary.address], 0, 1)?;
    if let Some(split) = &mut aborted.split {
        split.key = None;
    }
    bed.directory.replace(vec![aborted]);
    ensure!(bed.ask(10, false).await?.iter().all(|status| *status == 200));
    ensure!((by_stable.counts(), by_canary.counts()) == ((20, 0), (10, 0)));
    let mut operator = Client::connect(bed.told_at).await?;
    let state: GatewayState = serde_json::from_slice(&operator.get("/state").await?.body)?;
    ensure!(state.models.iter().all(|model| model.trial.is_none()), "nothing is measured any more");
    Ok(())
}
