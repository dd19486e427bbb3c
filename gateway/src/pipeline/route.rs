//! Route: the ready endpoint with the fewest open requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weighbridge_wire::canonical::Failure;

use crate::directory::{Directory, Endpoint, Lease, Side, Target};
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
    Ok(place(&now, tried).map_or(Route::Tried, Route::At))
}

/// A place at the least busy endpoint of `target` that is not in `tried`: of the revision whose turn it is, where one is on
/// trial, and else of any. What was tried in vain is tried at the revision that runs. Where that has no endpoint, the other's.
pub(super) fn place(target: &Target, tried: &[SocketAddr]) -> Option<Lease> {
    let found = match &target.trial {
        None => least_busy(&target.endpoints, tried, |_| true),
        Some(trial) => {
            let first = if tried.is_empty() { trial.turn() } else { Side::Stable };
            let of =
                |side| least_busy(&target.endpoints, tried, move |endpoint| trial.side(endpoint) == side);
            let (first, second) = match first {
                Side::Stable => (Side::Stable, Side::Canary),
                Side::Canary => (Side::Canary, Side::Stable),
            };
            of(Some(first)).or_else(|| of(Some(second))).or_else(|| of(None))
        }
    };
    found.map(|endpoint| target.lease(endpoint))
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

/// Of equally busy ones that fit each in its turn.
pub(super) fn least_busy<'a>(
    endpoints: &'a [Arc<Endpoint>],
    tried: &[SocketAddr],
    fits: impl Fn(&Endpoint) -> bool,
) -> Option<&'a Arc<Endpoint>> {
    let fitting = || endpoints.iter().filter(|endpoint| !tried.contains(&endpoint.address) && fits(endpoint));
    // Turns are of those that fit: who comes after many that do not would have theirs besides.
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % fitting().count().max(1);
    // `min_by_key` keeps the first of equals, so where the search starts decides between them.
    fitting().skip(turn).chain(fitting().take(turn)).min_by_key(|endpoint| endpoint.in_flight())
}

#[cfg(test)]
mod tests {
    use weighbridge_wire::canonical::FailureClass;

    use super::*;
    use crate::directory::{Entry, Split, World};

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

    /// With the pods of two revisions and so much traffic to the second: ports from 1 are the one's that runs, from 11 the
    /// other's, from 21 of neither.
    fn split(ports: &[u16], traffic: u64) -> Entry {
        let mut entry = entry(ports);
        for endpoint in &mut entry.endpoints {
            let revision = ["old", "new", "gone"][usize::from(endpoint.address.port() / 10)];
            endpoint.name = format!("m-{revision}-rs-{}", endpoint.address.port());
        }
        let split = Split { stable: "old".into(), canary: "new".into(), traffic, key: None };
        Entry { split: Some(split), ..entry }
    }

    fn ports(directory: &Directory, target: &Arc<Target>, tried: &[SocketAddr], count: usize) -> Vec<u16> {
        (0..count).filter_map(|_| port(route(directory, target, tried))).collect()
    }

    #[test]
    fn a_revision_on_trial_gets_its_share_and_falls_to_the_other_where_it_has_no_pod() {
        let directory = Directory::from_entries(vec![split(&[1, 2, 11, 21], 10)]);
        let target = Arc::clone(directory.snapshot().get("n/m").expect("known"));
        let counted =
            |ports: &[u16]| [1, 2, 11, 21].map(|port| ports.iter().filter(|at| **at == port).count());
        let [one, two, canary, neither] = counted(&ports(&directory, &target, &[], 1000));
        assert_eq!((one + two, canary, neither), (900, 100, 0));
        // The canary's turns are among theirs, and so are those of tests beside this one.
        assert!(one.abs_diff(two) <= 450, "{one} {two}");
        // Neither revision loses a request for want of a pod.
        for (there, all_at) in [(&[11, 21][..], 11), (&[1, 21], 1), (&[21], 21)] {
            directory.replace(vec![split(there, 10)]);
            assert_eq!(ports(&directory, &target, &[], 100), vec![all_at; 100]);
        }
        // Before its step, and once it is aborted, it gets nothing though its pods are ready; at the end it gets all.
        for (traffic, all_at) in [(0, 1), (100, 11)] {
            directory.replace(vec![split(&[1, 11, 21], traffic)]);
            assert_eq!(ports(&directory, &target, &[], 100), vec![all_at; 100]);
        }
    }

    #[test]
    fn what_failed_is_tried_again_at_the_revision_that_runs() {
        let directory = Directory::from_entries(vec![split(&[1, 11, 12], 99)]);
        let target = Arc::clone(directory.snapshot().get("n/m").expect("known"));
        let [stable, canary] = [1, 11].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        assert_eq!(ports(&directory, &target, &[canary], 10), vec![1; 10]);
        assert_eq!(ports(&directory, &target, &[canary, stable], 10), vec![12; 10]);
    }

    #[test]
    fn turns_and_counts_go_on_over_states_of_the_directory() {
        let directory = Directory::from_entries(vec![split(&[1, 11], 50)]);
        let target = Arc::clone(directory.snapshot().get("n/m").expect("known"));
        let mut all = Vec::new();
        for round in 0..100_u16 {
            directory.replace(vec![split(&[1, 2 + round % 2, 11], 50)]);
            all.extend(ports(&directory, &target, &[], 1));
        }
        assert_eq!(all.iter().filter(|port| **port == 11).count(), 50);
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
