use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use weighbridge_crds::ProviderState;

use super::line::{Line, LineError};
use super::shown::Shown;
use crate::controller::jittered;
use crate::dial::Dial;

/// For an answer: a proxy holds a question for 25 s where it has nothing new to say.
const ANSWER: Duration = Duration::from_secs(40);
/// Bytes of a state: a few hundred models, or a few thousand.
const STATE_BYTES: usize = 4 << 20;
/// Between two questions at the least, however fast a proxy changes.
const PACE: Duration = Duration::from_millis(200);
/// The first wait after a failure, and the longest: each in a row doubles it.
const FIRST_AGAIN: Duration = Duration::from_secs(1);
const LAST_AGAIN: Duration = Duration::from_secs(60);
/// Failures in a row after which what was said before counts no more: half a minute of them.
const LOST: u32 = 5;
/// The same where nothing was said before, since its provider waits for the first word to be ready.
const MUTE: u32 = 3;

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
    #[error("the question is none")]
    Question(#[source] http::Error),
    #[error("the proxy can't be asked")]
    Line(#[from] LineError),
    #[error("the proxy does not answer within {ANSWER:?}")]
    Slow,
    #[error("the proxy answered {0}: one of an earlier version does not tell")]
    Status(StatusCode),
    #[error("the proxy's answer broke off, or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the proxy's answer is no state")]
    State(#[source] serde_json::Error),
    #[error("the address belongs to the proxy of {namespace}/{provider} now")]
    Another { namespace: String, provider: String },
}

/// One proxy's states, one after the other.
pub(super) struct Subscription {
    dial: Arc<dyn Dial>,
    shown: Arc<Shown>,
    whose: (String, String),
    address: SocketAddr,
    /// The connection of the last question, if it is still good.
    line: Option<Line>,
    version: Option<u64>,
    heard: bool,
    failures: u32,
}

impl Subscription {
    /// To the proxy of `whose` at `address`, which is called by `dial` and told who asks by what is `shown`.
    pub(super) fn new(
        dial: &Arc<dyn Dial>,
        shown: &Arc<Shown>,
        whose: &(String, String),
        address: SocketAddr,
    ) -> Self {
        Self {
            dial: Arc::clone(dial),
            shown: Arc::clone(shown),
            whose: whose.clone(),
            address,
            line: None,
            version: None,
            heard: false,
            failures: 0,
        }
    }

    /// The next thing to know. Takes its time: at least [`PACE`], and after a failure ever longer.
    pub(super) async fn next(&mut self) -> Said {
        match self.ask().await {
            Ok(state) => {
                (self.heard, self.failures) = (true, 0);
                tokio::time::sleep(PACE).await;
                if self.version.replace(state.version) == Some(state.version) {
                    return Said::Nothing;
                }
                Said::New(Box::new(state))
            }
            Err(error) => {
                let (namespace, provider) = &self.whose;
                tracing::debug!(namespace, provider, address = %self.address, %error, "a proxy does not tell");
                let wait = FIRST_AGAIN.saturating_mul(2_u32.saturating_pow(self.failures)).min(LAST_AGAIN);
                self.failures = self.failures.saturating_add(1);
                tokio::time::sleep(jittered(wait)).await;
                let lost = if self.heard { LOST } else { MUTE };
                if self.failures != lost {
                    return Said::Nothing;
                }
                self.version = None;
                Said::Lost
            }
        }
    }

    async fn ask(&mut self) -> Result<ProviderState, AskError> {
        let after = self.version.map(|version| format!("?after={version}")).unwrap_or_default();
        let request = Request::get(format!("/state{after}")).header(HOST, self.address.to_string());
        let request = request.body(Empty::new()).map_err(AskError::Question)?;
        let mut line = match self.line.take().filter(Line::is_good) {
            Some(line) => line,
            None => Line::open(&*self.dial, &self.shown, &self.whose, self.address).await?,
        };
        let answer = async {
            let response = line.ask(request).await?;
            if response.status() != StatusCode::OK {
                return Err(AskError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), STATE_BYTES).collect().await;
            let body = body.map_err(AskError::Body)?.to_bytes();
            serde_json::from_slice::<ProviderState>(&body).map_err(AskError::State)
        };
        let state = tokio::time::timeout(ANSWER, answer).await.map_err(|_| AskError::Slow)??;
        self.line = Some(line);
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
    use std::sync::Mutex;

    use axum::Router;
    use axum::extract::RawQuery;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;
    use crate::dial::Tcp;

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
        let dial: Arc<dyn Dial> = Arc::new(Tcp);
        Subscription::new(&dial, &Shown::plain(), &("n".to_owned(), "p".to_owned()), address)
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
        for _ in 0..3 * LOST {
            lost += u32::from(matches!(subscription.next().await, Said::Lost));
        }
        assert_eq!(lost, 1);
    }
}
