use std::net::SocketAddr;

use weighbridge_crds::GatewayState;
use weighbridge_tls::Identity;

use super::routes::Book;
use crate::peers::{AskError, Callers, Patience, Peer};

/// Bytes of a state: a gateway sends about 300 KB at once.
const STATE_BYTES: usize = 4 << 20;

/// What came of a question.
pub(super) enum Said {
    /// Nothing that was not known.
    Nothing,
    /// This is all that it routes.
    Whole(Book),
    /// This has changed.
    Changed(GatewayState),
    /// The gateway has not answered for long.
    Lost,
}

/// What one gateway routes, change by change.
pub(super) struct Subscription {
    peer: Peer,
    name: String,
    version: Option<u64>,
    /// What has come of an answer that comes in parts.
    gathered: Option<Book>,
    patience: Patience,
}

impl Subscription {
    /// To the gateway `name` at `address`.
    pub(super) fn new(callers: &Callers, name: &str, address: SocketAddr) -> Self {
        let peer = callers.peer(Identity::Gateway, address);
        Self { peer, name: name.to_owned(), version: None, gathered: None, patience: Patience::default() }
    }

    /// The next thing to know. Takes its time, and after a failure ever longer.
    pub(super) async fn next(&mut self) -> Said {
        self.patience.rest().await;
        match self.ask().await {
            Ok(state) => self.take(state),
            Err(error) => {
                let (gateway, address) = (&self.name, self.peer.address());
                tracing::debug!(gateway, %address, %error, "a gateway does not tell what it routes");
                if !self.patience.failed() {
                    return Said::Nothing;
                }
                tracing::warn!(gateway, %address, %error, "a gateway has not told for long what it routes");
                // Who is heard again is heard as a whole.
                (self.version, self.gathered) = (None, None);
                Said::Lost
            }
        }
    }

    async fn ask(&mut self) -> Result<GatewayState, AskError> {
        let after = self.version.map(|version| format!("?after={version}")).unwrap_or_default();
        self.peer.get(&format!("/state{after}"), STATE_BYTES).await
    }

    fn take(&mut self, state: GatewayState) -> Said {
        self.patience.heard(state.more);
        self.version = Some(state.version);
        let more = state.more;
        if state.whole {
            self.gathered = Some(Book::default());
        }
        match self.gathered.take() {
            None if state.models.is_empty() && state.gone.is_empty() => Said::Nothing,
            None => Said::Changed(state),
            Some(mut book) => {
                book.take(state);
                if more {
                    self.gathered = Some(book);
                    return Said::Nothing;
                }
                Said::Whole(book)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::RawQuery;
    use axum::routing::get;
    use http::StatusCode;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::dial::Tcp;
    use crate::peers::Shown;

    /// A gateway that gives `answers` in turn, then none, and says what it was asked.
    async fn gateway(answers: Vec<Value>) -> (Subscription, Arc<Mutex<Vec<String>>>) {
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let answer = move |RawQuery(query): RawQuery| async move {
            seen.lock().unwrap().push(query.unwrap_or_default());
            match answers.lock().unwrap().pop_front() {
                Some(answer) => (StatusCode::OK, answer.to_string()),
                None => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/state", get(answer))).await });
        let callers = Callers::new(Arc::new(Tcp), Shown::plain());
        (Subscription::new(&callers, "a", address), asked)
    }

    fn model(name: &str) -> Value {
        json!({"namespace": "n", "name": name, "uid": "u", "generation": 1, "world": "OpenWeights", "pods": ["p"]})
    }

    #[tokio::test]
    async fn what_comes_in_parts_is_one_whole_and_what_follows_are_changes() {
        let (mut subscription, asked) = gateway(vec![
            json!({"version": 4, "whole": true, "more": true, "models": [model("a")]}),
            json!({"version": 9, "models": [model("b")], "gone": [{"namespace": "n", "name": "a"}]}),
            json!({"version": 9, "models": []}),
            json!({"version": 10, "models": [model("c")]}),
            json!({"version": 3, "whole": true, "models": []}),
        ])
        .await;
        assert!(matches!(subscription.next().await, Said::Nothing), "half of it is nothing to go by");
        let Said::Whole(book) = subscription.next().await else { panic!("it is whole") };
        assert!(book.get("n", "a").is_none() && book.get("n", "b").is_some());
        assert!(matches!(subscription.next().await, Said::Nothing));
        assert!(matches!(subscription.next().await, Said::Changed(state) if state.models.len() == 1));
        // Another process, which knows of nothing.
        assert!(matches!(subscription.next().await, Said::Whole(book) if book.get("n", "b").is_none()));
        assert_eq!(*asked.lock().unwrap(), ["", "after=4", "after=9", "after=9", "after=10"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_lost_is_lost_once_and_heard_again_as_a_whole() {
        let whole = json!({"version": 4, "whole": true, "models": [model("a")]});
        let (mut subscription, asked) = gateway(vec![whole]).await;
        assert!(matches!(subscription.next().await, Said::Whole(_)));
        let mut lost = 0;
        for _ in 0..15 {
            lost += u32::from(matches!(subscription.next().await, Said::Lost));
        }
        assert_eq!((lost, asked.lock().unwrap().last().map(String::as_str)), (1, Some("")));
    }
}
