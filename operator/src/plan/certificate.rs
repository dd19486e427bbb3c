//! Certificates: which are good, which are due, and who signs.

use jiff::Timestamp;
use weighbridge_tls::{Facts, Identity};

use crate::certificates::{LeafFacts, Trust};

/// What is to become of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificatePlan {
    /// It is good.
    Keep {
        /// When it is due.
        due: Timestamp,
    },
    /// There has to be a new one.
    Issue {
        /// Why.
        why: String,
    },
}

/// What is to become of the authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityPlan {
    /// Those that stay, by their places: they still hold.
    pub keep: Vec<usize>,
    /// Why there has to be another, if so.
    pub issue: Option<&'static str>,
}

/// Judges the certificate of `identity`, of which `found` is in its Secret, at the time `now`. Pure: no clock is asked.
pub fn judge(
    found: Option<&LeafFacts>,
    identity: &Identity,
    trust: &Trust,
    now: Timestamp,
) -> CertificatePlan {
    let issue = |why: &str| CertificatePlan::Issue { why: why.to_owned() };
    let Some(LeafFacts { certificate, bundle }) = found else {
        return issue("there is none");
    };
    let Some(facts) = certificate else {
        return issue("what is there can't be read, or has no key");
    };
    if facts.dns_names != [identity.to_string()] {
        return CertificatePlan::Issue { why: format!("it is to name {identity}") };
    }
    if !facts.of_a_server && *identity != Identity::Operator {
        return issue("no server may show it, and who it names answers calls");
    }
    if !trust.subjects.contains(&facts.issuer) {
        return issue("none of the present authorities has signed it");
    }
    if *bundle != trust.bundle {
        return issue("other authorities are to be trusted");
    }
    match Timestamp::from_second(due(facts)) {
        Ok(due) if now < due => CertificatePlan::Keep { due },
        Ok(_) | Err(_) => issue("two thirds of its life are over"),
    }
}

/// Judges the authorities, the newest first, at the time `now`. Pure: no clock is asked.
///
/// Guarantees: whatever has signed something that may still be in use stays until its own end; the newest signs nothing
/// before it is trusted everywhere ([`signer`]).
pub fn authorities(known: &[Facts], now: Timestamp) -> AuthorityPlan {
    let now = now.as_second();
    let keep = (0..known.len()).filter(|index| now < known[*index].not_after).collect::<Vec<_>>();
    let issue = match known.first() {
        None => Some("there is none"),
        Some(newest) if now >= newest.not_after => Some("its life is over"),
        Some(newest) if now >= due(newest) => Some("two thirds of its life are over"),
        Some(_) => None,
    };
    AuthorityPlan { keep, issue }
}

/// Which of the authorities, the newest first, signs what is to hold until `until`, in seconds since 1970: the oldest that
/// lives as long, since that one has been trusted for longest. `None` where there is none.
pub fn signer(known: &[Facts], until: i64) -> Option<usize> {
    let long_enough = known.iter().rposition(|facts| facts.not_after >= until);
    long_enough.or_else(|| (!known.is_empty()).then_some(0))
}

/// When two thirds of its life are over, in seconds since 1970.
pub fn due(facts: &Facts) -> i64 {
    let life = facts.not_after.saturating_sub(facts.not_before);
    facts.not_before.saturating_add(life / 3 * 2)
}

#[cfg(test)]
mod tests;
