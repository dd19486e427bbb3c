//! How busy the engine is: written by its thread, read by anyone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::scheduler::Scheduler;

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
}

impl LoadSnapshot {
    /// Share of the KV memory in use, `0.0 ..= 1.0`.
    pub fn kv_usage(&self) -> f64 {
        if self.total_blocks == 0 { 0.0 } else { self.used_blocks as f64 / self.total_blocks as f64 }
    }
}

/// The shared cell behind the snapshots. The fields are read one by one: a snapshot may mix two steps.
#[derive(Debug)]
pub(super) struct Load {
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
}

impl Load {
    pub(super) fn new() -> Self {
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
        }
    }

    pub(super) fn begin_step(&self) {
        self.step_began.store(self.now() + 1, Relaxed);
    }

    pub(super) fn end_step(&self) {
        self.step_began.store(0, Relaxed);
        self.steps.fetch_add(1, Relaxed);
    }

    pub(super) fn publish(&self, scheduler: &Scheduler) {
        let blocks = scheduler.blocks();
        self.queued_tokens.store(scheduler.queued_tokens() as u64, Relaxed);
        self.waiting.store(scheduler.waiting() as u64, Relaxed);
        self.running.store(scheduler.running() as u64, Relaxed);
        self.used_blocks.store((blocks.total() - blocks.available()) as u64, Relaxed);
        self.total_blocks.store(blocks.total() as u64, Relaxed);
        self.preemptions.store(scheduler.preemptions(), Relaxed);
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub(super) fn snapshot(&self) -> LoadSnapshot {
        let began = self.step_began.load(Relaxed);
        let age = began.checked_sub(1).map(|began| Duration::from_millis(self.now().saturating_sub(began)));
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
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
