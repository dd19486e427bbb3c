//! The feed: the present state, and whoever waits for the next one. Others subscribe; nothing is pushed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Response, StatusCode};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Semaphore, watch};
use weighbridge_crds::ProviderState;

use super::pace;
use crate::metrics::Registry;
use crate::server::{Body, More, json_response};

/// Path on the admin port.
const PATH: &str = "/state";
/// Who waits may wait for so long; then it gets the state that it knows. Shorter than what common middle boxes allow an
/// idle connection.
const HOLD: Duration = Duration::from_secs(25);
/// Who may wait at once: operators are one or two, and each takes one of the admin port's connections. More are answered
/// at once.
const WAITING: usize = 16;
/// Versions begin anywhere, so that who knows a version of an earlier process does not wait for it; and small enough that
/// JSON readers of any language keep them exact.
const VERSIONS: u64 = 1 << 48;

/// What a proxy says of its provider. Clones share one state.
#[derive(Clone, Debug)]
pub struct ProviderFeed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: watch::Sender<Option<Arc<ProviderState>>>,
    told: Mutex<Option<Instant>>,
    waiting: Semaphore,
    full: Counter,
}

impl Default for ProviderFeed {
    fn default() -> Self {
        Self(Arc::new(Inner {
            state: watch::Sender::new(None),
            told: Mutex::new(None),
            waiting: Semaphore::new(WAITING),
            full: Counter::default(),
        }))
    }
}

impl ProviderFeed {
    /// The present state and those to come; none before the proxy runs.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<ProviderState>>> {
        self.0.state.subscribe()
    }

    pub(in super::super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "weighbridge_provider_state_waiting_full",
            "Times that somebody who wanted to wait for a new state was answered at once, for as many waited as may",
            self.0.full.clone(),
        );
    }

    /// Tells of `next` if it is news and due. What is not due is to be offered again.
    pub(super) fn offer(&self, next: ProviderState, now: Instant) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.0.state.borrow().clone();
        let next = match (last, *told) {
            (Some(last), Some(told)) => {
                let next = pace::settled(&last, next);
                if pace::due(&last, &next, now.saturating_duration_since(told)) != Some(true) {
                    return;
                }
                ProviderState { version: last.version.wrapping_add(1), ..next }
            }
            (None, _) | (_, None) => ProviderState { version: rand::random::<u64>() % VERSIONS, ..next },
        };
        *told = Some(now);
        self.0.state.send_replace(Some(Arc::new(next)));
    }

    /// The state, at once; or, for who knows the present one (`?after=VERSION`), the next, if it comes soon.
    async fn answer(&self, query: Option<String>) -> Response<Body> {
        let known = query.as_deref().and_then(|query| query.strip_prefix("after=")?.parse::<u64>().ok());
        let mut states = self.0.state.subscribe();
        let is_new = |state: &Option<Arc<ProviderState>>| {
            state.as_ref().is_some_and(|state| known != Some(state.version))
        };
        match self.0.waiting.try_acquire() {
            Ok(_place) => {
                // Where none comes in time, what is known is said again.
                let _ = tokio::time::timeout(HOLD, states.wait_for(is_new)).await;
            }
            Err(_) if !is_new(&states.borrow()) => {
                self.0.full.inc();
            }
            Err(_) => {}
        }
        let state = states.borrow_and_update().clone();
        match state.and_then(|state| serde_json::to_vec(&*state).ok()) {
            Some(state) => json_response(StatusCode::OK, state),
            None => json_response(StatusCode::SERVICE_UNAVAILABLE, "{}"),
        }
    }
}

impl More for ProviderFeed {
    fn path(&self) -> &'static str {
        PATH
    }

    fn answer(&self, query: Option<String>) -> BoxFuture<'static, Response<Body>> {
        let feed = self.clone();
        async move { Self::answer(&feed, query).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use weighbridge_crds::UpstreamHealth;

    use super::*;

    fn state(upstream: UpstreamHealth) -> ProviderState {
        ProviderState { provider: "acme".to_owned(), upstream, ..ProviderState::default() }
    }

    async fn read(response: Response<Body>) -> ProviderState {
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&body).expect("a state")
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_next_state_and_else_the_same_after_a_while() {
        let feed = ProviderFeed::default();
        let start = Instant::now();
        feed.offer(state(UpstreamHealth::Unknown), start);
        let first = read(feed.answer(None).await).await;
        assert_eq!(first.upstream, UpstreamHealth::Unknown);
        let again = read(feed.answer(Some(format!("after={}", first.version))).await).await;
        assert_eq!(again, first, "nothing new came");
        let waiting = {
            let feed = feed.clone();
            tokio::spawn(async move { feed.answer(Some(format!("after={}", first.version))).await })
        };
        tokio::task::yield_now().await;
        feed.offer(state(UpstreamHealth::Failing), start + HOLD);
        let next = read(waiting.await.expect("answered")).await;
        assert_eq!((next.upstream, next.version), (UpstreamHealth::Failing, first.version + 1));
        // A version of an earlier process is no reason to wait.
        let other = read(feed.answer(Some("after=7".to_owned())).await).await;
        assert_eq!(other, next);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_may_not_wait_are_answered_at_once_and_counted() {
        let feed = ProviderFeed::default();
        feed.offer(state(UpstreamHealth::Answering), Instant::now());
        let version = read(feed.answer(None).await).await.version;
        let query = || Some(format!("after={version}"));
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let (feed, query) = (feed.clone(), query());
                tokio::spawn(async move { feed.answer(query).await })
            })
            .collect();
        while feed.0.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(read(feed.answer(query()).await).await.version, version);
        assert_eq!(feed.0.full.get(), 1);
        drop(waiting);
    }

    #[test]
    fn what_is_no_news_is_no_version() {
        let feed = ProviderFeed::default();
        let start = Instant::now();
        let version = || feed.subscribe().borrow().as_ref().map(|state| state.version);
        feed.offer(state(UpstreamHealth::Answering), start);
        let first = version();
        feed.offer(state(UpstreamHealth::Answering), start + HOLD);
        assert_eq!(version(), first);
        feed.offer(state(UpstreamHealth::Failing), start + HOLD);
        assert_ne!(version(), first);
    }
}
