//! How busy the engine is: written by its thread, read by anyone.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::scheduler::Scheduler;

/// What a thread tells of itself after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) queued_tokens: u64,
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    pub(crate) used_blocks: u64,
    pub(crate) total_blocks: u64,
    pub(crate) preemptions: u64,
}

impl From<&Scheduler> for Figures {
    fn from(scheduler: &Scheduler) -> Self {
        let blocks = scheduler.blocks();
        Self {
            queued_tokens: scheduler.queued_tokens() as u64,
            waiting: scheduler.waiting() as u64,
            running: scheduler.running() as u64,
            used_blocks: (blocks.total() - blocks.available()) as u64,
            total_blocks: blocks.total() as u64,
            preemptions: scheduler.preemptions(),
        }
    }
}

/// The engine's load at the end of its latest step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadSnapshot {
    /// Tokens known but not computed.
    pub queued_tokens: u64,
    /// Sequences that wait.
    pub waiting: u64,
    /// Sequences in the batch.
    pub running: u64,
    /// KV blocks in use.
    pub used_blocks: u64,
    /// KV blocks there are.
    pub total_blocks: u64,
    /// Sequences that lost their blocks to older ones, so far.
    pub preemptions: u64,
    /// Steps so far: stands still when the engine idles or hangs; see `step_age`.
    pub steps: u64,
    /// How long the present step has been running; `None` between steps.
    pub step_age: Option<Duration>,
    /// No new request is taken.
    pub draining: bool,
    /// The device's memory is given back; the next request takes it again.
    pub asleep: bool,
    /// How long there has been nothing to do; `None` while there is.
    pub idle: Option<Duration>,
}

impl LoadSnapshot {
    /// Share of the KV memory in use, `0.0 ..= 1.0`.
    pub fn kv_usage(&self) -> f64 {
        if self.total_blocks == 0 { 0.0 } else { self.used_blocks as f64 / self.total_blocks as f64 }
    }
}

/// The shared cell behind the snapshots. The fields are read one by one: a snapshot may mix two steps.
#[derive(Debug)]
pub(crate) struct Load {
    started: Instant,
    queued_tokens: AtomicU64,
    waiting: AtomicU64,
    running: AtomicU64,
    used_blocks: AtomicU64,
    total_blocks: AtomicU64,
    preemptions: AtomicU64,
    steps: AtomicU64,
    /// Milliseconds from `started` to the present step's begin, plus 1; 0 between steps.
    step_began: AtomicU64,
    draining: AtomicBool,
    asleep: AtomicBool,
    /// Milliseconds from `started` to the latest step's end.
    last_busy: AtomicU64,
    /// Why the thread has ended, where it ended by itself.
    ended: OnceLock<String>,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            queued_tokens: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            running: AtomicU64::new(0),
            used_blocks: AtomicU64::new(0),
            total_blocks: AtomicU64::new(0),
            preemptions: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            step_began: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            last_busy: AtomicU64::new(0),
            ended: OnceLock::new(),
        }
    }

    /// Notes why the thread ends; the first reason stays.
    pub(crate) fn end(&self, problem: String) {
        let _ = self.ended.set(problem);
    }

    /// Why the thread has ended by itself.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }

    pub(crate) fn begin_step(&self) {
        self.step_began.store(self.now() + 1, Relaxed);
    }

    pub(crate) fn end_step(&self) {
        self.step_began.store(0, Relaxed);
        self.last_busy.store(self.now(), Relaxed);
        self.steps.fetch_add(1, Relaxed);
    }

    pub(crate) fn rest(&self, asleep: bool) {
        self.asleep.store(asleep, Relaxed);
    }

    pub(crate) fn publish(&self, figures: Figures) {
        let Figures { queued_tokens, waiting, running, used_blocks, total_blocks, preemptions } = figures;
        self.queued_tokens.store(queued_tokens, Relaxed);
        self.waiting.store(waiting, Relaxed);
        self.running.store(running, Relaxed);
        self.used_blocks.store(used_blocks, Relaxed);
        self.total_blocks.store(total_blocks, Relaxed);
        self.preemptions.store(preemptions, Relaxed);
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub(crate) fn snapshot(&self) -> LoadSnapshot {
        let began = self.step_began.load(Relaxed);
        let age = began.checked_sub(1).map(|began| Duration::from_millis(self.now().saturating_sub(began)));
        let idle = began == 0 && self.waiting.load(Relaxed) == 0 && self.running.load(Relaxed) == 0;
        LoadSnapshot {
            queued_tokens: self.queued_tokens.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            running: self.running.load(Relaxed),
            used_blocks: self.used_blocks.load(Relaxed),
            total_blocks: self.total_blocks.load(Relaxed),
            preemptions: self.preemptions.load(Relaxed),
            steps: self.steps.load(Relaxed),
            step_age: age,
            draining: self.is_draining(),
            asleep: self.asleep.load(Relaxed),
            idle: idle
                .then(|| Duration::from_millis(self.now().saturating_sub(self.last_busy.load(Relaxed)))),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
