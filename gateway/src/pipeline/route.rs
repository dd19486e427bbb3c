//! Route: the ready endpoint with the fewest open requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weighbridge_wire::canonical::Failure;

use crate::directory::{Directory, Endpoint, Lease};
use crate::failure;

/// `Retry-After` while nothing is ready: a replica that starts takes some seconds.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Spreads requests over endpoints that are equally busy.
static TURN: AtomicUsize = AtomicUsize::new(0);

/// Takes a place at the least busy endpoint of `canonical` that is not in `tried`. The directory is read anew
/// for each attempt, so an endpoint retired meanwhile is not used.
///
/// # Errors
/// 404 where the model went away, 503 where it is suspended or none of its endpoints is ready. `None` where all were tried.
pub(super) fn route(
    directory: &Directory,
    canonical: &str,
    tried: &[SocketAddr],
) -> Result<Option<Lease>, Failure> {
    let snapshot = directory.snapshot();
    let target = snapshot.get(canonical).ok_or_else(|| failure::model_not_found(canonical))?;
    if target.suspended {
        return Err(failure::suspended(canonical));
    }
    if target.endpoints.is_empty() {
        let reason = target.unready_reason.as_deref().unwrap_or("none of its replicas is ready");
        let message = format!("The model `{canonical}` can't answer now: {reason}.");
        return Err(failure::overloaded("model_not_ready", message, RETRY_AFTER_SECONDS));
    }
    Ok(least_busy(&target.endpoints, tried).map(|endpoint| Lease::take(Arc::clone(endpoint))))
}

fn least_busy<'a>(endpoints: &'a [Arc<Endpoint>], tried: &[SocketAddr]) -> Option<&'a Arc<Endpoint>> {
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
    use weighbridge_wire::lane::Speaks;

    use super::*;
    use crate::directory::{ENGINE, Entry, EntryEndpoint, World};

    fn directory(ports: &[u16]) -> Directory {
        Directory::from_entries(vec![entry(ports)])
    }

    fn entry(ports: &[u16]) -> Entry {
        let endpoint = |port: &u16| EntryEndpoint {
            address: SocketAddr::from(([10, 0, 0, 1], *port)),
            name: port.to_string(),
            identity: None,
        };
        Entry {
            namespace: "n".into(),
            name: "m".into(),
            world: World::Open,
            provider: None,
            vendor: ENGINE,
            upstream_model: "n/m".into(),
            speaks: Speaks::engine(),
            created: 0,
            endpoints: ports.iter().map(endpoint).collect(),
            unready_reason: Some("it is scaled to zero replicas".into()),
            suspended: false,
            data_policy: None,
            adapters: Vec::new(),
        }
    }

    #[test]
    fn requests_spread_by_open_requests() {
        let directory = directory(&[1, 2, 3]);
        let leases: Vec<Lease> =
            (0..9).map(|_| route(&directory, "n/m", &[]).expect("ready").expect("untried")).collect();
        for port in [1, 2, 3] {
            let here = leases.iter().filter(|lease| lease.endpoint().address.port() == port).count();
            assert_eq!(here, 3, "port {port}");
        }
    }

    #[test]
    fn a_tried_or_retired_endpoint_is_not_used() {
        let known = directory(&[1, 2]);
        let one = SocketAddr::from(([10, 0, 0, 1], 1));
        for _ in 0..8 {
            let lease = route(&known, "n/m", &[one]).expect("ready").expect("untried");
            assert_eq!(lease.endpoint().address.port(), 2);
        }
        let two = SocketAddr::from(([10, 0, 0, 1], 2));
        assert!(route(&known, "n/m", &[one, two]).expect("ready").is_none());
    }

    #[test]
    fn who_is_suspended_is_not_called_though_an_endpoint_is_there() {
        let known = directory(&[1]);
        assert!(route(&known, "n/m", &[]).is_ok());
        known.replace(vec![Entry { suspended: true, ..entry(&[1]) }]);
        let error = route(&known, "n/m", &[]).expect_err("suspended");
        assert_eq!((error.class, error.code.as_deref()), (FailureClass::Overloaded, Some("model_suspended")));
        assert!(error.message.contains("is suspended"), "{error}");
    }

    #[test]
    fn nothing_ready_says_why_and_when_to_come_back() {
        let error = route(&directory(&[]), "n/m", &[]).expect_err("nothing ready");
        assert_eq!((error.class, error.retry_after_seconds), (FailureClass::Overloaded, Some(5)));
        assert!(error.message.contains("scaled to zero"), "{error}");
    }
}
