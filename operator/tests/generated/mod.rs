//! Any model that the CRD and the operator take, with what it names: for what has to hold of every plan.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use weighbridge_crds::manifest::{Manifest, parse};

const API: &str = "serving.weighbridge.dev/v1alpha1";
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n";

/// A model, its profile and its cache; now and then with a provider, or with a model whose header is read first.
pub fn model() -> impl Strategy<Value = Vec<Manifest>> {
    let beside = (cache(), prop::option::of(provider()), prop::option::of(unread()));
    let parts = (weights(), hardware(), numbers(), adapters(), prop::option::of(pod_template()));
    let whole = ("[a-z][a-z0-9]{0,39}", 0..1000_i32, prop::option::of(0..3600_u32), any::<bool>());
    (whole, parts, beside).prop_map(
        |(
            (name, replicas, drain, sleeps),
            (mut weights, hardware, mut engine, adapters, template),
            (cache, provider, unread),
        )| {
            let Hardware { gpu, gpus } = hardware;
            let mut profile = json!({"cpu": "2", "memory": "4Gi"});
            let cards = gpu.as_ref().map_or(0, |gpu| gpus.unwrap_or(gpu["count"].as_i64().unwrap_or(1)));
            if let Some(gpu) = gpu {
                profile["gpu"] = gpu;
                if let Some(gpus) = gpus {
                    weights["resources"] = json!({"profile": "p", "gpus": gpus});
                }
            }
            if weights["resources"].is_null() {
                weights["resources"] = json!({"profile": "p"});
            }
            if cards < 2 {
                engine["adapters"] = adapters;
            }
            if cards == 1 && sleeps {
                engine["sleep"] = json!({"afterSeconds": 60, "weights": "host"});
            }
            engine["kvCacheType"] = json!(if cards > 0 { "fp8" } else { "q8_0" });
            weights["engine"] = engine;
            if let Some(template) = template {
                weights["podTemplate"] = template;
            }
            let drain = drain.map(|seconds| format!("{seconds}s"));
            let spec = json!({"openWeights": weights, "replicas": replicas, "drainTimeout": drain});
            let mut objects = vec![
                object("ResourceProfile", json!({"name": "p"}), profile),
                object("ModelCache", json!({"name": "store", "namespace": "n"}), cache),
                object("ModelDeployment", json!({"name": name, "namespace": "n"}), spec),
            ];
            // After the model, so that its Deployment is the first that is planned.
            objects.extend(provider);
            objects.extend(unread.into_iter().flatten());
            let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
            parse(&texts.join("\n---\n")).expect("the CRD takes it")
        },
    )
}

fn object(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec})
}

/// `into` with the fields of `from`.
fn add(mut into: Value, from: &Value) -> Value {
    for (name, value) in from.as_object().into_iter().flatten() {
        into[name] = if into[name].is_object() { add(into[name].take(), value) } else { value.clone() };
    }
    into
}

/// A source of each scheme, each with some of what goes with it.
fn weights() -> impl Strategy<Value = Value> {
    prop_oneof![
        from(
            "hf://[a-z]{1,8}/[a-z]{1,8}/[a-z]{1,8}\\.gguf",
            [
                json!({"hub": {"tokenSecret": {"name": "hub", "key": "token"}}}),
                json!({"hub": {"endpoint": "https://hub.example.com"}}),
                json!({"revision": "v1"}),
            ],
            Fetched::Yes
        ),
        from("pvc://[a-z]{1,8}/[a-z]{1,8}\\.gguf", [], Fetched::No),
        from(
            "s3://[a-z]{3,8}/[a-z]{1,8}\\.gguf",
            [stored("endpoint", "http://minio.svc:9000"), stored("region", "eu-west-1"), account()],
            Fetched::Yes
        ),
        from(
            "gs://[a-z]{3,8}/[a-z]{1,8}\\.gguf",
            [stored("endpoint", "https://storage.example.com"), account()],
            Fetched::Yes
        ),
        from(
            "oci://registry\\.example\\.com/[a-z]{1,8}:v1/[a-z]{1,8}\\.gguf",
            [stored("endpoint", "https://mirror.example.com"), account()],
            Fetched::Yes
        ),
        from(
            "oci://registry\\.example\\.com/[a-z]{1,8}:v1/[a-z]{1,8}\\.gguf",
            [
                json!({"storage": {"imageVolume": true}}),
                json!({"storage": {"imageVolume": true, "credentialsSecret": {"name": "s"}}})
            ],
            Fetched::ByTheNode
        ),
        from("https://host\\.example\\.com:8443/[a-z]{1,8}\\.gguf", [account()], Fetched::Yes),
    ]
}

fn stored(field: &str, value: &str) -> Value {
    json!({"storage": {field: value}})
}

fn account() -> Value {
    json!({"storage": {"credentialsSecret": {"name": "account"}}})
}

/// Who brings the weights.
#[derive(Clone, Copy)]
enum Fetched {
    /// Whoever serves them, or a cache.
    Yes,
    /// They are on a claim.
    No,
    /// They are an image.
    ByTheNode,
}

fn from<const FIELDS: usize>(
    pattern: &'static str,
    fields: [Value; FIELDS],
    fetched: Fetched,
) -> impl Strategy<Value = Value> {
    let mut beside = fields.to_vec();
    beside.push(json!({"digest": format!("sha256:{}", "0".repeat(64))}));
    let signature = json!({"signature": {"bundle": "model.sig", "publicKey": PUBLIC_KEY}});
    let trust = match fetched {
        Fetched::Yes => {
            beside.push(json!({"caCertificates": {"name": "authorities", "key": "ca.crt"}}));
            vec![json!({}), signature, json!({"cache": "store"})]
        }
        Fetched::No => vec![json!({}), signature],
        Fetched::ByTheNode => vec![json!({"storage": {"imageVolume": true}})],
    };
    let most = beside.len();
    (pattern, subsequence(beside, 0..=most), select(trust)).prop_map(|(source, fields, trust)| {
        let bare = json!({"source": source});
        fields.iter().chain([&trust]).fold(bare, add)
    })
}

/// What a profile says of GPUs, and how many a model asks for.
#[derive(Clone, Debug)]
struct Hardware {
    gpu: Option<Value>,
    gpus: Option<i64>,
}

fn hardware() -> impl Strategy<Value = Hardware> {
    let gpu = prop::option::of((1..8_i64, any::<bool>(), device()));
    (gpu, prop::option::of(1..8_i64)).prop_map(|(gpu, gpus)| Hardware {
        gpu: gpu.map(|(count, named, device)| {
            let product = named.then_some("NVIDIA-L4");
            add(json!({"count": count, "product": product}), &device)
        }),
        gpus,
    })
}

/// What a GPU is asked for by: a device plugin's resource, or a claim.
fn device() -> impl Strategy<Value = Value> {
    let class = json!({"deviceClass": "gpu.nvidia.com"});
    let chosen = json!({"selectors": ["device.driver == 'gpu.nvidia.com'"]});
    select(vec![json!({}), class.clone(), add(class, &chosen)])
}

/// A claim that is there or one to be made, and what is held on it though no model names it.
fn cache() -> impl Strategy<Value = Value> {
    let claims = vec![
        json!({"name": "weights"}),
        json!({"size": "1Gi"}),
        json!({"size": "1Gi", "storageClassName": "fast", "accessModes": ["ReadWriteOnce", "ReadWriteMany"]}),
    ];
    let authorities = json!({"caCertificates": {"name": "authorities", "key": "ca.crt"}});
    let of = |source: &str, fields: &[Value]| fields.iter().fold(json!({"source": source}), add);
    let items = vec![
        of(
            "hf://org/repo/held.gguf",
            &[json!({"revision": "v1", "hub": {"tokenSecret": {"name": "hub", "key": "token"}}})],
        ),
        of(
            "s3://bucket/held.gguf",
            &[
                stored("endpoint", "http://minio.svc:9000"),
                stored("region", "eu-west-1"),
                account(),
                authorities.clone(),
            ],
        ),
        of("oci://registry.example.com/held:v1/held.gguf", &[account()]),
        of("https://host.example.com:8443/held.gguf", &[authorities]),
    ];
    let most = items.len();
    (select(claims), subsequence(items, 0..=most))
        .prop_map(|(claim, prefetch)| json!({"claim": claim, "prefetch": prefetch}))
}

/// An account at a closed API, with each kind of address, place and demand.
fn provider() -> impl Strategy<Value = Value> {
    let kinds = vec![
        json!({"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1"}),
        json!({"kind": "OpenAICompatible", "baseURL": "http://llama.svc:8080/v1", "allowPrivate": true}),
        json!({"kind": "Anthropic"}),
        json!({"kind": "OpenAI", "dataPolicy": {"region": "eu", "retention": "NotStored"}}),
        json!({"kind": "Vertex", "vertex": {"project": "p-1", "location": "global"}}),
        json!({"kind": "Bedrock", "bedrock": {"region": "eu-west-1"}}),
    ];
    let keys = vec![
        json!({"name": "account", "key": "first"}),
        json!({"name": "account", "key": "second", "weight": 7}),
        json!({"name": "other", "key": "first"}),
    ];
    let most = keys.len();
    ("[a-z][a-z0-9]{0,39}", select(kinds), subsequence(keys, 1..=most)).prop_map(|(name, kind, keys)| {
        let spec = add(kind, &json!({"apiKeys": keys}));
        object("ExternalProvider", json!({"name": name, "namespace": "n"}), spec)
    })
}

/// A model that gets as many GPUs as its header asks for, and its profile. No other model's name has a `-`.
fn unread() -> impl Strategy<Value = [Value; 2]> {
    ("unread-[a-z0-9]{1,33}", weights(), device()).prop_map(|(name, mut weights, device)| {
        weights["resources"] = json!({"profile": "sized", "gpus": "auto"});
        let gpu = add(json!({"memory": "24Gi"}), &device);
        let profile = json!({"cpu": "2", "memory": "4Gi", "gpu": gpu});
        [
            object("ResourceProfile", json!({"name": "sized"}), profile),
            object(
                "ModelDeployment",
                json!({"name": name, "namespace": "n"}),
                json!({ "openWeights": weights }),
            ),
        ]
    })
}

fn numbers() -> impl Strategy<Value = Value> {
    (prop::option::of(16..100_000_i32), prop::option::of(1..4096_i32))
        .prop_map(|(context, sequences)| json!({"contextLength": context, "maxSequences": sequences}))
}

fn adapters() -> impl Strategy<Value = Value> {
    let digest = format!("sha256:{}", "1".repeat(64));
    let all = vec![
        json!({"name": "tone", "source": "hf://org/repo/tone.gguf", "revision": "v1"}),
        json!({"name": "voice", "source": "hf://org/repo/voice.gguf", "digest": digest}),
        json!({"name": "legal", "source": "pvc://tuned/legal"}),
        json!({"name": "near", "source": "pvc://tuned/near.gguf", "digest": digest}),
    ];
    let most = all.len();
    subsequence(all, 0..=most).prop_map(|adapters| json!(adapters))
}

/// What may be added to the engine's pods. Classes are those that every cluster has, and of a RuntimeClass there is none.
fn pod_template() -> impl Strategy<Value = Value> {
    let of_spec = vec![
        json!({"priorityClassName": "system-cluster-critical"}),
        json!({"schedulerName": "kueue"}),
        json!({"nodeSelector": {"zone": "a"}}),
        json!({"tolerations": [{"key": "k", "operator": "Exists"}]}),
        json!({"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]}),
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"team": "a"}}}]}}}),
        json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.10"]}}),
        json!({"hostAliases": [{"ip": "10.0.0.11", "hostnames": ["hub.example.com"]}]}),
        json!({"imagePullSecrets": [{"name": "registry"}]}),
    ];
    let of_metadata = vec![
        json!({"labels": {"team": "a", "example.com/cost": "research"}}),
        json!({"annotations": {"example.com/note": "gewählt \u{1f9e8}"}}),
    ];
    let volumes = vec![
        json!({"configMap": {"name": "topology"}}),
        json!({"csi": {"driver": "csi.example.com", "readOnly": true}}),
        json!({"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
        json!({"emptyDir": {"sizeLimit": "1Gi"}}),
        json!({"ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}),
        json!({"persistentVolumeClaim": {"claimName": "scratch"}}),
        json!({"projected": {"sources": [{"configMap": {"name": "topology"}}]}}),
    ];
    let (spec, metadata) = (of_spec.len(), of_metadata.len());
    let volume = prop::option::of((select(volumes), select(vec!["/mnt/extra", "/etc/nccl"])));
    (subsequence(of_spec, 0..=spec), subsequence(of_metadata, 0..=metadata), volume).prop_map(
        |(spec, metadata, volume)| {
            let mut spec = spec.iter().fold(json!({}), add);
            if let Some((volume, path)) = volume {
                spec["volumes"] = json!([add(json!({"name": "extra"}), &volume)]);
                spec["containers"] = json!([{"name": "engine",
                    "env": [{"name": "NCCL_TOPO_FILE", "value": "/etc/nccl/topology.xml"}],
                    "volumeMounts": [{"name": "extra", "mountPath": path}]}]);
            }
            json!({"metadata": metadata.iter().fold(json!({}), add), "spec": spec})
        },
    )
}
