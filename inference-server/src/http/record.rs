//! One request in the metrics, from arrival to the end of its answer, however it ends.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::AppState;
use crate::engine::Finished;
use crate::metrics::{Metrics, ModelLabels};

/// What nginx and others count a client that left as.
const CLIENT_LEFT: u16 = 499;

/// Counts one request. Dropping it is the request's end.
#[derive(Debug)]
pub(super) struct Record {
    metrics: Arc<Metrics>,
    began: Instant,
    model: Option<ModelLabels>,
    code: Option<u16>,
    streaming: bool,
    /// When each choice had its latest token.
    latest: Vec<Option<Instant>>,
    output: Vec<usize>,
    /// Holds the server open until the answer is out.
    _open: TaskTrackerToken,
}

impl Record {
    pub(super) fn begin(state: &AppState) -> Self {
        state.metrics.request_began();
        Self {
            metrics: Arc::clone(&state.metrics),
            began: Instant::now(),
            model: None,
            code: None,
            streaming: false,
            latest: Vec::new(),
            output: Vec::new(),
            _open: state.arrived(),
        }
    }

    /// The engine took the request: `prompts` tokens in, `choices` answers to come.
    pub(super) fn accepted(&mut self, model: ModelLabels, prompts: usize, choices: usize) {
        self.metrics.count_tokens(&model, prompts, 0);
        self.model = Some(model);
        self.latest = vec![None; choices];
        self.output = vec![0; choices];
    }

    /// The status line is out, with 200; what follows can only be cut.
    pub(super) fn streaming(&mut self) {
        self.streaming = true;
    }

    /// `choice` has a token.
    pub(super) fn token(&mut self, choice: usize) {
        let (Some(model), Some(latest)) = (&self.model, self.latest.get_mut(choice)) else { return };
        let now = Instant::now();
        match latest.replace(now) {
            Some(before) => self.metrics.next_token(model, now - before),
            None => self.metrics.first_token(model, now - self.began),
        }
        self.output[choice] += 1;
        self.metrics.count_tokens(model, 0, 1);
    }

    /// `choice` is complete. Its end token was drawn, though nobody saw it.
    pub(super) fn finished(&mut self, choice: usize, finished: &Finished) {
        let (Some(model), Some(seen)) = (&self.model, self.output.get(choice)) else { return };
        self.metrics.count_tokens(model, 0, finished.completion_tokens.saturating_sub(*seen));
    }

    /// The answer is complete, with this status.
    pub(super) fn end(&mut self, code: u16) {
        if self.streaming && code >= 400 {
            self.metrics.stream_cut("engine_error");
        }
        self.code = Some(code);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.code.is_none() && self.streaming {
            self.metrics.stream_cut("client_left");
        }
        self.metrics.request_ended(
            self.model.as_ref(),
            self.code.unwrap_or(CLIENT_LEFT),
            self.began.elapsed(),
        );
    }
}
