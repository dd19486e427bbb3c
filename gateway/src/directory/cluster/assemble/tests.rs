use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::facts::{Change, Facts};
use super::*;

fn guarded<K: DeserializeOwned + kube::Resource>(object: Value) -> DeserializeGuard<K> {
    serde_json::from_value(object).expect("has metadata")
}

fn model(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "team", "creationTimestamp": "2026-11-24T00:00:00Z"},
        "spec": spec,
    })
}

fn open_weights() -> Value {
    json!({"openWeights": {"source": "hf://org/repo/file.gguf"}})
}

fn slice(name: &str, label: &str, owner: &str, endpoints: Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "team", "labels": {label: owner}},
        "ports": [{"name": "metrics", "port": 9090}, {"name": "http", "port": 8000}],
        "endpoints": endpoints,
    })
}

/// Facts where every kind was listed: these models, one provider `acme`, and these slices.
fn facts(models: Vec<Value>, engines: Vec<Value>, proxies: Vec<Value>) -> Facts {
    let mut facts = Facts::default();
    let provider = json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider",
        "metadata": {"name": "acme", "namespace": "team"},
        "spec": {"kind": "OpenAICompatible", "baseURL": "https://acme.example/v1",
                 "apiKeys": [{"name": "s", "key": "k"}]},
    });
    facts.apply(Change::Provider(Event::Init));
    facts.apply(Change::Provider(Event::InitApply(guarded(provider))));
    facts.apply(Change::Provider(Event::InitDone));
    facts.apply(Change::Model(Event::Init));
    for model in models {
        facts.apply(Change::Model(Event::InitApply(guarded(model))));
    }
    facts.apply(Change::Model(Event::InitDone));
    facts.apply(Change::EngineSlice(Event::Init));
    for slice in engines {
        facts.apply(Change::EngineSlice(Event::InitApply(guarded(slice))));
    }
    facts.apply(Change::EngineSlice(Event::InitDone));
    facts.apply(Change::ProxySlice(Event::Init));
    for slice in proxies {
        facts.apply(Change::ProxySlice(Event::InitApply(guarded(slice))));
    }
    facts.apply(Change::ProxySlice(Event::InitDone));
    facts
}

fn addresses(entry: &Entry) -> Vec<String> {
    entry.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
}

#[test]
fn an_open_model_answers_at_its_ready_engine_pods_only() {
    let endpoints = json!([
        {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "m-a"}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
        {"addresses": ["10.0.0.3"], "conditions": {"ready": true, "terminating": true}},
        {"addresses": ["10.0.0.4"]},
        {"addresses": ["pod.example"], "conditions": {"ready": true}},
    ]);
    let facts = facts(
        vec![model("m", open_weights())],
        vec![
            slice("m-1", labels::MODEL, "m", endpoints.clone()),
            slice("m-2", labels::MODEL, "m", endpoints),
        ],
        vec![],
    );
    let entries = entries(&facts);
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(addresses(entry), ["10.0.0.1:8000", "10.0.0.4:8000"]);
    assert_eq!(entry.endpoints[0].name, "m-a");
    assert!(entry.endpoints.iter().all(|endpoint| {
        endpoint.identity == Some(Identity::Engine { namespace: "team".into(), name: "m".into() })
    }));
    assert_eq!((entry.world, entry.upstream_model.as_str()), (World::Open, "team/m"));
}

#[test]
fn an_external_model_answers_at_its_providers_proxy() {
    let endpoints = json!([{"addresses": ["10.0.1.1"], "conditions": {"ready": true}}]);
    let external = |provider: &str| json!({"external": {"provider": provider, "model": "gpt-x"}});
    let facts = facts(
        vec![model("a", external("acme")), model("b", external("gone"))],
        vec![],
        vec![
            slice("p", labels::PROVIDER, "acme", endpoints.clone()),
            slice("q", labels::PROVIDER, "gone", endpoints),
        ],
    );
    let entries = entries(&facts);
    assert_eq!(addresses(&entries[0]), ["10.0.1.1:8000"]);
    let proxy = Identity::Proxy { namespace: "team".into(), name: "acme".into() };
    assert_eq!(entries[0].endpoints[0].identity, Some(proxy), "the provider's, whatever the model is called");
    assert_eq!((entries[0].provider.as_deref(), entries[0].upstream_model.as_str()), (Some("acme"), "gpt-x"));
    assert!(entries[1].endpoints.is_empty());
    let missing = Absence::lasting("provider_not_found", "ExternalProvider `gone` does not exist");
    assert_eq!(entries[1].absence, missing);
}

#[test]
fn what_a_providers_owner_demands_goes_with_its_models() {
    let external = json!({"external": {"provider": "acme", "model": "gpt-x"}});
    let mut facts = facts(vec![model("a", external)], vec![], vec![]);
    assert_eq!(entries(&facts)[0].data_policy, None);
    let demanding = json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider",
        "metadata": {"name": "acme", "namespace": "team"},
        "spec": {"kind": "Anthropic", "dataPolicy": {"region": "us"}, "apiKeys": [{"name": "s", "key": "k"}]},
    });
    facts.apply(Change::Provider(Event::Apply(guarded(demanding))));
    let policy = entries(&facts)[0].data_policy.clone().expect("a policy");
    let fields = policy.fields(weighbridge_wire::lane::Operation::Messages).expect("enforced");
    assert_eq!(fields, [("inference_geo", json!("us"))]);
    assert!(policy.withholds(), "unless its owner says otherwise");
}

/// While a proxy is replaced because its cloud's region is another, the one before it must not be called.
#[test]
fn a_clouds_models_are_called_at_their_places_host() {
    let external = json!({"external": {"provider": "acme", "model": "us.amazon.nova-x"}});
    let mut facts = facts(vec![model("a", external)], vec![], vec![]);
    let mut host = |base_url: Option<&str>| {
        let mut spec = json!({"kind": "Bedrock", "bedrock": {"region": "eu-west-1"}, "apiKeys": [{"name": "s", "key": "k"}]});
        if let Some(url) = base_url {
            spec["baseURL"] = json!(url);
        }
        let provider = json!({
            "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider",
            "metadata": {"name": "acme", "namespace": "team"}, "spec": spec,
        });
        facts.apply(Change::Provider(Event::Apply(guarded(provider))));
        entries(&facts)[0].data_policy.clone().and_then(|policy| policy.host().map(str::to_owned))
    };
    assert_eq!(host(None).as_deref(), Some("bedrock-runtime.eu-west-1.amazonaws.com"));
    assert_eq!(host(Some("https://vpce.example.com")), None);
}

#[test]
fn an_external_model_at_zero_is_not_routed_though_its_proxy_answers() {
    let endpoints = json!([{"addresses": ["10.0.1.1"], "conditions": {"ready": true}}]);
    let at = |replicas: i32| {
        let spec = json!({"external": {"provider": "acme", "model": "gpt-x"}, "replicas": replicas});
        let proxy = slice("p", labels::PROVIDER, "acme", endpoints.clone());
        let mut entries = entries(&facts(vec![model("a", spec)], vec![], vec![proxy]));
        entries.pop().expect("one model")
    };
    let (asleep, awake) = (at(0), at(1));
    assert_eq!((asleep.world, asleep.provider.as_deref()), (World::Closed, Some("acme")));
    assert!(asleep.endpoints.is_empty());
    let Absence::Lasting { code, why } = asleep.absence else { panic!("{:?}", asleep.absence) };
    assert!(code == "model_out_of_service" && why.contains("scaled to zero"), "{code} {why}");
    assert_eq!(addresses(&awake).len(), 1);
}

/// What becomes of a request while nothing answers: `said` are conditions with their status, reason and generation.
fn absence(spec: Value, said: &[(&str, &str, &str, i64)]) -> Absence {
    let condition = |(type_, status, reason, generation): &(&str, &str, &str, i64)| {
        json!({"type": type_, "status": status, "reason": reason, "observedGeneration": generation,
               "message": "of Secret `private`", "lastTransitionTime": "2026-11-24T00:00:00Z"})
    };
    let mut model = model("m", spec);
    model["metadata"]["generation"] = json!(2);
    model["status"] = json!({"conditions": said.iter().map(condition).collect::<Vec<_>>()});
    let mut entries = entries(&facts(vec![model], vec![], vec![]));
    entries.pop().expect("one model").absence
}

#[test]
fn a_model_that_is_to_come_is_waited_for_one_that_sleeps_is_woken_and_one_that_is_refused_is_neither() {
    let refused = ("Accepted", "False", "SecretNotFound", 2);
    let lasting = Absence::lasting(
        "model_not_accepted",
        "its ModelDeployment is not accepted (SecretNotFound); its status says more",
    );
    let external = json!({"external": {"provider": "acme", "model": "gpt-x"}});
    let mut asleep = open_weights();
    asleep["replicas"] = json!(0);
    for spec in [open_weights(), asleep.clone(), external.clone()] {
        assert_eq!(absence(spec, &[refused]), lasting);
    }
    // A condition speaks of the spec that the operator saw.
    for said in [&[("Accepted", "False", "SecretNotFound", 1)][..], &[("Accepted", "Unknown", "x", 2)], &[]] {
        assert_eq!(absence(asleep.clone(), said), Absence::Asleep);
        assert_eq!(absence(open_weights(), said), Absence::expected());
    }
    let words =
        |spec| match absence(spec, &[("Accepted", "True", "Valid", 2), ("Ready", "False", "ImagePull", 2)]) {
            Absence::Expected(words) => words,
            other => panic!("{other:?}"),
        };
    assert_eq!(words(open_weights()), "none of its replicas is ready (ImagePull)");
    // While one revision makes room for the next, requests wait as for any pod that is to come.
    let said = [("Accepted", "True", "Valid", 2), ("Ready", "False", "WaitingForOldPods", 2)];
    let waits = Absence::Expected("none of its replicas is ready (WaitingForOldPods)".to_owned());
    assert_eq!(absence(open_weights(), &said), waits);
    assert_eq!(words(external), "the proxy of ExternalProvider `acme` is not ready (ImagePull)");
}

#[test]
fn what_the_spec_says_of_waiting_is_in_the_entry() {
    let mut spec = open_weights();
    spec["hold"] = json!({"maxWait": "1m30s", "maxQueued": 7});
    let entries = entries(&facts(vec![model("m", spec), model("n", open_weights())], vec![], vec![]));
    let waits = |entry: &Entry| (entry.hold.max_wait.get().as_secs(), entry.hold.max_queued);
    assert_eq!((waits(&entries[0]), waits(&entries[1])), ((90, 7), (120, 256)));
}

#[test]
fn gateways_are_counted_by_their_pods() {
    let mut facts = facts(vec![], vec![], vec![]);
    assert_eq!(gateways(&facts), 0, "nobody knows");
    let pod = |name: &str, address: &str, conditions: Value| json!({"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": name}});
    let ready = || json!({"ready": true});
    let four = json!([
        pod("a", "10.0.0.1", ready()),
        pod("b", "10.0.0.2", ready()),
        pod("c", "10.0.0.3", json!({"ready": false})),
        pod("d", "10.0.0.4", json!({"ready": true, "terminating": true})),
    ]);
    let six = json!([pod("a", "fd00::1", ready()), pod("b", "fd00::2", ready())]);
    for (name, endpoints) in [("four", four), ("six", six)] {
        let slice = slice(name, "kubernetes.io/service-name", "gateway", endpoints);
        facts.apply(Change::GatewaySlice(Event::Apply(guarded(slice))));
    }
    assert_eq!(gateways(&facts), 2, "each once, though it has two addresses");
}

/// Its pods answer until they have ended, and a proxy answers on.
#[test]
fn a_suspended_model_is_routed_nowhere_in_either_world() {
    let endpoints = || json!([{"addresses": ["10.0.1.1"], "conditions": {"ready": true}}]);
    for serve in ["OpenWeights", "External"] {
        let at = |suspend: bool| {
            let spec = json!({"serve": serve, "suspend": suspend, "replicas": 2,
                "openWeights": {"source": "hf://o/r/f.gguf"}, "external": {"provider": "acme", "model": "gpt-x"}});
            let engine = slice("e", labels::MODEL, "m", endpoints());
            let proxy = slice("p", labels::PROVIDER, "acme", endpoints());
            entries(&facts(vec![model("m", spec)], vec![engine], vec![proxy])).remove(0)
        };
        let (suspended, active) = (at(true), at(false));
        assert!(suspended.endpoints.is_empty(), "{suspended:?}");
        assert_eq!(suspended.absence, Absence::Suspended);
        assert!(active.absence != Absence::Suspended && !active.endpoints.is_empty(), "{active:?}");
    }
}

/// `serve` and what the operator says that calls go to, with an engine pod and a proxy ready or not.
#[test]
fn the_world_before_is_called_until_the_next_one_can_answer() {
    let (open, closed) = (World::Open, World::Closed);
    let endpoints = |ready: bool| json!([{"addresses": ["10.0.1.1"], "conditions": {"ready": ready}}]);
    let both = json!({"openWeights": {"source": "hf://o/r/f.gguf"}, "external": {"provider": "acme", "model": "gpt-x"}});
    for (serve, served, engine, proxy, fields, expected, answers) in [
        ("External", Some("Open"), true, true, json!({}), open, true),
        ("External", Some("Open"), true, false, json!({}), open, true),
        ("OpenWeights", Some("Closed"), true, true, json!({}), closed, true),
        ("OpenWeights", Some("Closed"), false, true, json!({}), closed, true),
        // What can't answer leaves its place, at once.
        ("External", Some("Open"), false, true, json!({}), closed, true),
        ("External", Some("Open"), false, false, json!({}), closed, false),
        ("OpenWeights", Some("Closed"), true, false, json!({}), open, true),
        ("OpenWeights", Some("Closed"), false, false, json!({}), open, false),
        // Nobody says: the spec counts. Nor is one world ever called because the other one fails.
        ("External", None, true, false, json!({}), closed, false),
        ("External", Some("Closed"), true, false, json!({}), closed, false),
        ("OpenWeights", Some("Open"), false, true, json!({}), open, false),
        ("OpenWeights", Some("Borrowed"), false, true, json!({}), open, false),
        // The spec says that the world before must not.
        ("OpenWeights", Some("Closed"), false, true, json!({"suspend": true}), open, false),
        ("OpenWeights", Some("Closed"), false, true, json!({"replicas": 0}), open, false),
        ("OpenWeights", Some("Closed"), false, true, json!({"external": null}), open, false),
        ("External", Some("Open"), true, false, json!({"openWeights": null}), closed, false),
    ] {
        let mut spec = both.clone();
        spec["serve"] = json!(serve);
        spec.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
        let mut model = model("m", spec);
        if let Some(backend) = served {
            model["status"] = json!({"served": {"backend": backend, "model": "what was"}});
        }
        let slices = (
            slice("e", labels::MODEL, "m", endpoints(engine)),
            slice("p", labels::PROVIDER, "acme", endpoints(proxy)),
        );
        let entry = entries(&facts(vec![model], vec![slices.0], vec![slices.1])).remove(0);
        let found = (entry.world, !entry.endpoints.is_empty());
        assert_eq!(found, (expected, answers), "{serve} {served:?} {engine} {proxy} {fields}");
    }
}

#[test]
fn a_revision_on_trial_gets_the_share_that_the_status_says_in_the_open_world_alone() {
    let split = |spec: Value, rollout: Value| {
        let mut model = model("m", spec);
        model["status"] = json!({"rollout": rollout});
        entries(&facts(vec![model], vec![], vec![])).remove(0).split
    };
    let trial = |phase: &str, traffic: i32| {
        json!({"phase": phase, "stable": "old", "canary": "new", "step": 2, "traffic": traffic, "progress": "",
            "begunAt": "2026-01-01T00:00:00Z"})
    };
    let measuring = split(open_weights(), trial("Measuring", 10)).expect("a trial");
    assert_eq!((measuring.stable.as_str(), measuring.canary.as_str(), measuring.traffic), ("old", "new", 10));
    assert_eq!(measuring.key.map(|key| key.step), Some(2));
    // What is aborted gets nothing while its pods are there, and nothing is counted of it.
    let aborted = split(open_weights(), trial("Aborted", 0)).expect("a trial");
    assert_eq!((aborted.traffic, aborted.key), (0, None));
    assert_eq!(split(open_weights(), trial("Promoting", 300)).map(|of| of.traffic), Some(100));
    assert_eq!(split(open_weights(), trial("Preparing", -1)).map(|of| of.traffic), Some(0));
    assert_eq!(split(open_weights(), Value::Null), None);
    let external = json!({"external": {"provider": "acme", "model": "x"}});
    assert_eq!(split(external, trial("Measuring", 10)), None);
}

#[test]
fn serve_chooses_between_two_arms() {
    let spec = json!({
        "serve": "External", "openWeights": {"source": "hf://o/r/f.gguf"},
        "external": {"provider": "acme", "model": "gpt-x"},
    });
    let entries = entries(&facts(vec![model("m", spec)], vec![], vec![]));
    assert_eq!(entries[0].world, World::Closed);
}

#[test]
fn a_malformed_object_stalls_no_other_and_keeps_its_last_state() {
    let mut facts = facts(
        vec![
            model("good", open_weights()),
            model("neither", json!({})),
            model("broken", json!({"replicas": "x"})),
        ],
        vec![],
        vec![],
    );
    assert!(facts.complete());
    assert_eq!(entries(&facts).len(), 1);
    facts.apply(Change::Model(Event::Apply(guarded(model("good", json!({"serve": 7}))))));
    facts.apply(Change::Model(Event::Apply(guarded(model("later", open_weights())))));
    let names: Vec<_> = entries(&facts).into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["good", "later"]);
}

#[test]
fn a_relist_hides_nothing_until_it_is_complete() {
    let mut facts = facts(vec![model("m", open_weights()), model("n", open_weights())], vec![], vec![]);
    facts.apply(Change::Model(Event::Init));
    assert_eq!(entries(&facts).len(), 2);
    facts.apply(Change::Model(Event::InitApply(guarded(model("m", open_weights())))));
    assert_eq!(entries(&facts).len(), 2);
    facts.apply(Change::Model(Event::InitDone));
    assert_eq!(entries(&facts).len(), 1);
    facts.apply(Change::Model(Event::Delete(guarded(model("m", open_weights())))));
    assert!(entries(&facts).is_empty());
}

#[test]
fn nothing_is_complete_before_every_kind_was_listed() {
    let mut facts = Facts::default();
    facts.apply(Change::Model(Event::Init));
    facts.apply(Change::Model(Event::InitDone));
    assert!(!facts.complete());
}
