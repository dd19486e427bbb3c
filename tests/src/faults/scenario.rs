//! What people do, as data.

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use kube::api::ObjectMeta;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use weighbridge_crds::labels;
use weighbridge_operator::certificates::{Authority, Issuer, leaf_secret};
use weighbridge_tls::Identity;

use super::kinds::Kind;
use super::world::{Key, Stored, World};
use super::write::{Refused, Writer};

/// The namespace of every scenario.
pub const NAMESPACE: &str = "team";

/// One thing that people, or the passing of time, do.
#[derive(Clone, Debug)]
pub enum Act {
    /// `kubectl apply`.
    Apply(Value),
    /// `kubectl scale`, of a ModelDeployment.
    Scale(&'static str, i64),
    /// `kubectl patch`, by merging.
    Patch(&'static str, &'static str, Value),
    /// `kubectl delete`. An object's own are gone once the garbage collector has passed.
    Delete(&'static str, &'static str),
    /// Deletes what the operator made of a kind, with this label set.
    DeleteMade(&'static str, &'static str),
    /// Changes what the operator made of a kind, with this label set.
    PatchMade(&'static str, &'static str, Value),
    /// The node goes, and every pod with it: first nothing is heard of them, then they are given up.
    LoseNode,
    /// Days pass: every certificate has seen more than two thirds of its life.
    Age,
    /// Years pass: the authority has seen more than two thirds of its life.
    AgeAuthority,
}

/// What a step's end state must be, besides the same with and without faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// As if everything had been applied just now, in a world of its own.
    Fresh,
    /// As it was before.
    AsBefore,
    /// Only as without faults.
    Somehow,
}

/// One step, from rest to rest.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is called.
    pub name: String,
    /// What people do, at once.
    pub acts: Vec<Act>,
    /// How it must end.
    pub ends: Ends,
    /// Whether some child, or who watches it, must be another than before.
    pub moves: bool,
    /// Whether only the look that comes every ten minutes finds it: nobody watches Secrets.
    pub slow: bool,
}

/// Steps, one after the other.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Whether its steps are one edit again and again, of other fields, so that their writes are alike.
    pub alike: bool,
}

impl Scenario {
    /// Without steps.
    pub fn new(name: &'static str) -> Self {
        Scenario { name, steps: Vec::new(), alike: false }
    }

    /// Steps that are one edit again and again, of other fields.
    pub fn alike(mut self) -> Self {
        self.alike = true;
        self
    }

    fn then(mut self, name: &str, acts: Vec<Act>, ends: Ends, moves: bool) -> Self {
        self.steps.push(Step { name: name.to_owned(), acts, ends, moves, slow: false });
        self
    }

    /// A step that ends as if all had been there from the beginning, with other children than before.
    pub fn edit(self, name: &str, acts: impl Into<Vec<Act>>) -> Self {
        self.then(name, acts.into(), Ends::Fresh, true)
    }

    /// A step that ends as if all had been there from the beginning.
    pub fn to(self, name: &str, acts: impl Into<Vec<Act>>) -> Self {
        self.then(name, acts.into(), Ends::Fresh, false)
    }

    /// A step after which all is as before.
    pub fn undone(self, name: &str, acts: impl Into<Vec<Act>>) -> Self {
        self.then(name, acts.into(), Ends::AsBefore, false)
    }

    /// A step that remembers what was before.
    pub fn on(self, name: &str, acts: impl Into<Vec<Act>>) -> Self {
        self.then(name, acts.into(), Ends::Somehow, false)
    }

    /// The last step is found by the next look at everything, not by a watch.
    pub fn slowly(mut self) -> Self {
        if let Some(step) = self.steps.last_mut() {
            step.slow = true;
        }
        self
    }
}

impl Act {
    /// Does it.
    pub fn on(&self, world: &mut World) -> Result<(), Refused> {
        let named =
            |kind: &str| Kind::named(kind).ok_or_else(|| Refused::new(404, format!("no kind {kind}")));
        let by = Writer { manager: "kubectl", subresource: "" };
        match self {
            Act::Apply(object) => {
                let kind = named(object["kind"].as_str().unwrap_or_default())?;
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                world.apply(kind, &Key::new(kind, NAMESPACE, name), object, by, true)?;
            }
            Act::Scale(name, replicas) => {
                let kind = named("ModelDeployment")?;
                world.scale(kind, &Key::new(kind, NAMESPACE, name), *replicas)?;
            }
            Act::Patch(kind, name, patch) => {
                let kind = named(kind)?;
                world.merge(kind, &Key::new(kind, NAMESPACE, name), patch, by)?;
            }
            Act::Delete(kind, name) => {
                let kind = named(kind)?;
                world.delete(&Key::new(kind, NAMESPACE, name), &json!({}))?;
            }
            Act::DeleteMade(kind, label) => {
                for key in made(world, named(kind)?.kind, label) {
                    world.delete(&key, &json!({}))?;
                }
            }
            Act::PatchMade(kind, label, patch) => {
                let kind = named(kind)?;
                for key in made(world, kind.kind, label) {
                    world.merge(kind, &key, patch, by)?;
                }
            }
            Act::LoseNode => world.lose_node(),
            Act::Age => age(world).map_err(|error| Refused::new(500, format!("{error:#}")))?,
            Act::AgeAuthority => {
                age_authority(world).map_err(|error| Refused::new(500, format!("{error:#}")))?;
            }
        }
        Ok(())
    }
}

fn made(world: &World, kind: &'static str, label: &str) -> Vec<Key> {
    let fits = |object: &Value| {
        let labels = &object["metadata"]["labels"];
        labels["app.kubernetes.io/managed-by"] == "weighbridge" && labels[label].is_string()
    };
    world.of(kind).filter(|(_, object)| fits(object)).map(|(key, _)| key.clone()).collect()
}

/// Replaces every certificate by one that the same authority signed six days ago.
fn age(world: &mut World) -> anyhow::Result<()> {
    let lifetimes = crate::certificates::lifetimes()?;
    let pem = |secret: &Value, name: &str| -> anyhow::Result<String> {
        let bytes = STANDARD.decode(secret["data"][name].as_str().unwrap_or_default())?;
        Ok(String::from_utf8(bytes)?)
    };
    let secrets: Vec<_> = world.of("Secret").map(|(key, object)| (key.clone(), object.clone())).collect();
    let authority = secrets.iter().find(|(key, _)| key.name == "weighbridge-authority");
    let (_, authority) = authority.context("an authority")?;
    let authority = Authority::read(pem(authority, "tls.crt")?, &pem(authority, "tls.key")?)?;
    let issuer = Issuer::new(vec![authority], lifetimes);
    let then = Timestamp::now() - SignedDuration::from_hours(24 * 6);
    for (key, secret) in secrets {
        if !key.name.ends_with("-certificate") {
            continue;
        }
        let label = |name: &str| secret["metadata"]["labels"][name].as_str().map(str::to_owned);
        let namespace = key.namespace.clone();
        let identity = match (label(labels::MODEL), label(labels::PROVIDER)) {
            (Some(name), _) => Identity::Engine { namespace, name },
            (None, Some(name)) => Identity::Proxy { namespace, name },
            (None, None) => Identity::Gateway,
        };
        let leaf = issuer.issue(&identity, then)?;
        let made = leaf_secret(ObjectMeta::default(), &leaf, issuer.trust());
        hold(world, &key, serde_json::to_value(made)?["data"].take());
    }
    Ok(())
}

/// Replaces the authority by one that was made four years ago, for five.
fn age_authority(world: &mut World) -> anyhow::Result<()> {
    let day = |days: i32| -> anyhow::Result<_> {
        let date = (Timestamp::now() + SignedDuration::from_hours(24 * i64::from(days)))
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        Ok(rcgen::date_time_ymd(date.year().into(), date.month().try_into()?, date.day().try_into()?))
    };
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Weighbridge authority of old");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    (params.not_before, params.not_after) = (day(-4 * 365)?, day(365)?);
    let pair = KeyPair::generate()?;
    let certificate = params.self_signed(&pair)?.pem();
    let found = world.of("Secret").find(|(key, _)| key.name == "weighbridge-authority");
    let key = found.context("an authority")?.0.clone();
    let coded = |text: String| STANDARD.encode(text);
    hold(world, &key, json!({"tls.crt": coded(certificate), "tls.key": coded(pair.serialize_pem())}));
    Ok(())
}

/// Has a Secret hold `data`, and its owners own what they did.
fn hold(world: &mut World, key: &Key, data: Value) {
    if let Some(live) = world.get(key).map(std::sync::Arc::clone) {
        let mut object = live.object.clone();
        object["data"] = data;
        world.put(key, Some(Stored { object, managers: live.managers.clone() }));
    }
}
