//! The scenarios that are swept. Each kind is created, edited field by field, scaled where it scales, deleted and made
//! anew; what people do behind the operator's back is in the last ones.

use serde_json::{Value, json};

use super::cluster::STUCK;
use super::scenario::{Act, Scenario};

const OURS: &str = "serving.weighbridge.dev/v1alpha1";
const SOURCE: &str = "hf://org/repo/file.gguf";
const MODEL: &str = "serving.weighbridge.dev/model";
const CACHE: &str = "serving.weighbridge.dev/cache";
const PROVIDER: &str = "serving.weighbridge.dev/provider";

fn object(kind: &str, name: &str, spec: Value) -> Act {
    Act::Apply(json!({"apiVersion": OURS, "kind": kind, "metadata": {"name": name}, "spec": spec}))
}

fn model(spec: Value) -> Act {
    object("ModelDeployment", "m", spec)
}

/// Open weights with these fields beside their source.
fn open(fields: Value) -> Act {
    let mut weights = json!({"source": SOURCE});
    super::fields::merge_patch(&mut weights, &fields);
    model(json!({"openWeights": weights}))
}

fn engine(fields: Value) -> Act {
    open(json!({"engine": fields}))
}

fn suspended(suspend: bool) -> Act {
    Act::Patch("ModelDeployment", "m", json!({"spec": {"suspend": suspend}}))
}

fn provider(fields: Value) -> Act {
    let mut spec = json!({"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1",
        "apiKeys": [{"name": "account", "key": "token"}]});
    super::fields::merge_patch(&mut spec, &fields);
    object("ExternalProvider", "acme", spec)
}

fn profile(fields: Value) -> Act {
    let mut spec = json!({"cpu": "2", "memory": "4Gi"});
    super::fields::merge_patch(&mut spec, &fields);
    object("ResourceProfile", "small", spec)
}

fn access(fields: Value) -> Act {
    let mut spec = json!({"keys": [{"name": "k", "sha256": "sha256:0"}], "models": ["m"]});
    super::fields::merge_patch(&mut spec, &fields);
    object("ModelAccess", "a", spec)
}

/// A cache with room for one source.
fn cache(fields: Value) -> Act {
    let mut spec = json!({"claim": {"size": "10Gi"}, "maxSize": "1k"});
    super::fields::merge_patch(&mut spec, &fields);
    object("ModelCache", "store", spec)
}

fn cached(fields: Value) -> Act {
    let mut all = json!({"cache": "store"});
    super::fields::merge_patch(&mut all, &fields);
    open(all)
}

fn secret(name: &str, key: &str) -> Act {
    Act::Apply(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {key: "c2VjcmV0"}}),
    )
}

fn closed() -> Value {
    json!({"provider": "acme", "model": "large"})
}

fn both(serve: &str) -> Act {
    model(json!({"serve": serve, "openWeights": {"source": SOURCE}, "external": closed()}))
}

/// Open weights, of which each revision makes room for the next.
fn replaced(mut fields: Value) -> Act {
    fields["source"] = json!(SOURCE);
    model(json!({"openWeights": fields, "rollout": {"strategy": "Replace"}}))
}

/// Open weights, of which each revision is tried beside the one before: nobody measures anything here, so that what is not
/// conclusive decides.
fn tried(mut fields: Value, on_inconclusive: &str) -> Act {
    fields["source"] = json!(SOURCE);
    let steps = json!([{"capacity": 1, "traffic": 10, "pause": "5s"}, {"capacity": "50%", "traffic": 50, "pause": "20s"}]);
    let canary = json!({"steps": steps, "onInconclusive": on_inconclusive});
    model(json!({"openWeights": fields, "rollout": {"strategy": "Canary", "canary": canary}, "replicas": 2}))
}

/// What a person says of a trial.
fn promote(said: &str) -> Act {
    Act::Patch(
        "ModelDeployment",
        "m",
        json!({"metadata": {"annotations": {"serving.weighbridge.dev/promote": said}}}),
    )
}

/// All of them.
pub fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("a model of open weights")
            .edit("created", [open(json!({}))])
            .edit("scaled up", [Act::Scale("m", 3)])
            .to("applied again", [open(json!({}))])
            .to("scaled down and up again", [Act::Scale("m", 1), Act::Scale("m", 3)])
            .edit("scaled down", [Act::Scale("m", 1)])
            .edit("scaled to nothing", [Act::Scale("m", 0)])
            .edit("woken", [Act::Scale("m", 1)])
            .on("a revision that never answers", [open(json!({"source": format!("hf://org/repo/{STUCK}.gguf")}))])
            .edit("mended", [open(json!({"source": "hf://org/repo/other.gguf"}))])
            .on("refused", [open(json!({"source": "file:///srv/m.gguf"}))])
            .to("mended again", [open(json!({"source": "hf://org/repo/other.gguf"}))])
            .edit("edited and scaled at once", [open(json!({})), Act::Scale("m", 2)])
            .edit("deleted", [Act::Delete("ModelDeployment", "m")]),
        Scenario::new("a model made anew under its name")
            .edit("created", [open(json!({}))])
            .edit("deleted and made anew at once", [Act::Delete("ModelDeployment", "m"), open(json!({}))])
            .edit("deleted and made another", [Act::Delete("ModelDeployment", "m"), engine(json!({"contextLength": 64}))])
            .edit("deleted and made a closed one", [
                Act::Delete("ModelDeployment", "m"),
                secret("account", "token"),
                provider(json!({})),
                model(json!({"external": closed()})),
            ]),
        Scenario::new("a model held by a finalizer")
            .edit("created", [open(json!({}))])
            .on("held", [Act::Patch("ModelDeployment", "m", json!({"metadata": {"finalizers": ["example.com/held"]}}))])
            .on("deleted and held", [Act::Delete("ModelDeployment", "m")])
            .edit("let go", [Act::Patch("ModelDeployment", "m", json!({"metadata": {"finalizers": null}}))]),
        Scenario::new("a model that is suspended")
            .edit("created", [open(json!({}))])
            .edit("suspended", [suspended(true)])
            .to("scaled up all the same", [Act::Scale("m", 3)])
            .edit("edited all the same", [engine(json!({"contextLength": 64})), suspended(true)])
            .edit("taken up again", [suspended(false)])
            .on("refused", [open(json!({"source": "file:///srv/m.gguf"}))])
            .on("suspended and refused", [suspended(true)])
            .edit("mended", [open(json!({}))])
            .edit("taken up once more", [suspended(false)]),
        Scenario::new("a model that makes room for itself")
            .edit("created", [replaced(json!({}))])
            .edit("edited", [replaced(json!({"engine": {"contextLength": 64}}))])
            .edit("scaled up", [Act::Scale("m", 2)])
            .edit("edited and scaled at once", [replaced(json!({})), Act::Scale("m", 1)])
            .on("a revision that never answers", [replaced(json!({"revision": STUCK}))])
            .edit("mended", [replaced(json!({}))])
            .edit("at nothing, and edited", [replaced(json!({"engine": {"maxSequences": 4}})), Act::Scale("m", 0)])
            .edit("woken", [Act::Scale("m", 1)])
            .to("by the other strategy", [engine(json!({"maxSequences": 4}))])
            .edit("named a profile", [profile(json!({})), replaced(json!({"resources": {"profile": "small"}}))])
            .edit("whose memory is another", [profile(json!({"memory": "8Gi"}))]),
        Scenario::new("a model that is rolled back")
            .edit("created", [engine(json!({"contextLength": 64}))])
            .edit("rolled", [engine(json!({"contextLength": 128}))])
            .edit("and rolled again", [engine(json!({"contextLength": 256}))])
            .edit("rolled back", [engine(json!({"contextLength": 64}))])
            .on("to one that never answers", [open(json!({"source": format!("hf://org/repo/{STUCK}.gguf")}))])
            .edit("and back", [engine(json!({"contextLength": 64}))])
            .edit("making room", [replaced(json!({"engine": {"contextLength": 512}}))])
            .edit("and back by making room", [replaced(json!({"engine": {"contextLength": 64}}))]),
        Scenario::new("a canary that is promoted")
            .edit("created", [tried(json!({}), "Promote")])
            .edit("edited", [tried(json!({"engine": {"contextLength": 64}}), "Promote")])
            .edit("edited and scaled at once", [tried(json!({"engine": {"contextLength": 128}}), "Promote"), Act::Scale("m", 3)])
            .on("suspended and edited", [tried(json!({}), "Promote"), suspended(true)])
            .edit("taken up again", [suspended(false)])
            .edit("by the other strategy", [engine(json!({"contextLength": 64}))]),
        Scenario::new("a canary that is aborted")
            .edit("created", [tried(json!({}), "Abort")])
            .on("edited", [tried(json!({"engine": {"contextLength": 64}}), "Abort")])
            .on("scaled", [Act::Scale("m", 3)])
            .on("at nothing", [Act::Scale("m", 0)])
            .on("woken", [Act::Scale("m", 2)])
            .to("rolled back", [tried(json!({}), "Abort")])
            .on("a revision that never answers", [tried(json!({"revision": STUCK}), "Abort")])
            .on("another in its place", [tried(json!({"engine": {"contextLength": 128}}), "Abort")])
            .edit("made to come whole", [engine(json!({"contextLength": 128}))]),
        Scenario::new("a canary that waits")
            .edit("created", [tried(json!({}), "Hold")])
            .on("edited", [tried(json!({"engine": {"contextLength": 64}}), "Hold")])
            .on("scaled up", [Act::Scale("m", 4)])
            .on("passed by a word on another", [promote("other:all")])
            .to("rolled back", [
                tried(json!({}), "Hold"),
                Act::Scale("m", 2),
                Act::Patch("ModelDeployment", "m", json!({"metadata": {"annotations": null}})),
            ]),
        Scenario::new("a provider")
            .on("created without its key", [provider(json!({}))])
            .edit("its key comes", [secret("account", "token")])
            .edit("deleted", [Act::Delete("ExternalProvider", "acme")])
            .edit("created", [provider(json!({}))])
            .edit("deleted and made anew at once", [Act::Delete("ExternalProvider", "acme"), provider(json!({}))])
            .on("another key that is not there", [provider(json!({"apiKeys": [{"name": "other", "key": "token"}]}))])
            .edit("which comes", [secret("other", "token")]),
        Scenario::new("a swap of worlds")
            .edit("created", [secret("account", "token"), provider(json!({})), both("OpenWeights")])
            // The Secret with the engine's certificate stays until its model goes.
            .on("to the closed one", [both("External")])
            .on("out of service", [Act::Scale("m", 0)])
            .on("in service", [Act::Scale("m", 1)])
            .on("suspended", [suspended(true)])
            .on("taken up again", [suspended(false)])
            .edit("and back", [both("OpenWeights")])
            .on("its provider goes", [Act::Delete("ExternalProvider", "acme")])
            .edit("its provider comes back", [provider(json!({}))]),
        Scenario::new("a swap before the provider is there")
            .edit("created", [open(json!({}))])
            .on("swapped", [both("External")])
            .on("the provider comes", [provider(json!({}))])
            .on("its key comes", [secret("account", "token")]),
        Scenario::new("an access")
            .to("created", [access(json!({}))])
            .edit("its model comes", [open(json!({}))])
            .to("other models", [access(json!({"models": ["m", "n"]}))])
            .to("every model", [access(json!({"models": ["*"]}))])
            .to("an ended key", [access(json!({"keys": [{"name": "k", "sha256": "sha256:0", "expiresAt": "2026-01-01T00:00:00Z"}]}))])
            .to("made anew", [Act::Delete("ModelAccess", "a"), access(json!({}))])
            .edit("its model goes", [Act::Delete("ModelDeployment", "m")])
            .to("deleted", [Act::Delete("ModelAccess", "a")]),
        Scenario::new("a profile")
            .alike()
            .on("named before it is there", [open(json!({"resources": {"profile": "small"}}))])
            .edit("created", [profile(json!({}))])
            .edit("cpu", [profile(json!({"cpu": "4"}))])
            .edit("memory", [profile(json!({"memory": "8Gi"}))])
            .edit("nodeSelector", [profile(json!({"nodeSelector": {"disk": "fast"}}))])
            .edit("tolerations", [profile(json!({"tolerations": [{"key": "k", "operator": "Exists"}]}))])
            .edit("gpu", [profile(json!({"gpu": {"resource": "nvidia.com/gpu", "count": 1}}))])
            .edit("gpu.product", [profile(json!({"gpu": {"resource": "nvidia.com/gpu", "count": 1, "product": "L4"}}))])
            .edit("gpu.resource", [profile(json!({"gpu": {"resource": "nvidia.com/pgpu", "count": 1}}))])
            .edit("gpu.count", [profile(json!({"gpu": {"resource": "nvidia.com/pgpu", "count": 2}}))])
            .edit("resources.gpus", [
                open(json!({"resources": {"profile": "small", "gpus": 4}})),
                profile(json!({"gpu": {"resource": "nvidia.com/pgpu", "count": 2}})),
            ])
            .on("deleted", [Act::Delete("ResourceProfile", "small")])
            .edit("no longer named", [open(json!({}))]),
        Scenario::new("a model that hardware is chosen for")
            .edit("created", [
                profile(json!({"gpu": {"resource": "nvidia.com/gpu", "count": 1, "memory": "24Gi"}})),
                open(json!({"resources": {"profile": "small"}})),
            ])
            .edit("as few as hold it", [open(json!({"resources": {"profile": "small", "gpus": "auto"}}))])
            .edit("other settings", [open(json!({"resources": {"profile": "small", "gpus": "auto"}, "engine": {"maxSequences": 4}}))])
            .edit("smaller cards", [profile(json!({"gpu": {"resource": "nvidia.com/gpu", "count": 1, "memory": "12Gi"}}))])
            .on("too small ones", [profile(json!({"gpu": {"resource": "nvidia.com/gpu", "count": 1, "memory": "2Gi"}}))])
            .on("suspended", [suspended(true)])
            .edit("large ones", [suspended(false), profile(json!({"gpu": {"resource": "nvidia.com/gpu", "count": 1, "memory": "80Gi"}}))])
            .edit("of unknown size", [
                open(json!({"resources": {"profile": "small"}})),
                profile(json!({"gpu": {"resource": "nvidia.com/gpu", "count": 1}})),
            ])
            .edit("deleted", [Act::Delete("ModelDeployment", "m")]),
        Scenario::new("a model that claims its GPUs")
            .edit("created", [
                profile(json!({"gpu": {"deviceClass": "gpu.nvidia.com"}})),
                open(json!({"resources": {"profile": "small"}})),
            ])
            .edit("other settings by the same template", [open(json!({"resources": {"profile": "small"}, "engine": {"maxSequences": 4}}))])
            .undone("its template is deleted", [Act::DeleteMade("ResourceClaimTemplate", MODEL)])
            .slowly()
            .undone("its Deployment is deleted", [Act::DeleteMade("Deployment", MODEL)])
            .edit("several", [profile(json!({"gpu": {"deviceClass": "gpu.nvidia.com", "count": 2}}))])
            .on("suspended", [suspended(true)])
            .edit("taken up again", [suspended(false)])
            .edit("of a device plugin", [profile(json!({"gpu": {"resource": "nvidia.com/gpu"}}))])
            .edit("claimed and deleted", [Act::Delete("ModelDeployment", "m"), profile(json!({"gpu": {"deviceClass": "gpu.nvidia.com"}}))])
            .edit("made anew", [replaced(json!({"resources": {"profile": "small"}}))])
            .edit("and making room", [profile(json!({"gpu": {"deviceClass": "gpu.nvidia.com", "selectors": ["true"]}}))])
            .edit("deleted and made anew at once", [
                Act::Delete("ModelDeployment", "m"),
                replaced(json!({"resources": {"profile": "small"}})),
            ]),
        Scenario::new("a model through a cache")
            .on("named before it is there", [cached(json!({}))])
            .edit("created", [cache(json!({}))])
            .edit("another model of the same source", [object("ModelDeployment", "n", json!({"openWeights": {"source": SOURCE, "cache": "store"}}))])
            .to("more is prefetched than there is room for", [cache(json!({"prefetch": [{"source": "hf://org/repo/more.gguf"}]}))])
            .to("and is not any more, so that it goes", [cache(json!({}))])
            .edit("another source, and the one before goes with its last pod", [
                cached(json!({"source": "hf://org/repo/other.gguf"})),
                Act::Delete("ModelDeployment", "n"),
            ])
            .edit("an adapter beside it, and room for both", [
                cache(json!({"maxSize": "1Gi"})),
                cached(json!({"source": "hf://org/repo/other.gguf",
                    "engine": {"adapters": [{"name": "tone", "source": "hf://org/repo/tone.gguf"}]}})),
            ])
            .edit("a larger claim", [cache(json!({"claim": {"size": "20Gi"}, "maxSize": "1Gi"}))])
            .undone("the claim is deleted", [Act::DeleteMade("PersistentVolumeClaim", CACHE)])
            .undone("the policy is deleted", [Act::DeleteMade("NetworkPolicy", CACHE)])
            .on("asleep, and its weights are asked for by nobody", [Act::Scale("m", 0), cache(json!({"claim": {"size": "20Gi"}}))])
            .edit("woken", [Act::Scale("m", 1), cache(json!({"claim": {"size": "20Gi"}, "maxSize": "1Gi"}))])
            .on("a token that is not there", [cached(json!({"hub": {"tokenSecret": {"name": "hub", "key": "token"}}}))])
            .on("comes", [secret("hub", "token")])
            .on("its cache goes", [Act::Delete("ModelCache", "store")])
            .on("and comes back", [cache(json!({}))])
            .edit("deleted", [Act::Delete("ModelDeployment", "m"), Act::Delete("ModelCache", "store")]),
        Scenario::new("children that somebody changes")
            .edit("created", [secret("account", "token"), provider(json!({})), open(json!({}))])
            .undone("the node is lost", [Act::LoseNode])
            .undone("a Service is deleted", [Act::DeleteMade("Service", MODEL)])
            .undone("a Service is changed", [Act::PatchMade("Service", MODEL, json!({"spec": {"selector": {"else": "where"}}}))])
            .undone("a Deployment is scaled", [Act::PatchMade("Deployment", MODEL, json!({"spec": {"replicas": 5}}))])
            .undone("more is put into a Deployment", [Act::PatchMade("Deployment", MODEL, json!({"spec": {"paused": true, "template":
                {"spec": {"serviceAccountName": "admin", "initContainers": [{"name": "before", "image": "i"}]}}}}))])
            .undone("a Deployment is deleted", [Act::DeleteMade("Deployment", MODEL)])
            .undone("a mark is taken", [Act::PatchMade("Deployment", MODEL,
                json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}))])
            .undone("an owner is taken", [Act::PatchMade("Deployment", MODEL, json!({"metadata": {"ownerReferences": null}}))])
            .undone("a proxy is deleted", [Act::DeleteMade("Deployment", PROVIDER)])
            .undone("a policy is deleted", [Act::DeleteMade("NetworkPolicy", PROVIDER)])
            .undone("a policy is opened", [Act::PatchMade("NetworkPolicy", PROVIDER, json!({"spec": {"egress": [{}]}}))]),
        Scenario::new("a Service of somebody else")
            .on("is in the way", [
                Act::Apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m-engine"},
                    "spec": {"selector": {"their": "own"}, "ports": [{"port": 80, "protocol": "TCP"}]}})),
                open(json!({})),
            ])
            .edit("goes", [Act::Delete("Service", "m-engine")]),
        Scenario::new("certificates")
            .edit("created", [secret("account", "token"), provider(json!({})), open(json!({}))])
            .undone("get old", [Act::Age])
            .slowly()
            .undone("are lost, and the authority with them", [Act::DeleteMade("Secret", "app.kubernetes.io/component")])
            .slowly()
            .on("see their authority grow old", [Act::AgeAuthority])
            .slowly(),
        Scenario::new("a field and nothing else")
            .edit("created", [secret("account", "token"), provider(json!({}))])
            .edit("set", [provider(json!({"apiKeys": [{"name": "account", "key": "token", "weight": 7}]}))]),
        Scenario::new("a token")
            .on("that is not there", [open(json!({"hub": {"tokenSecret": {"name": "hub", "key": "token"}}}))])
            .edit("comes", [secret("hub", "token")])
            .edit("is not needed", [open(json!({}))]),
    ];
    all.push(fields_of_a_model());
    all.push(fields_of_a_provider());
    all
}

fn fields_of_a_model() -> Scenario {
    let digest = format!("sha256:{}", "0".repeat(64));
    let adapter = json!({"name": "tone", "source": "hf://org/repo/tone.gguf"});
    let mut scenario = Scenario::new("fields of a model").alike().edit("created", [open(json!({}))]);
    for (name, fields) in [
        ("source", json!({"source": "pvc://claim/file.gguf"})),
        ("revision", json!({"revision": "v1"})),
        ("digest", json!({"digest": digest})),
        ("hub.endpoint", json!({"hub": {"endpoint": "https://hub.example.com"}})),
        ("source: https", json!({"source": "https://files.example.com/file.gguf"})),
        (
            "source: s3",
            json!({"source": "s3://models/file.gguf", "storage": {"endpoint": "http://minio:9000", "region": "eu-west-1"}}),
        ),
        ("source: gs", json!({"source": "gs://models/file.gguf"})),
        ("source: oci", json!({"source": "oci://registry/models:v1/file.gguf"})),
        (
            "signature",
            json!({"signature": {"bundle": "model.sig", "publicKey": "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----"}}),
        ),
        ("caCertificates", json!({"caCertificates": {"name": "authorities", "key": "ca.crt"}})),
        ("engine.contextLength", json!({"engine": {"contextLength": 1024}})),
        ("engine.maxSequences", json!({"engine": {"maxSequences": 8}})),
        ("engine.kvCacheType", json!({"engine": {"kvCacheType": "q8_0"}})),
        ("a folder", json!({"source": "pvc://claim/folder"})),
        ("engine.quantize", json!({"source": "pvc://claim/folder", "engine": {"quantize": "Q8_0"}})),
        ("engine.adapters", json!({"engine": {"adapters": [adapter]}})),
        ("podTemplate", json!({"podTemplate": {"spec": {"priorityClassName": "high"}}})),
    ] {
        scenario = scenario.edit(name, [open(fields)]);
    }
    let weights = json!({"source": SOURCE});
    scenario = scenario.edit("drainTimeout", [model(json!({"openWeights": weights, "drainTimeout": "90s"}))]);
    // No child knows of what gateways hold.
    for (name, hold) in [
        ("hold.maxWait", json!({"maxWait": "5m"})),
        ("hold.maxQueued", json!({"maxQueued": 7})),
        ("hold.maxBytes", json!({"maxBytes": "7Mi"})),
    ] {
        scenario = scenario.to(name, [model(json!({"openWeights": {"source": SOURCE}, "hold": hold}))]);
    }
    scenario
}

fn fields_of_a_provider() -> Scenario {
    let weight = json!([{"name": "account", "key": "token", "weight": 7}]);
    let openai = json!({"kind": "OpenAI", "baseURL": null});
    let region = json!({"kind": "OpenAI", "baseURL": null, "dataPolicy": {"region": "eu"}});
    let retention = json!({"kind": "OpenAI", "baseURL": null, "dataPolicy": {"retention": "NotStored"}});
    let bedrock = json!({"kind": "Bedrock", "baseURL": null, "bedrock": {"region": "us-east-1"}});
    let vertex = json!({"kind": "Vertex", "baseURL": null, "vertex": {"project": "p", "location": "global"}});
    let mut scenario = Scenario::new("fields of a provider")
        .alike()
        .edit("created", [secret("account", "token"), provider(json!({}))]);
    for (name, fields) in [
        ("baseURL", json!({"baseURL": "https://api.example.net/v1"})),
        ("apiKeys.weight", json!({"apiKeys": weight})),
        ("allowPrivate", json!({"baseURL": "http://10.0.0.7/v1", "allowPrivate": true})),
        ("kind", openai),
        ("dataPolicy.region", region),
        ("dataPolicy.retention", retention),
        ("bedrock", bedrock),
        ("vertex", vertex),
    ] {
        scenario = scenario.edit(name, [provider(fields)]);
    }
    scenario
}
