//! What every handler shares: the model once it is there, the phase until then, and the bounds on work.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use weighbridge_wire::openai::ApiError;

use super::body::{self, BodyMemory};
use super::{ServedModel, error};
use crate::artifact::Reader;
use crate::metrics::Metrics;

/// The longest to serve on for callers that have not heard, unless more is asked for. A gateway that is cut off from the apiserver
/// hears nothing, and what is to come in this server's place may wait for it to be gone.
const LEAVING: Duration = Duration::from_secs(30);

/// How far the server is. Its text is what `/readyz` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The model file is being looked up, fetched or verified: `step` says which.
    Fetching {
        /// The step, as a metric label.
        step: &'static str,
        /// Bytes done.
        bytes: u64,
        /// Bytes in all; 0 while unknown.
        total: u64,
    },
    /// The model file is being opened and checked.
    Opening,
    /// Weights are being brought into the form that the kernels read.
    Loading {
        /// Bytes done.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The first token, or embedding, is being computed.
    Warming,
    /// Requests are answered.
    Ready,
    /// Requests are answered, and should go elsewhere: it is about to drain.
    Leaving,
    /// Requests are finished and no new one is taken.
    Draining,
    /// The model could not be loaded.
    Failed(String),
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetching { step, bytes, total } => {
                write!(f, "fetching the model ({step}: {} of {} MB)", bytes / 1_000_000, total / 1_000_000)
            }
            Self::Opening => f.write_str("opening the model file"),
            Self::Loading { bytes, total } => {
                write!(f, "loading the weights ({} of {} MB)", bytes / 1_000_000, total / 1_000_000)
            }
            Self::Warming => f.write_str("computing a first answer"),
            Self::Ready => f.write_str("ready"),
            Self::Leaving => f.write_str("leaving"),
            Self::Draining => f.write_str("draining"),
            Self::Failed(problem) => write!(f, "failed: {problem}"),
        }
    }
}

/// Shared by all handlers of one server.
#[derive(Debug)]
pub struct AppState {
    phase: watch::Sender<Phase>,
    model: OnceLock<ServedModel>,
    /// Why a GPU does not compute where one is there or was asked for.
    without_gpu: OnceLock<String>,
    /// What keeps entries of a shared cache where they are, as long as their files are mapped.
    readers: Mutex<Vec<Reader>>,
    /// Counts and times.
    pub metrics: Arc<Metrics>,
    /// Requests that tokenise or render at once: the machine's cores, or the engine would starve.
    pub(super) cpu_work: Semaphore,
    pub(super) body_memory: BodyMemory,
    /// Requests not yet answered to the end.
    requests: TaskTracker,
    /// Requests that came, ever.
    arrivals: watch::Sender<u64>,
}

impl AppState {
    /// A server without a model yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            phase: watch::Sender::new(Phase::Opening),
            model: OnceLock::new(),
            without_gpu: OnceLock::new(),
            readers: Mutex::default(),
            metrics,
            cpu_work: Semaphore::new(cores),
            body_memory: BodyMemory::new(body::DEFAULT_MOST),
            requests: TaskTracker::new(),
            arrivals: watch::Sender::new(0),
        }
    }

    /// The same, for bodies of at most `bytes` each.
    pub fn with_max_body(self, bytes: usize) -> Self {
        Self { body_memory: BodyMemory::new(bytes), ..self }
    }

    /// Moves to `phase`. Draining and failure are final.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let stays = matches!(current, Phase::Draining | Phase::Failed(_));
            if !stays {
                *current = phase;
            }
            !stays
        });
    }

    /// Notes how long a phase of the start took, in metrics and log.
    pub fn phase_took(&self, phase: &'static str, took: Duration) {
        tracing::info!(phase, seconds = took.as_secs_f64(), "start");
        self.metrics.cold_start(phase, took);
    }

    /// Keeps hold of an entry of a shared cache for as long as the server is there.
    pub(crate) fn reads(&self, reader: Reader) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    }

    /// Notes why the CPU computes where a GPU was to.
    pub fn computes_without_gpu(&self, reason: String) {
        self.without_gpu.set(reason).ok();
    }

    /// What `/readyz` says of a server that is ready.
    pub(super) fn ready_in_words(&self) -> String {
        let reason = self.without_gpu.get();
        reason.map_or_else(|| "ready".to_owned(), |reason| format!("ready; on the CPU: {reason}"))
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Follows the phase.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Puts the model there; a second one is dropped.
    pub fn set_model(&self, model: ServedModel) {
        self.model.set(model).ok();
    }

    /// The model, however far the server is.
    pub fn model(&self) -> Option<&ServedModel> {
        self.model.get()
    }

    /// Notes that a request came. It is open until the token is dropped.
    pub(super) fn arrived(&self) -> TaskTrackerToken {
        self.arrivals.send_modify(|arrivals| *arrivals = arrivals.wrapping_add(1));
        self.requests.token()
    }

    /// Leaves: serves on, not ready, until no request came for `quiet`, then takes no more and waits until every request is
    /// answered to its end. False where that is not so after `longest` in all.
    pub async fn leave(&self, quiet: Duration, longest: Duration) -> bool {
        let told = Instant::now();
        if !quiet.is_zero() {
            tracing::info!("leaving: requests are answered until callers know");
            self.enter(Phase::Leaving);
            timeout(LEAVING.max(quiet).min(longest / 2), self.left_alone(quiet)).await.ok();
        }
        tracing::info!("draining");
        self.drain();
        timeout(longest.saturating_sub(told.elapsed()), self.drained()).await.is_ok()
    }

    /// Waits until no request came for `quiet`: whoever sends one has not heard that this server leaves.
    async fn left_alone(&self, quiet: Duration) {
        let mut arrivals = self.arrivals.subscribe();
        while timeout(quiet, arrivals.changed()).await.is_ok() {}
    }

    /// Stops taking requests.
    pub fn drain(&self) {
        self.enter(Phase::Draining);
        self.requests.close();
        if let Some(model) = self.model() {
            model.drain();
        }
    }

    /// Waits, after [`AppState::drain`], until every request is answered to its end.
    pub async fn drained(&self) {
        self.requests.wait().await;
    }

    /// Runs `work` with the model on a thread for such work, at most one a core at a time.
    pub(super) async fn off_thread<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&ServedModel) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let _place = self.cpu_work.acquire().await;
        let state = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(state.ready_model()?)).await;
        // A panic in there is this request's alone.
        done.unwrap_or_else(|_| Err(ApiError::internal("The request could not be processed.")))
    }

    /// The model, if requests may use it now.
    pub(super) fn ready_model(&self) -> Result<&ServedModel, ApiError> {
        match (self.phase(), self.model()) {
            (Phase::Ready | Phase::Leaving, Some(model)) => Ok(model),
            (Phase::Draining, _) => Err(error::draining()),
            (phase, _) => Err(error::not_ready(&phase.to_string())),
        }
    }
}
