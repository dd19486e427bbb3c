use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::LEASE_DURATION;

/// The Lease as last seen to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    version: String,
    changed_at: Instant,
}

/// What a candidate does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no Lease: make it.
    Create,
    /// The Lease is ours: renew it.
    Renew,
    /// The Lease was given back, or its holder let it stand unchanged for too long: take it.
    Take,
    /// Somebody holds it.
    Wait,
}

/// Decides by what was seen here, never by the times in the Lease. `seen` carries from call to call.
pub fn decide(lease: Option<&Lease>, me: &str, seen: &mut Option<Observation>, now: Instant) -> Step {
    let Some(lease) = lease else {
        *seen = None;
        return Step::Create;
    };
    let version = lease.metadata.resource_version.clone().unwrap_or_default();
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let changed_at = match seen {
        Some(observation) if observation.version == version => observation.changed_at,
        Some(_) | None => now,
    };
    *seen = Some(Observation { version, changed_at });
    let asked =
        spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    let duration = asked.map_or(LEASE_DURATION, Duration::from_secs);
    match holder {
        "" => Step::Take,
        holder if holder == me => Step::Renew,
        _ if now.duration_since(changed_at) >= duration => Step::Take,
        _ => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn lease(holder: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn a_lease_is_taken_only_after_it_stood_unchanged_here_for_its_duration() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = None;
        assert_eq!(decide(Some(&lease("other", "1")), "me", &mut seen, at(0)), Step::Wait);
        assert_eq!(decide(Some(&lease("other", "1")), "me", &mut seen, at(14)), Step::Wait);
        assert_eq!(decide(Some(&lease("other", "2")), "me", &mut seen, at(15)), Step::Wait, "it was renewed");
        assert_eq!(decide(Some(&lease("other", "2")), "me", &mut seen, at(29)), Step::Wait);
        assert_eq!(decide(Some(&lease("other", "2")), "me", &mut seen, at(30)), Step::Take);
    }

    #[test]
    fn a_first_look_never_takes_however_old_the_lease_says_it_is() {
        assert_eq!(decide(Some(&lease("other", "1")), "me", &mut None, Instant::now()), Step::Wait);
    }

    #[test]
    fn ours_is_renewed_and_what_was_given_back_or_never_was_is_taken() {
        let now = Instant::now();
        assert_eq!(decide(Some(&lease("me", "1")), "me", &mut None, now), Step::Renew);
        assert_eq!(decide(Some(&lease("", "1")), "me", &mut None, now), Step::Take);
        assert_eq!(decide(None, "me", &mut None, now), Step::Create);
    }
}
