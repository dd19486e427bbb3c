use jiff::SignedDuration;

use super::*;
use crate::certificates::{Authority, Issuer, LeafFacts, Lifetimes, lifetime};

fn at(days: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
}

fn lifetimes() -> Lifetimes {
    Lifetimes::new(lifetime("300d").unwrap(), lifetime("9d").unwrap()).unwrap()
}

fn engine(name: &str) -> Identity {
    Identity::Engine { namespace: "team".to_owned(), name: name.to_owned() }
}

/// An installation that lives by its plans alone, with a clock that jumps.
struct Installation {
    issuer: Issuer,
}

impl Installation {
    fn new(now: Timestamp) -> Self {
        let mut installation = Self { issuer: Issuer::new(Vec::new(), lifetimes()) };
        assert!(installation.look(now));
        installation
    }

    /// As the keeper does it; whether something was made or dropped.
    fn look(&mut self, now: Timestamp) -> bool {
        let authorities = self.issuer.authorities();
        let known: Vec<_> = authorities.iter().map(|authority| authority.facts.clone()).collect();
        let AuthorityPlan { keep, issue } = super::authorities(&known, now);
        if issue.is_none() && keep.len() == known.len() {
            return false;
        }
        let kept = keep.iter().map(|index| {
            let authority = &authorities[*index];
            Authority::read(authority.certificate.clone(), &authority.key()).unwrap()
        });
        let fresh = issue.map(|_| Authority::create(&lifetimes(), now).unwrap());
        self.issuer = Issuer::new(fresh.into_iter().chain(kept).collect(), lifetimes());
        true
    }

    fn leaf(&self, identity: &Identity, now: Timestamp) -> LeafFacts {
        let leaf = self.issuer.issue(identity, now).unwrap();
        LeafFacts { certificate: Some(leaf.facts), bundle: self.issuer.trust().bundle.clone() }
    }

    fn judge(&self, found: Option<&LeafFacts>, now: Timestamp) -> CertificatePlan {
        super::judge(found, &engine("m"), self.issuer.trust(), now)
    }
}

fn why(plan: CertificatePlan) -> String {
    match plan {
        CertificatePlan::Keep { due } => panic!("it is kept until {due}"),
        CertificatePlan::Issue { why } => why,
    }
}

#[test]
fn a_certificate_is_kept_for_two_thirds_of_its_life() {
    let installation = Installation::new(at(0));
    let leaf = installation.leaf(&engine("m"), at(10));
    let CertificatePlan::Keep { due } = installation.judge(Some(&leaf), at(10)) else {
        panic!("a new one is good");
    };
    let off = due.duration_since(at(16)).abs();
    assert!(off < SignedDuration::from_mins(5), "nine days from day ten: {due}");
    assert_eq!(installation.judge(Some(&leaf), at(15)), CertificatePlan::Keep { due });
    assert_eq!(why(installation.judge(Some(&leaf), due)), "two thirds of its life are over");
    assert_eq!(why(installation.judge(Some(&leaf), at(100))), "two thirds of its life are over");
}

#[test]
fn what_is_no_certificate_of_ours_is_made_anew() {
    let installation = Installation::new(at(0));
    let good = installation.leaf(&engine("m"), at(1));
    assert_eq!(why(installation.judge(None, at(1))), "there is none");
    let unreadable = LeafFacts { certificate: None, ..good.clone() };
    assert!(why(installation.judge(Some(&unreadable), at(1))).contains("can't be read"));
    let of_other = installation.leaf(&engine("other"), at(1));
    let said = why(installation.judge(Some(&of_other), at(1)));
    assert!(said.contains("m.team.engine.weighbridge.internal"), "{said}");
    let proxy = Identity::Proxy { namespace: "team".to_owned(), name: "m".to_owned() };
    assert!(
        why(installation.judge(Some(&installation.leaf(&proxy, at(1))), at(1))).contains("it is to name")
    );
    let of_others = Installation::new(at(0)).leaf(&engine("m"), at(1));
    assert!(why(installation.judge(Some(&of_others), at(1))).contains("none of the present authorities"));
    let trusts_nobody = LeafFacts { bundle: String::new(), ..good };
    assert!(why(installation.judge(Some(&trusts_nobody), at(1))).contains("other authorities"));
}

/// Gateways of earlier versions answered nobody, and their certificate was for clients alone.
#[test]
fn a_gateways_certificate_that_no_server_may_show_is_made_anew() {
    let installation = Installation::new(at(0));
    let judge =
        |found: &LeafFacts| super::judge(Some(found), &Identity::Gateway, installation.issuer.trust(), at(1));
    let mut leaf = installation.leaf(&Identity::Gateway, at(1));
    assert!(matches!(judge(&leaf), CertificatePlan::Keep { .. }));
    leaf.certificate.as_mut().unwrap().of_a_server = false;
    assert!(why(judge(&leaf)).contains("no server may show it"));
    assert!(installation.leaf(&engine("m"), at(1)).certificate.unwrap().of_a_server);
    assert!(!installation.leaf(&Identity::Operator, at(1)).certificate.unwrap().of_a_server);
}

/// A year of days: no certificate in use is ever signed by an authority that the others have not known for a certificate's
/// whole life, and none outlives its authority.
#[test]
fn a_new_authority_is_trusted_long_before_it_signs_and_the_old_one_long_after() {
    let mut installation = Installation::new(at(0));
    let mut trusted_since = std::collections::BTreeMap::new();
    let mut signers = Vec::new();
    let (mut leaf, mut changes) = (installation.leaf(&engine("m"), at(0)), 0);
    for day in 0..1000 {
        changes += i64::from(installation.look(at(day)));
        for subject in &installation.issuer.trust().subjects {
            trusted_since.entry(subject.clone()).or_insert(day);
        }
        if let CertificatePlan::Issue { .. } = installation.judge(Some(&leaf), at(day)) {
            leaf = installation.leaf(&engine("m"), at(day));
        }
        let facts = leaf.certificate.as_ref().unwrap();
        assert!(installation.issuer.trust().subjects.contains(&facts.issuer), "day {day}");
        let since = trusted_since[&facts.issuer];
        assert!(since == 0 || day - since >= 9, "day {day}: it signs after {} days", day - since);
        let authorities = installation.issuer.authorities();
        let authority = authorities.iter().find(|authority| authority.facts.subject == facts.issuer);
        assert!(facts.not_after <= authority.unwrap().facts.not_after, "day {day}");
        assert!(authorities.len() <= 2, "day {day}");
        if signers.last() != Some(&facts.issuer) {
            signers.push(facts.issuer.clone());
        }
    }
    assert_eq!(signers.len(), 5, "the first until nine days before its end, then one every 200 days");
    assert_eq!(changes, 4 + 4, "made and dropped, and nothing else");
}

#[test]
fn an_operator_that_was_away_for_ever_begins_anew() {
    let mut installation = Installation::new(at(0));
    let leaf = installation.leaf(&engine("m"), at(0));
    assert!(installation.look(at(400)));
    assert_eq!(installation.issuer.authorities().len(), 1);
    assert!(why(installation.judge(Some(&leaf), at(400))).contains("none of the present"));
    let fresh = installation.leaf(&engine("m"), at(400));
    assert!(matches!(installation.judge(Some(&fresh), at(400)), CertificatePlan::Keep { .. }));
}

#[test]
fn what_is_printed_holds_no_key() {
    let installation = Installation::new(at(0));
    let printed = format!("{:?} {:?}", installation.issuer, installation.leaf(&engine("m"), at(0)));
    assert!(!printed.contains("PRIVATE"), "{printed}");
}
