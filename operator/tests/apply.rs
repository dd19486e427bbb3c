//! What apply does when the server knows better than the cache. The server here only answers what it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A fixture that can't be read fails the test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{ModelDeployment, ModelRoutes, World};
use weighbridge_operator::apply::{self, ApplyError, Caller, Means, Pass, Settled};
use weighbridge_operator::gateways::{Gateway, Routes, Seen, Word};
use weighbridge_operator::leader::{Candidate, Leadership};
use weighbridge_operator::plan::{self, Bounds, Images, ModelPlan, ObservedModel, Proxies, PullPolicy};
use weighbridge_operator::validate::{self, ModelReferences, Named, Place};
use weighbridge_operator::{Events, Metrics, Owner};

const NAMESPACE: &str = "n";

/// Objects by path, and a log of the writes that it took.
#[derive(Clone, Default)]
struct Server {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    writes: Arc<Mutex<Vec<String>>>,
    unserved: Arc<Mutex<Option<&'static str>>>,
    reads: Arc<AtomicUsize>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        Client::new(tower::service_fn(move |request| server.clone().answer(request)), "default")
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        if self.unserved.lock().expect("not poisoned").is_some_and(|unserved| path.starts_with(unserved)) {
            let answer = Response::builder().status(StatusCode::NOT_FOUND);
            let words = Body::from(b"404 page not found\n".to_vec());
            return answer.body(words).map_err(std::io::Error::other);
        }
        let (status, answer) = if parts.method == http::Method::GET {
            self.reads.fetch_add(1, Ordering::Relaxed);
            match self.objects.lock().expect("not poisoned").get(&path) {
                Some(object) => (StatusCode::OK, object.clone()),
                None => (
                    StatusCode::NOT_FOUND,
                    json!({"status": "Failure", "code": 404, "reason": "NotFound", "message": "none"}),
                ),
            }
        } else {
            let mut echo: Value = serde_json::from_slice(&body).unwrap_or_default();
            let demanded = echo["metadata"]["resourceVersion"].take();
            let live = self.objects.lock().expect("not poisoned").get(&path).cloned();
            if live.is_some_and(|live| !demanded.is_null() && live["metadata"]["resourceVersion"] != demanded)
            {
                let refused = json!({"status": "Failure", "code": 409, "reason": "Conflict", "message": "another version"});
                (StatusCode::CONFLICT, refused)
            } else {
                if !path.contains("/events") {
                    self.writes.lock().expect("not poisoned").push(format!("{} {path}", parts.method));
                }
                echo["metadata"]["uid"] = json!("made");
                (StatusCode::OK, echo)
            }
        };
        Response::builder()
            .status(status)
            .body(Body::from(answer.to_string().into_bytes()))
            .map_err(std::io::Error::other)
    }

    /// As an apiserver without that API.
    fn serves_no(&self, path: &'static str) {
        *self.unserved.lock().expect("not poisoned") = Some(path);
    }

    fn put(&self, path: &str, object: Value) {
        self.objects.lock().expect("not poisoned").insert(path.to_owned(), object);
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    fn writes(&self) -> Vec<String> {
        self.writes.lock().expect("not poisoned").clone()
    }
}

fn model(generation: i64) -> Value {
    json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": NAMESPACE, "uid": "parent", "generation": generation},
        "spec": {"openWeights": {"source": "hf://o/r/f.gguf"}, "replicas": 1}})
}

/// An old revision's Deployment.
fn old(uid: &str, owner: &str, ready: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "m-old", "namespace": NAMESPACE, "uid": uid, "resourceVersion": "7", "generation": 1,
            "ownerReferences": [{"apiVersion": "x", "kind": "ModelDeployment", "name": "m", "uid": owner, "controller": true}]},
        "spec": {"selector": {}, "template": {}},
        "status": {"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": ready}})
}

const PARENT: &str = "/apis/serving.weighbridge.dev/v1alpha1/namespaces/n/modeldeployments/m";
const OLD: &str = "/apis/apps/v1/namespaces/n/deployments/m-old";

fn images() -> Images {
    Images {
        inference_server: "a".into(),
        gateway: "b".into(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: Vec::new(),
        gateway_namespace: "c".into(),
        operator_namespace: "c".into(),
        bounds: Bounds::default(),
        proxies: Proxies::default(),
    }
}

struct Case {
    server: Server,
    means: Means,
    owner: Owner,
}

impl Case {
    /// Leads as a real candidate does, with a Lease on a server of its own.
    async fn new() -> Self {
        let lease = Server::default().client();
        let candidate = Candidate::new(lease, NAMESPACE, "lease", "me".to_owned(), Metrics::default());
        let leadership = candidate.leadership();
        tokio::spawn(candidate.run(std::future::pending()));
        leadership.gained().await;
        Self::led_by(leadership)
    }

    fn led_by(leadership: Leadership) -> Self {
        let server = Server::default();
        let client = server.client();
        let caller = Caller::new(leadership, Metrics::default());
        let events = Events::new(client.clone(), caller.clone(), "test".to_owned());
        let parent: ModelDeployment = serde_json::from_value(model(1)).expect("a model");
        server.put(PARENT, model(1));
        let owner = Owner::of(&parent).expect("stored");
        Case { server, means: Means { client, caller, settled: Settled::default(), events }, owner }
    }

    fn plan(&self, observed: &ObservedModel) -> ModelPlan {
        let parent: ModelDeployment = serde_json::from_value(model(1)).expect("a model");
        let references = ModelReferences::NOTHING;
        let valid = validate::model(&parent, &references, Place::Cluster).expect("valid");
        plan::model(&valid, observed, &images())
    }

    async fn apply(&self, observed: &ObservedModel) -> Result<(), ApplyError> {
        let plan = self.plan(observed);
        apply::model(&mut Pass::new(&self.means, &self.owner), &plan, observed).await.map(|_| ())
    }
}

fn seen(children: &[Value]) -> ObservedModel {
    let deployments = children
        .iter()
        .map(|child| Arc::new(serde_json::from_value::<Deployment>(child.clone()).expect("a child")));
    ObservedModel { deployments: deployments.collect(), ..ObservedModel::default() }
}

#[test]
fn an_engine_goes_when_gateways_were_told_that_the_proxy_answers_or_nothing_does() {
    let (open, closed) = (Some(World::OpenWeights), Some(World::External));
    let calls = |word: Word| Seen::Ready(vec![Gateway { name: "a".to_owned(), word }]);
    let routes = |world: World| {
        let (namespace, name, uid) = (NAMESPACE.to_owned(), "m".to_owned(), "parent".to_owned());
        let said = ModelRoutes { namespace, name, uid, generation: 1, world, pods: Vec::new(), trial: None };
        calls(Word::Routes(Routes::of(&said)))
    };
    for (replicas, provider_ready, told, gateways, going) in [
        (1, false, open, Seen::default(), 0),
        (1, true, open, Seen::default(), 0),
        (1, true, None, Seen::default(), 0),
        (1, true, closed, Seen::default(), 1),
        // They were told, and then it failed: what can answer stays.
        (1, false, closed, Seen::default(), 0),
        (0, false, open, Seen::default(), 1),
        // One that says that it still calls the engine is waited for, or was not heard yet; one that is lost is not.
        (1, true, closed, routes(World::OpenWeights), 0),
        (1, true, closed, routes(World::External), 1),
        (1, true, closed, calls(Word::Lost), 1),
        (1, true, closed, calls(Word::NotYet), 0),
        (1, true, closed, Seen::NotYet, 0),
        (0, true, closed, routes(World::OpenWeights), 1),
    ] {
        let mut parent = model(1);
        parent["spec"] = json!({"external": {"provider": "p", "model": "x"}, "replicas": replicas});
        let provider = json!({"metadata": {"name": "p", "namespace": NAMESPACE, "uid": "u"},
            "spec": {"kind": "OpenAICompatible", "baseURL": "https://e.example/v1",
                "apiKeys": [{"name": "s", "key": "k"}]}});
        let references = ModelReferences {
            provider: Named::Found(serde_json::from_value(provider).expect("a provider")),
            ..ModelReferences::NOTHING
        };
        let parent: ModelDeployment = serde_json::from_value(parent).expect("a model");
        let valid = validate::model(&parent, &references, Place::Cluster).expect("valid");
        let observed = ObservedModel { provider_ready, told, gateways, ..seen(&[old("1", "parent", 1)]) };
        let plan = plan::model(&valid, &observed, &images());
        assert_eq!(plan.removals.len(), going, "{replicas} {provider_ready} {told:?}: {:?}", plan.removals);
        let stays = plan.decisions.iter().any(|decision| decision.what == "engine pods of m stay for now");
        assert_eq!(stays, going == 0);
    }
}

#[tokio::test]
async fn children_that_are_not_there_are_made_the_address_first() {
    let case = Case::new().await;
    case.apply(&seen(&[])).await.expect("applied");
    let writes = case.server.writes();
    assert_eq!(writes.len(), 2, "{writes:?}");
    assert!(writes[0].starts_with("PATCH") && writes[0].ends_with("services/m-engine"), "{writes:?}");
    assert!(writes[1].starts_with("PATCH") && writes[1].contains("deployments/m-"), "{writes:?}");
}

#[tokio::test]
async fn a_spec_that_is_old_by_now_is_never_written() {
    let case = Case::new().await;
    for newer in [model(2), {
        let mut other = model(1);
        other["metadata"]["uid"] = json!("another");
        other
    }] {
        case.server.put(PARENT, newer);
        let result = case.apply(&seen(&[old("1", "parent", 0)])).await;
        assert!(matches!(result, Err(ApplyError::StaleParent)), "{result:?}");
    }
    let mut leaving = model(1);
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    case.server.put(PARENT, leaving);
    assert!(matches!(case.apply(&seen(&[])).await, Err(ApplyError::StaleParent)));
    assert_eq!(case.server.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn who_does_not_lead_writes_nothing() {
    let case = Case::led_by(Leadership::none());
    let result = case.apply(&seen(&[])).await;
    assert!(matches!(result, Err(ApplyError::Call(apply::CallError::NotLeading))), "{result:?}");
    assert_eq!(case.server.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn an_old_revision_that_answers_after_all_is_not_deleted() {
    let case = Case::new().await;
    case.server.put(OLD, old("1", "parent", 1));
    let result = case.apply(&seen(&[old("1", "parent", 0)])).await;
    assert!(matches!(result, Err(ApplyError::GuardBroken { .. })), "{result:?}");
    assert!(!case.server.writes().iter().any(|write| write.starts_with("DELETE")));
}

#[tokio::test]
async fn a_later_object_of_the_same_name_is_not_deleted() {
    for other in [old("2", "parent", 0), old("1", "somebody", 0)] {
        let case = Case::new().await;
        case.server.put(OLD, other);
        case.apply(&seen(&[old("1", "parent", 0)])).await.expect("nothing to do");
        assert!(
            !case.server.writes().iter().any(|write| write.starts_with("DELETE")),
            "{:?}",
            case.server.writes()
        );
    }
}

/// The plan of a model whose profile names a device class.
fn claiming() -> ModelPlan {
    let profile = json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ResourceProfile",
        "metadata": {"name": "p"}, "spec": {"cpu": "1", "memory": "1Gi", "gpu": {"deviceClass": "gpu.nvidia.com"}}});
    let mut parent = model(1);
    parent["spec"]["openWeights"]["resources"] = json!({"profile": "p"});
    let parent: ModelDeployment = serde_json::from_value(parent).expect("a model");
    let references = ModelReferences {
        profile: Named::Found(serde_json::from_value(profile).expect("a profile")),
        ..ModelReferences::NOTHING
    };
    let valid = validate::model(&parent, &references, Place::Cluster).expect("valid");
    plan::model(&valid, &seen(&[]), &images())
}

#[tokio::test]
async fn a_template_of_claims_is_made_before_the_deployment_that_names_it() {
    let case = Case::new().await;
    apply::model(&mut Pass::new(&case.means, &case.owner), &claiming(), &seen(&[])).await.expect("applied");
    let writes = case.server.writes();
    let place = |kind: &str| writes.iter().position(|write| write.contains(kind));
    assert!(place("/resource.k8s.io/v1/namespaces/n/resourceclaimtemplates/m-gpu-").is_some(), "{writes:?}");
    assert!(place("/resourceclaimtemplates/") < place("/deployments/"), "{writes:?}");
}

#[tokio::test]
async fn a_cluster_without_claims_is_said_with_what_to_do_and_gets_no_pods() {
    let case = Case::new().await;
    case.server.serves_no("/apis/resource.k8s.io/");
    let applied = apply::model(&mut Pass::new(&case.means, &case.owner), &claiming(), &seen(&[])).await;
    let refusal = applied.expect_err("no such API").refusal().expect("people can mend it");
    assert_eq!(refusal.reason, Reason::ChildRefused);
    for words in
        ["gpu.deviceClass", "does not serve resource.k8s.io/v1", "Kubernetes 1.34", "name gpu.resource"]
    {
        assert!(refusal.message.contains(words), "{words}: {refusal}");
    }
    assert!(!case.server.writes().iter().any(|write| write.contains("/deployments/")));
}

/// By an old view of the profile, the revision that answers would be an old one.
#[tokio::test]
async fn by_replace_nothing_goes_where_the_profile_is_another_by_now() {
    for (generation, goes) in [(4, true), (5, false)] {
        let case = Case::new().await;
        let profile = |generation: i64| {
            json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ResourceProfile",
                "metadata": {"name": "p", "uid": "q", "generation": generation}, "spec": {"cpu": "1", "memory": "1Gi"}})
        };
        let mut parent = model(1);
        parent["spec"]["rollout"] = json!({"strategy": "Replace"});
        parent["spec"]["openWeights"]["resources"] = json!({"profile": "p"});
        let parent: ModelDeployment = serde_json::from_value(parent).expect("a model");
        let references = ModelReferences {
            profile: Named::Found(serde_json::from_value(profile(4)).expect("a profile")),
            ..ModelReferences::NOTHING
        };
        let valid = validate::model(&parent, &references, Place::Cluster).expect("valid");
        let observed = seen(&[old("1", "parent", 1)]);
        case.server.put(OLD, old("1", "parent", 1));
        case.server.put("/apis/serving.weighbridge.dev/v1alpha1/resourceprofiles/p", profile(generation));
        let plan = plan::model(&valid, &observed, &images());
        let applied =
            apply::model(&mut Pass::new(&case.means, &case.owner), &plan, &observed).await.map(drop);
        let deleted = case.server.writes().contains(&format!("DELETE {OLD}"));
        assert_eq!((applied.is_ok(), deleted), (goes, goes), "{applied:?}");
        assert!(goes || matches!(applied, Err(ApplyError::GuardBroken { .. })), "{applied:?}");
    }
}

#[tokio::test]
async fn an_old_revision_that_answers_nothing_is_deleted_at_once() {
    let case = Case::new().await;
    case.server.put(OLD, old("1", "parent", 0));
    case.apply(&seen(&[old("1", "parent", 0)])).await.expect("applied");
    assert!(case.server.writes().contains(&format!("DELETE {OLD}")), "{:?}", case.server.writes());
}

#[tokio::test]
async fn a_replacement_that_lost_its_pods_meanwhile_saves_the_old_revision() {
    let case = Case::new().await;
    let name =
        case.plan(&seen(&[])).children.deployment.and_then(|child| child.metadata.name).expect("a name");
    let new = |ready: i32| {
        let mut new = old("9", "parent", ready);
        new["metadata"]["name"] = json!(name);
        new
    };
    let observed = seen(&[old("1", "parent", 1), new(1)]);
    assert_eq!(case.plan(&observed).removals.len(), 1, "the plan wants the old one gone");
    case.server.put(OLD, old("1", "parent", 1));
    case.server.put(&format!("/apis/apps/v1/namespaces/n/deployments/{name}"), new(0));
    let result = case.apply(&observed).await;
    assert!(matches!(result, Err(ApplyError::GuardBroken { .. })), "{result:?}");
    assert!(!case.server.writes().iter().any(|write| write.starts_with("DELETE")));
}

#[tokio::test]
async fn a_foreign_object_with_a_childs_name_is_not_taken() {
    let case = Case::new().await;
    case.server.put(
        "/api/v1/namespaces/n/services/m-engine",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m-engine", "namespace": NAMESPACE, "uid": "theirs"}}),
    );
    let error = case.apply(&seen(&[])).await.expect_err("not ours");
    assert!(matches!(error, ApplyError::NotOwned { .. }), "{error}");
    assert_eq!(case.server.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn on_a_first_look_what_no_view_shows_is_made_unasked_and_nothing_of_others_is_taken() {
    let case = Case::new().await;
    let look = || async {
        let (plan, observed) = (case.plan(&seen(&[])), seen(&[]));
        let mut pass = Pass::new(&case.means, &case.owner);
        pass.look_ahead().await;
        apply::model(&mut pass, &plan, &observed).await.map(drop)
    };
    let reads = case.server.reads();
    look().await.expect("applied");
    assert_eq!(case.server.reads() - reads, 1, "the parent alone is read");
    assert_eq!(case.server.writes().len(), 2, "{:?}", case.server.writes());
    let theirs = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "m-engine", "namespace": NAMESPACE, "uid": "theirs", "resourceVersion": "9"}});
    case.server.put("/api/v1/namespaces/n/services/m-engine", theirs);
    let error = look().await.expect_err("not ours");
    assert!(matches!(error, ApplyError::NotOwned { .. }), "{error}");
    assert_eq!(case.server.writes().len(), 2, "{:?}", case.server.writes());
    case.server.put(PARENT, model(2));
    assert!(matches!(look().await, Err(ApplyError::StaleParent)));
    assert_eq!(case.server.writes().len(), 2, "{:?}", case.server.writes());
}

#[tokio::test]
async fn a_webhook_that_changes_what_we_ask_is_asked_once() {
    let case = Case::new().await;
    let wanted = case.plan(&seen(&[])).children;
    let mut theirs = serde_json::to_value(wanted.service.expect("a Service")).expect("JSON");
    theirs["metadata"]["uid"] = json!("1");
    theirs["spec"]["type"] = json!("NodePort");
    case.server.put("/api/v1/namespaces/n/services/m-engine", theirs.clone());
    // This server echoes what it is sent, so the first call ends as asked; then the webhook's server:
    let pass = || async { case.apply(&seen(&[])).await.expect("applied") };
    pass().await;
    let services = |writes: &[String]| writes.iter().filter(|write| write.contains("services")).count();
    assert_eq!(services(&case.server.writes()), 1);
    case.means.settled.remember(
        "1",
        &serde_json::to_value(case.plan(&seen(&[])).children.service).expect("JSON"),
        &theirs,
    );
    pass().await;
    assert_eq!(services(&case.server.writes()), 1, "it was asked again");
}
