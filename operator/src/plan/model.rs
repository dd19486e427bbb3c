use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, Service};
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{OutOfService, Promotion, RolloutPhase, RolloutStatus, World, labels};

use super::canary::withdrawn;
use super::history::{Asked, History, history};
use super::rollout::{OldPods, Rollout, rollout};
use super::trial::{Shape, Trial, rescaled};
use super::{
    ChildKind, Decision, Guard, Images, Inspection, InspectionState, ModelChildren, Prepared, Removal,
    Revision, claims, engine_pod, inspection, names, service::service,
};
use crate::gateways::{Measured, Seen};
use crate::owner::Owner;
use crate::validate::{Closed, Fitting, Open, Refusal, Served, ValidatedModel};

/// Children of a ModelDeployment that exist already, and what its plan leans on.
#[derive(Clone, Debug, Default)]
pub struct ObservedModel {
    /// Deployments of every revision.
    pub deployments: Vec<Arc<Deployment>>,
    /// Templates of claims that those name.
    pub claim_templates: Vec<Arc<ResourceClaimTemplate>>,
    /// Services.
    pub services: Vec<Arc<Service>>,
    /// Pods of every revision.
    pub pods: Vec<Arc<Pod>>,
    /// Records of past revisions.
    pub history: Vec<Arc<ControllerRevision>>,
    /// Whether the provider's proxy answers; false where no provider is named.
    pub provider_ready: bool,
    /// The world that gateways were told to call.
    pub told: Option<World>,
    /// Pods that read headers of its weights.
    pub inspections: Vec<Inspection>,
    /// Name of the pod whose word the status has.
    pub recorded: Option<String>,
    /// Pods of the provider's proxy.
    pub proxies: Vec<Arc<Pod>>,
    /// What gateways say of it.
    pub gateways: Seen,
    /// The trial that gateways were told of.
    pub rollout: Option<RolloutStatus>,
    /// What a person has said of a trial.
    pub promotion: Option<Promotion>,
    /// What gateways have measured of it.
    pub measured: Measured,
    /// What time it is: a step of a trial has an end.
    pub now: Timestamp,
}

/// What should exist for a ModelDeployment, what should go, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelPlan {
    /// What should exist.
    pub children: ModelChildren<Prepared>,
    /// Templates of claims, made before the Deployments that name them.
    pub claim_templates: Vec<ResourceClaimTemplate>,
    /// Past revisions to be recorded, before anything goes.
    pub records: Vec<ControllerRevision>,
    /// What should go.
    pub removals: Vec<Removal>,
    /// Revision of the engine's pods: of those that run, while another is on trial; none where a closed API answers, or none may
    /// be made yet.
    pub revision: Option<Revision>,
    /// What must be gone before the engine's pods are made.
    pub waiting: Option<OldPods>,
    /// A pod that is to be there, made once and never changed: it reads the header of the weights.
    pub inspection: Option<Pod>,
    /// Why the engine's pods are not planned yet.
    pub waits: Option<Refusal>,
    /// The trial of a revision, as the status is to say it.
    pub rollout: Option<RolloutStatus>,
    /// When time alone brings something.
    pub due: Option<Timestamp>,
    /// Why the cache does not have the weights, without which they are not made.
    pub missing: Option<Refusal>,
    /// Each decision with its reason.
    pub decisions: Vec<Decision>,
}

/// Decides what should exist for `model`.
///
/// Guarantees: by Surge an old revision that answers stays until the new one has all of its pods ready; one that
/// does not answer goes at once, so that nothing waits for what is to be replaced. By Replace it goes first. By Canary it keeps
/// all of its pods until the new one has passed its trial, and goes as by Surge.
pub fn model(model: &ValidatedModel, observed: &ObservedModel, images: &Images) -> ModelPlan {
    match &model.served {
        Served::Open(open) => open_weights(model, open, observed, images),
        Served::Closed(closed) => closed_api(model, closed, observed),
    }
}

/// What goes where a model is suspended whose spec can't be served: its pods, and nothing comes.
pub fn suspended(owner: &Owner, observed: &ObservedModel) -> ModelPlan {
    let why = OutOfService::Suspended.field();
    let mut decisions = vec![Decision::new("no pods", why)];
    // All of them are of a spec before this one.
    let nothing = Asked { deployment: None, may_come: false, made_from: None };
    let History { records, removals: forgotten } = history(owner, &nothing, observed, &mut decisions);
    let removals = observed
        .deployments
        .iter()
        .filter_map(|old| removal(ChildKind::Deployment, &**old, Guard::SpecOnly, why.to_owned()));
    let removals = removals.chain(forgotten).chain(inspection::done(observed, |_| false)).collect();
    let claim_templates = claims::templates(owner, None, observed);
    ModelPlan { claim_templates, removals, records, ..empty(decisions) }
}

/// What goes where a spec can't be served: pods that read headers, but for those whose word is not in the status yet, for that
/// may be why. What serves goes on: it keeps its address, and as many pods as `replicas` at the least, where it is open weights
/// that these count.
pub fn refused(owner: &Owner, replicas: Option<i32>, observed: &ObservedModel) -> ModelPlan {
    let read = |found: &Inspection| matches!(found.state, InspectionState::Read(_));
    let removals = inspection::done(observed, read);
    let why = "what served before goes on serving, though the spec can't be served";
    let mut plan = ModelPlan { removals, ..empty(vec![Decision::new("what there is stays", why)]) };
    if !observed.deployments.is_empty() {
        plan.children.service = Some(engine_service(owner));
    }
    // Of several revisions nothing says here which is to have how many.
    let fewer = |there: &Deployment| {
        let has = there.spec.as_ref().and_then(|spec| spec.replicas);
        replicas.filter(|replicas| has.is_some_and(|has| has < *replicas))
    };
    if let ([there], None) = (&observed.deployments[..], &observed.rollout)
        && let Some(replicas) = fewer(there)
        && !reads_a_cache(there)
    {
        plan.children.deployment = Some(rescaled(owner, there, replicas));
    }
    plan
}

/// Whether its pods read what a ModelCache holds: whether that is still there nothing says here.
fn reads_a_cache(deployment: &Deployment) -> bool {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let labels = template.and_then(|metadata| metadata.labels.as_ref());
    labels.is_some_and(|labels| labels.keys().any(|label| label.starts_with(labels::HELD_PREFIX)))
}

fn engine_service(owner: &Owner) -> Service {
    let name = labels::engine_service(owner.name());
    service(owner, name, names::model_labels(owner), names::model_selector(owner))
}

/// A plan of nothing.
fn empty(decisions: Vec<Decision>) -> ModelPlan {
    let children = ModelChildren { deployment: None, stable: None, service: None, state: PhantomData };
    ModelPlan {
        children,
        claim_templates: Vec::new(),
        records: Vec::new(),
        removals: Vec::new(),
        revision: None,
        waiting: None,
        inspection: None,
        waits: None,
        rollout: None,
        due: None,
        missing: None,
        decisions,
    }
}

fn open_weights(model: &ValidatedModel, open: &Open, observed: &ObservedModel, images: &Images) -> ModelPlan {
    // What waits, gateways hold: no child knows of it.
    let ValidatedModel { owner, replicas, out_of_service, served: _, hold: _, strategy: _, made_from } =
        model;
    let replicas = *replicas;
    let mut decisions = Vec::new();
    if let Fitting::Unread { inspection } = &open.fitting {
        return unread(model, open, inspection, observed, images);
    }
    let template = engine_pod::template(owner, open, images, &mut decisions);
    let revision = Revision::of(&template);
    let name = format!("{}-{revision}", owner.name());
    decisions.insert(
        0,
        Decision::new(
            format!("{}, Deployment {name}", pods(replicas)),
            format!(
                "openWeights is served; its pod template has revision {revision}, and {}",
                out_of_service
                    .map_or_else(|| format!("spec.replicas is {replicas}"), |why| why.field().to_owned())
            ),
        ),
    );
    let service_name = labels::engine_service(owner.name());
    let mut read = None;
    if let Fitting::Fits { inspection, gpus, words } = &open.fitting {
        read = Some(labels::inspection_pod(owner.name(), inspection));
        let holds = match gpus {
            0 => "the memory of the profile holds the model".to_owned(),
            1 => "one GPU holds the model".to_owned(),
            more => format!("{more} GPUs hold the model"),
        };
        decisions.push(Decision::new(holds, format!("it {words}")));
    }
    decisions.push(Decision::new(
        format!("Service {service_name}"),
        "gateways find the ready pods of every revision through it",
    ));
    let missing = missing(open, observed, (&name, replicas), &mut decisions);
    let Rollout { mut removals, waiting, trial } = match missing {
        // What answers goes on while the weights are fetched.
        Some(_) => Rollout { removals: Vec::new(), waiting: None, trial: None },
        None => rollout(model, open, (&name, &revision), observed, &mut decisions),
    };
    removals.extend(strangers(&observed.services, &service_name));
    let may_come = waiting.is_none() && missing.is_none();
    let Trial { status, due, shape } = trial.unwrap_or_default();
    let shape = shape.unwrap_or_else(|| Shape {
        stable: None,
        running: revision.to_string(),
        pods: may_come.then_some(replicas),
        canary_of: None,
    });
    let Shape { stable, running, pods, canary_of } = shape;
    // The record of what is not made again yet stays: another one may be asked for meanwhile.
    let asked = Asked { deployment: Some(&name), may_come: pods.is_some(), made_from: made_from.as_deref() };
    let History { records, removals: forgotten } = history(owner, &asked, observed, &mut decisions);
    removals.extend(forgotten);
    removals.extend(inspection::done(observed, |found| Some(&found.name) == read.as_ref()));
    let gpu = open.hardware.gpu().filter(|_| pods.is_some());
    let annotations = [(labels::MADE_FROM, made_from.clone()), (labels::CANARY_OF, canary_of)];
    ModelPlan {
        children: ModelChildren {
            deployment: pods
                .map(|replicas| deployment(owner, name, replicas, template, &revision, annotations)),
            stable: stable.map(Box::new),
            service: Some(engine_service(owner)),
            state: PhantomData,
        },
        claim_templates: claims::templates(owner, gpu, observed),
        records,
        removals,
        revision: may_come.then(|| Revision::named(running)),
        waiting,
        inspection: None,
        waits: None,
        rollout: status,
        due,
        missing,
        decisions,
    }
}

/// Why no pod of the current revision, whose Deployment is called `current`, may be made: its cache does not have the weights. One
/// that has pods already is left to say itself what it lacks.
fn missing(
    open: &Open,
    observed: &ObservedModel,
    (current, replicas): (&str, i32),
    decisions: &mut Vec<Decision>,
) -> Option<Refusal> {
    let why = open.held.as_ref()?.missing()?;
    let made = observed.deployments.iter().find(|deployment| deployment.name_any() == current);
    let has_pods = made
        .and_then(|made| made.spec.as_ref())
        .is_some_and(|spec| spec.replicas.is_none_or(|replicas| replicas > 0));
    if replicas == 0 || has_pods {
        return None;
    }
    decisions.push(Decision::new(format!("Deployment {current} gets no pod yet"), why.message.clone()));
    Some(why.clone())
}

/// Nothing is made but what reads the header, and nothing that serves goes.
fn unread(
    model: &ValidatedModel,
    open: &Open,
    inspection: &str,
    observed: &ObservedModel,
    images: &Images,
) -> ModelPlan {
    if model.out_of_service == Some(OutOfService::Suspended) {
        let why = "the header of the weights is read, and hardware chosen by it, once spec.suspend is false";
        return ModelPlan {
            waits: Some(Refusal::new(Reason::Progressing, why)),
            ..suspended(&model.owner, observed)
        };
    }
    let mut decisions = Vec::new();
    let pod = inspection::inspection_pod(&model.owner, open, inspection, images, &mut decisions);
    let name = pod.name_any();
    let removals = inspection::done(observed, |found| found.name == name);
    let waits = Some(inspection::waits(&name, &observed.inspections));
    decisions.insert(0, Decision::new("no engine pods yet", "the header of the weights is to be read first"));
    ModelPlan { inspection: Some(pod), removals, waits, ..empty(decisions) }
}

fn deployment(
    owner: &Owner,
    name: String,
    replicas: i32,
    mut template: PodTemplateSpec,
    revision: &Revision,
    annotations: [(&str, Option<String>); 2],
) -> Deployment {
    let mut labels = names::model_labels(owner);
    labels.insert(labels::REVISION.to_owned(), revision.to_string());
    let mut selector = names::model_selector(owner);
    selector.insert(labels::REVISION.to_owned(), revision.to_string());
    template.metadata.get_or_insert_default().labels.get_or_insert_default().extend(labels.clone());
    let mut metadata = names::child(owner, name, labels);
    let annotations = annotations.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    metadata.annotations = Some(annotations.collect::<BTreeMap<_, _>>()).filter(|all| !all.is_empty());
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            // The template never changes, so that old ReplicaSets could only be drift.
            revision_history_limit: Some(0),
            selector: LabelSelector { match_labels: Some(selector), match_expressions: None },
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

pub(super) fn pods(replicas: i32) -> String {
    if replicas == 1 { "1 pod".to_owned() } else { format!("{replicas} pods") }
}

fn closed_api(valid: &ValidatedModel, closed: &Closed, observed: &ObservedModel) -> ModelPlan {
    let ValidatedModel { owner, replicas: _, out_of_service, served: _, hold: _, strategy: _, made_from } =
        valid;
    let Closed { provider, model, kept_replicas } = closed;
    let mut decisions = vec![Decision::new(
        "no pods",
        format!("external is served: calls go to {model} through the proxy of ExternalProvider {provider}"),
    )];
    if let Some(why) = out_of_service {
        decisions.push(Decision::new(
            "no call goes to the provider",
            format!("{}, which takes the model out of service in either world", why.field()),
        ));
    }
    if let Some(kept) = kept_replicas {
        decisions.push(Decision::new(
            format!("spec.replicas {kept} is kept for openWeights"),
            "it counts engine pods, and external is served, which has none",
        ));
    }
    let (mut records, mut removals) = (Vec::new(), Vec::new());
    // Gateways first, then pods. Out of service, nothing is called: there is nothing to wait for.
    let told = observed.told == Some(World::External) && !observed.gateways.may_call(World::OpenWeights);
    if observed.provider_ready && told || out_of_service.is_some() {
        let why = || match out_of_service {
            Some(why) => format!("external is served and {}", why.field()),
            None => format!("external is served and the proxy of {provider} answers"),
        };
        let deployments = observed
            .deployments
            .iter()
            .filter_map(|old| removal(ChildKind::Deployment, &**old, Guard::SpecOnly, why()));
        let services = observed
            .services
            .iter()
            .filter_map(|old| removal(ChildKind::Service, &**old, Guard::SpecOnly, why()));
        removals.extend(deployments.chain(services));
        let asked = Asked { deployment: None, may_come: false, made_from: made_from.as_deref() };
        let history = history(owner, &asked, observed, &mut decisions);
        records = history.records;
        removals.extend(history.removals);
    } else if !observed.deployments.is_empty() {
        let why = if observed.provider_ready {
            "gateways are told first that calls go to the provider now".to_owned()
        } else {
            format!("the proxy of ExternalProvider {provider} does not answer yet")
        };
        decisions.push(Decision::new(format!("engine pods of {} stay for now", owner.name()), why));
    }
    removals.extend(inspection::done(observed, |_| false));
    let claim_templates = claims::templates(&valid.owner, None, observed);
    ModelPlan { claim_templates, removals, records, rollout: swapped(observed), ..empty(decisions) }
}

/// What becomes of a trial where a closed API is asked for. Until that answers, the revision that runs does alone.
fn swapped(observed: &ObservedModel) -> Option<RolloutStatus> {
    let trial = observed.rollout.clone().filter(|_| !observed.deployments.is_empty())?;
    if trial.phase == RolloutPhase::Aborted { Some(trial) } else { Some(withdrawn(&trial)) }
}

/// Services of ours under a name that is not planned any more.
fn strangers<'a>(services: &'a [Arc<Service>], wanted: &'a str) -> impl Iterator<Item = Removal> + 'a {
    services.iter().filter(move |service| service.name_any() != wanted).filter_map(|service| {
        removal(ChildKind::Service, &**service, Guard::SpecOnly, "no plan of this version has it".to_owned())
    })
}

pub(super) fn removal<K: ResourceExt>(
    kind: ChildKind,
    child: &K,
    guard: Guard,
    why: String,
) -> Option<Removal> {
    // Without a UID there is nothing to tell it from a later object of the same name.
    child.uid().map(|uid| Removal { kind, name: child.name_any(), uid, guard, why })
}
