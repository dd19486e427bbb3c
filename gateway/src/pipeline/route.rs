//! Route: the ready endpoint with the fewest open requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weighbridge_wire::canonical::Failure;

use crate::directory::{Directory, Endpoint, Lease, Target};
use crate::failure;

/// `Retry-After` where the same request would be answered at once.
const AGAIN_SECONDS: u32 = 1;

/// Spreads requests over endpoints that are equally busy.
static TURN: AtomicUsize = AtomicUsize::new(0);

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Route {
    /// There, where its place is taken.
    At(Lease),
    /// Nowhere: every endpoint was tried.
    Tried,
    /// Nowhere yet: there is no endpoint.
    Nowhere,
}

/// Why a request has no place, and finds none as it is.
#[derive(Debug)]
pub(super) enum NoPlace {
    /// There is none to come.
    Refused(Failure),
    /// Another upstream answers for its model now, which understands other words: the request was made into the first one's, and
    /// checked against what that one's owner demands.
    Changed(Failure),
}

impl From<Failure> for NoPlace {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// Takes a place at the least busy endpoint of the model that was asked for as `asked`, and that is not in `tried`. The
/// directory is read anew for each attempt, so an endpoint retired meanwhile is not used.
///
/// # Errors
/// As [`current`].
pub(super) fn route(
    directory: &Directory,
    asked: &Arc<Target>,
    tried: &[SocketAddr],
) -> Result<Route, NoPlace> {
    let now = current(directory, asked)?;
    if now.endpoints.is_empty() {
        return Ok(Route::Nowhere);
    }
    let found = least_busy(&now.endpoints, tried);
    Ok(found.map_or(Route::Tried, |endpoint| Route::At(Lease::take(Arc::clone(endpoint)))))
}

/// The model that was asked for as `asked`, as it is now.
///
/// # Errors
/// It went away, or another upstream answers for it.
pub(super) fn current(directory: &Directory, asked: &Arc<Target>) -> Result<Arc<Target>, NoPlace> {
    let snapshot = directory.snapshot();
    let canonical = &asked.canonical;
    let now = snapshot.get(canonical).ok_or_else(|| failure::model_not_found(canonical))?;
    if now.takes_what_was_for(asked) {
        return Ok(Arc::clone(now));
    }
    let message = format!("What answers for `{canonical}` has just been changed. Send the request again.");
    Err(NoPlace::Changed(failure::overloaded("model_changed", message, AGAIN_SECONDS)))
}

/// Of equally busy ones each in its turn.
pub(super) fn least_busy<'a>(
    endpoints: &'a [Arc<Endpoint>],
    tried: &[SocketAddr],
) -> Option<&'a Arc<Endpoint>> {
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % endpoints.len().max(1);
    let (before, after) = endpoints.split_at_checked(turn)?;
    // `min_by_key` keeps the first of equals, so where the search starts decides between them.
    after
        .iter()
        .chain(before)
        .filter(|endpoint| !tried.contains(&endpoint.address))
        .min_by_key(|endpoint| endpoint.in_flight())
}

#[cfg(test)]
mod tests {
    use weighbridge_wire::canonical::FailureClass;

    use super::*;
    use crate::directory::{Entry, World};

    fn entry(ports: &[u16]) -> Entry {
        Entry::sample("n", "m", ports)
    }

    fn directory(ports: &[u16]) -> (Directory, Arc<Target>) {
        let directory = Directory::from_entries(vec![entry(ports)]);
        let target = Arc::clone(directory.snapshot().get("n/m").expect("known"));
        (directory, target)
    }

    fn port(route: Result<Route, NoPlace>) -> Option<u16> {
        match route.expect("known") {
            Route::At(lease) => Some(lease.endpoint().address.port()),
            Route::Tried | Route::Nowhere => None,
        }
    }

    #[test]
    fn requests_spread_by_open_requests() {
        let (directory, target) = directory(&[1, 2, 3]);
        let routes: Vec<_> = (0..9).map(|_| route(&directory, &target, &[]).expect("ready")).collect();
        for endpoint in &target.endpoints {
            assert_eq!(endpoint.in_flight(), 3, "{}", endpoint.name);
        }
        drop(routes);
        assert!(target.endpoints.iter().all(|endpoint| endpoint.in_flight() == 0));
    }

    #[test]
    fn a_tried_or_retired_endpoint_is_not_used() {
        let (known, target) = directory(&[1, 2]);
        let [one, two] = [1, 2].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        for _ in 0..8 {
            assert_eq!(port(route(&known, &target, &[one])), Some(2));
        }
        assert!(matches!(route(&known, &target, &[one, two]), Ok(Route::Tried)));
        known.replace(vec![entry(&[2])]);
        for _ in 0..8 {
            assert_eq!(port(route(&known, &target, &[])), Some(2));
        }
        known.replace(vec![entry(&[])]);
        assert!(matches!(route(&known, &target, &[]), Ok(Route::Nowhere)));
    }

    /// It was translated for the upstream that there was, and bound to what that one's owner demands.
    #[test]
    fn what_was_made_for_one_upstream_goes_to_no_other() {
        let (known, target) = directory(&[1]);
        for other in [
            Entry { world: World::Closed, provider: Some("acme".into()), ..entry(&[1]) },
            Entry { upstream_model: "other".into(), ..entry(&[1]) },
            Entry { speaks: weighbridge_wire::provider::Kind::Anthropic.speaks("m"), ..entry(&[1]) },
        ] {
            known.replace(vec![other]);
            let NoPlace::Changed(failure) = route(&known, &target, &[]).expect_err("another") else {
                panic!("it is there, and another")
            };
            assert_eq!(failure.code.as_deref(), Some("model_changed"));
            assert_eq!((failure.class, failure.retry_after_seconds), (FailureClass::Overloaded, Some(1)));
        }
        known.replace(vec![Entry { created: 7, ..entry(&[1]) }]);
        assert_eq!(port(route(&known, &target, &[])), Some(1), "no word of the request depends on it");
        known.replace(Vec::new());
        let NoPlace::Refused(gone) = route(&known, &target, &[]).expect_err("gone") else {
            panic!("nothing is there")
        };
        assert_eq!(gone.class, FailureClass::NotFound);
    }
}
