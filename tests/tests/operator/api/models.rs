use anyhow::Result;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use weighbridge_crds::ModelDeployment;
use weighbridge_tests::testbed::{self, TestNamespace};

use super::super::harness::{SOURCE, apply};
use super::rules::Rules;

const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n";

/// Open weights with this rollout.
fn canary(rollout: Value) -> Value {
    json!({"openWeights": {"source": SOURCE}, "rollout": rollout})
}

fn steps(strategy: &str, steps: Value) -> Value {
    canary(json!({"strategy": strategy, "canary": {"steps": steps}}))
}

fn first_step() -> Value {
    json!({"capacity": 1, "traffic": 10, "pause": "5m"})
}

/// A good step but for this field.
fn step(field: &str, value: Value) -> Value {
    let mut step = first_step();
    step[field] = value;
    step
}

#[tokio::test]
async fn the_apiserver_refuses_bad_models_with_the_field_and_the_fix() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "refuse").await?;
    let mut rules = Rules::<ModelDeployment>::of(namespace.api())?;
    let open = |weights: Value| json!({"openWeights": weights});
    let adapters = |adapters: Value| open(json!({"source": SOURCE, "engine": {"adapters": adapters}}));
    let tone = json!({"name": "tone", "source": SOURCE, "revision": "v1"});
    let legal = json!({"name": "legal", "source": "pvc://tuned/legal"});
    let long = "a".repeat(41);
    let cases: Vec<(&str, Value, &str)> = vec![
        ("m", json!({}), "neither world is named"),
        (
            "m",
            json!({"openWeights": {"source": SOURCE}, "external": {"provider": "p", "model": "m"}}),
            "add serve:",
        ),
        ("m", json!({"serve": "External", "openWeights": {"source": SOURCE}}), "external is not set"),
        (
            "m",
            json!({"serve": "OpenWeights", "external": {"provider": "p", "model": "m"}}),
            "openWeights is not set",
        ),
        ("m", open(json!({"source": "ftp://host/file.gguf"})), "hf://org/repo/file.gguf, s3://bucket/key"),
        ("m", open(json!({"source": "http://host/file.gguf"})), "source has no known scheme"),
        ("m", open(json!({"source": "https://host"})), "https://host/path/file.gguf"),
        ("m", open(json!({"source": "https://u:p@host/file"})), "no user, query or fragment"),
        ("m", open(json!({"source": "https://host/file?token=t"})), "storage.credentialsSecret"),
        ("m", open(json!({"source": "https://host/file#x"})), "an https source is a plain address"),
        ("m", open(json!({"source": "https://host/a/../b"})), "'.' or '..'"),
        (
            "m",
            open(json!({"source": SOURCE, "storage": {"credentialsSecret": {"name": "s"}}})),
            "storage belongs to s3, gs, oci and https sources only",
        ),
        ("m", open(json!({"source": "s3://bucket"})), "s3://bucket/key or gs://bucket/object"),
        ("m", open(json!({"source": "gs://Bucket/object"})), "names a bucket and an object in it"),
        (
            "m",
            open(json!({"source": "oci://registry/repo/file.gguf"})),
            "an oci source names registry, repository, a tag or digest",
        ),
        (
            "m",
            open(json!({"source": "oci://registry/Repo:v1/file.gguf"})),
            "oci://registry/repository:tag/file.gguf",
        ),
        (
            "m",
            open(json!({"source": "oci://registry/repo@sha256:00"})),
            "oci://registry/repository@sha256:DIGEST",
        ),
        ("m", open(json!({"source": "s3://b1/k", "revision": "main"})), "revision belongs to hf"),
        (
            "m",
            open(json!({"source": "https://host/file", "storage": {"endpoint": "https://other"}})),
            "storage.endpoint: an https source names its server itself",
        ),
        (
            "m",
            open(json!({"source": "gs://b1/o", "storage": {"region": "eu"}})),
            "storage.region belongs to s3 sources only",
        ),
        (
            "m",
            open(json!({"source": "s3://b1/k", "storage": {"endpoint": "ftp://minio"}})),
            "spec.openWeights.storage.endpoint",
        ),
        (
            "m",
            open(json!({"source": "s3://b1/k", "storage": {"region": "EU"}})),
            "spec.openWeights.storage.region",
        ),
        (
            "m",
            open(json!({"source": "oci://r/repo:v1", "storage": {"imageVolume": true}})),
            "storage.imageVolume is of an image and a file in it",
        ),
        (
            "m",
            open(json!({"source": "s3://b1/k", "storage": {"imageVolume": true}})),
            "oci://registry/repository:tag/folder/file.gguf",
        ),
        (
            "m",
            open(
                json!({"source": "oci://r/repo:v1/f", "storage": {"imageVolume": true, "endpoint": "https://mirror"}}),
            ),
            "remove storage.endpoint and caCertificates",
        ),
        (
            "m",
            open(json!({"source": "oci://r/repo:v1", "storage": {"endpoint": "http://registry.svc:5000",
                "credentialsSecret": {"name": "s"}}})),
            "storage.endpoint without TLS",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "signature": {"bundle": "../model.sig", "publicKey": PUBLIC_KEY}})),
            "with no '.' or '..': write model.sig",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "signature": {"bundle": "/model.sig", "publicKey": PUBLIC_KEY}})),
            "a path from the folder of the source's file",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "signature": {"bundle": "model.sig",
                "publicKey": PUBLIC_KEY.replace("PUBLIC KEY", "CERTIFICATE")}})),
            "certificates and keyless signatures are not verified",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "signature": {"bundle": "model.sig"}})),
            "spec.openWeights.signature.publicKey",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "signature": {"bundle": "m", "identity": "me@example.com"}})),
            "spec.openWeights.signature.identity",
        ),
        (
            "m",
            open(json!({"source": "pvc://claim/x", "caCertificates": {"name": "c", "key": "k"}})),
            "caCertificates is for sources that are fetched",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "caCertificates": {"name": "c", "key": "a/b"}})),
            "spec.openWeights.caCertificates.key",
        ),
        (
            "m",
            open(json!({"source": "https://host/file", "storage": {"credentialsSecret": {"name": ""}}})),
            "spec.openWeights.storage.credentialsSecret.name",
        ),
        ("m", open(json!({"source": "hf://org/repo"})), "organisation, repository and file"),
        ("m", open(json!({"source": "pvc://claim"})), "a pvc source names a claim and a file in it"),
        ("m", open(json!({"source": "pvc://Claim/f"})), "pvc://claim/file.gguf"),
        ("m", open(json!({"source": "file://folder/f"})), "a file source is an absolute path"),
        ("m", open(json!({"source": "file:////f"})), "file:///folder/file.gguf"),
        ("m", open(json!({"source": "pvc://claim/x", "hub": {}})), "hub belongs to hf sources only"),
        ("m", open(json!({"source": "pvc://claim/../x"})), "'.' or '..'"),
        ("m", open(json!({"source": "pvc://claim/x", "revision": "main"})), "revision belongs to hf"),
        ("m", open(json!({"source": SOURCE, "digest": "md5:1"})), "spec.openWeights.digest"),
        ("m", open(json!({"source": SOURCE, "resources": {"gpus": 1}})), "set profile"),
        ("m", open(json!({"source": "pvc://claim/x", "cache": "c"})), "cache is for what is fetched"),
        ("m", open(json!({"source": SOURCE, "cache": "Store"})), "spec.openWeights.cache"),
        (
            "m",
            open(
                json!({"source": SOURCE, "cache": "c", "signature": {"bundle": "model.sig", "publicKey": PUBLIC_KEY}}),
            ),
            "with cache no engine does",
        ),
        (
            "m",
            open(json!({"source": "oci://r/m:t/f", "cache": "c", "storage": {"imageVolume": true}})),
            "each node keeps the image itself",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "resources": {"profile": "p", "gpus": "all"}})),
            "gpus is a number from 1 to 64, or auto",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "resources": {"profile": "p", "gpus": 65}})),
            "gpus is a number from 1 to 64, or auto",
        ),
        ("m", adapters(json!([{"name": "a", "source": "s3://b/k"}])), "an adapter's source is hf://"),
        (
            "m",
            adapters(json!([{"name": "a", "source": "pvc://c/../f"}])),
            "source may not contain '.' or '..' segments",
        ),
        (
            "m",
            adapters(json!([{"name": "a", "source": "pvc://c/f", "revision": "main"}])),
            "revision belongs to hf sources only",
        ),
        ("m", adapters(json!([tone, legal, tone])), "adapters: two have one name: give each its own"),
        ("m", open(json!({"source": SOURCE, "engine": {"contextLength": 1}})), "contextLength"),
        (
            "m",
            open(json!({"source": SOURCE, "engine": {"kvCacheType": "fp4"}})),
            "spec.openWeights.engine.kvCacheType",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "engine": {"quantize": "Q5_K"}})),
            "spec.openWeights.engine.quantize",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "engine": {"sleep": {"afterSeconds": 0}}})),
            "spec.openWeights.engine.sleep.afterSeconds",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "engine": {"sleep": {"afterSeconds": 9, "weights": "disk"}}})),
            "spec.openWeights.engine.sleep.weights",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "flavour": "mild"})),
            "unknown field \"spec.openWeights.flavour\"",
        ),
        ("m", json!({"openWeights": {"source": SOURCE}, "replicas": -1}), "replicas"),
        ("m", json!({"openWeights": {"source": SOURCE}, "suspend": "no"}), "spec.suspend"),
        ("m", json!({"openWeights": {"source": SOURCE}, "drainTimeout": "5min"}), "spec.drainTimeout"),
        ("m", json!({"openWeights": {"source": SOURCE}, "drainTimeout": ""}), "spec.drainTimeout"),
        ("m", json!({"openWeights": {"source": SOURCE}, "drainTimeout": "61m"}), "write 1h or less"),
        (
            "m",
            json!({"external": {"provider": "p", "model": "m"}, "drainTimeout": "1m"}),
            "drainTimeout is for engine pods",
        ),
        (
            "m",
            json!({"openWeights": {"source": SOURCE}, "rollout": {"strategy": "Recreate"}}),
            "spec.rollout.strategy",
        ),
        (
            "m",
            json!({"external": {"provider": "p", "model": "m"}, "rollout": {"strategy": "Replace"}}),
            "rollout is of engine pods, and a model with external alone has none: remove it",
        ),
        (
            "m",
            canary(json!({"strategy": "Canary"})),
            "canary goes with strategy: Canary and nothing else: set both",
        ),
        (
            "m",
            steps("Replace", json!([first_step()])),
            "canary goes with strategy: Canary and nothing else: set both",
        ),
        ("m", steps("Canary", json!([])), "spec.rollout.canary.steps"),
        ("m", steps("Canary", json!(vec![first_step(); 11])), "spec.rollout.canary.steps"),
        ("m", steps("Canary", json!([step("traffic", json!(100))])), "spec.rollout.canary.steps[0].traffic"),
        (
            "m",
            steps("Canary", json!([step("traffic", json!(20)), first_step()])),
            "traffic goes down from one step to the next: write them in the order in which the new revision gets more",
        ),
        (
            "m",
            steps("Canary", json!([step("capacity", json!("9%"))])),
            "traffic is a larger share than capacity, so that each new pod would get more than an old one: raise capacity, or lower traffic",
        ),
        (
            "m",
            steps("Canary", json!([step("capacity", json!("101%"))])),
            "spec.rollout.canary.steps[0].capacity",
        ),
        (
            "m",
            steps("Canary", json!([step("capacity", json!("half"))])),
            "spec.rollout.canary.steps[0].capacity",
        ),
        ("m", steps("Canary", json!([step("capacity", json!(0))])), "spec.rollout.canary.steps[0].capacity"),
        (
            "m",
            steps("Canary", json!([step("pause", json!("25h"))])),
            "pause is a length of time up to 24h, such as 5m, or Manual",
        ),
        ("m", steps("Canary", json!([step("pause", json!("0s"))])), "pause is a length of time up to 24h"),
        ("m", steps("Canary", json!([step("pause", json!("manual"))])), "spec.rollout.canary.steps[0].pause"),
        (
            "m",
            canary(
                json!({"strategy": "Canary", "canary": {"steps": [first_step()], "abort": {"errorRate": 101}}}),
            ),
            "spec.rollout.canary.abort.errorRate",
        ),
        (
            "m",
            canary(
                json!({"strategy": "Canary", "canary": {"steps": [first_step()], "onInconclusive": "Wait"}}),
            ),
            "spec.rollout.canary.onInconclusive",
        ),
        (
            "m",
            json!({"external": {"provider": "p", "model": "m"}, "replicas": 2}),
            "replicas counts engine pods, and a model with external alone has none: set replicas: 1",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "hub": {"endpoint": "http://hub.example.com",
                "tokenSecret": {"name": "s", "key": "k"}}})),
            "token in the clear: use https://",
        ),
        (
            "m",
            json!({"openWeights": {"source": SOURCE}, "hold": {"maxWait": "2h"}}),
            "maxWait is a length of time up to 1h: write 90s, 2m or 1h",
        ),
        ("m", json!({"openWeights": {"source": SOURCE}, "hold": {"maxWait": "soon"}}), "spec.hold.maxWait"),
        ("m", json!({"openWeights": {"source": SOURCE}, "hold": {"maxWait": 120}}), "spec.hold.maxWait"),
        ("m", json!({"openWeights": {"source": SOURCE}, "hold": {"maxQueued": -1}}), "spec.hold.maxQueued"),
        (
            "m",
            json!({"openWeights": {"source": SOURCE}, "hold": {"maxQueued": 100001}}),
            "spec.hold.maxQueued",
        ),
        ("m", json!({"openWeights": {"source": SOURCE}, "hold": {"maxBytes": "64MB"}}), "spec.hold.maxBytes"),
        (&long, open(json!({"source": SOURCE})), "longer than 40"),
        ("1m", open(json!({"source": SOURCE})), "begin with a letter"),
    ];
    for (name, spec, words) in cases {
        rules.refuse(name, spec, words).await?;
    }
    let full =
        open(json!({"source": SOURCE, "revision": "abc", "digest": format!("sha256:{}", "0".repeat(64)),
        "hub": {"endpoint": "https://hub.example.com", "tokenSecret": {"name": "s", "key": "k"}},
        "resources": {"profile": "p", "gpus": 2}, "engine": {"contextLength": 4096, "maxSequences": 8,
        "kvCacheType": "q8_0", "sleep": {"afterSeconds": 600, "weights": "host"}}}));
    rules.take("good", full).await?;
    let external = json!({"provider": "p", "model": "m"});
    for good in [
        json!({"external": external, "replicas": 0}),
        json!({"external": external, "suspend": true}),
        json!({"openWeights": {"source": SOURCE}, "suspend": true, "replicas": 3}),
        json!({"openWeights": {"source": SOURCE}, "drainTimeout": "0s"}),
        json!({"openWeights": {"source": SOURCE}, "rollout": {}}),
        json!({"openWeights": {"source": SOURCE}, "rollout": {"strategy": "Replace"}}),
        steps(
            "Canary",
            json!([first_step(), step("capacity", json!("10%")), step("pause", json!("Manual"))]),
        ),
        steps("Canary", json!(vec![step("pause", json!("24h")); 10])),
        canary(json!({"strategy": "Canary", "canary": {"steps": [first_step()], "onInconclusive": "Promote",
            "abort": {"errorRate": 0, "timeToFirstToken": 10, "interTokenLatency": 10000, "minRequests": 1}}})),
        json!({"openWeights": {"source": SOURCE}, "drainTimeout": "59m60s"}),
        json!({"serve": "External", "external": external, "openWeights": {"source": SOURCE}, "replicas": 3}),
        open(json!({"source": SOURCE, "hub": {"endpoint": "http://hub.example.com"}})),
        open(json!({"source": "file:///folder/f.gguf"})),
        adapters(json!([tone, legal])),
        open(json!({"source": SOURCE, "caCertificates": {"name": "c", "key": "ca.crt"}})),
        open(
            json!({"source": "pvc://claim/folder", "signature": {"bundle": "sub/model.sig", "publicKey": PUBLIC_KEY}}),
        ),
        open(
            json!({"source": "s3://b1/k", "storage": {"endpoint": "http://minio.svc:9000", "region": "eu-west-1",
            "credentialsSecret": {"name": "s"}}}),
        ),
        open(json!({"source": "gs://my_bucket/o", "storage": {"endpoint": "http://localhost:4443",
            "credentialsSecret": {"name": "s"}}})),
        open(json!({"source": "oci://registry.svc:5000/team/models/small:v1.0/folder/m.gguf",
            "storage": {"endpoint": "http://registry.svc:5000"}, "caCertificates": {"name": "c", "key": "k"}})),
        open(json!({"source": "oci://r/team/repo:v1/models/f.gguf",
            "storage": {"imageVolume": true, "credentialsSecret": {"name": "s"}}})),
        open(json!({"source": format!("oci://ghcr.io/o/m@sha256:{}", "0".repeat(64))})),
        open(
            json!({"source": "https://host:8443/models/a%20b@v1.gguf", "storage": {"credentialsSecret": {"name": "s"}},
            "caCertificates": {"name": "c", "key": "ca.crt"}}),
        ),
        open(json!({"source": SOURCE, "hub": {"endpoint": "http://localhost:8080",
            "tokenSecret": {"name": "s", "key": "k"}}})),
        open(json!({"source": SOURCE, "resources": {"profile": "p", "gpus": "auto"}})),
        open(json!({"source": "s3://b1/k", "cache": "store"})),
        open(json!({"source": SOURCE, "resources": {"profile": "p", "gpus": 64}})),
        json!({"openWeights": {"source": SOURCE}, "hold": {}}),
        json!({"openWeights": {"source": SOURCE}, "hold": {"maxWait": "0s", "maxQueued": 0, "maxBytes": "64Mi"}}),
        json!({"external": external, "hold": {"maxWait": "59m60s", "maxQueued": 100000}}),
    ] {
        rules.take("good", good).await?;
    }
    rules.each_had_its_cases();
    Ok(())
}

#[tokio::test]
async fn a_scale_beyond_what_an_external_model_has_is_refused() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "scale-external").await?;
    let api: Api<ModelDeployment> = namespace.api();
    apply(&api, "m", json!({"spec": {"external": {"provider": "p", "model": "m"}}})).await?;
    let scale = async |replicas: i32| {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        api.patch_scale("m", &PatchParams::default(), &patch).await
    };
    scale(0).await?;
    scale(1).await?;
    match scale(2).await {
        Err(kube::Error::Api(status)) => {
            assert!(status.message.contains("replicas counts engine pods"), "{}", status.message)
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}
