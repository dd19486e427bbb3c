//! Worker threads that share out the chunks of one operation at a time.
//!
//! Chunks are claimed dynamically and the caller takes part, so an operation ends when its chunks are done,
//! however many workers the system let run. Waiting spins briefly, then yields, then parks: llama.cpp's
//! unbounded spinning falls to a tenth of its speed beside one busy neighbour.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};

/// Spins before a waiter yields. About 20 µs: longer than the gap between two operations of a step.
const SPINS: u32 = 1000;
/// Yields before a waiter parks.
const YIELDS: u32 = 16;

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// The operation under way. Written only between operations, read only by whoever holds a claimed chunk.
struct Job {
    task: *const Task<'static>,
    chunks: usize,
}

struct State {
    /// Chunks of the current operation that nobody claimed yet.
    unclaimed: AtomicUsize,
    /// Chunks of the current operation that are not finished.
    unfinished: AtomicUsize,
    job: std::cell::UnsafeCell<Job>,
    parked: AtomicUsize,
    closing: AtomicBool,
    caller_parked: AtomicBool,
    caller: Mutex<Option<Thread>>,
    panicked: AtomicBool,
}

// SAFETY: `job` is the only part that is not `Sync`. It is written by the caller of `run` while
// `unclaimed` and `unfinished` are 0, and read only after claiming a chunk, which keeps `unfinished`
// above 0 until the reader is done with it.
unsafe impl Sync for State {}
// SAFETY: as above; the task it points to is `Sync`.
unsafe impl Send for State {}

/// A fixed set of worker threads.
pub struct Pool {
    state: Arc<State>,
    workers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish()
    }
}

/// An operation one of whose chunks panicked; its output is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker panicked")]
pub struct WorkerPanicked;

impl Pool {
    /// Starts `threads - 1` workers; the caller of [`Pool::run`] is the last.
    ///
    /// # Errors
    /// The system's, when it starts no more threads.
    pub fn new(threads: NonZeroUsize) -> std::io::Result<Self> {
        let state = Arc::new(State {
            unclaimed: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            job: std::cell::UnsafeCell::new(Job { task: &|_| (), chunks: 0 }),
            parked: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            caller_parked: AtomicBool::new(false),
            caller: Mutex::new(None),
            panicked: AtomicBool::new(false),
        });
        let mut pool = Self { state, workers: Vec::new() };
        for index in 1..threads.get() {
            let state = Arc::clone(&pool.state);
            let worker =
                std::thread::Builder::new().name(format!("kernel-{index}")).spawn(move || state.work())?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads that share the work, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(i)` once for each `i` below `chunks`, on any thread, and returns when all are done.
    ///
    /// # Errors
    /// [`WorkerPanicked`] when a call panicked, after all the others ended.
    pub fn run(&mut self, chunks: usize, task: &Task<'_>) -> Result<(), WorkerPanicked> {
        if self.workers.is_empty() || chunks <= 1 {
            let run = std::panic::AssertUnwindSafe(|| (0..chunks).for_each(task));
            return std::panic::catch_unwind(run).map_err(|_| WorkerPanicked);
        }
        let state = &*self.state;
        // SAFETY: only the lifetime changes. No worker holds `task` after `run` returns: it is read under a
        // claimed chunk, and `run` waits for every claimed chunk.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        // SAFETY: `&mut self` makes this the only caller, and the last operation left nothing unfinished,
        // so nobody reads `job` now.
        unsafe { *state.job.get() = Job { task, chunks } };
        state.unfinished.store(chunks, Ordering::Relaxed);
        state.unclaimed.store(chunks, Ordering::Release);
        self.wake();
        while state.work_one() {}
        state.wait_until_finished();
        if state.panicked.swap(false, Ordering::Relaxed) { Err(WorkerPanicked) } else { Ok(()) }
    }

    fn wake(&self) {
        // Pairs with the fence in `State::idle`: either the worker sees the chunks, or we see it parked.
        fence(Ordering::SeqCst);
        if self.state.parked.load(Ordering::Relaxed) > 0 {
            self.workers.iter().for_each(|worker| worker.thread().unpark());
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.state.closing.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches its tasks' panics, so there is nothing to learn from the result.
            let _ = worker.join();
        }
    }
}

impl State {
    fn work(&self) {
        while !self.closing.load(Ordering::Relaxed) {
            if !self.work_one() {
                self.idle();
            }
        }
    }

    /// Claims and runs one chunk; false when none is left to claim.
    fn work_one(&self) -> bool {
        let claim = self
            .unclaimed
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |unclaimed| unclaimed.checked_sub(1));
        let Ok(unclaimed) = claim else { return false };
        // SAFETY: a chunk is claimed and unfinished, so `run` has not returned: `job` is not being written
        // and its task is alive.
        let (task, chunks) = unsafe {
            let job = &*self.job.get();
            (&*job.task, job.chunks)
        };
        let run = std::panic::AssertUnwindSafe(|| task(chunks - unclaimed));
        if std::panic::catch_unwind(run).is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
        // SeqCst pairs with the caller's parking, as in `wait_until_finished`.
        if self.unfinished.fetch_sub(1, Ordering::SeqCst) == 1 && self.caller_parked.load(Ordering::SeqCst) {
            let caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(caller) = caller.as_ref() {
                caller.unpark();
            }
        }
        true
    }

    /// Waits for work: spins, yields, parks.
    fn idle(&self) {
        let ready = || self.unclaimed.load(Ordering::Relaxed) > 0 || self.closing.load(Ordering::Relaxed);
        if spin_and_yield(ready) {
            return;
        }
        self.parked.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while !ready() {
            std::thread::park();
        }
        self.parked.fetch_sub(1, Ordering::SeqCst);
    }

    fn wait_until_finished(&self) {
        let finished = || self.unfinished.load(Ordering::Acquire) == 0;
        if spin_and_yield(finished) {
            return;
        }
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        self.caller_parked.store(true, Ordering::SeqCst);
        while self.unfinished.load(Ordering::SeqCst) != 0 {
            std::thread::park();
        }
        self.caller_parked.store(false, Ordering::SeqCst);
    }
}

/// True when `ready` turned true within the spins and yields.
fn spin_and_yield(ready: impl Fn() -> bool) -> bool {
    for _ in 0..SPINS {
        if ready() {
            return true;
        }
        std::hint::spin_loop();
    }
    for _ in 0..YIELDS {
        if ready() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}
