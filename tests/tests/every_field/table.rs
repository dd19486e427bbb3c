//! What each field does.

use serde_json::{Value, json};

/// What comes of a field.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// The operator makes something else.
    Made,
    /// What the test of this name shows.
    Shown(&'static str),
}

/// One field.
#[derive(Clone, Debug)]
pub struct Row {
    /// Kind of the object.
    pub kind: &'static str,
    /// The field, as [`super::schema::Leaf`] names it.
    pub path: &'static str,
    /// Objects that have to be there.
    pub beside: Vec<Value>,
    /// The spec without the field.
    pub base: Value,
    /// What is merged into it to set the field.
    pub set: Value,
    /// And to set it otherwise; none where there is one value alone.
    pub changed: Option<Value>,
    /// And so that the operator itself refuses it, where the apiserver can't.
    pub wrong: Option<Value>,
    /// Values that no schema can tell to be wrong, and the apiserver refuses by a rule.
    pub bad: Vec<Value>,
    /// Whether setting it leaves something that a fresh object of the same spec would not have.
    pub remembers: bool,
    /// What comes of it.
    pub effect: Effect,
}

const SOURCE: &str = "hf://org/repo/file.gguf";

fn row(kind: &'static str, path: &'static str, base: Value, [set, changed]: [Value; 2]) -> Row {
    let (beside, wrong, bad, effect) = (Vec::new(), None, Vec::new(), Effect::Made);
    Row { kind, path, beside, base, set, changed: Some(changed), wrong, bad, remembers: false, effect }
}

impl Row {
    fn shown(self, test: &'static str) -> Self {
        Row { effect: Effect::Shown(test), ..self }
    }

    fn beside(self, beside: impl Into<Vec<Value>>) -> Self {
        Row { beside: beside.into(), ..self }
    }

    fn wrong(self, wrong: Value) -> Self {
        Row { wrong: Some(wrong), ..self }
    }

    fn bad(self, bad: impl Into<Vec<Value>>) -> Self {
        Row { bad: bad.into(), ..self }
    }

    fn remembers(self) -> Self {
        Row { remembers: true, ..self }
    }

    fn once(self) -> Self {
        Row { changed: None, ..self }
    }
}

fn secret(name: &str) -> Value {
    let data = json!({"token": "c2VjcmV0", "other": "c2VjcmV0"});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})
}

fn provider(name: &str) -> Value {
    super::object("ExternalProvider", name, &account(json!({})))
}

/// A provider's spec.
fn account(fields: Value) -> Value {
    let spec = json!({"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1",
        "apiKeys": [{"name": "account", "key": "token"}]});
    super::with(&spec, &fields)
}

fn profile(name: &str, fields: Value) -> Value {
    super::object("ResourceProfile", name, &super::with(&json!({"cpu": "2", "memory": "4Gi"}), &fields))
}

fn cards() -> Value {
    json!({"gpu": {"resource": "nvidia.com/gpu", "count": 1}})
}

/// Every field of every kind.
pub fn rows() -> Vec<Row> {
    [models(), canaries(), weights(), storages(), engines(), caches(), providers(), accesses(), profiles()]
        .concat()
}

fn canaries() -> Vec<Row> {
    let canary = |fields: Value| {
        let step = json!({"capacity": 1, "traffic": 10, "pause": "5m"});
        let plain = json!({"rollout": {"strategy": "Canary", "canary": {"steps": [step]}}});
        super::with(&plain, &json!({"rollout": {"canary": fields}}))
    };
    let of = |path, set: Value, changed: Value| {
        let base = super::with(&json!({"openWeights": {"source": SOURCE}}), &canary(json!({})));
        row("ModelDeployment", path, base, [canary(set), canary(changed)])
    };
    let step = |fields: Value| json!({"steps": [super::with(&json!({"capacity": 1, "traffic": 10, "pause": "5m"}), &fields)]});
    let abort = |name: &str, [set, changed]: [u32; 2]| {
        [json!({"abort": {name: set}}), json!({"abort": {name: changed}})]
    };
    let threshold = |path, name, values, test| {
        let [set, changed] = abort(name, values);
        of(path, set, changed).shown(test)
    };
    vec![
        of("rollout.canary.steps[].capacity", step(json!({"capacity": 2})), step(json!({"capacity": "50%"})))
            .shown("a_good_revision_goes_step_by_step_and_each_once_its_pods_are_ready")
            .bad([json!(0), json!("0%"), json!("many"), json!("101%")]),
        of("rollout.canary.steps[].traffic", step(json!({"traffic": 20})), step(json!({"traffic": 30})))
            .shown("a_canary_as_good_as_what_runs_is_promoted_by_a_person_and_no_request_fails"),
        of("rollout.canary.steps[].pause", step(json!({"pause": "10m"})), step(json!({"pause": "Manual"})))
            .shown("a_step_is_passed_at_its_end_and_not_before")
            .bad([json!("25h"), json!("soon"), json!("0s")]),
        of(
            "rollout.canary.onInconclusive",
            json!({"onInconclusive": "Promote"}),
            json!({"onInconclusive": "Abort"}),
        )
        .shown("with_too_few_requests_it_is_as_the_spec_says"),
        threshold(
            "rollout.canary.abort.errorRate",
            "errorRate",
            [3, 4],
            "the_error_rate_is_held_against_the_threshold_of_the_spec",
        ),
        threshold(
            "rollout.canary.abort.timeToFirstToken",
            "timeToFirstToken",
            [20, 30],
            "time_to_first_token_is_held_against_the_threshold_of_the_spec",
        ),
        threshold(
            "rollout.canary.abort.interTokenLatency",
            "interTokenLatency",
            [20, 30],
            "time_between_tokens_is_held_against_the_threshold_of_the_spec",
        ),
        threshold(
            "rollout.canary.abort.minRequests",
            "minRequests",
            [50, 60],
            "nothing_is_passed_with_fewer_than_the_least_requests",
        ),
    ]
}

fn storages() -> Vec<Row> {
    let of = |path, base: Value, set: Value, changed: Value| {
        row(
            "ModelDeployment",
            path,
            json!({ "openWeights": base }),
            [json!({"openWeights": set}), json!({"openWeights": changed})],
        )
    };
    let bucket = || json!({"source": "s3://bucket/folder/m.gguf"});
    let image = || json!({"source": "oci://registry.example.com/models/m:v1/m.gguf"});
    let storage = |fields: Value| json!({"storage": fields});
    let access = |name: &str| {
        let data = json!({"AWS_ACCESS_KEY_ID": "eA==", "AWS_SECRET_ACCESS_KEY": "eA=="});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})
    };
    let shown = |name: &str| storage(json!({"credentialsSecret": {"name": name}}));
    let authority = |name: &str, key: &str| json!({"caCertificates": {"name": name, "key": key}});
    let key = |letter: &str| {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", letter.repeat(64))
    };
    let signed =
        |bundle: &str, letter: &str| json!({"signature": {"bundle": bundle, "publicKey": key(letter)}});
    let with_signature = || super::with(&json!({"source": SOURCE}), &signed("model.sig", "A"));
    vec![
        of(
            "openWeights.storage.endpoint",
            bucket(),
            storage(json!({"endpoint": "https://s3.example.com"})),
            storage(json!({"endpoint": "https://s3.example.net"})),
        ),
        of(
            "openWeights.storage.region",
            bucket(),
            storage(json!({"region": "eu-west-1"})),
            storage(json!({"region": "us-west-2"})),
        ),
        of("openWeights.storage.credentialsSecret.name", bucket(), shown("one"), shown("two"))
            .beside([access("one"), access("two")])
            .wrong(json!({"openWeights": shown("three")})),
        of(
            "openWeights.storage.imageVolume",
            image(),
            storage(json!({"imageVolume": true})),
            storage(json!({"imageVolume": false})),
        ),
        of(
            "openWeights.caCertificates.name",
            json!({"source": SOURCE}),
            authority("one", "ca.crt"),
            authority("two", "ca.crt"),
        ),
        of(
            "openWeights.caCertificates.key",
            json!({"source": SOURCE}),
            authority("one", "ca.crt"),
            authority("one", "other.crt"),
        ),
        of(
            "openWeights.signature.bundle",
            with_signature(),
            signed("other.sig", "A"),
            signed("third.sig", "A"),
        )
        .bad([json!("/model.sig"), json!("../model.sig"), json!("a\\b")]),
        of(
            "openWeights.signature.publicKey",
            with_signature(),
            signed("model.sig", "B"),
            signed("model.sig", "C"),
        )
        .bad([json!("a key"), json!("-----BEGIN CERTIFICATE-----")]),
    ]
}

fn models() -> Vec<Row> {
    let model = |path, base, values| row("ModelDeployment", path, base, values);
    let open = || json!({"openWeights": {"source": SOURCE}});
    let both = json!({"serve": "OpenWeights", "openWeights": {"source": SOURCE},
        "external": {"provider": "acme", "model": "large"}});
    let closed = || json!({"external": {"provider": "acme", "model": "large"}});
    let acme = || vec![secret("account"), provider("acme"), provider("other")];
    vec![
        model("serve", both, [json!({"serve": "External"}), json!({"serve": "OpenWeights"})])
            .beside(acme())
            // The Secret with the engine's certificate stays until the model goes.
            .remembers(),
        model("suspend", open(), [json!({"suspend": true}), json!({"suspend": false})]),
        model("replicas", open(), [json!({"replicas": 2}), json!({"replicas": 3})]),
        model("drainTimeout", open(), [json!({"drainTimeout": "90s"}), json!({"drainTimeout": "2m"})])
            .bad([json!("0"), json!("2h")]),
        model(
            "hold.maxWait",
            open(),
            [json!({"hold": {"maxWait": "5m"}}), json!({"hold": {"maxWait": "1m"}})],
        )
        .shown("a_request_waits_as_long_as_it_may_and_hears_why_and_how_long")
        .bad([json!("2h")]),
        model(
            "hold.maxQueued",
            open(),
            [json!({"hold": {"maxQueued": 7}}), json!({"hold": {"maxQueued": 8}})],
        )
        .shown("a_line_that_is_full_refuses_at_once_and_who_leaves_frees_a_place"),
        model(
            "hold.maxBytes",
            open(),
            [json!({"hold": {"maxBytes": "7Mi"}}), json!({"hold": {"maxBytes": "8k"}})],
        )
        .shown("no_more_bytes_wait_than_a_model_lets_and_each_gateway_takes_its_share")
        .bad([json!("64MB")]),
        model(
            "rollout.strategy",
            open(),
            [json!({"rollout": {"strategy": "Replace"}}), json!({"rollout": {"strategy": "Surge"}})],
        )
        .shown("by_replace_the_old_pods_are_gone_before_the_new_ones_are_made"),
        model(
            "external.provider",
            closed(),
            [json!({"external": {"provider": "other"}}), json!({"external": {"provider": "acme"}})],
        )
        .beside(acme())
        .shown("an_external_model_answers_at_its_providers_proxy")
        .wrong(json!({"external": {"provider": "nobody"}})),
        model(
            "external.model",
            closed(),
            [json!({"external": {"model": "small"}}), json!({"external": {"model": "tiny"}})],
        )
        .beside(acme())
        .shown("an_external_model_answers_at_its_providers_proxy"),
    ]
}

fn weights() -> Vec<Row> {
    let of = |path, set: Value, changed: Value| {
        let base = json!({"openWeights": {"source": SOURCE}});
        row("ModelDeployment", path, base, [json!({"openWeights": set}), json!({"openWeights": changed})])
    };
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let hub = |endpoint: &str| json!({"hub": {"endpoint": endpoint}});
    let token = |name: &str, key: &str| json!({"hub": {"tokenSecret": {"name": name, "key": key}}});
    let priority = |class: &str| json!({"podTemplate": {"spec": {"priorityClassName": class}}});
    let named = |profile: &str| json!({"resources": {"profile": profile}});
    let gpus = |gpus: Value| json!({"resources": {"profile": "cards", "gpus": gpus}});
    let profiles = || {
        vec![
            profile("small", json!({})),
            profile("large", json!({"memory": "8Gi"})),
            profile("cards", cards()),
        ]
    };
    vec![
        of(
            "openWeights.source",
            json!({"source": "hf://org/repo/other.gguf"}),
            json!({"source": "pvc://claim/m.gguf"}),
        )
        .wrong(json!({"openWeights": {"source": "file:///srv/m.gguf"}}))
        .bad([
            json!("ftp://host/file"),
            json!("hf://org"),
            json!("pvc://claim/../file"),
            json!("hf://o/r/a\\b"),
        ]),
        of("openWeights.revision", json!({"revision": "v1"}), json!({"revision": "v2"})),
        of("openWeights.digest", json!({"digest": digest("0")}), json!({"digest": digest("1")})),
        of("openWeights.hub.endpoint", hub("https://hub.example.com"), hub("https://hub.example.net")),
        of("openWeights.hub.tokenSecret.name", token("one", "token"), token("two", "token"))
            .beside([secret("one"), secret("two")])
            .wrong(json!({"openWeights": token("three", "token")})),
        of("openWeights.hub.tokenSecret.key", token("one", "token"), token("one", "other"))
            .beside([secret("one")])
            .wrong(json!({"openWeights": token("one", "nothing")})),
        of("openWeights.podTemplate", priority("high"), priority("low"))
            .wrong(json!({"openWeights": {"podTemplate": {"spec": {"hostNetwork": true}}}})),
        of("openWeights.resources.profile", named("small"), named("large"))
            .beside(profiles())
            .wrong(json!({"openWeights": named("nobody")})),
        of("openWeights.resources.gpus", gpus(json!(2)), gpus(json!(4))).beside(profiles()).bad([
            json!(0),
            json!(65),
            json!("all"),
        ]),
    ]
}

fn engines() -> Vec<Row> {
    let of = |path, base: Value, set: Value, changed: Value| {
        let base = super::with(&json!({"openWeights": {"source": SOURCE}}), &json!({"openWeights": base}));
        let engine = |fields: Value| json!({"openWeights": {"engine": fields}});
        row("ModelDeployment", path, base, [engine(set), engine(changed)])
    };
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let tone = |fields: Value| json!({"adapters": [super::with(&json!({"name": "tone", "source": "hf://org/repo/tone.gguf"}), &fields)]});
    let with_tone = || json!({"engine": tone(json!({}))});
    let cards = || json!({"resources": {"profile": "cards"}});
    let sleeping = || json!({"resources": {"profile": "cards"}, "engine": {"sleep": {"afterSeconds": 60, "weights": "dropped"}}});
    let hardware = || vec![profile("cards", self::cards())];
    let sleep = |seconds: u32| json!({"sleep": {"afterSeconds": seconds, "weights": "dropped"}});
    vec![
        of(
            "openWeights.engine.contextLength",
            json!({}),
            json!({"contextLength": 64}),
            json!({"contextLength": 128}),
        ),
        of(
            "openWeights.engine.maxSequences",
            json!({}),
            json!({"maxSequences": 8}),
            json!({"maxSequences": 9}),
        ),
        of(
            "openWeights.engine.kvCacheType",
            json!({}),
            json!({"kvCacheType": "q8_0"}),
            json!({"kvCacheType": "f16"}),
        ),
        of(
            "openWeights.engine.quantize",
            json!({"source": "pvc://claim/folder"}),
            json!({"quantize": "Q8_0"}),
            json!({"quantize": "Q4_K"}),
        ),
        of("openWeights.engine.sleep.afterSeconds", cards(), sleep(60), sleep(90)).beside(hardware()),
        of(
            "openWeights.engine.sleep.weights",
            sleeping(),
            json!({"sleep": {"weights": "host"}}),
            json!({"sleep": {"weights": "dropped"}}),
        )
        .beside(hardware()),
        of("openWeights.engine.adapters[].name", json!({}), tone(json!({})), tone(json!({"name": "voice"}))),
        of(
            "openWeights.engine.adapters[].source",
            json!({}),
            tone(json!({})),
            tone(json!({"source": "pvc://claim/tone.gguf"})),
        )
        .bad([json!("ftp://host/file"), json!("hf://org/repo/../tone")]),
        of(
            "openWeights.engine.adapters[].revision",
            with_tone(),
            tone(json!({"revision": "v1"})),
            tone(json!({"revision": "v2"})),
        ),
        of(
            "openWeights.engine.adapters[].digest",
            with_tone(),
            tone(json!({"digest": digest("0")})),
            tone(json!({"digest": digest("1")})),
        ),
    ]
}

fn caches() -> Vec<Row> {
    let of = |path, base: Value, set: Value, changed: Value| row("ModelCache", path, base, [set, changed]);
    let named = || json!({"claim": {"name": "weights"}});
    let made = |fields: Value| json!({"claim": super::with(&json!({"size": "10Gi"}), &fields)});
    let bucket = || json!({"source": "s3://bucket/m.gguf"});
    let image = || json!({"source": "oci://registry.example.com/models/m:v1/m.gguf"});
    let held = |path, base: Value, set: Value, changed: Value| {
        let prefetch = |fields: &Value| json!({"prefetch": [super::with(&base, fields)]});
        let spec = super::with(&named(), &prefetch(&json!({})));
        of(path, spec, prefetch(&set), prefetch(&changed))
            .shown("each_source_is_fetched_once_whoever_asks_for_it")
    };
    // A claim that was made is what it was: each of these is of the first.
    let sized = "a_claim_that_is_made_has_the_size_the_class_and_the_modes_that_are_asked_for";
    let fetched_with = "what_a_source_is_fetched_with_is_its_jobs_and_goes_with_its_field";
    let hub = || json!({"source": SOURCE});
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let token = |name: &str, key: &str| json!({"hub": {"tokenSecret": {"name": name, "key": key}}});
    let authority = |name: &str, key: &str| json!({"caCertificates": {"name": name, "key": key}});
    let storage = |fields: Value| json!({"storage": fields});
    let shown = |name: &str| storage(json!({"credentialsSecret": {"name": name}}));
    let model = row(
        "ModelDeployment",
        "openWeights.cache",
        json!({"openWeights": {"source": SOURCE}}),
        [json!({"openWeights": {"cache": "store"}}), json!({"openWeights": {"cache": "other"}})],
    );
    vec![
        model.remembers().shown("a_model_gets_its_pods_once_the_cache_holds_all_of_it_and_no_token"),
        of("claim.name", named(), json!({"claim": {"name": "other"}}), json!({"claim": {"name": "third"}}))
            .shown("a_claim_that_is_not_there_is_named_and_nothing_is_made"),
        of("claim.size", made(json!({})), made(json!({"size": "20Gi"})), made(json!({"size": "30Gi"})))
            .remembers()
            .shown(sized)
            .bad([json!("lots"), json!("-1"), json!("0")]),
        of(
            "claim.storageClassName",
            made(json!({})),
            made(json!({"storageClassName": "fast"})),
            made(json!({"storageClassName": "slow"})),
        )
        .remembers()
        .shown(sized),
        of(
            "claim.accessModes[]",
            made(json!({})),
            made(json!({"accessModes": ["ReadWriteOnce"]})),
            made(json!({"accessModes": ["ReadWriteMany"]})),
        )
        .remembers()
        .shown(sized),
        of("maxSize", named(), json!({"maxSize": "5Gi"}), json!({"maxSize": "6Gi"}))
            .shown("the_oldest_that_nobody_needs_goes_and_is_looked_at_again_first")
            .bad([json!("lots"), json!("-1"), json!("0")]),
        held(
            "prefetch[].source",
            hub(),
            json!({"source": "hf://org/repo/other.gguf"}),
            json!({"source": "s3://bucket/m.gguf"}),
        )
        .bad([json!("pvc://claim/m.gguf"), json!("hf://org/repo/../m.gguf")]),
        held("prefetch[].revision", hub(), json!({"revision": "v1"}), json!({"revision": "v2"})),
        held("prefetch[].digest", hub(), json!({"digest": digest("0")}), json!({"digest": digest("1")})),
        held(
            "prefetch[].hub.endpoint",
            hub(),
            json!({"hub": {"endpoint": "https://hub.example.com"}}),
            json!({"hub": {"endpoint": "https://hub.example.net"}}),
        ),
        held("prefetch[].hub.tokenSecret.name", hub(), token("one", "token"), token("two", "token")),
        held("prefetch[].hub.tokenSecret.key", hub(), token("one", "token"), token("one", "other")),
        held("prefetch[].caCertificates.name", hub(), authority("one", "ca.crt"), authority("two", "ca.crt"))
            .shown(fetched_with),
        held(
            "prefetch[].caCertificates.key",
            hub(),
            authority("one", "ca.crt"),
            authority("one", "other.crt"),
        )
        .shown(fetched_with),
        held(
            "prefetch[].storage.endpoint",
            bucket(),
            storage(json!({"endpoint": "https://s3.example.com"})),
            storage(json!({"endpoint": "https://s3.example.net"})),
        )
        .shown(fetched_with),
        held(
            "prefetch[].storage.region",
            bucket(),
            storage(json!({"region": "eu-west-1"})),
            storage(json!({"region": "us-west-2"})),
        )
        .shown(fetched_with),
        held("prefetch[].storage.credentialsSecret.name", bucket(), shown("one"), shown("two"))
            .shown(fetched_with),
        held(
            "prefetch[].storage.imageVolume",
            image(),
            storage(json!({"imageVolume": false})),
            storage(json!({"imageVolume": false})),
        )
        .shown("an_image_volume_is_refused_and_an_artefact_of_the_same_source_is_fetched"),
    ]
}

fn providers() -> Vec<Row> {
    let of = |path, base: Value, set: Value, changed: Value| {
        let beside = vec![secret("account"), secret("second")];
        row("ExternalProvider", path, account(base), [set, changed]).beside(beside)
    };
    let keys = |fields: Value| json!({"apiKeys": [super::with(&json!({"name": "account", "key": "token"}), &fields)]});
    let no_url = |kind: &str, fields: Value| super::with(&json!({"kind": kind, "baseURL": null}), &fields);
    let region = |region: &str| json!({"dataPolicy": {"region": region}});
    let vertex =
        |project: &str, location: &str| json!({"vertex": {"project": project, "location": location}});
    let us = || no_url("Anthropic", json!({"dataPolicy": {"region": "us"}}));
    vec![
        of(
            "kind",
            json!({"baseURL": null, "kind": "OpenAI"}),
            json!({"kind": "Anthropic"}),
            json!({"kind": "Gemini"}),
        ),
        of(
            "baseURL",
            json!({}),
            json!({"baseURL": "https://api.example.net/v1"}),
            json!({"baseURL": "https://api.example.org/v1"}),
        )
        .bad([
            json!("ftp://api.example.com"),
            json!("api.example.com"),
            json!("https://user:word@api.example.com"),
        ]),
        of("allowPrivate", json!({}), json!({"allowPrivate": true}), json!({"allowPrivate": false})),
        of("apiKeys[].name", json!({}), keys(json!({"name": "second"})), keys(json!({"name": "account"})))
            .wrong(keys(json!({"name": "nobody"}))),
        of("apiKeys[].key", json!({}), keys(json!({"key": "other"})), keys(json!({"key": "token"})))
            .wrong(keys(json!({"key": "nothing"}))),
        of("apiKeys[].weight", json!({}), keys(json!({"weight": 7})), keys(json!({"weight": 8}))),
        of("dataPolicy.region", no_url("OpenAI", json!({})), region("eu"), region("us")),
        of(
            "dataPolicy.retention",
            no_url("OpenAI", json!({})),
            json!({"dataPolicy": {"retention": "NotStored"}}),
            json!({}),
        )
        .once()
        .shown("openai_is_told_to_keep_nothing"),
        of(
            "dataPolicy.onMismatch",
            us(),
            json!({"dataPolicy": {"onMismatch": "Report"}}),
            json!({"dataPolicy": {"onMismatch": "Fail"}}),
        )
        .shown("an_answer_from_elsewhere_is_delivered_and_counted_where_it_is_only_reported"),
        of(
            "bedrock.region",
            no_url("Bedrock", json!({"bedrock": {"region": "us-east-1"}})),
            json!({"bedrock": {"region": "eu-west-1"}}),
            json!({"bedrock": {"region": "us-west-2"}}),
        ),
        of(
            "vertex.project",
            no_url("Vertex", vertex("p", "global")),
            vertex("q", "global"),
            vertex("r", "global"),
        ),
        of(
            "vertex.location",
            no_url("Vertex", vertex("p", "global")),
            vertex("p", "us-east5"),
            vertex("p", "europe-west1"),
        ),
    ]
}

fn accesses() -> Vec<Row> {
    let hash = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let of = |path, set: Value, changed: Value| {
        let base =
            json!({"keys": [{"name": "k", "sha256": format!("sha256:{}", "0".repeat(64))}], "models": ["m"]});
        row("ModelAccess", path, base, [set, changed])
    };
    let key =
        |fields: Value| json!({"keys": [super::with(&json!({"name": "k", "sha256": hash("0")}), &fields)]});
    vec![
        of("keys[].name", key(json!({"name": "l"})), key(json!({"name": "n"})))
            .shown("refusals_are_counted_by_reason_and_by_nothing_else"),
        of("keys[].sha256", key(json!({"sha256": hash("1")})), key(json!({"sha256": hash("2")})))
            .shown("without_its_key_nobody_passes_and_the_fix_is_told")
            .bad([json!("sha256:0"), json!("md5:0")]),
        of(
            "keys[].expiresAt",
            key(json!({"expiresAt": "2027-01-01T00:00:00Z"})),
            key(json!({"expiresAt": "2026-01-01T00:00:00Z"})),
        )
        .shown("a_key_ends_when_it_says"),
        of("models[]", json!({"models": ["n"]}), json!({"models": ["*"]}))
            .shown("a_model_brings_its_adapters_an_adapter_not_its_model_and_nothing_crosses_a_namespace"),
    ]
}

fn profiles() -> Vec<Row> {
    // A model that names the profile is what is made otherwise.
    let user = || {
        let weights = json!({"source": SOURCE, "resources": {"profile": super::NAME}});
        vec![super::object("ModelDeployment", "user", &json!({"openWeights": weights}))]
    };
    let of = |path, base: Value, set: Value, changed: Value| {
        let base = super::with(&json!({"cpu": "2", "memory": "4Gi"}), &base);
        row("ResourceProfile", path, base, [set, changed]).beside(user())
    };
    let gpu = |fields: Value| json!({"gpu": super::with(&cards()["gpu"], &fields)});
    let taint = |fields: Value| json!({"tolerations": [super::with(&json!({"key": "k", "operator": "Exists"}), &fields)]});
    let nonsense = || [json!("lots"), json!("-1"), json!("")];
    vec![
        of("cpu", json!({}), json!({"cpu": "4"}), json!({"cpu": 8})).bad(nonsense()),
        of("memory", json!({}), json!({"memory": "8Gi"}), json!({"memory": "16Gi"})).bad(nonsense()),
        of(
            "nodeSelector{}",
            json!({}),
            json!({"nodeSelector": {"disk": "fast"}}),
            json!({"nodeSelector": {"disk": "slow"}}),
        ),
        of("tolerations[].key", json!({}), taint(json!({})), taint(json!({"key": "l"}))),
        of(
            "tolerations[].operator",
            taint(json!({})),
            taint(json!({"operator": "Equal"})),
            taint(json!({"operator": "Exists"})),
        ),
        of(
            "tolerations[].value",
            taint(json!({"operator": "Equal"})),
            taint(json!({"operator": "Equal", "value": "v"})),
            taint(json!({"operator": "Equal", "value": "w"})),
        ),
        of(
            "tolerations[].effect",
            taint(json!({})),
            taint(json!({"effect": "NoSchedule"})),
            taint(json!({"effect": "NoExecute"})),
        ),
        of(
            "tolerations[].tolerationSeconds",
            taint(json!({"effect": "NoExecute"})),
            taint(json!({"effect": "NoExecute", "tolerationSeconds": 60})),
            taint(json!({"effect": "NoExecute", "tolerationSeconds": 90})),
        ),
        of("gpu.resource", json!({}), gpu(json!({})), gpu(json!({"resource": "nvidia.com/pgpu"}))),
        of(
            "gpu.deviceClass",
            json!({}),
            json!({"gpu": {"deviceClass": "gpu.nvidia.com"}}),
            json!({"gpu": {"deviceClass": "large.example.com"}}),
        ),
        of(
            "gpu.selectors[]",
            json!({"gpu": {"deviceClass": "gpu.nvidia.com"}}),
            json!({"gpu": {"selectors": ["device.driver == 'gpu.nvidia.com'"]}}),
            json!({"gpu": {"selectors": ["device.attributes['gpu.nvidia.com'].architecture == 'Hopper'"]}}),
        ),
        of("gpu.count", cards(), gpu(json!({"count": 2})), gpu(json!({"count": 4}))),
        of(
            "gpu.product",
            cards(),
            gpu(json!({"product": "NVIDIA-L4"})),
            gpu(json!({"product": "NVIDIA-T4"})),
        ),
        of("gpu.memory", cards(), gpu(json!({"memory": "24Gi"})), gpu(json!({"memory": "80Gi"})))
            .shown("as_few_gpus_as_hold_the_model_are_taken_by_its_header")
            .bad(nonsense()),
    ]
}
