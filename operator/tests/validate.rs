//! What can't be served, and what a person is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A fixture that can't be read fails the test.

use serde_json::{Value, json};
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{ExternalProvider, ModelDeployment, ResourceProfile};
use weighbridge_operator::validate::{
    self, KeyLookup, ModelReferences, Named, Place, ProviderReferences, Refusal, Served,
};

const NONE: ModelReferences = ModelReferences::NOTHING;

fn model(spec: Value) -> ModelDeployment {
    serde_json::from_value(
        json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec}),
    )
    .expect("a ModelDeployment")
}

fn profile(spec: Value) -> Named<ResourceProfile> {
    Named::Found(
        serde_json::from_value(
            json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ResourceProfile",
            "metadata": {"name": "p"}, "spec": spec}),
        )
        .expect("a ResourceProfile"),
    )
}

fn provider(spec: Value) -> ExternalProvider {
    serde_json::from_value(
        json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider",
        "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}),
    )
    .expect("an ExternalProvider")
}

/// A profile with `count` of `resource`.
fn cards(resource: &str, count: i32) -> Value {
    json!({"cpu": "1", "memory": "1Gi", "gpu": {"resource": resource, "count": count}})
}

/// A profile with `count` slices of a card.
fn slices(count: i32) -> Value {
    cards("nvidia.com/mig-3g.40gb", count)
}

fn refused(result: Result<impl std::fmt::Debug, Refusal>, reason: Reason, words: &[&str]) {
    let refusal = result.expect_err(words[0]);
    assert_eq!(refusal.reason, reason, "{refusal}");
    for word in words {
        assert!(refusal.message.contains(word), "{word:?} is not in: {refusal}");
    }
}

#[test]
fn each_bad_model_is_refused_with_the_field_and_the_fix() {
    let hf = "hf://o/r/f.gguf";
    let with = |resources: Value| json!({"openWeights": {"source": hf, "resources": resources}});
    let cases: Vec<(Value, ModelReferences, Reason, Vec<&str>)> = vec![
        (json!({}), NONE, Reason::InvalidSpec, vec!["openWeights or external"]),
        (
            json!({"openWeights": {"source": hf, "engine": {"quantize": "Q4_K"}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.engine.quantize is Q4_K", "GGUF", "remove quantize"],
        ),
        (
            json!({"openWeights": {"source": hf}, "external": {"provider": "p", "model": "x"}}),
            ModelReferences { provider: Named::Missing, ..NONE },
            Reason::ProviderNotFound,
            vec!["external.provider", "\"p\""],
        ),
        (
            json!({"openWeights": {"source": "ftp://b/k"}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.source", "hf://"],
        ),
        (
            json!({"openWeights": {"source": "file:///m.gguf"}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.source", "pvc://"],
        ),
        (
            json!({"openWeights": {"source": "pvc://c/../f"}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.source"],
        ),
        (
            json!({"openWeights": {"source": "pvc://c/f", "revision": "main"}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.revision", "remove"],
        ),
        (
            json!({"openWeights": {"source": hf, "engine": {"contextLength": 1}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.engine.contextLength", "16 or more"],
        ),
        (
            json!({"openWeights": {"source": hf, "engine": {"maxSequences": -1}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.engine.maxSequences"],
        ),
        (
            json!({"openWeights": {"source": hf, "engine": {"adapters": [
                {"name": "a", "source": "pvc://c/a"}, {"name": "a", "source": "pvc://c/b"}]}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.engine.adapters", "\"a\" is there twice"],
        ),
        (
            json!({"openWeights": {"source": hf, "engine": {"adapters": [{"name": "a:b", "source": "pvc://c/a"}]}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.engine.adapters", "a:b", "lower-case letters"],
        ),
        (
            json!({"openWeights": {"source": hf, "engine": {"adapters": [{"name": "a", "source": "file:///a"}]}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.engine.adapters a", "pvc://claim/path"],
        ),
        (
            json!({"openWeights": {"source": hf, "engine": {"adapters": [
                {"name": "a", "source": "pvc://c/a", "revision": "main"}]}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.engine.adapters a", "revision", "remove"],
        ),
        (json!({"openWeights": {"source": hf}, "replicas": -1}), NONE, Reason::InvalidSpec, vec!["replicas"]),
        (
            json!({"openWeights": {"source": hf}, "drainTimeout": "2h"}),
            NONE,
            Reason::InvalidSpec,
            vec!["drainTimeout is 7200s", "1h or less"],
        ),
        (
            json!({"external": {"provider": "p", "model": "x"}, "rollout": {"strategy": "Replace"}}),
            NONE,
            Reason::InvalidSpec,
            vec!["rollout", "remove it"],
        ),
        (
            json!({"external": {"provider": "p", "model": "x"}, "drainTimeout": "1m"}),
            ModelReferences { provider: Named::Missing, ..NONE },
            Reason::InvalidSpec,
            vec!["drainTimeout", "remove it"],
        ),
        (
            json!({"external": {"provider": "p", "model": "x"}, "replicas": 2}),
            NONE,
            Reason::InvalidSpec,
            vec!["replicas is 2", "set replicas: 1", "0 to take it out of service"],
        ),
        (with(json!({"gpus": 1})), NONE, Reason::InvalidSpec, vec!["resources.gpus", "resources.profile"]),
        (
            with(json!({"profile": "p"})),
            ModelReferences { profile: Named::Missing, ..NONE },
            Reason::ResourceProfileNotFound,
            vec!["openWeights.resources.profile", "kubectl get rprof"],
        ),
        (
            with(json!({"profile": "p"})),
            ModelReferences { profile: Named::NotInFile, ..NONE },
            Reason::ResourceProfileNotFound,
            vec!["openWeights.resources.profile", "add it to the file"],
        ),
        (
            json!({"external": {"provider": "p", "model": "x"}}),
            ModelReferences { provider: Named::NotInFile, ..NONE },
            Reason::ProviderNotFound,
            vec!["external.provider", "add it to the file"],
        ),
        (
            json!({"openWeights": {"source": hf,
                "hub": {"endpoint": "http://hub.example", "tokenSecret": {"name": "s", "key": "k"}}}}),
            ModelReferences { token: KeyLookup::Present, ..NONE },
            Reason::InvalidSpec,
            vec!["openWeights.hub.endpoint", "in the clear", "https://", "tokenSecret"],
        ),
        (
            json!({"openWeights": {"source": hf,
                "hub": {"endpoint": "http://localhost.example", "tokenSecret": {"name": "s", "key": "k"}}}}),
            ModelReferences { token: KeyLookup::Present, ..NONE },
            Reason::InvalidSpec,
            vec!["in the clear"],
        ),
        (
            with(json!({"profile": "p", "gpus": 1})),
            ModelReferences { profile: profile(json!({"cpu": "1", "memory": "1Gi"})), ..NONE },
            Reason::InvalidSpec,
            vec!["resources.gpus", "no gpu"],
        ),
        (
            json!({"openWeights": {"source": hf, "resources": {"profile": "p"},
                "engine": {"adapters": [{"name": "a", "source": "pvc://c/a"}]}}}),
            ModelReferences {
                profile: profile(json!({"cpu": "1", "memory": "1Gi", "gpu": {"count": 4}})),
                ..NONE
            },
            Reason::InvalidSpec,
            vec!["openWeights.engine.adapters", "name 4", "openWeights.resources.gpus to 1"],
        ),
        (
            with(json!({"profile": "p", "gpus": 2})),
            ModelReferences { profile: profile(slices(1)), ..NONE },
            Reason::InvalidSpec,
            vec!["openWeights.resources.gpus is 2", "nvidia.com/mig-3g.40gb", "set it to 1"],
        ),
        (
            with(json!({"profile": "p"})),
            ModelReferences { profile: profile(slices(2)), ..NONE },
            Reason::InvalidSpec,
            vec!["ResourceProfile \"p\": gpu.count is 2", "a larger slice"],
        ),
        (
            with(json!({"profile": "p", "gpus": 2})),
            ModelReferences { profile: profile(cards("nvidia.com/gpu.shared", 1)), ..NONE },
            Reason::InvalidSpec,
            vec![
                "openWeights.resources.gpus is 2",
                "several shares of a card (nvidia.com/gpu.shared)",
                "set it to 1",
            ],
        ),
        (
            with(json!({"profile": "p"})),
            ModelReferences { profile: profile(cards("nvidia.com/mig-1g.10gb.shared", 3)), ..NONE },
            Reason::InvalidSpec,
            vec![
                "ResourceProfile \"p\": gpu.count is 3",
                "shares of a card (nvidia.com/mig-1g.10gb.shared)",
                "a profile of whole cards",
            ],
        ),
        (
            with(json!({"profile": "p"})),
            ModelReferences { profile: profile(cards("nvidia.com/a100.shared", 2)), ..NONE },
            Reason::InvalidSpec,
            vec!["gpu.count is 2", "nvidia.com/a100.shared"],
        ),
        (
            with(json!({"profile": "p"})),
            ModelReferences { profile: profile(json!({"cpu": "many", "memory": "1Gi"})), ..NONE },
            Reason::InvalidSpec,
            vec!["ResourceProfile \"p\"", "cpu", "500m"],
        ),
        (
            json!({"openWeights": {"source": hf, "hub": {"tokenSecret": {"name": "s", "key": "k"}}}}),
            ModelReferences { token: KeyLookup::SecretMissing, ..NONE },
            Reason::SecretNotFound,
            vec!["openWeights.hub.tokenSecret", "\"s\"", "\"k\""],
        ),
        (
            json!({"openWeights": {"source": "https://h/f", "storage": {"credentialsSecret": {"name": "s"}}}}),
            ModelReferences { credentials: vec![KeyLookup::KeyMissing], ..NONE },
            Reason::SecretNotFound,
            vec!["openWeights.storage.credentialsSecret", "\"s\"", "\"token\""],
        ),
        (
            json!({"openWeights": {"source": "s3://b/k", "storage": {"credentialsSecret": {"name": "s"}}}}),
            ModelReferences { credentials: vec![KeyLookup::Present, KeyLookup::KeyMissing], ..NONE },
            Reason::SecretNotFound,
            vec!["openWeights.storage.credentialsSecret", "\"s\"", "\"AWS_SECRET_ACCESS_KEY\""],
        ),
        (
            json!({"openWeights": {"source": "gs://b/o", "storage": {"credentialsSecret": {"name": "s"},
                "endpoint": "http://gcs.svc"}}}),
            ModelReferences { credentials: vec![KeyLookup::Present], ..NONE },
            Reason::InvalidSpec,
            vec!["openWeights.storage.endpoint", "in the clear", "https://", "credentialsSecret"],
        ),
        (
            json!({"openWeights": {"source": "gs://b/o", "storage": {"region": "eu"}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.storage.region", "remove it"],
        ),
        (
            json!({"openWeights": {"source": "https://h/f", "storage": {"endpoint": "https://other"}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.storage.endpoint", "remove it"],
        ),
        (
            json!({"openWeights": {"source": "oci://r/repo:v1", "storage": {"imageVolume": true}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.storage.imageVolume", "oci://registry/repository:tag/folder/file.gguf"],
        ),
        (
            json!({"openWeights": {"source": "oci://r/repo:v1/f", "storage": {"imageVolume": true, "endpoint": "https://m"}}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.storage.imageVolume", "remove storage.endpoint"],
        ),
        (
            json!({"openWeights": {"source": "oci://r/repo/f"}}),
            NONE,
            Reason::InvalidSpec,
            vec!["openWeights.source", "oci://registry/repository:tag/file.gguf"],
        ),
        (
            json!({"openWeights": {"source": hf, "hub": {"tokenSecret": {"name": "s", "key": "k"}}}}),
            ModelReferences { token: KeyLookup::KeyMissing, ..NONE },
            Reason::SecretNotFound,
            vec!["\"s\"", "\"k\"", "add it"],
        ),
    ];
    for (spec, references, reason, words) in cases {
        refused(validate::model(&model(spec), &references, Place::Cluster), reason, &words);
    }
}

#[test]
fn a_token_goes_over_tls_or_stays_on_the_machine() {
    let hub = |endpoint: &str, with_token: bool| {
        let mut hub = json!({"endpoint": endpoint});
        if with_token {
            hub["tokenSecret"] = json!({"name": "s", "key": "k"});
        }
        let found = ModelReferences { token: KeyLookup::Present, ..NONE };
        let model = model(json!({"openWeights": {"source": "hf://o/r/f", "hub": hub}}));
        validate::model(&model, &found, Place::Cluster).is_ok()
    };
    for endpoint in ["https://hub.example", "http://localhost:1", "http://127.0.0.1/hub", "http://[::1]:8"] {
        assert!(hub(endpoint, true), "{endpoint}");
    }
    assert!(hub("http://hub.example", false), "nothing secret is sent");
    assert!(!hub("http://10.0.0.1", true));
}

#[test]
fn an_external_model_may_sleep_and_may_keep_replicas_for_the_other_arm() {
    let key = json!({"name": "s", "key": "k"});
    let found =
        provider(json!({"kind": "OpenAICompatible", "baseURL": "https://e.example/v1", "apiKeys": [key]}));
    let references = ModelReferences { provider: Named::Found(found), ..NONE };
    let checked = |spec: Value| validate::model(&model(spec), &references, Place::Cluster).expect("fine");
    let external = json!({"provider": "p", "model": "x"});
    assert_eq!(checked(json!({"external": external, "replicas": 0})).replicas, 0);
    for (replicas, kept) in [(0, None), (1, None), (4, Some(4))] {
        let both = json!({"serve": "External", "external": external, "replicas": replicas,
            "openWeights": {"source": "hf://o/r/f"}});
        match checked(both).served {
            Served::Closed(closed) => assert_eq!(closed.kept_replicas, kept),
            Served::Open(open) => panic!("{open:?}"),
        }
    }
}

#[test]
fn a_model_of_vertex_is_named_without_its_publisher() {
    let key = json!({"name": "s", "key": "k"});
    let place = json!({"project": "p", "location": "us"});
    let found = provider(json!({"kind": "Vertex", "vertex": place, "apiKeys": [key]}));
    let references = ModelReferences { provider: Named::Found(found), ..NONE };
    let checked = |name: &str| {
        let spec = json!({"external": {"provider": "p", "model": name}});
        validate::model(&model(spec), &references, Place::Cluster)
    };
    for good in ["gemini-2.5-pro", "claude-sonnet-4-5@20250929", "text-embedding-005"] {
        assert!(checked(good).is_ok(), "{good}");
    }
    for bad in ["google/gemini-2.5-pro", "publishers/google/models/gemini-2.5-pro", "gemini:predict", ".."] {
        refused(checked(bad), Reason::InvalidSpec, &["external.model", bad, "gemini-2.5-pro"]);
    }
}

#[test]
fn the_arm_that_does_not_answer_is_checked_too() {
    let spec = json!({"serve": "External", "openWeights": {"source": "nonsense"}, "external": {"provider": "p", "model": "x"}});
    let key = json!({"name": "s", "key": "k"});
    let found =
        provider(json!({"kind": "OpenAICompatible", "baseURL": "https://e.example/v1", "apiKeys": [key]}));
    let references = ModelReferences { provider: Named::Found(found), ..NONE };
    refused(
        validate::model(&model(spec), &references, Place::Cluster),
        Reason::InvalidSpec,
        &["openWeights.source"],
    );
}

#[test]
fn each_place_refuses_what_it_cant_enforce() {
    let file = model(json!({"openWeights": {"source": "file:///m.gguf"}}));
    assert!(matches!(
        validate::model(&file, &NONE, Place::Machine).expect("fine here").served,
        Served::Open(_)
    ));
    refused(validate::model(&file, &NONE, Place::Cluster), Reason::InvalidSpec, &["file://", "pvc://"]);
    let claim = model(json!({"openWeights": {"source": "pvc://c/f"}}));
    for place in [Place::Machine, Place::Cluster] {
        assert!(validate::model(&claim, &NONE, place).is_ok(), "a machine maps the claim to a folder");
    }
    let gpu = model(json!({"openWeights": {"source": "pvc://c/f", "resources": {"profile": "p"}}}));
    let profile = profile(json!({"cpu": "1", "memory": "1Gi", "gpu": {}}));
    let found = ModelReferences { profile, ..NONE };
    refused(
        validate::model(&gpu, &found, Place::Machine),
        Reason::InvalidSpec,
        &["openWeights.resources.profile", "name a profile without gpu"],
    );
    assert!(validate::model(&gpu, &found, Place::Cluster).is_ok());
}

#[test]
fn another_makers_card_is_refused_before_a_pod_holds_it() {
    let asked = model(json!({"openWeights": {"source": "pvc://c/f", "resources": {"profile": "p"}}}));
    let found = |resource: &str| {
        let gpu = json!({"resource": resource});
        ModelReferences { profile: profile(json!({"cpu": "1", "memory": "1Gi", "gpu": gpu})), ..NONE }
    };
    for resource in ["amd.com/gpu", "gpu.intel.com/i915", "nvidia.community/gpu"] {
        let words = ["ResourceProfile \"p\"", "gpu.resource", resource, "write nvidia.com/gpu", "remove gpu"];
        let result = validate::model(&asked, &found(resource), Place::Cluster);
        refused(result, Reason::InvalidSpec, &words);
    }
    for resource in
        ["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb", "nvidia.com/mig-1g.10gb.shared"]
    {
        let result = validate::model(&asked, &found(resource), Place::Cluster);
        assert!(result.is_ok(), "{resource}: {result:?}");
    }
}

#[test]
fn keys_and_values_are_kept_as_the_hardware_can() {
    let profile = profile(json!({"cpu": "1", "memory": "1Gi", "gpu": {}}));
    let found = ModelReferences { profile, ..NONE };
    let asked = |kind: &str, resources: Value| {
        let engine = json!({"kvCacheType": kind});
        model(json!({"openWeights": {"source": "pvc://c/f", "engine": engine, "resources": resources}}))
    };
    let (none, gpu) = (json!({}), json!({"profile": "p"}));
    for kind in ["auto", "f16"] {
        assert!(validate::model(&asked(kind, none.clone()), &NONE, Place::Cluster).is_ok());
        assert!(validate::model(&asked(kind, gpu.clone()), &found, Place::Cluster).is_ok());
    }
    for kind in ["f32", "q8_0"] {
        assert!(validate::model(&asked(kind, none.clone()), &NONE, Place::Cluster).is_ok());
        let words = ["openWeights.engine.kvCacheType", kind, "use fp8 or f16"];
        let result = validate::model(&asked(kind, gpu.clone()), &found, Place::Cluster);
        refused(result, Reason::InvalidSpec, &words);
    }
    assert!(validate::model(&asked("fp8", gpu), &found, Place::Cluster).is_ok());
    // Whether a machine has a GPU its engine finds out.
    assert!(validate::model(&asked("fp8", none.clone()), &NONE, Place::Machine).is_ok());
    let words = ["openWeights.engine.kvCacheType: fp8", "resources.profile"];
    refused(validate::model(&asked("fp8", none), &NONE, Place::Cluster), Reason::InvalidSpec, &words);
}

#[test]
fn only_what_has_a_gpu_sleeps() {
    let profile = profile(json!({"cpu": "1", "memory": "1Gi", "gpu": {}}));
    let found = ModelReferences { profile, ..NONE };
    let asked = |sleep: Value, resources: Value| {
        let engine = json!({"sleep": sleep});
        model(json!({"openWeights": {"source": "pvc://c/f", "engine": engine, "resources": resources}}))
    };
    let (none, gpu, minute) = (json!({}), json!({"profile": "p"}), json!({"afterSeconds": 60}));
    assert!(validate::model(&asked(minute.clone(), gpu.clone()), &found, Place::Cluster).is_ok());
    assert!(validate::model(&asked(minute.clone(), none.clone()), &NONE, Place::Machine).is_ok());
    let words = ["openWeights.engine.sleep", "resources.profile", "remove it"];
    refused(
        validate::model(&asked(minute.clone(), none), &NONE, Place::Cluster),
        Reason::InvalidSpec,
        &words,
    );
    let two = asked(minute, json!({"profile": "p", "gpus": 2}));
    let words = ["openWeights.engine.sleep", "name 2", "resources.gpus to 1"];
    refused(validate::model(&two, &found, Place::Cluster), Reason::InvalidSpec, &words);
    let words = ["openWeights.engine.sleep.afterSeconds is 0", "at least 1"];
    let never = asked(json!({"afterSeconds": 0}), gpu);
    refused(validate::model(&never, &found, Place::Cluster), Reason::InvalidSpec, &words);
}

#[test]
fn names_that_children_cant_be_made_from_are_refused() {
    for name in ["", "A", "1a", "a.b", "a-", &"a".repeat(41)] {
        let mut model = model(json!({"openWeights": {"source": "hf://o/r/f"}}));
        model.metadata.name = Some(name.to_owned());
        refused(validate::model(&model, &NONE, Place::Cluster), Reason::InvalidSpec, &["metadata.name"]);
    }
}

/// The same as the CRD's rules say, for a file with no apiserver.
#[test]
fn what_no_request_and_no_answer_can_show_is_refused() {
    let found = &ProviderReferences { keys: vec![KeyLookup::Present] };
    let with = |kind: &str, policy: Value| {
        let url = match kind {
            "AzureOpenAI" => json!("https://n.openai.azure.com/openai/v1"),
            "OpenAICompatible" | "AnthropicCompatible" => json!("https://e.example/v1"),
            _ => Value::Null,
        };
        provider(
            json!({"kind": kind, "baseURL": url, "dataPolicy": policy, "apiKeys": [{"name": "s", "key": "k"}]}),
        )
    };
    for kind in ["Gemini", "OpenAICompatible", "AnthropicCompatible"] {
        let region = with(kind, json!({"region": "us"}));
        refused(validate::provider(&region, found), Reason::InvalidSpec, &["dataPolicy.region", kind]);
    }
    for kind in ["Anthropic", "Gemini", "OpenAICompatible", "AnthropicCompatible"] {
        let retention = with(kind, json!({"retention": "NotStored"}));
        refused(validate::provider(&retention, found), Reason::InvalidSpec, &["dataPolicy.retention", kind]);
    }
    let nothing = with("OpenAI", json!({}));
    refused(validate::provider(&nothing, found), Reason::InvalidSpec, &["dataPolicy says nothing"]);
    let pointless = with("OpenAI", json!({"retention": "NotStored", "onMismatch": "Report"}));
    refused(validate::provider(&pointless, found), Reason::InvalidSpec, &["dataPolicy.onMismatch", "region"]);
    let mut elsewhere = with("OpenAI", json!({"region": "eu"}));
    let checked = validate::provider(&elsewhere, found).expect("fine");
    assert_eq!(
        checked.base_url.map(|url| url.as_str().to_owned()).as_deref(),
        Some("https://eu.api.openai.com/v1")
    );
    elsewhere.spec.base_url = Some("https://api.openai.com/v1".to_owned());
    refused(validate::provider(&elsewhere, found), Reason::InvalidSpec, &["baseURL", "dataPolicy.region"]);
    let anthropic = validate::provider(&with("Anthropic", json!({"region": "us"})), found).expect("fine");
    assert_eq!(anthropic.base_url, None);
}

#[test]
fn each_bad_provider_is_refused_with_the_field_and_the_fix() {
    let with = |url: &str, private: bool| {
        provider(json!({"kind": "OpenAICompatible", "baseURL": url, "allowPrivate": private,
            "apiKeys": [{"name": "s", "key": "k"}]}))
    };
    let present = &ProviderReferences { keys: vec![KeyLookup::Present] };
    for (url, words) in [
        ("nonsense", "baseURL"),
        ("ftp://e.example/v1", "https://"),
        ("http://e.example/v1", "in the clear"),
        ("https://user:pass@e.example/v1", "no user"),
        ("https://e.example/v1?key=x", "query"),
        ("https://e.example:8443/v1", "allowPrivate: true"),
        // What the CRD's rule may take for a name, and the proxy would end at.
        ("https://１２７.0.0.1/v1", "leads to 127.0.0.1"),
        ("https://127.1/v1", "leads to 127.0.0.1"),
        ("https://0x7f000001/v1", "leads to 127.0.0.1"),
        ("https://１６９.２５４.１６９.２５４/v1", "leads to 169.254.169.254"),
        ("https://[::ffff:10.0.0.1]/v1", "public host"),
        ("https://ｌｏｃａｌｈｏｓｔ/v1", "leads to localhost"),
        ("https://Metadata.Google.Internal/v1", "leads to metadata.google.internal"),
    ] {
        refused(validate::provider(&with(url, false), present), Reason::InvalidSpec, &[words]);
    }
    for url in ["http://e.example:8080/v1", "https://e.example:8443/v1", "https://１０.0.0.1/v1"] {
        assert!(validate::provider(&with(url, true), present).is_ok(), "{url}");
    }
    for url in ["https://１.1.1.1/v1", "https://bücher.example/v1"] {
        assert!(validate::provider(&with(url, false), present).is_ok(), "{url}");
    }
    let good = with("https://e.example/v1", false);
    for (key, word) in [(KeyLookup::SecretMissing, "create it"), (KeyLookup::KeyMissing, "add it")] {
        refused(
            validate::provider(&good, &ProviderReferences { keys: vec![key] }),
            Reason::SecretNotFound,
            &["apiKeys[0]", "\"s\"", "\"k\"", word],
        );
    }
    let keys = json!([{"name": "s", "key": "k"}, {"name": "t", "key": "l", "weight": 9}]);
    let two = provider(json!({"kind": "Anthropic", "apiKeys": keys}));
    let found = |second| ProviderReferences { keys: vec![KeyLookup::Present, second] };
    for second in [KeyLookup::SecretMissing, KeyLookup::KeyMissing] {
        refused(
            validate::provider(&two, &found(second)),
            Reason::SecretNotFound,
            &["apiKeys[1]", "\"t\"", "\"l\""],
        );
    }
    let checked = validate::provider(&two, &found(KeyLookup::Assumed)).expect("fine");
    let of = |key: &validate::ProviderKey| (key.weight.get(), key.seen);
    assert_eq!(checked.keys.iter().map(of).collect::<Vec<_>>(), [(1, true), (9, false)]);
    assert_eq!(checked.base_url, None);
    for (spec, words) in [
        (json!({"kind": "AzureOpenAI", "apiKeys": keys}), "AzureOpenAI has no address of its own"),
        (json!({"kind": "OpenAI", "apiKeys": []}), "apiKeys is empty"),
        (json!({"kind": "Vertex", "apiKeys": keys}), "set vertex.project and vertex.location"),
        (json!({"kind": "Bedrock", "apiKeys": keys}), "set bedrock.region"),
        (
            json!({"kind": "Vertex", "vertex": {"project": "p", "location": "us/.."}, "apiKeys": keys}),
            "vertex.location is \"us/..\"",
        ),
        (
            json!({"kind": "Vertex", "vertex": {"project": "../p", "location": "us"}, "apiKeys": keys}),
            "vertex.project is \"../p\"",
        ),
        (
            json!({"kind": "Bedrock", "bedrock": {"region": "us.evil"}, "apiKeys": keys}),
            "bedrock.region is \"us.evil\"",
        ),
        (
            json!({"kind": "OpenAI", "bedrock": {"region": "us-east-1"}, "apiKeys": keys}),
            "bedrock is not for a provider of kind OpenAI: remove it",
        ),
        (
            json!({"kind": "Vertex", "vertex": {"project": "p", "location": "us"},
                "bedrock": {"region": "us-east-1"}, "apiKeys": keys}),
            "bedrock is not for a provider of kind Vertex",
        ),
        (
            json!({"kind": "OpenAI", "apiKeys": [{"name": "s", "key": "k", "weight": 1001}]}),
            "apiKeys[0].weight is 1001",
        ),
    ] {
        refused(
            validate::provider(&provider(spec), &found(KeyLookup::Present)),
            Reason::InvalidSpec,
            &[words],
        );
    }
}
