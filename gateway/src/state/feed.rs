//! The feed: what is routed now, and whoever waits for what comes next. Others subscribe; nothing is pushed.
//!
//! Nobody who asks, nothing is reckoned: there is no task of its own.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::{Response, StatusCode};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;

use super::book::Book;
use crate::directory::{Directory, Snapshot};
use crate::metrics::Registry;
use crate::server::{Body, json_response};

/// Who waits may wait for so long; then it is told that nothing is new. Shorter than what common middle boxes allow an idle
/// connection.
const HOLD: Duration = Duration::from_secs(25);
/// Who may wait at once: operators are one or two. More are answered at once.
const WAITING: usize = 16;
/// Between two looks at the directory while one waits: it changes with every status that is written, and most of that is no
/// news here.
const LOOKS_APART: Duration = Duration::from_millis(50);

/// The same while a revision is on trial and what it does is measured.
const MEASURES_APART: Duration = Duration::from_secs(1);

/// What is told of a directory.
pub(super) struct Feed {
    directory: Directory,
    book: Mutex<Taken>,
    waiting: Semaphore,
    full: Counter,
}

/// A book, and what it has taken in last, which nobody keeps for it.
struct Taken {
    book: Book,
    last: Weak<Snapshot>,
}

impl Feed {
    pub(super) fn new(directory: Directory) -> Self {
        let book = Mutex::new(Taken { book: Book::new(rand::random()), last: Weak::new() });
        Self { directory, book, waiting: Semaphore::new(WAITING), full: Counter::default() }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "weighbridge_gateway_state_waiting_full",
            "Times that somebody who wanted to wait for a change of what is routed was answered at once, for as many waited \
             as may",
            self.full.clone(),
        );
    }

    /// What came after `?after=VERSION`, or everything, at once; where there is nothing, what comes soon.
    pub(super) async fn answer(&self, query: Option<&str>) -> Response<Body> {
        let after = query.and_then(|query| query.strip_prefix("after=")?.parse::<u64>().ok());
        match self.waiting.try_acquire() {
            Ok(_place) => {
                // Where none comes in time, it is said that nothing did.
                let _ = tokio::time::timeout(HOLD, self.news(after)).await;
            }
            Err(_) if !self.has_news(after) => {
                self.full.inc();
            }
            Err(_) => {}
        }
        if !self.directory.is_synced() {
            return json_response(StatusCode::SERVICE_UNAVAILABLE, "{}");
        }
        match serde_json::to_vec(&self.with_book(|book, now| book.page(after, now))) {
            Ok(state) => json_response(StatusCode::OK, state),
            Err(_) => json_response(StatusCode::INTERNAL_SERVER_ERROR, "{}"),
        }
    }

    /// Resolves once there is something that who knows `after` does not know.
    async fn news(&self, after: Option<u64>) {
        let mut changes = self.directory.changes();
        while !self.directory.is_synced() || !self.has_news(after) {
            let measured = self.directory.snapshot().is_measured();
            tokio::select! {
                () = changes.next() => tokio::time::sleep(LOOKS_APART).await,
                // What is measured changes with requests, of which the directory knows nothing.
                () = tokio::time::sleep(MEASURES_APART), if measured => {}
            }
        }
    }

    fn has_news(&self, after: Option<u64>) -> bool {
        self.with_book(|book, _| book.has_news(after))
    }

    /// Looks at the book with the present in it.
    fn with_book<T>(&self, look: impl FnOnce(&Book, &Snapshot) -> T) -> T {
        // A panic in between leaves lines that the next look writes again.
        let mut taken = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.directory.kept_snapshot();
        let Taken { book, last } = &mut *taken;
        let present = Arc::downgrade(&now);
        if !last.ptr_eq(&present) || now.is_measured() {
            book.take(&now);
            *last = present;
        }
        look(book, &now)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use weighbridge_crds::GatewayState;

    use super::*;
    use crate::directory::Entry;

    async fn read(response: Response<Body>) -> GatewayState {
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&body).expect("a state")
    }

    fn after(state: &GatewayState) -> String {
        format!("after={}", state.version)
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_the_next_change_and_else_that_there_is_none() {
        let directory = Directory::unsynced();
        let feed = Arc::new(Feed::new(directory.clone()));
        assert_eq!(feed.answer(None).await.status(), StatusCode::SERVICE_UNAVAILABLE, "nothing is known yet");
        directory.replace(vec![Entry::sample("n", "a", &[1])]);
        let first = read(feed.answer(None).await).await;
        assert!(first.whole && first.models.len() == 1);
        let none = read(feed.answer(Some(&after(&first))).await).await;
        assert_eq!(none, GatewayState { version: first.version, ..GatewayState::default() });
        let waiting = tokio::spawn({
            let (feed, query) = (Arc::clone(&feed), after(&first));
            async move { feed.answer(Some(&query)).await }
        });
        tokio::task::yield_now().await;
        // No news for anybody who asks where calls go.
        directory.replace(vec![Entry { created: 5, ..Entry::sample("n", "a", &[1]) }]);
        directory.replace(vec![Entry::sample("n", "a", &[1, 2])]);
        let next = read(waiting.await.expect("answered")).await;
        assert_eq!((next.whole, &next.models[0].pods[..]), (false, &["1".to_owned(), "2".to_owned()][..]));
        // Words that are no question are one for everything.
        assert!(read(feed.answer(Some("after=-1")).await).await.whole);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_may_not_wait_are_answered_at_once_and_counted() {
        let feed = Arc::new(Feed::new(Directory::from_entries(vec![Entry::sample("n", "a", &[1])])));
        let query = after(&read(feed.answer(None).await).await);
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let (feed, query) = (Arc::clone(&feed), query.clone());
                tokio::spawn(async move { feed.answer(Some(&query)).await })
            })
            .collect();
        while feed.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(read(feed.answer(Some(&query)).await).await.models.is_empty());
        assert_eq!(feed.full.get(), 1);
        drop(waiting);
    }
}
