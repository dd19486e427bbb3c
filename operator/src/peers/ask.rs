use std::net::SocketAddr;
use std::time::Duration;

use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use serde::de::DeserializeOwned;
use weighbridge_tls::Identity;

use super::Callers;
use super::line::{Line, LineError};
use crate::controller::jittered;

/// For an answer: a pod holds a question for 25 s where it has nothing new to say.
const ANSWER: Duration = Duration::from_secs(40);
/// Between two questions at the least, however fast a pod's news come.
const PACE: Duration = Duration::from_millis(200);
/// The first wait after a failure, and the longest: each in a row doubles it.
const FIRST_AGAIN: Duration = Duration::from_secs(1);
const LAST_AGAIN: Duration = Duration::from_secs(60);
/// Failures in a row after which what was said before counts no more: the waits between them are half a minute.
const LOST: u32 = 6;
/// The same where nothing was said before, since somebody waits for the first word.
const MUTE: u32 = 4;

/// Why there was no answer. For the log; people read it in a condition as "not known".
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It has no path.
    #[error("the question is none")]
    Question(#[source] http::Error),
    /// No connection.
    #[error("it can't be asked")]
    Line(#[from] LineError),
    /// Not in time.
    #[error("it does not answer within {ANSWER:?}")]
    Slow,
    /// No success.
    #[error("it answered {0}: one of an earlier version does not tell")]
    Status(StatusCode),
    /// Not all of it.
    #[error("its answer broke off, or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not what was asked for.
    #[error("its answer is no state")]
    State(#[source] serde_json::Error),
}

/// A pod that is asked time and again.
pub struct Peer {
    callers: Callers,
    identity: Identity,
    address: SocketAddr,
    /// The connection of the last question, if it is still good.
    line: Option<Line>,
}

impl Peer {
    pub(super) fn new(callers: Callers, identity: Identity, address: SocketAddr) -> Self {
        Self { callers, identity, address, line: None }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its answer at `path`, of at most so many `bytes`.
    ///
    /// # Errors
    /// There was none, or not in time.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str, bytes: usize) -> Result<T, AskError> {
        let request = Request::get(path).header(HOST, self.address.to_string());
        let request = request.body(Empty::new()).map_err(AskError::Question)?;
        let mut line = match self.line.take().filter(Line::is_good) {
            Some(line) => line,
            None => {
                let Callers { dial, shown } = &self.callers;
                Line::open(&**dial, shown, &self.identity, self.address).await?
            }
        };
        let answer = async {
            let response = line.ask(request).await?;
            if response.status() != StatusCode::OK {
                return Err(AskError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), bytes).collect().await;
            let body = body.map_err(AskError::Body)?.to_bytes();
            serde_json::from_slice::<T>(&body).map_err(AskError::State)
        };
        let state = tokio::time::timeout(ANSWER, answer).await.map_err(|_| AskError::Slow)??;
        self.line = Some(line);
        Ok(state)
    }
}

/// How long one waits before each question, and when one gives up what was said before.
#[derive(Debug, Default)]
pub struct Patience {
    heard: bool,
    failures: u32,
    due: Duration,
}

impl Patience {
    /// Waits as long as is due before the next question.
    pub async fn rest(&mut self) {
        tokio::time::sleep(std::mem::take(&mut self.due)).await;
    }

    /// It answered, and there is `more` to ask for at once or not.
    pub fn heard(&mut self, more: bool) {
        *self = Self { heard: true, failures: 0, due: if more { Duration::ZERO } else { PACE } };
    }

    /// It did not answer, and is asked again ever later; whether it is lost from now on.
    pub fn failed(&mut self) -> bool {
        let wait = FIRST_AGAIN.saturating_mul(2_u32.saturating_pow(self.failures)).min(LAST_AGAIN);
        self.failures = self.failures.saturating_add(1);
        self.due = jittered(wait);
        self.failures == if self.heard { LOST } else { MUTE }
    }
}
