//! Asking the provider for its list of models, with each key now and then: what it costs nothing to ask. It shows whether
//! the provider takes the keys, whether it answers at all, and which models there are.
//!
//! `schedule` decides when, and knows no clock; here is who asks, and what an answer means.

mod schedule;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use http_body_util::{BodyExt, Limited};
use weighbridge_wire::canonical::FailureClass;
use weighbridge_wire::provider::OfferedModel;

use self::schedule::{Came, Schedule};
use super::answer::Said;
use super::handler::{Outcome, Outgoing, Proxy};
use super::keys::Chosen;
use crate::Timeouts;
use crate::forward::UpstreamBody;

/// For one probe, all pages of the list: a list is quick, or the provider is not well.
const TIME: Duration = Duration::from_secs(15);
/// Bytes of a page. The longest lists have hundreds of models with pages of words about each.
const PAGE_BYTES: usize = 8 << 20;
/// Pages of a list: a thousand models each.
const PAGES: usize = 8;

/// What asking for the list showed.
enum Shown {
    /// The list.
    List(Vec<OfferedModel>),
    /// An answer that is no list: it may be another's page.
    NoList,
    Error(Box<Said>),
    /// No answer, or not all of it.
    Nothing,
}

/// Asks for ever.
pub(super) async fn run(proxy: &Proxy, timeouts: &Timeouts) {
    let mut schedule = Schedule::new(timeouts.probe, timeouts.probe_again);
    let mut guarded = Guarded::of(proxy);
    let mut asked_all = false;
    loop {
        let held = proxy.keys.held();
        let generations: Vec<_> =
            held.iter().map(|held| held.as_ref().map(|chosen| chosen.generation)).collect();
        let doubted = proxy.watch.take_doubts();
        let due = schedule.due(&generations, &doubted, Instant::now());
        if !due.is_empty() {
            guarded.look(proxy).await;
        }
        let keys = due.iter().filter_map(|index| held.get(*index)?.as_ref());
        let asked = keys.map(|chosen| async move { (chosen, ask(proxy, Some(chosen)).await) });
        for (chosen, shown) in join_all(asked).await {
            let came = judge(proxy, chosen, shown, guarded.proves(), doubted.contains(&chosen.index));
            proxy.metrics.probed(came.as_str());
            tracing::debug!(
                key = chosen.index,
                came = came.as_str(),
                "the provider was asked for its models"
            );
            schedule.came(chosen.index, came, Instant::now());
        }
        if !asked_all {
            asked_all = true;
            proxy.watch.probed();
        }
        proxy.watch.doubted().await;
    }
}

/// What an answer says of the key, which is set aside or taken back for it.
fn judge(proxy: &Proxy, chosen: &Chosen, shown: Shown, proves: bool, doubted: bool) -> Came {
    match shown {
        Shown::List(models) => {
            proxy.watch.listed(chosen.index, models);
            if proves {
                proxy.keys.restore(chosen);
                proxy.watch.wake();
            }
            Came::Taken
        }
        Shown::NoList => Came::NoList,
        Shown::Nothing => Came::Failed,
        Shown::Error(said) => match said.failure.class {
            FailureClass::Credential => {
                proxy.keys.retire(chosen);
                proxy.watch.wake();
                Came::Refused
            }
            FailureClass::Forbidden => {
                // A key may be made for calls alone. But one that may neither call nor list may do nothing.
                if doubted {
                    proxy.keys.forbid(chosen);
                    proxy.watch.wake();
                }
                Came::Forbidden
            }
            FailureClass::BadRequest
            | FailureClass::ContextTooLong
            | FailureClass::TooLarge
            | FailureClass::NotFound
            | FailureClass::ContentBlocked
            | FailureClass::ResidencyUnsatisfiable => Came::NoList,
            FailureClass::QuotaExhausted
            | FailureClass::RateLimited
            | FailureClass::Overloaded
            | FailureClass::Timeout
            | FailureClass::TruncatedStream
            | FailureClass::Upstream
            | FailureClass::Internal => Came::Failed,
        },
    }
}

/// Asks for the list with a key, or with none.
async fn ask(proxy: &Proxy, chosen: Option<&Chosen>) -> Shown {
    match tokio::time::timeout(TIME, pages(proxy, chosen)).await {
        Ok(shown) => shown,
        Err(_) => {
            proxy.watch.unanswered(FailureClass::Timeout, &format!("no list of models within {} s", TIME.as_secs()));
            Shown::Nothing
        }
    }
}

async fn pages(proxy: &Proxy, chosen: Option<&Chosen>) -> Shown {
    let (mut models, mut after) = (Vec::new(), None::<String>);
    for _ in 0..PAGES {
        let Some(path) = proxy.kind.models_page(after.as_deref()) else { return Shown::NoList };
        let Ok(asking) = proxy.asking(&path) else { return Shown::NoList };
        let body = match send(proxy, &asking, chosen).await {
            Some(Outcome::Answer(response)) => response.into_body(),
            Some(Outcome::Error(said)) => return Shown::Error(Box::new(said)),
            None => return Shown::Nothing,
        };
        let Some(page) = collect(body).await else { return Shown::Nothing };
        let Some(page) = proxy.kind.read_models(&page) else { return Shown::NoList };
        models.extend(page.models);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Shown::List(models)
}

async fn send(proxy: &Proxy, asking: &Outgoing, chosen: Option<&Chosen>) -> Option<Outcome> {
    match chosen {
        Some(chosen) => proxy.attempt(asking, chosen).await.ok(),
        None => proxy.send(asking.request(), &[]).await.ok(),
    }
}

async fn collect(body: UpstreamBody) -> Option<bytes::Bytes> {
    Some(Limited::new(body, PAGE_BYTES).collect().await.ok()?.to_bytes())
}

/// Whether the list is shown to those with a key only, so that seeing it proves something. Of a server that anybody may
/// run, nobody knows before it was asked without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guarded {
    Yes,
    No,
    Unknown,
}

impl Guarded {
    fn of(proxy: &Proxy) -> Self {
        if proxy.kind.guards_its_models() { Self::Yes } else { Self::Unknown }
    }

    async fn look(&mut self, proxy: &Proxy) {
        if *self != Self::Unknown {
            return;
        }
        *self = match ask(proxy, None).await {
            Shown::List(_) => Self::No,
            Shown::Error(said)
                if matches!(said.failure.class, FailureClass::Credential | FailureClass::Forbidden) =>
            {
                Self::Yes
            }
            Shown::Error(_) | Shown::NoList | Shown::Nothing => Self::Unknown,
        };
    }

    fn proves(self) -> bool {
        self == Self::Yes
    }
}

/// The task of a proxy: asks, and tells what came of it.
pub(super) fn spawn(
    proxy: &Arc<Proxy>,
    feed: super::ProviderFeed,
    timeouts: Timeouts,
) -> tokio_util::task::AbortOnDropHandle<()> {
    let proxy = Arc::clone(proxy);
    let task = async move {
        let tell = proxy.watch.tell(&proxy.keys, &feed, |answers| proxy.metrics.answering(answers));
        tokio::join!(run(&proxy, &timeouts), tell);
    };
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(task))
}
