//! Why a ModelDeployment has no endpoint. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use weighbridge_crds::{ModelDeployment, condition};

use super::super::Absence;

/// Why no call may go out for `model`, whatever would answer it.
pub(super) fn barred(model: &ModelDeployment, world: weighbridge_crds::World) -> Option<Absence> {
    use weighbridge_crds::World;
    if model.spec.suspend {
        return Some(Absence::Suspended);
    }
    match world {
        World::External if model.spec.replicas == 0 => {
            let why = "it is out of service, scaled to zero replicas";
            Some(Absence::lasting("model_out_of_service", why))
        }
        World::External | World::OpenWeights => None,
    }
}

/// Why nothing answers for a model of open weights, where nothing does.
pub(super) fn of_engines(model: &ModelDeployment) -> Absence {
    match refused(model) {
        Some(refused) => refused,
        None if model.spec.replicas == 0 => Absence::Asleep,
        None => Absence::Expected(reasoned(model, "none of its replicas is ready")),
    }
}

/// Why nothing answers for a model of `provider`, where nothing does.
pub(super) fn of_proxy(model: &ModelDeployment, provider: &str) -> Absence {
    let words = || reasoned(model, &format!("the proxy of ExternalProvider `{provider}` is not ready"));
    refused(model).unwrap_or_else(|| Absence::Expected(words()))
}

/// The operator says that nothing comes of this spec. Callers are told its reason's one word: the rest names Secrets.
fn refused(model: &ModelDeployment) -> Option<Absence> {
    let reason = said_false(model, condition::ACCEPTED)?;
    let why = format!("its ModelDeployment is not accepted ({reason}); its status says more");
    Some(Absence::lasting("model_not_accepted", why))
}

/// `words`, with the one of the operator's that says what is in the way.
fn reasoned(model: &ModelDeployment, words: &str) -> String {
    said_false(model, condition::READY)
        .map_or_else(|| words.to_owned(), |reason| format!("{words} ({reason})"))
}

/// The reason of a condition that is false, as far as it speaks of the spec as it is.
fn said_false<'a>(model: &'a ModelDeployment, type_: &str) -> Option<&'a str> {
    let conditions = model.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let speaks = |condition: &&Condition| {
        condition.type_ == type_
            && condition.status == "False"
            && condition.observed_generation == model.metadata.generation
    };
    conditions.iter().find(speaks).map(|condition| condition.reason.as_str())
}
