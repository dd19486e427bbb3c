//! Admit: the body within its bounds, JSON, and a model that exists.

use std::sync::Arc;

use http::{HeaderMap, Request};
use hyper::body::Incoming;
use weighbridge_wire::openai::ApiError;
use weighbridge_wire::openai::edit::RequestView;

use super::Pipeline;
use crate::directory::Target;
use crate::forward::{Pieces, REQUEST_HEADERS, copy_allowed};
use crate::server::{Received, receive};

/// What can be asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    ChatCompletions,
    Completions,
    Embeddings,
    Rerank,
}

impl Operation {
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/v1/chat/completions" => Some(Self::ChatCompletions),
            "/v1/completions" => Some(Self::Completions),
            "/v1/embeddings" => Some(Self::Embeddings),
            "/v1/rerank" => Some(Self::Rerank),
            _ => None,
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Rerank => "/v1/rerank",
        }
    }
}

/// An admitted request.
#[derive(Debug)]
pub(super) struct Call {
    pub operation: Operation,
    /// The model, as it was when the request was admitted.
    pub target: Arc<Target>,
    /// The name that the caller used, which the answer repeats.
    pub requested: String,
    pub stream: bool,
    /// Whether the caller asked for the usage at the end of the stream.
    pub include_usage: bool,
    /// What goes upstream.
    pub headers: HeaderMap,
    pub body: Pieces,
    /// Keeps the body's place in the budget.
    pub _received: Received,
}

impl Pipeline {
    pub(super) async fn admit(
        &self,
        operation: Operation,
        request: Request<Incoming>,
    ) -> Result<Call, ApiError> {
        let (head, body) = request.into_parts();
        let received =
            receive(body, self.limits.body_bytes, self.timeouts.request_body, &self.bodies).await?;
        let view = RequestView::parse(&received.bytes)?;
        let snapshot = self.directory.snapshot();
        let target = snapshot
            .resolve(view.model(), &self.default_namespace)
            .cloned()
            .ok_or_else(|| snapshot.not_found(view.model(), &self.default_namespace))?;
        let mut headers = HeaderMap::new();
        copy_allowed(&head.headers, &mut headers, REQUEST_HEADERS);
        let (requested, stream, include_usage) =
            (view.model().to_owned(), view.stream(), view.include_usage());
        let body = Pieces::edited(&received.bytes, view.edits(&target.upstream_model));
        Ok(Call { operation, target, requested, stream, include_usage, headers, body, _received: received })
    }
}
