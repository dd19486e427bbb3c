//! What this gateway routes, told to the operator, who subscribes: nothing is pushed, and nothing is written to a cluster.
//!
//! `book` knows what of each model was told since when, and is pure; `feed` waits for news and answers; here is the port. What
//! is told is the directory's: nothing here decides where a call goes.

mod book;
mod feed;

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weighbridge_tls::ServerTls;

use self::feed::Feed;
use crate::control::ControlThread;
use crate::directory::Directory;
use crate::metrics::Registry;
use crate::server::{self, Body, Handler, ServeError, Settings, Shutdown, json_response};

/// Where it is told: `GET`, and `?after=VERSION` for who knows that one.
const STATE_PATH: &str = "/state";

/// Where the operator asks what is routed.
#[derive(Debug)]
pub struct StateListener {
    /// Its port: neither callers' nor the admin port.
    pub listener: TcpListener,
    /// What it shows, and that the operator alone is let in; plain http where there is none.
    pub tls: Option<ServerTls>,
}

/// The port's answers.
struct State {
    feed: Feed,
    shutdown: Shutdown,
}

impl Handler for State {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        if request.method() != Method::GET || request.uri().path() != STATE_PATH {
            return json_response(StatusCode::NOT_FOUND, "{}");
        }
        // Who waits for news is not waited for when the process is to end.
        tokio::select! {
            state = self.feed.answer(request.uri().query()) => state,
            () = self.shutdown.draining() => json_response(StatusCode::SERVICE_UNAVAILABLE, "{}"),
        }
    }
}

/// Tells whoever asks at `listener` what `directory` routes, until the process drains: then it sends calls nowhere that would
/// count. `None` tells nobody.
pub(crate) fn telling(
    control: &ControlThread,
    listener: Option<StateListener>,
    directory: Directory,
    settings: &Settings,
    shutdown: Shutdown,
    registry: &mut Registry,
) -> Result<Option<JoinHandle<()>>, ServeError> {
    let feed = Feed::new(directory);
    feed.register(registry);
    let Some(StateListener { listener, tls }) = listener else { return Ok(None) };
    let listener = control.adopt(listener).map_err(ServeError::Control)?;
    let settings = settings.clone();
    Ok(Some(control.run(async move {
        let state = Arc::new(State { feed, shutdown: shutdown.clone() });
        server::serve_aside(&settings, listener, tls.map(Arc::new), state, shutdown.draining()).await;
    })))
}
