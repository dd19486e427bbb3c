use std::net::SocketAddr;

use weighbridge_crds::ProviderState;
use weighbridge_tls::Identity;

use crate::peers::{self, Callers, Patience, Peer};

/// Bytes of a state: a few hundred models, or a few thousand.
const STATE_BYTES: usize = 4 << 20;

/// What came of a question.
pub(super) enum Said {
    /// Nothing that was not known.
    Nothing,
    /// This is the state now.
    New(Box<ProviderState>),
    /// The proxy has not answered for long.
    Lost,
}

/// Why there was no state. For the log; people read it in a condition as "not known".
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Peer(#[from] peers::AskError),
    #[error("the address belongs to the proxy of {namespace}/{provider} now")]
    Another { namespace: String, provider: String },
}

/// One proxy's states, one after the other.
pub(super) struct Subscription {
    peer: Peer,
    whose: (String, String),
    version: Option<u64>,
    patience: Patience,
}

impl Subscription {
    /// To the proxy of `whose` at `address`.
    pub(super) fn new(callers: &Callers, whose: &(String, String), address: SocketAddr) -> Self {
        let (namespace, name) = whose.clone();
        let peer = callers.peer(Identity::Proxy { namespace, name }, address);
        Self { peer, whose: whose.clone(), version: None, patience: Patience::default() }
    }

    /// The next thing to know. Takes its time, and after a failure ever longer.
    pub(super) async fn next(&mut self) -> Said {
        self.patience.rest().await;
        match self.ask().await {
            Ok(state) => {
                self.patience.heard(false);
                if self.version.replace(state.version) == Some(state.version) {
                    return Said::Nothing;
                }
                Said::New(Box::new(state))
            }
            Err(error) => {
                let ((namespace, provider), address) = (&self.whose, self.peer.address());
                tracing::debug!(namespace, provider, %address, %error, "a proxy does not tell");
                if !self.patience.failed() {
                    return Said::Nothing;
                }
                self.version = None;
                Said::Lost
            }
        }
    }

    async fn ask(&mut self) -> Result<ProviderState, AskError> {
        let after = self.version.map(|version| format!("?after={version}")).unwrap_or_default();
        let state: ProviderState = self.peer.get(&format!("/state{after}"), STATE_BYTES).await?;
        let (namespace, provider) = &self.whose;
        if (namespace, provider) != (&state.namespace, &state.provider) {
            let ProviderState { namespace, provider, .. } = state;
            return Err(AskError::Another { namespace, provider });
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::RawQuery;
    use axum::routing::get;
    use http::StatusCode;
    use tokio::net::TcpListener;

    use super::*;
    use crate::dial::Tcp;
    use crate::peers::Shown;

    type Answers = Arc<Mutex<Vec<(StatusCode, String)>>>;

    /// A proxy that gives `answers` in turn, the last one for ever, and says what it was asked.
    async fn proxy(answers: Vec<(StatusCode, String)>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let answers: Answers = Arc::new(Mutex::new(answers));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let answer = move |RawQuery(query): RawQuery| async move {
            seen.lock().unwrap().push(query.unwrap_or_default());
            let mut answers = answers.lock().unwrap();
            if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/state", get(answer))).await });
        (address, asked)
    }

    fn state(name: &str, version: u64) -> (StatusCode, String) {
        let state = serde_json::json!({"namespace": "n", "provider": name, "version": version, "probed": true,
            "later": "an unknown field"});
        (StatusCode::OK, state.to_string())
    }

    fn subscription(address: SocketAddr) -> Subscription {
        let callers = Callers::new(Arc::new(Tcp), Shown::plain());
        Subscription::new(&callers, &("n".to_owned(), "p".to_owned()), address)
    }

    #[tokio::test]
    async fn only_a_new_version_is_news_and_the_known_one_is_waited_on() {
        let (address, asked) = proxy(vec![state("p", 4), state("p", 4), state("p", 5)]).await;
        let mut subscription = subscription(address);
        assert!(matches!(subscription.next().await, Said::New(state) if state.version == 4));
        assert!(matches!(subscription.next().await, Said::Nothing));
        assert!(matches!(subscription.next().await, Said::New(state) if state.version == 5));
        assert_eq!(*asked.lock().unwrap(), ["", "after=4", "after=4"]);
    }

    #[tokio::test]
    async fn what_is_no_state_of_this_provider_is_none() {
        let large = format!("{{\"namespace\":\"{}\"}}", "x".repeat(STATE_BYTES));
        for (answer, words) in [
            (state("other", 1), "n/other"),
            ((StatusCode::NOT_FOUND, "only /livez".to_owned()), "404"),
            ((StatusCode::OK, "<html>".to_owned()), "no state"),
            ((StatusCode::OK, large), "too long"),
        ] {
            let (address, _) = proxy(vec![answer]).await;
            let error = subscription(address).ask().await.expect_err("no state");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_is_silent_for_long_is_lost_once() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut subscription = subscription(nobody);
        let mut lost = 0;
        for _ in 0..15 {
            lost += u32::from(matches!(subscription.next().await, Said::Lost));
        }
        assert_eq!(lost, 1);
    }
}
