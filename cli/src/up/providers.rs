//! What is told of providers: the conditions that an ExternalProvider has in a cluster, in the same words.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;
use weighbridge_crds::ProviderState;
use weighbridge_crds::condition::{self, Reason};
use weighbridge_operator::status::{Asked, Says, Truth, Upstream, upstream};

use super::local::Name;
use crate::terminal::Terminal;

/// A provider, and what its proxy says of it.
pub struct Told {
    /// The provider.
    pub name: Name,
    /// What the file asks of it.
    pub asked: Asked,
    /// What the proxy says.
    pub states: watch::Receiver<Option<Arc<ProviderState>>>,
}

/// Tells of `provider` whenever something goes wrong with it or is well again, until its proxy ends.
pub async fn tell(mut provider: Told, terminal: Terminal) {
    let mut before = BTreeMap::new();
    while provider.states.changed().await.is_ok() {
        let state = provider.states.borrow_and_update().clone();
        let Some(state) = state else { continue };
        for news in news(&mut before, conditions(&provider.asked, &state)) {
            terminal.note(&format!("ExternalProvider {}: {news}", provider.name));
        }
    }
}

/// Every condition that `state` comes to. Here a proxy is ready as soon as it runs.
fn conditions(asked: &Asked, state: &ProviderState) -> Vec<Says> {
    let Upstream { mut says, dead, keys: _ } = upstream(asked, Some(state), Timestamp::now());
    says.push(match dead {
        None => Says::yes(condition::READY, Reason::Serving, "calls can be answered"),
        Some((Reason::Progressing, message)) => Says::unknown(condition::READY, Reason::Progressing, message),
        Some((reason, message)) => Says::no(condition::READY, reason, message),
    });
    says
}

/// What is worth a line: what is bad and was not, or for another reason; and what is well again.
fn news(before: &mut BTreeMap<&'static str, String>, says: Vec<Says>) -> Vec<String> {
    let mut news = Vec::new();
    for Says { type_, truth, reason, message } in says {
        match truth {
            Truth::False if before.get(type_) != Some(&reason) => {
                news.push(format!("{type_} is False ({reason}): {message}"));
                before.insert(type_, reason);
            }
            Truth::True if before.remove(type_).is_some() => {
                news.push(format!("{type_} is True again: {message}"));
            }
            Truth::True | Truth::False | Truth::Unknown => {}
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once_and_so_is_its_end() {
        let mut before = BTreeMap::new();
        let bad = |reason| vec![Says::no(condition::QUOTA_AVAILABLE, reason, "words")];
        let mut told = |says| news(&mut before, says);
        assert!(told(vec![Says::yes(condition::QUOTA_AVAILABLE, Reason::QuotaLeft, "fine")]).is_empty());
        assert_eq!(told(bad(Reason::RateLimited)), ["QuotaAvailable is False (RateLimited): words"]);
        assert!(told(bad(Reason::RateLimited)).is_empty());
        assert_eq!(told(bad(Reason::QuotaExhausted)).len(), 1, "for another reason");
        assert!(told(vec![Says::unknown(condition::QUOTA_AVAILABLE, Reason::StateUnknown, "?")]).is_empty());
        let well = told(vec![Says::yes(condition::QUOTA_AVAILABLE, Reason::QuotaLeft, "fine")]);
        assert_eq!(well, ["QuotaAvailable is True again: fine"]);
    }
}
