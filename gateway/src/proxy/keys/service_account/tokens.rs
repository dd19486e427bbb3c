//! The token that is held: one request gets the next, and while the last one serves no other waits for that.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};

use super::TokenError;

/// A token is got anew this long before its end.
const EARLY: Duration = Duration::from_secs(300);
/// A token that ends within this is not shown any more: a request is on its way for a while.
const LATE: Duration = Duration::from_secs(60);
/// How long it is until a token is asked for again that was not given while the last one serves.
const AGAIN: Duration = Duration::from_secs(30);

/// An access token. `Debug` shows nothing of it.
#[derive(Debug)]
pub(in super::super::super) struct Token {
    text: SecretString,
    until: Instant,
}

impl Token {
    /// `None` where it is nothing that a header takes.
    pub(super) fn new(text: SecretString, until: Instant) -> Option<Self> {
        let is_text = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_text(text.expose_secret()).then_some(Self { text, until })
    }

    pub(in super::super) fn text(&self) -> &str {
        self.text.expose_secret()
    }

    fn serves(&self, now: Instant, until_its_end: Duration) -> bool {
        now + until_its_end < self.until
    }
}

/// A token, and whether it was held.
#[derive(Debug)]
pub(super) enum Got {
    Held(Arc<Token>),
    New(Arc<Token>),
}

#[derive(Debug, Default)]
pub(super) struct Tokens {
    held: Mutex<Held>,
    /// Held by the one request that gets a token.
    getting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    token: Option<Arc<Token>>,
    /// The one before: an answer may still speak of it.
    last: Option<Arc<Token>>,
    /// Why the latest try failed; and how many there were, by which who waited knows that it was tried meanwhile.
    failed: Option<(TokenError, Instant)>,
    tries: u64,
}

impl Tokens {
    /// The token that is held, or what `fetch` gets.
    pub(super) async fn current<F, T>(&self, fetch: F) -> Result<Got, TokenError>
    where
        F: FnOnce() -> T,
        T: Future<Output = Result<Token, TokenError>>,
    {
        let (tries, held, again) = self.look();
        if let Some(token) = held {
            let now = Instant::now();
            if token.serves(now, EARLY) || again.is_some_and(|again| now < again) {
                return Ok(Got::Held(token));
            }
            let Ok(_alone) = self.getting.try_lock() else { return Ok(Got::Held(token)) };
            return match self.get(fetch).await {
                Ok(token) => Ok(Got::New(token)),
                Err(error) => {
                    tracing::warn!(%error, "no new token: the last one still serves");
                    Ok(Got::Held(token))
                }
            };
        }
        let _alone = self.getting.lock().await;
        let (tries_now, held, _) = self.look();
        if let Some(token) = held {
            return Ok(Got::Held(token));
        }
        if tries_now != tries
            && let Some((error, _)) = self.held().failed.clone()
        {
            return Err(error);
        }
        self.get(fetch).await.map(Got::New)
    }

    /// `token` is not taken any more.
    pub(super) fn forget(&self, token: &Arc<Token>) {
        let mut held = self.held();
        if held.token.as_ref().is_some_and(|current| Arc::ptr_eq(current, token)) {
            held.last = held.token.take();
        }
    }

    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let held = self.held();
        held.token.iter().chain(&held.last).map(|token| token.text.clone()).collect()
    }

    async fn get<F, T>(&self, fetch: F) -> Result<Arc<Token>, TokenError>
    where
        F: FnOnce() -> T,
        T: Future<Output = Result<Token, TokenError>>,
    {
        let got = fetch().await;
        let mut held = self.held();
        held.tries += 1;
        match got {
            Ok(token) => {
                let token = Arc::new(token);
                if let Some(last) = held.token.replace(Arc::clone(&token)) {
                    held.last = Some(last);
                }
                held.failed = None;
                Ok(token)
            }
            Err(error) => {
                held.failed = Some((error.clone(), Instant::now() + AGAIN));
                Err(error)
            }
        }
    }

    /// How often a token was asked for, the one that may be shown, and when to ask again where that failed.
    fn look(&self) -> (u64, Option<Arc<Token>>, Option<Instant>) {
        let held = self.held();
        let token = held.token.clone().filter(|token| token.serves(Instant::now(), LATE));
        (held.tries, token, held.failed.as_ref().map(|(_, again)| *again))
    }

    /// A panic elsewhere leaves it whole: it is changed in one piece.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::Barrier;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn token(text: &str, lasts: Duration) -> Token {
        Token::new(SecretString::from(text), Instant::now() + lasts).expect("a token")
    }

    fn text(got: Result<Got, TokenError>) -> String {
        match got.expect("a token") {
            Got::Held(token) => format!("held {}", token.text()),
            Got::New(token) => format!("new {}", token.text()),
        }
    }

    async fn get(tokens: &Tokens, fetched: Result<Token, TokenError>) -> Result<Got, TokenError> {
        tokens.current(|| async { fetched }).await
    }

    fn failure() -> TokenError {
        TokenError::Failed("is away".into())
    }

    #[tokio::test]
    async fn a_token_is_held_until_shortly_before_its_end() {
        let tokens = Tokens::default();
        assert_eq!(text(get(&tokens, Ok(token("one", HOUR))).await), "new one");
        assert_eq!(text(get(&tokens, Ok(token("two", HOUR))).await), "held one");
        let tokens = Tokens::default();
        assert_eq!(text(get(&tokens, Ok(token("one", EARLY))).await), "new one");
        assert_eq!(text(get(&tokens, Ok(token("two", LATE))).await), "new two");
        // That one is shown no more, whatever comes.
        assert_eq!(get(&tokens, Err(failure())).await.expect_err("none"), failure());
        assert_eq!(text(get(&tokens, Ok(token("three", HOUR))).await), "new three");
    }

    #[tokio::test]
    async fn an_old_token_serves_on_where_no_new_one_is_given() {
        let tokens = Tokens::default();
        get(&tokens, Ok(token("one", EARLY))).await.expect("a token");
        assert_eq!(text(get(&tokens, Err(failure())).await), "held one");
        // And it is not asked again at once.
        assert_eq!(text(get(&tokens, Ok(token("two", HOUR))).await), "held one");
    }

    #[tokio::test]
    async fn many_requests_ask_once_and_share_what_comes_of_it() {
        for outcome in [Ok("one"), Err(failure())] {
            let (tokens, asked) = (Tokens::default(), AtomicUsize::new(0));
            // Whoever asks goes on only once all others wait.
            let all_wait = Barrier::new(2);
            let one = || {
                tokens.current(|| async {
                    asked.fetch_add(1, Ordering::SeqCst);
                    all_wait.wait().await;
                    outcome.clone().map(|text| token(text, HOUR))
                })
            };
            let requests = join_all((0..5).map(|_| one()));
            let (got, _) = tokio::join!(requests, all_wait.wait());
            assert_eq!(asked.load(Ordering::SeqCst), 1);
            assert_eq!(got.iter().filter(|got| got.is_ok() == outcome.is_ok()).count(), 5);
        }
    }

    #[tokio::test]
    async fn only_the_one_that_gets_the_next_waits_for_it() {
        let tokens = Tokens::default();
        get(&tokens, Ok(token("one", EARLY))).await.expect("a token");
        let release = Barrier::new(2);
        let slow = tokens.current(|| async {
            release.wait().await;
            Ok(token("two", HOUR))
        });
        let fast = async {
            let got = text(get(&tokens, Err(failure())).await);
            release.wait().await;
            got
        };
        let (slow, fast) = tokio::join!(slow, fast);
        assert_eq!((text(slow).as_str(), fast.as_str()), ("new two", "held one"));
    }

    #[tokio::test]
    async fn a_token_that_is_not_taken_is_forgotten_unless_another_is_held() {
        let tokens = Tokens::default();
        let Ok(Got::New(one)) = get(&tokens, Ok(token("one", HOUR))).await else { panic!("a token") };
        tokens.forget(&one);
        assert_eq!(text(get(&tokens, Ok(token("two", HOUR))).await), "new two");
        tokens.forget(&one);
        assert_eq!(text(get(&tokens, Ok(token("three", HOUR))).await), "held two");
        let secrets = tokens.secrets();
        let secrets: Vec<_> = secrets.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(secrets, ["two", "one"]);
        assert!(!format!("{tokens:?}").contains("two"));
    }
}
