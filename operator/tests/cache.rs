//! What a ModelCache holds, fetches and lets go, and what its models make of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A fixture that can't be read fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;
use serde_json::{Value, json};
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{CacheEntry, EntryState, ModelCache, ModelDeployment, OpenWeights, labels};
use weighbridge_operator::plan::{
    self, Bounds, CachePlan, ClaimSeen, Images, JobSeen, JobState, ObservedCache, ObservedModel, Progress,
    Proxies, PullPolicy, Work, backoff, restricted,
};
use weighbridge_operator::status::{self, CacheOutcome};
use weighbridge_operator::validate::{
    self, Asker, CacheAsked, CacheReferences, CacheSeen, Fetched, KeyLookup, ModelReferences, Named, Place,
    Refusal, Right, ValidatedCache,
};

const A: &str = "hf://org/repo/a.gguf";
const B: &str = "hf://org/repo/b.gguf";

fn images() -> Images {
    Images {
        inference_server: "images.example/inference-server:1".to_owned(),
        gateway: "images.example/gateway:1".to_owned(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: vec!["pull".to_owned()],
        gateway_namespace: "weighbridge-system".to_owned(),
        operator_namespace: "weighbridge-system".to_owned(),
        bounds: Bounds::default(),
        proxies: Proxies::default(),
    }
}

fn cache(spec: Value) -> ModelCache {
    serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelCache",
        "metadata": {"name": "store", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec}))
    .unwrap()
}

fn made() -> Value {
    json!({"claim": {"size": "10Gi"}, "maxSize": "1k"})
}

fn weights(fields: Value) -> OpenWeights {
    serde_json::from_value(fields).unwrap()
}

fn right(token: KeyLookup) -> Right {
    Right::Looked { token, credentials: Vec::new() }
}

fn asks(source: &str) -> CacheAsked {
    asks_with(weights(json!({"source": source, "cache": "store"})), KeyLookup::Unnamed)
}

fn asks_with(weights: OpenWeights, token: KeyLookup) -> CacheAsked {
    CacheAsked { by: Asker::Model("m".to_owned()), weights, right: right(token) }
}

/// With each key of a Secret that gives access.
fn asks_with_access(by: Asker, weights: OpenWeights) -> CacheAsked {
    let credentials = weights.needed_credentials().iter().map(|_| KeyLookup::Present).collect();
    CacheAsked { by, weights, right: Right::Looked { token: KeyLookup::Unnamed, credentials } }
}

fn prefetches(item: &Value) -> CacheAsked {
    let cache = cache(json!({"claim": {"name": "c"}, "prefetch": [item]}));
    asks_with_access(Asker::Prefetch(0), validate::as_weights(&cache.spec.prefetch[0]))
}

fn entry_of(source: &str) -> String {
    Fetched::asked(&weights(json!({"source": source})), &right(KeyLookup::Unnamed)).unwrap().model.entry()
}

fn valid(spec: Value, asked: Vec<CacheAsked>) -> ValidatedCache {
    validate::cache(&cache(spec), &CacheReferences { asked }).unwrap()
}

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn bound() -> ObservedCache {
    let claim = Some(ClaimSeen { uid: "c".to_owned(), trouble: None });
    ObservedCache { claim, ..ObservedCache::default() }
}

fn planned(asked: Vec<CacheAsked>, observed: &ObservedCache) -> CachePlan {
    plan::cache(&valid(made(), asked), observed, &images(), now())
}

fn recorded(source: &str, state: &str, fields: Value) -> CacheEntry {
    let mut entry = json!({"name": entry_of(source), "source": source, "state": state});
    entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(entry).unwrap()
}

fn held(source: &str, bytes: i64, last_used: &str) -> CacheEntry {
    recorded(
        source,
        "Held",
        json!({"bytes": bytes, "totalBytes": bytes, "digest": "sha256:d",
        "lastUsed": format!("2026-05-{last_used}T00:00:00.000000Z")}),
    )
}

/// The Job that a plan makes for `source`, as seen in this state.
fn fetching(source: &str, failures: i32, state: JobState) -> JobSeen {
    let plan = planned(vec![asks(source)], &bound());
    let name = labels::fetch_job("store", &entry_of(source));
    let made_from = plan.jobs[0].labels()[labels::REVISION].clone();
    let work = Work::Fetch { entry: entry_of(source), source: source.to_owned(), revision: None, failures };
    JobSeen { name, uid: format!("job of {source}"), work, made_from, state }
}

fn evicting(sources: &[&str], state: JobState) -> JobSeen {
    let work = Work::Evict { entries: sources.iter().map(|source| entry_of(source)).collect() };
    JobSeen { name: "store-evict".to_owned(), uid: "e".to_owned(), work, made_from: String::new(), state }
}

fn states(plan: &CachePlan) -> Vec<(&str, EntryState)> {
    plan.entries.iter().map(|entry| (entry.source.as_str(), entry.state)).collect()
}

fn jobs(plan: &CachePlan) -> Vec<String> {
    plan.jobs.iter().map(ResourceExt::name_any).collect()
}

fn removed(plan: &CachePlan) -> Vec<&str> {
    plan.removals.iter().map(|removal| removal.name.as_str()).collect()
}

#[test]
fn each_source_is_fetched_once_whoever_asks_for_it() {
    let plan = planned(vec![asks(A), asks(B), asks(A)], &bound());
    assert_eq!(states(&plan), [(A, EntryState::Fetching), (B, EntryState::Fetching)]);
    assert_eq!(plan.jobs.len(), 2);
    let job = serde_json::to_value(&plan.jobs[0]).unwrap();
    let pod = &job["spec"]["template"]["spec"];
    let arguments = pod["containers"][0]["args"].as_array().unwrap();
    for wanted in [
        format!("--source={A}"),
        format!("--entry={}", entry_of(A)),
        "--cache-folder=/cache/weighbridge/store".to_owned(),
    ] {
        assert!(arguments.contains(&json!(wanted)), "{wanted}: {arguments:?}");
    }
    assert_eq!(pod["volumes"][0]["persistentVolumeClaim"]["claimName"], "store-cache");
    assert_eq!(job["metadata"]["ownerReferences"][0]["uid"], "u");
    let claim = serde_json::to_value(&plan.children.claim).unwrap();
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "10Gi");
    assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteMany"]));
    // Another revision, hub or digest is another entry, and another right to it is not.
    let digest = format!("sha256:{}", "0".repeat(64));
    let mut names = BTreeSet::from([entry_of(A)]);
    for fields in
        [json!({"revision": "v1"}), json!({"digest": digest}), json!({"hub": {"endpoint": "https://h"}})]
    {
        let mut all = json!({"source": A});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        names.insert(Fetched::asked(&weights(all), &right(KeyLookup::Unnamed)).unwrap().model.entry());
    }
    assert_eq!(names.len(), 4);
    let token = json!({"source": A, "hub": {"tokenSecret": {"name": "s", "key": "k"}}});
    let with = Fetched::asked(&weights(token), &right(KeyLookup::Present)).unwrap();
    assert_eq!(with.model.entry(), entry_of(A));
}

#[test]
fn a_claim_that_is_made_has_the_size_the_class_and_the_modes_that_are_asked_for() {
    let claim = |fields: Value| {
        let valid = valid(json!({ "claim": fields }), vec![]);
        let plan = plan::cache(&valid, &bound(), &images(), now());
        serde_json::to_value(&plan.children.claim).unwrap()["spec"].clone()
    };
    for size in ["1Gi", "20Gi"] {
        let made = claim(json!({ "size": size }));
        assert_eq!(made["resources"], json!({"requests": {"storage": size}}));
        assert_eq!(made["accessModes"], json!(["ReadWriteMany"]), "engines may be on any node");
        assert_eq!(made["storageClassName"], Value::Null, "the cluster's default");
    }
    let classed = claim(json!({"size": "1Gi", "storageClassName": "fast"}));
    assert_eq!(classed["storageClassName"], "fast");
    for modes in
        [json!(["ReadWriteOnce"]), json!(["ReadWriteMany"]), json!(["ReadWriteOnce", "ReadWriteMany"])]
    {
        assert_eq!(claim(json!({"size": "1Gi", "accessModes": modes}))["accessModes"], modes);
    }
}

/// A Job never changes: one that is asked for otherwise has another revision, by which it is made anew.
#[test]
fn what_a_source_is_fetched_with_is_its_jobs_and_goes_with_its_field() {
    let stored = json!({"source": "s3://bucket/m.gguf",
        "storage": {"endpoint": "https://s3.example.com", "region": "eu-west-1",
            "credentialsSecret": {"name": "account"}},
        "caCertificates": {"name": "authorities", "key": "bundle.pem"}});
    let secret = |key: &str| json!({"secret": {"name": "account", "items": [{"key": key, "path": key}]}});
    let mut keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(secret);
    keys[2]["secret"]["optional"] = json!(true);
    let credentials = json!({"name": "weighbridge-credentials",
        "projected": {"defaultMode": 0o440, "sources": keys}});
    let authorities = json!({"name": "weighbridge-authorities",
        "configMap": {"name": "authorities", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}});
    let mount = |name: &str, folder: &str| json!({"name": name, "mountPath": folder, "readOnly": true});
    // What takes a field away, the flag that it is, and the volume with its mount.
    let parts = [
        (json!({"storage": {"endpoint": null}}), "--storage-endpoint=https://s3.example.com", None),
        (json!({"storage": {"region": null}}), "--storage-region=eu-west-1", None),
        (
            json!({"storage": {"credentialsSecret": null}}),
            "--credentials-folder=/var/run/secrets/weighbridge/credentials",
            Some((credentials, mount("weighbridge-credentials", "/var/run/secrets/weighbridge/credentials"))),
        ),
        (
            json!({"caCertificates": null}),
            "--ca-file=/var/run/weighbridge/authorities/ca.crt",
            Some((authorities, mount("weighbridge-authorities", "/var/run/weighbridge/authorities"))),
        ),
    ];
    let job = |asked: Vec<CacheAsked>| -> Job {
        let mut jobs = planned(asked, &bound()).jobs;
        assert_eq!(jobs.len(), 1);
        jobs.remove(0)
    };
    let whole = job(vec![prefetches(&stored)]);
    let mut named = stored.clone();
    merge(&mut named, &json!({"cache": "store"}));
    let of_model = asks_with_access(Asker::Model("m".to_owned()), weights(named));
    assert_eq!(job(vec![of_model.clone()]), whole);
    assert_eq!(job(vec![prefetches(&stored), of_model]), whole, "one for both");

    for without in [None, Some(0), Some(1), Some(2), Some(3)] {
        let mut item = stored.clone();
        if let Some(part) = without {
            merge(&mut item, &parts[part].0);
        }
        let made = job(vec![prefetches(&item)]);
        let is_same = made.labels()[labels::REVISION] == whole.labels()[labels::REVISION];
        assert_eq!(is_same, without.is_none(), "{item}");
        let stays = parts.iter().enumerate().filter(|(part, _)| Some(*part) != without);
        let stays: Vec<_> = stays.map(|(_, part)| part).collect();
        let made = serde_json::to_value(&made).unwrap();
        let pod = &made["spec"]["template"]["spec"];
        let list = |value: &Value| value.as_array().unwrap().clone();
        let arguments = list(&pod["containers"][0]["args"]);
        let told: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
        assert_eq!(&told[..2], ["fetch", "--source=s3://bucket/m.gguf"]);
        let with = told[2..].iter().take_while(|flag| !flag.starts_with("--cache-folder="));
        let flags: Vec<&str> = stays.iter().map(|(_, flag, _)| *flag).collect();
        assert_eq!(with.copied().collect::<Vec<&str>>(), flags, "{item}");
        // The first is the cache's own claim.
        let mounted = stays.iter().filter_map(|(_, _, mounted)| mounted.clone());
        let (volumes, mounts): (Vec<Value>, Vec<Value>) = mounted.unzip();
        assert_eq!(list(&pod["volumes"])[1..], volumes[..], "{item}");
        assert_eq!(list(&pod["containers"][0]["volumeMounts"])[1..], mounts[..], "{item}");
    }
}

#[test]
fn an_image_volume_is_refused_and_an_artefact_of_the_same_source_is_fetched() {
    let item = |image_volume: bool| {
        json!({"source": "oci://registry.example.com/models/m:v1/m.gguf",
            "storage": {"imageVolume": image_volume}})
    };
    let plan = planned(vec![prefetches(&item(true))], &bound());
    assert_eq!((plan.entries[0].state, plan.jobs.len()), (EntryState::Refused, 0));
    let message = plan.entries[0].message.as_deref().unwrap();
    assert!(message.starts_with("prefetch[0].storage.imageVolume"), "{message}");
    let plan = planned(vec![prefetches(&item(false))], &bound());
    assert_eq!((plan.entries[0].state, plan.jobs.len()), (EntryState::Fetching, 1));
}

#[test]
fn every_pod_of_a_job_passes_pod_security_restricted_and_names_are_labels_of_dns() {
    let token = json!({"source": A, "hub": {"endpoint": "https://hub.example:8443", "tokenSecret": {"name": "s", "key": "k"}}});
    let old = held(B, 2000, "01");
    let evict = CacheEntry { state: EntryState::Evicting, ..old };
    let observed = ObservedCache { recorded: vec![evict], ..bound() };
    let plan = planned(vec![asks_with(weights(token), KeyLookup::Present)], &observed);
    assert_eq!(plan.jobs.len(), 2, "{:?}", jobs(&plan));
    for job in &plan.jobs {
        let template = &job.spec.as_ref().unwrap().template;
        let pod = template.spec.as_ref().unwrap();
        assert_eq!(restricted::violations(template.metadata.as_ref(), pod), Vec::<String>::new());
        assert!(pod.image_pull_secrets.is_some());
    }
    let token = serde_json::to_string(&plan.jobs[0]).unwrap();
    assert!(
        token.contains("HF_TOKEN") && !serde_json::to_string(&plan.jobs[1]).unwrap().contains("HF_TOKEN")
    );
    let longest = labels::fetch_job(&"a".repeat(40), &entry_of(A));
    assert!(longest.len() <= 63, "{longest}");
    let policy = serde_json::to_value(&plan.children.network_policy).unwrap();
    let ports: Vec<_> =
        policy["spec"]["egress"][1]["ports"].as_array().unwrap().iter().map(|port| &port["port"]).collect();
    assert_eq!(ports, [443, 8443]);
    assert_eq!(policy["spec"]["egress"][1]["to"][0]["ipBlock"]["except"], json!(["169.254.0.0/16"]));
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"][labels::CACHE_UID], "u");
}

#[test]
fn what_a_job_fetched_is_recorded_before_the_job_goes() {
    let done = JobState::Fetched { digest: Some("sha256:d".to_owned()), bytes: 700 };
    let mut observed = ObservedCache { jobs: vec![fetching(A, 0, done)], ..bound() };
    let plan = planned(vec![asks(A)], &observed);
    assert_eq!(states(&plan), [(A, EntryState::Held)]);
    assert_eq!((plan.entries[0].bytes, plan.entries[0].digest.as_deref()), (700, Some("sha256:d")));
    assert!(plan.removals.is_empty() && plan.jobs.is_empty());
    observed.recorded = plan.entries;
    let plan = planned(vec![asks(A)], &observed);
    assert_eq!(removed(&plan), [labels::fetch_job("store", &entry_of(A))]);
    assert_eq!(plan.entries, observed.recorded, "nothing is written twice");
    // Though nobody asks for it by now, it is there, and must be known to be.
    let unknown = ObservedCache { recorded: Vec::new(), ..observed.clone() };
    assert_eq!(states(&planned(vec![], &unknown)), [(A, EntryState::Held)]);
    observed.jobs.clear();
    assert!(planned(vec![asks(A)], &observed).jobs.is_empty(), "what is held is not fetched");
    // On a claim made anew nothing is.
    let another = ObservedCache { recorded: Vec::new(), jobs: Vec::new(), ..observed };
    assert_eq!(planned(vec![asks(A)], &another).jobs.len(), 1);
}

#[test]
fn bytes_and_trouble_of_a_job_that_runs_are_told() {
    let progress = Progress { bytes: 40, total: Some(100), per_second: Some(5) };
    let state = JobState::Running { progress: Some(progress), trouble: None };
    let plan = planned(vec![asks(A)], &ObservedCache { jobs: vec![fetching(A, 0, state)], ..bound() });
    let CacheEntry { bytes, total_bytes, bytes_per_second, reason, .. } = &plan.entries[0];
    assert_eq!((*bytes, *total_bytes, *bytes_per_second, reason), (40, Some(100), Some(5), &None));
    let trouble = Some(Refusal::new(Reason::ImagePull, "no such image"));
    let state = JobState::Running { progress: None, trouble };
    let observed = ObservedCache { jobs: vec![fetching(A, 0, state)], recorded: plan.entries, ..bound() };
    let plan = planned(vec![asks(A)], &observed);
    assert_eq!(plan.entries[0].reason.as_deref(), Some("ImagePull"));
    assert_eq!((plan.entries[0].bytes, plan.entries[0].bytes_per_second), (40, None));
    assert!(plan.removals.is_empty());
}

#[test]
fn a_job_that_failed_is_told_then_waited_for_and_then_made_anew() {
    let why = Refusal::new(Reason::NoSpace, "full");
    let failed = |minutes: i64| {
        let at = now() - SignedDuration::from_mins(minutes);
        ObservedCache { jobs: vec![fetching(A, 1, JobState::Failed { at, why: why.clone() })], ..bound() }
    };
    let long_ago = failed(600);
    let plan = planned(vec![asks(A)], &long_ago);
    let told = plan.entries[0].clone();
    assert_eq!((told.state, told.reason.as_deref(), told.failures), (EntryState::Failed, Some("NoSpace"), 2));
    assert!(plan.removals.is_empty(), "it is told first");
    let soon = ObservedCache { recorded: vec![told.clone()], ..failed(0) };
    let plan = planned(vec![asks(A)], &soon);
    assert!(plan.removals.is_empty() && plan.jobs.is_empty());
    assert_eq!(plan.look_again, Some(now() + backoff(2)));
    let due = ObservedCache { recorded: vec![told.clone()], ..long_ago };
    assert_eq!(removed(&planned(vec![asks(A)], &due)).len(), 1);
    let gone = ObservedCache { recorded: vec![told], ..bound() };
    let plan = planned(vec![asks(A)], &gone);
    assert_eq!(plan.jobs[0].labels()[labels::FAILURES], "2", "the next knows how many went before");
    assert!(backoff(1) < backoff(2) && backoff(90) == backoff(91));
}

#[test]
fn a_job_that_is_asked_for_otherwise_or_by_nobody_goes() {
    let running = || JobState::Running { progress: None, trouble: None };
    let observed = ObservedCache { jobs: vec![fetching(A, 0, running())], ..bound() };
    let token = json!({"source": A, "hub": {"tokenSecret": {"name": "s", "key": "k"}}});
    let plan = planned(vec![asks_with(weights(token.clone()), KeyLookup::Present)], &observed);
    assert_eq!((removed(&plan).len(), plan.jobs.len()), (1, 0), "made anew once it is gone");
    let plan = planned(vec![], &observed);
    assert_eq!((removed(&plan).len(), plan.entries.len()), (1, 0));
    // Who may not fetch it does not, and who may beside it does.
    let refused = asks_with(weights(token), KeyLookup::SecretMissing);
    let plan = planned(vec![refused.clone()], &observed);
    assert_eq!(states(&plan), [(A, EntryState::Refused)]);
    assert!(plan.entries[0].message.as_ref().unwrap().contains("ModelDeployment m"), "{:?}", plan.entries);
    assert_eq!(removed(&plan).len(), 1);
    let plan = planned(vec![refused, asks(A)], &bound());
    assert_eq!((states(&plan), plan.jobs.len()), (vec![(A, EntryState::Fetching)], 1));
}

#[test]
fn only_so_many_are_fetched_at_once() {
    let sources: Vec<String> = (0..7).map(|number| format!("hf://org/repo/{number}.gguf")).collect();
    let asked: Vec<_> = sources.iter().map(|source| asks(source)).collect();
    let plan = planned(asked.clone(), &bound());
    assert_eq!(plan.jobs.len(), 4);
    let waiting = plan.entries.iter().filter(|entry| entry.state == EntryState::Waiting).count();
    assert_eq!(waiting, 3);
    let running = || JobState::Running { progress: None, trouble: None };
    let jobs = sources[..4].iter().map(|source| fetching(source, 0, running())).collect();
    let observed = ObservedCache { jobs, recorded: plan.entries.clone(), ..bound() };
    let again = planned(asked, &observed);
    assert!(again.jobs.is_empty());
    assert_eq!(again.entries, plan.entries);
}

#[test]
fn the_oldest_that_nobody_needs_goes_and_is_looked_at_again_first() {
    let over = |recorded: Vec<CacheEntry>, jobs: Vec<JobSeen>, used: &[&str]| {
        let of = |source: &&str| (entry_of(source), BTreeSet::from(["m".to_owned()]));
        let used: BTreeMap<_, _> = used.iter().map(of).collect();
        ObservedCache { recorded, jobs, used, ..bound() }
    };
    let c = "hf://org/repo/c.gguf";
    let all = vec![held(A, 600, "02"), held(B, 600, "01"), held(c, 600, "03")];
    let plan = planned(vec![], &over(all.clone(), vec![], &[]));
    let gone = [(A, EntryState::Evicting), (B, EntryState::Evicting), (c, EntryState::Held)];
    assert_eq!(states(&plan), gone);
    assert!(plan.jobs.is_empty(), "it is told first");
    let marked = plan.entries;
    let plan = planned(vec![], &over(marked.clone(), vec![], &[]));
    assert_eq!(jobs(&plan), ["store-evict"]);
    let args = serde_json::to_string(&plan.jobs[0]).unwrap();
    let goes = |source: &str| args.contains(&format!("--entry={}", entry_of(source)));
    assert!(goes(A) && goes(B) && !goes(c));
    assert!(args.contains(&format!("--known={}", entry_of(c))), "what else is there is none of ours");
    // A pod began to use one meanwhile, and a model asks for the other.
    let plan = planned(vec![asks(B)], &over(marked.clone(), vec![], &[A]));
    assert_eq!(plan.jobs.len(), 0);
    let states_now = states(&plan);
    assert_eq!(&states_now[..2], [(A, EntryState::Held), (B, EntryState::Held)]);
    // What is used or asked for never goes, however much is held.
    let plan = planned(vec![asks(A), asks(B)], &over(all.clone(), vec![], &[c]));
    assert!(plan.entries.iter().all(|entry| entry.state == EntryState::Held));

    let job = |state| vec![evicting(&[A, B], state)];
    let running = JobState::Running { progress: None, trouble: None };
    let plan = planned(vec![], &over(marked.clone(), job(running), &[]));
    assert_eq!((states(&plan), plan.removals.len()), (gone.to_vec(), 0));
    let done = JobState::Evicted { kept: vec![entry_of(A)] };
    let plan = planned(vec![asks(B)], &over(marked.clone(), job(done.clone()), &[]));
    assert_eq!(states(&plan), [(A, EntryState::Held), (B, EntryState::Waiting), (c, EntryState::Held)]);
    assert!(plan.removals.is_empty() && plan.jobs.is_empty());
    let after = plan.entries;
    let plan = planned(vec![], &over(after.clone(), job(done), &[]));
    assert_eq!(removed(&plan), ["store-evict"]);
    // What was found to be read is left alone for a while.
    let plan = planned(vec![], &over(after, vec![], &[]));
    assert!(
        states(&plan).contains(&(A, EntryState::Held)) && states(&plan).contains(&(c, EntryState::Evicting))
    );
    let plan = planned(vec![], &over(plan.entries, vec![], &[c]));
    assert!(states(&plan).contains(&(A, EntryState::Held)) && plan.look_again.is_some());

    let why = Refusal::new(Reason::CrashLoop, "broken");
    let failed = JobState::Failed { at: now(), why };
    let plan = planned(vec![], &over(marked, job(failed), &[]));
    assert!(plan.removals.is_empty() && plan.entries[0].message.as_deref() == Some("broken"));
    // What a Job may have taken out halfway is fetched anew once somebody asks for it.
    let plan = planned(vec![asks(A)], &over(plan.entries, vec![], &[]));
    assert_eq!(states(&plan)[0], (A, EntryState::Waiting));
}

#[test]
fn what_is_fetched_counts_before_it_is_whole() {
    let progress = Progress { bytes: 10, total: Some(900), per_second: None };
    let state = JobState::Running { progress: Some(progress), trouble: None };
    let observed = ObservedCache {
        jobs: vec![fetching(A, 0, state)],
        recorded: vec![held(B, 600, "01"), recorded(A, "Fetching", json!({}))],
        ..bound()
    };
    let plan = planned(vec![asks(A)], &observed);
    assert_eq!(states(&plan), [(A, EntryState::Fetching), (B, EntryState::Evicting)]);
    let unbound = valid(json!({"claim": {"name": "c"}}), vec![asks(A)]);
    let plan = plan::cache(&unbound, &observed, &images(), now());
    assert_eq!(states(&plan)[1], (B, EntryState::Held), "without maxSize nothing goes");
    assert_eq!(plan.children.claim, None, "a claim of somebody is not made");
}

#[test]
fn when_an_entry_was_used_last_is_when_its_last_pod_went() {
    let used = CacheEntry { used_by: vec!["m".to_owned()], ..held(A, 6, "01") };
    let still = ObservedCache {
        recorded: vec![used.clone()],
        used: BTreeMap::from([(entry_of(A), BTreeSet::from(["m".to_owned()]))]),
        ..bound()
    };
    assert_eq!(planned(vec![], &still).entries, std::slice::from_ref(&used));
    let plan = planned(vec![], &ObservedCache { recorded: vec![used], ..bound() });
    assert_eq!(plan.entries[0].last_used.as_ref().map(|time| time.0), Some(now()));
    let settled = ObservedCache { recorded: plan.entries.clone(), ..bound() };
    let later =
        plan::cache(&valid(made(), vec![]), &settled, &images(), now() + SignedDuration::from_hours(1));
    assert_eq!(later.entries, plan.entries, "time alone writes nothing");
}

#[test]
fn a_claim_that_is_not_there_is_named_and_nothing_is_made() {
    let named = valid(json!({"claim": {"name": "weights"}}), vec![asks(A)]);
    let plan = plan::cache(&named, &ObservedCache::default(), &images(), now());
    assert!(plan.jobs.is_empty());
    let status = |valid: ValidatedCache, plan: CachePlan| {
        let claim = Some("c".to_owned());
        let outcome = CacheOutcome::Applied { valid: Box::new(valid), plan: Box::new(plan), claim };
        status::cache(&cache(made()), &outcome, now())
    };
    let said = status(named, plan);
    let ready = said.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "ClaimNotReady"));
    assert!(
        ready.message.contains("\"weights\"") && ready.message.contains("claim.size"),
        "{}",
        ready.message
    );
    let valid = valid(made(), vec![asks(A)]);
    let held = ObservedCache { recorded: vec![held(A, 2_000, "01")], ..bound() };
    let plan = plan::cache(&valid, &held, &images(), now());
    let said = status(valid, plan);
    assert_eq!(said.bytes, 2_000);
    let artifact = said.conditions.iter().find(|condition| condition.type_ == "ArtifactReady").unwrap();
    assert_eq!(artifact.status, "True");
    assert!(artifact.message.contains("more than maxSize"), "{}", artifact.message);
}

#[test]
fn prefetch_is_told_under_its_own_name() {
    let item = |fields: Value| {
        let spec = json!({"claim": {"name": "c"}, "prefetch": [fields]});
        let cache = cache(spec);
        let weights = validate::as_weights(&cache.spec.prefetch[0]);
        let token = if weights.hub.is_some() { KeyLookup::SecretMissing } else { KeyLookup::Unnamed };
        let credentials = weights.needed_credentials().iter().map(|_| KeyLookup::SecretMissing).collect();
        let right = Right::Looked { token, credentials };
        let asked = vec![CacheAsked { by: Asker::Prefetch(0), weights, right }];
        validate::cache(&cache, &CacheReferences { asked }).unwrap().wanted.remove(0).located
    };
    assert!(item(json!({"source": A})).is_ok());
    let hub = json!({"tokenSecret": {"name": "s", "key": "k"}});
    let account = json!({"credentialsSecret": {"name": "s"}});
    for (fields, words) in [
        (json!({"source": A, "hub": hub}), "prefetch[0].hub.tokenSecret"),
        (json!({"source": "s3://bucket/f", "storage": account}), "prefetch[0].storage.credentialsSecret"),
        (json!({"source": "pvc://c/f"}), "prefetch[0].source is on a claim"),
        (json!({"source": "ftp://h/f"}), "prefetch[0].source"),
    ] {
        let error = item(fields.clone()).unwrap_err();
        assert!(error.message.contains(words), "{fields}: {}", error.message);
    }
}

fn model(fields: Value) -> ModelDeployment {
    let mut spec = json!({"openWeights": {"source": A, "cache": "store"}});
    merge(&mut spec, &fields);
    serde_json::from_value(
        json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": "n", "uid": "v", "generation": 1}, "spec": spec}),
    )
    .unwrap()
}

fn merge(to: &mut Value, from: &Value) {
    match (to, from) {
        (Value::Object(to), Value::Object(from)) => {
            for (name, value) in from {
                merge(to.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (to, from) => *to = from.clone(),
    }
}

fn sees(entries: Option<Vec<CacheEntry>>, token: KeyLookup) -> ModelReferences {
    let cache = Named::Found(CacheSeen { claim: "store-cache".to_owned(), entries });
    ModelReferences { token, cache, ..ModelReferences::NOTHING }
}

#[test]
fn a_model_gets_its_pods_once_the_cache_holds_all_of_it_and_no_token() {
    let fields = json!({"openWeights": {"hub": {"tokenSecret": {"name": "s", "key": "k"}},
        "engine": {"adapters": [{"name": "tone", "source": B, "revision": "v1"}]}}});
    let asked = model(fields.clone()).spec.open_weights.unwrap();
    let fetched = Fetched::asked(&asked, &right(KeyLookup::Present)).unwrap();
    let names: Vec<_> = fetched.all().map(|located| located.entry()).collect();
    let entry = |name: &String, state: &str, more: Value| -> CacheEntry {
        let mut entry = json!({"name": name, "source": "s", "state": state, "bytes": 1_500_000_000, "digest": "sha256:d"});
        merge(&mut entry, &more);
        serde_json::from_value(entry).unwrap()
    };
    let plan_with = |entries: Vec<CacheEntry>, observed: &ObservedModel, fields: &Value| {
        let found = sees(Some(entries), KeyLookup::Present);
        plan::model(
            &validate::model(&model(fields.clone()), &found, Place::Cluster).unwrap(),
            observed,
            &images(),
        )
    };
    let nothing = ObservedModel::default();
    for (entries, reason, words) in [
        (vec![], Reason::Progressing, "has not looked at"),
        (
            vec![entry(&names[0], "Held", json!({}))],
            Reason::Progressing,
            "has not looked at hf://org/repo/b.gguf",
        ),
        (vec![entry(&names[0], "Waiting", json!({}))], Reason::Progressing, "when its turn comes"),
        (
            vec![entry(
                &names[0],
                "Fetching",
                json!({"totalBytes": 3_000_000_000_i64, "bytesPerSecond": 80_100_000}),
            )],
            Reason::Progressing,
            "1.5 GB of 3.0 GB, 80.1 MB/s",
        ),
        (vec![entry(&names[0], "Evicting", json!({}))], Reason::Progressing, "makes room"),
        (
            vec![entry(&names[0], "Failed", json!({"reason": "DigestMismatch", "message": "other bytes"}))],
            Reason::DigestMismatch,
            "tries again: other bytes",
        ),
    ] {
        let plan = plan_with(entries, &nothing, &fields);
        assert_eq!(plan.children.deployment, None);
        let missing = plan.missing.unwrap();
        assert_eq!(missing.reason, reason, "{}", missing.message);
        assert!(missing.message.contains(words), "{words}: {}", missing.message);
    }
    let all: Vec<_> = names.iter().map(|name| entry(name, "Held", json!({}))).collect();
    let plan = plan_with(all.clone(), &nothing, &fields);
    let deployment = plan.children.deployment.unwrap();
    let template = serde_json::to_value(deployment.spec.as_ref().map(|spec| &spec.template)).unwrap();
    assert!(!template.to_string().contains("HF_TOKEN"), "{template}");
    let arguments = template["spec"]["containers"][0]["args"].to_string();
    for wanted in [
        "--store=/store/weighbridge/store".to_owned(),
        format!("--entry={}", names[0]),
        format!("--adapter-entry=tone={}", names[1]),
        "--adapter-revision=tone=v1".to_owned(),
    ] {
        assert!(arguments.contains(&wanted), "{wanted}: {arguments}");
    }
    let store =
        template["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "store");
    assert_eq!(
        store.unwrap()["persistentVolumeClaim"],
        json!({"claimName": "store-cache", "readOnly": true})
    );
    for name in &names {
        assert_eq!(template["metadata"]["labels"][format!("{}{name}", labels::HELD_PREFIX)], "store");
    }
    let PodTemplateSpec { metadata, spec } = &deployment.spec.as_ref().unwrap().template;
    let pod = spec.as_ref().unwrap();
    assert_eq!(restricted::violations(metadata.as_ref(), pod), Vec::<String>::new());

    // One that has pods says itself what it lacks; one that sleeps is woken once it is held.
    let at = |replicas: i32| {
        let mut made: Deployment = deployment.clone();
        made.metadata.uid = Some("made".to_owned());
        made.spec.as_mut().unwrap().replicas = Some(replicas);
        ObservedModel { deployments: vec![Arc::new(made)], ..ObservedModel::default() }
    };
    assert!(plan_with(vec![], &at(1), &fields).children.deployment.is_some());
    assert!(plan_with(vec![], &at(0), &fields).children.deployment.is_none());
    let mut asleep = fields.clone();
    merge(&mut asleep, &json!({"replicas": 0}));
    let plan = plan_with(vec![], &at(1), &asleep);
    assert_eq!(plan.children.deployment.unwrap().spec.unwrap().replicas, Some(0));
    // By Replace nothing that answers goes before the weights are there.
    let mut replaced = fields;
    merge(
        &mut replaced,
        &json!({"rollout": {"strategy": "Replace"}, "openWeights": {"engine": {"contextLength": 64}}}),
    );
    let plan = plan_with(vec![], &at(1), &replaced);
    assert!(plan.removals.is_empty() && plan.missing.is_some());
    assert_eq!(plan_with(all, &at(1), &replaced).removals.len(), 1);
}

#[test]
fn a_cache_that_is_not_there_or_no_use_is_refused() {
    let refused = |fields: Value, cache: Named<CacheSeen>| {
        let found = ModelReferences { cache, ..sees(None, KeyLookup::Unnamed) };
        validate::model(&model(fields), &found, Place::Cluster).unwrap_err()
    };
    let missing = refused(json!({}), Named::Missing);
    assert_eq!(missing.reason, Reason::ModelCacheNotFound);
    assert!(missing.message.contains("kubectl get mcache"), "{}", missing.message);
    let claim = refused(json!({"openWeights": {"source": "pvc://c/f.gguf"}}), Named::Missing);
    assert!(claim.message.contains("remove openWeights.cache"), "{}", claim.message);
    // One machine has one folder for all.
    let found = ModelReferences { cache: Named::NotInFile, ..sees(None, KeyLookup::Unnamed) };
    assert!(validate::model(&model(json!({})), &found, Place::Machine).is_ok());
}
