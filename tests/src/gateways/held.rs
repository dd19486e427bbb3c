//! Streams that are open and in which nothing happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use super::load::Load;

/// Streams that are opened at once.
const OPENING: usize = 64;
/// Files that a process has open beside the connections of its streams.
const OTHERS: u64 = 64;

/// Clients that wait for the end of their answers.
pub struct Held {
    clients: JoinSet<Result<()>>,
    signs: Arc<AtomicUsize>,
}

impl Held {
    /// Opens `streams` of `load`, each begun.
    ///
    /// # Errors
    /// Where one does not begin.
    pub async fn open(load: &Load, streams: usize) -> Result<Self> {
        let signs = Arc::new(AtomicUsize::new(0));
        let opening = stream::iter(0..streams).map(|_| async {
            let mut client = load.connect().await?;
            let mut answer = load.open(&mut client).await?;
            let first = answer.event().await?.context("an empty stream")?;
            ensure!(first.contains("held"), "it began with {first}");
            anyhow::Ok((client, answer))
        });
        let open: Vec<_> = opening.buffer_unordered(OPENING).try_collect().await?;
        let mut clients = JoinSet::new();
        for (client, mut answer) in open {
            let signs = Arc::clone(&signs);
            clients.spawn(async move {
                let _client = client;
                let mut last = String::new();
                while let Some(event) = answer.event().await? {
                    if event.starts_with(':') {
                        signs.fetch_add(1, Ordering::Relaxed);
                    }
                    last = event;
                }
                ensure!(last == "data: [DONE]\n\n", "a stream ended with {last:?}");
                Ok(())
            });
        }
        Ok(Self { clients, signs })
    }

    /// Signs of life that came so far.
    pub fn signs_of_life(&self) -> usize {
        self.signs.load(Ordering::Relaxed)
    }

    /// Waits for the end of all; how many ended as they should.
    ///
    /// # Errors
    /// What the first that did not says.
    pub async fn finished(mut self) -> Result<usize> {
        let mut whole = 0;
        while let Some(ended) = self.clients.join_next().await {
            ended??;
            whole += 1;
        }
        Ok(whole)
    }
}

/// Lets this process and those that it starts open as many files as `wanted` streams of one gateway need, which has two
/// connections for each, or as many as the machine allows; how many streams that is.
///
/// # Errors
/// Where the limit can't be changed.
pub fn raise_open_files(wanted: usize) -> Result<usize> {
    let needed = u64::try_from(wanted)?.saturating_mul(2).saturating_add(OTHERS);
    let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    // Only root may go beyond.
    for most in [allowed.max(needed), allowed] {
        let raised = Rlimit { current: Some(most.min(needed)), maximum: Some(most) };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            let streams = usize::try_from(most.saturating_sub(OTHERS) / 2)?;
            return Ok(wanted.min(streams));
        }
    }
    anyhow::bail!("the limit of open files can't be raised to {allowed}")
}
