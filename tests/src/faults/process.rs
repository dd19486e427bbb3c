//! One process of the operator, in virtual time, from its start to its rest or its end.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until};
use weighbridge_operator::watch::{Stores, Triggers};
use weighbridge_operator::{Assembly, Clock, Metrics, Settings};

use super::bug::Bug;
use super::fault::{Place, Plan};
use super::gateway;
use super::http::Apiserver;
use super::scenario::Act;
use super::world::Shared;

/// Between two steps of the cluster.
const STEP: Duration = Duration::from_millis(300);
/// How late a garbage collector may come to a Deployment.
const GARBAGE: Duration = Duration::from_secs(20);
/// Between two looks at whether all is at rest.
const TICK: Duration = Duration::from_secs(5);
/// Nothing written for so long is rest: more than the longest wait between two tries, with which a failure is mended.
const QUIET: Duration = Duration::from_secs(65);
/// The same for one that starts where nothing is to be done, as what led before.
const AWAKE: Duration = Duration::from_secs(10);
/// All is at rest by then, or something waits for the look at everything that comes every five to ten minutes.
const LIMIT: Duration = Duration::from_secs(290);
/// The same two where only that look finds anything.
const SLOWLY_QUIET: Duration = Duration::from_secs(650);
const SLOWLY: Duration = Duration::from_secs(2_000);
/// Several tries in a row may fail, each by a call that is not answered in time, before one comes to a write.
const QUIET_AFTER_NOISE: Duration = Duration::from_secs(280);
/// Reconciles of everything, at rest, which write nothing.
const ROUNDS: u32 = 3;
/// For one of them.
const ROUND: Duration = Duration::from_secs(2);
/// Of those, how many one may take.
const LONGEST_ROUND: u32 = 60;

/// What one process meets.
pub struct Process<'a> {
    /// The world that it finds.
    pub shared: &'a Shared,
    /// What goes wrong.
    pub plan: &'a Plan,
    /// A bug that it has.
    pub bug: Option<Bug>,
    /// Its number: what came before 1 has left the Lease to it, and every other waits for that to run out.
    pub number: u32,
    /// Whether it starts where another has ended.
    pub again: bool,
    /// What people do once it has come to rest; none where all of that is done.
    pub acts: Option<&'a [Act]>,
    /// Whether only a look at everything finds what they did.
    pub slow: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At rest.
    Rest,
    /// In the middle of a write.
    Crash,
}

/// What a process did.
#[derive(Clone, Debug)]
pub struct Lived {
    /// How it ended.
    pub end: End,
    /// Its writes, in order, but for those of the Lease.
    pub writes: Vec<Place>,
    /// Those of the Lease.
    pub leases: Vec<Place>,
    /// Whether what was to go wrong had an occasion.
    pub met: bool,
}

impl Process<'_> {
    /// Lives.
    ///
    /// # Errors
    /// In words, what an operator may not do: not come to rest, or write at rest.
    pub fn live(self) -> Result<Lived> {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build()?;
        self.shared.lock().watchdog.forget();
        // What still runs ends with the runtime, as with a process.
        runtime.block_on(self.run())
    }

    async fn run(self) -> Result<Lived> {
        let server = Apiserver::new(self.shared, self.plan, self.bug, self.again);
        let client = server.client();
        let settings = Settings::try_parse_from([
            "weighbridge-operator",
            "--inference-server-image=images.example/inference-server:1",
            "--gateway-image=images.example/gateway:1",
            &*format!("--namespace={}", gateway::INSTALLATION),
            &*format!("--gateway-service={}", gateway::SERVICE),
            &*format!("--identity=operator-{}", self.number),
        ])?;
        let metrics = Metrics::default();
        let dial = std::sync::Arc::new(gateway::Network(self.shared.clone()));
        let lifetimes = settings.lifetimes()?;
        let clock = Clock::at(self.shared.lock().time);
        let assembly = Assembly::new(&client, dial, &settings, lifetimes, &metrics, clock);
        let (stores, triggers) = (assembly.stores(), assembly.triggers());
        let end = tokio::select! {
            () = assembly.run(std::future::pending()) => Err(anyhow!("the operator ended by itself")),
            () = cluster(self.shared) => Err(anyhow!("the cluster ended by itself")),
            () = server.crashed() => Ok(End::Crash),
            rested = self.to_rest(&server, &stores, &triggers, &metrics) => rested.map(|()| End::Rest),
        };
        self.shared.lock().time = clock.now();
        if server.runaway() {
            let writes = server.writes();
            let last = listed(&writes[writes.len().saturating_sub(6)..]);
            return Err(anyhow!("it never rests: {} writes, the last of them {last}", writes.len()));
        }
        Ok(Lived { end: end?, writes: server.writes(), leases: server.leases(), met: server.met() })
    }

    async fn to_rest(
        &self,
        server: &Apiserver,
        stores: &Stores,
        triggers: &Triggers,
        metrics: &Metrics,
    ) -> Result<()> {
        if let Some(acts) = self.acts {
            stores.synced().await;
            let writes = self.rest(server, AWAKE, LIMIT).await?;
            if !writes.is_empty() {
                return Err(anyhow!("a new start wrote at rest: {}", listed(&writes)));
            }
            server.arm();
            {
                let mut world = self.shared.lock();
                acts.iter().try_for_each(|act| act.on(&mut world)).context("what people do")?;
            }
            self.shared.tell();
        } else {
            server.arm();
        }
        let (quiet, limit) = match (self.slow, self.plan.noise) {
            (true, _) => (SLOWLY_QUIET, SLOWLY),
            (false, true) => (QUIET_AFTER_NOISE, SLOWLY),
            (false, false) => (QUIET, LIMIT),
        };
        let before = self.rest(server, quiet, limit).await?.len();
        let looked = reconciles(metrics);
        let objects =
            stores.models.len() + stores.providers.len() + stores.accesses.len() + stores.caches.len();
        for round in 1..=ROUNDS {
            stores.trigger_all(triggers).await;
            sleep(ROUND).await;
            // A look whose requests noise slows down takes longer, and what is asked for meanwhile would be one look with it.
            for _ in 0..LONGEST_ROUND {
                if (reconciles(metrics) - looked) as usize >= objects * (round as usize) {
                    break;
                }
                sleep(ROUND).await;
            }
        }
        let after = server.writes();
        if after.len() > before {
            return Err(anyhow!("written at rest: {}", listed(&after[before..])));
        }
        let rounds = reconciles(metrics) - looked;
        if (rounds as usize) < objects * (ROUNDS as usize) {
            return Err(anyhow!("{rounds} reconciles of {objects} objects: not everything was looked at"));
        }
        Ok(())
    }

    /// Waits until nothing was written for `quiet`. Returns what was.
    async fn rest(&self, server: &Apiserver, quiet: Duration, limit: Duration) -> Result<Vec<Place>> {
        let began = Instant::now();
        let (mut seen, mut since) = (usize::MAX, began);
        loop {
            let writes = server.writes();
            if writes.len() != seen {
                (seen, since) = (writes.len(), Instant::now());
            }
            if since.elapsed() >= quiet {
                return Ok(writes);
            }
            if began.elapsed() > limit {
                let last = &writes[writes.len().saturating_sub(6)..];
                return Err(anyhow!("not at rest within {limit:?}: the last writes are {}", listed(last)));
            }
            sleep(TICK).await;
        }
    }
}

/// Everything in the cluster that is not the operator.
async fn cluster(shared: &Shared) {
    let mut changes = shared.changes();
    let (mut seen, mut littered) = (None, None);
    loop {
        changes.mark_unchanged();
        let moved = seen.is_none_or(|revision| shared.lock().moved_since(revision));
        let stepped = moved && shared.lock().step();
        seen = Some(shared.lock().revision());
        if stepped {
            // What it did itself is to be gone on from.
            seen = None;
            shared.tell();
            sleep(STEP).await;
            continue;
        }
        let garbage = !shared.lock().garbage().is_empty();
        littered = garbage.then(|| littered.unwrap_or_else(Instant::now));
        tokio::select! {
            _ = changes.changed() => sleep(STEP).await,
            () = sleep_until(littered.unwrap_or_else(Instant::now) + GARBAGE), if garbage => {
                shared.lock().collect_garbage(true);
                shared.tell();
            }
        }
    }
}

fn reconciles(metrics: &Metrics) -> u64 {
    let text = metrics.text();
    let counts = text.lines().filter(|line| line.starts_with("weighbridge_reconcile_total"));
    counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn listed(writes: &[Place]) -> String {
    writes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
