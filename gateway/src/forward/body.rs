//! The upstream's body, with a bound on its silences.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::Connection;
use super::pool::{Carried, Home};
use crate::server::{BodyError, Silence};

/// Dropping it closes the connection to the upstream, unless the answer was read to its end or the connection carries
/// others too.
pub(crate) struct UpstreamBody {
    inner: Incoming,
    /// What `inner` comes over, where it has no task of its own.
    connection: Option<(Box<Connection>, Home)>,
    /// Its place in a connection that carries others too.
    _carried: Option<Carried>,
    silence: Silence,
}

impl UpstreamBody {
    /// The body of an answer that comes over `connection`, which goes home at its end.
    pub(super) fn driven(inner: Incoming, connection: Box<Connection>, home: Home, idle: Duration) -> Self {
        let connection = Some((connection, home));
        let mut body = Self { inner, connection, _carried: None, silence: Silence::new(idle) };
        body.leave_if_done();
        body
    }

    /// The body of an answer that comes over a connection with a task of its own.
    pub(super) fn shared(inner: Incoming, carried: Carried, idle: Duration) -> Self {
        Self { inner, connection: None, _carried: Some(carried), silence: Silence::new(idle) }
    }

    /// Changes the bound from the next silence on.
    pub(crate) fn set_idle(&mut self, idle: Duration) {
        self.silence.set_bound(idle);
    }

    fn poll_inner(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { inner, connection, .. } = self;
        let mut poll_frame = |context: &mut Context<'_>| Pin::new(&mut *inner).poll_frame(context);
        match connection {
            Some((connection, _)) => connection.poll_with(context, poll_frame),
            None => poll_frame(context),
        }
    }

    /// The connection is free for the next request as soon as the last byte is read.
    fn leave_if_done(&mut self) {
        if self.inner.is_end_stream()
            && let Some((connection, home)) = self.connection.take()
        {
            home.keep(connection);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = self.poll_inner(context) {
            self.silence.broken();
            match &frame {
                Some(Ok(_)) => self.leave_if_done(),
                Some(Err(_)) => self.connection = None,
                None => {
                    if let Some((connection, home)) = self.connection.take() {
                        home.keep(connection);
                    }
                }
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)));
        }
        ready!(self.silence.poll(context));
        Poll::Ready(Some(Err(BodyError::Idle(self.silence.bound()))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}
