//! What the apiserver itself takes and refuses, by the CRDs.

use anyhow::Result;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelCache, ModelDeployment, ResourceProfile};
use weighbridge_tests::testbed::{self, TestNamespace};

use super::harness::{SOURCE, apply};

const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n";

fn dry_run() -> PostParams {
    PostParams { dry_run: true, field_manager: None }
}

/// What the apiserver says of an object; nothing where it takes it.
async fn refusal<K>(api: &Api<K>, name: &str, spec: Value) -> Result<String>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
{
    let request = http::Request::post(format!("{}?dryRun=All&fieldValidation=Strict", api.resource_url()));
    let body = json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": K::kind(&()),
        "metadata": {"name": name}, "spec": spec});
    let request = request.header("content-type", "application/json").body(serde_json::to_vec(&body)?)?;
    match api.clone().into_client().request::<K>(request).await {
        Ok(_) => Ok(String::new()),
        Err(kube::Error::Api(status)) => Ok(status.message.clone()),
        Err(error) => Err(error.into()),
    }
}

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
    let api: Api<ModelDeployment> = namespace.api();
    let open = |weights: Value| json!({"openWeights": weights});
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
        let said = refusal(&api, name, spec.clone()).await?;
        assert!(said.contains(words), "{spec}: {words:?} is not in {said:?}");
    }
    let full =
        open(json!({"source": SOURCE, "revision": "abc", "digest": format!("sha256:{}", "0".repeat(64)),
        "hub": {"endpoint": "https://hub.example.com", "tokenSecret": {"name": "s", "key": "k"}},
        "resources": {"profile": "p", "gpus": 2}, "engine": {"contextLength": 4096, "maxSequences": 8,
        "kvCacheType": "q8_0", "sleep": {"afterSeconds": 600, "weights": "host"}}}));
    assert_eq!(refusal(&api, "good", full).await?, "");
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
        open(json!({"source": SOURCE, "resources": {"profile": "p", "gpus": 64}})),
        json!({"openWeights": {"source": SOURCE}, "hold": {}}),
        json!({"openWeights": {"source": SOURCE}, "hold": {"maxWait": "0s", "maxQueued": 0, "maxBytes": "64Mi"}}),
        json!({"external": external, "hold": {"maxWait": "59m60s", "maxQueued": 100000}}),
    ] {
        assert_eq!(refusal(&api, "good", good).await?, "");
    }
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

#[tokio::test]
async fn the_apiserver_refuses_bad_profiles_with_the_field_and_the_fix() -> Result<()> {
    let api: Api<ResourceProfile> = Api::all(testbed::client().await?);
    for (spec, words) in [
        (json!({"cpu": "many", "memory": "1Gi"}), "cpu is not a quantity above zero: write 4"),
        (json!({"cpu": "0", "memory": "1Gi"}), "cpu is not a quantity above zero"),
        (json!({"cpu": "-1", "memory": "1Gi"}), "cpu is not a quantity above zero"),
        (json!({"cpu": 0, "memory": "1Gi"}), "cpu is not a quantity above zero"),
        (json!({"cpu": "1", "memory": "1 Gi"}), "memory is not a quantity above zero: write 16Gi"),
        (json!({"cpu": "1", "memory": ""}), "memory is not a quantity above zero"),
        (json!({"cpu": 0.5, "memory": "1Gi"}), "spec.cpu"),
        (json!({"memory": "1Gi"}), "spec.cpu: Required"),
        (json!({"cpu": "1", "memory": "1Gi", "gpu": {"count": 0}}), "spec.gpu.count"),
        (json!({"cpu": "1", "memory": "1Gi", "gpu": {"count": 65}}), "spec.gpu.count"),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"memory": "big"}}),
            "gpu.memory is not a quantity above zero",
        ),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"memory": "0"}}),
            "gpu.memory is not a quantity above zero",
        ),
        (json!({"cpu": "1", "memory": "1Gi", "gpu": {"resource": "gpu"}}), "spec.gpu.resource"),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"resource": "amd.com/gpu"}}),
            "write nvidia.com/gpu or a slice",
        ),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"resource": "nvidia.com/gpu", "deviceClass": "gpu.nvidia.com"}}),
            "keep deviceClass where the cluster has such a driver, resource where it has not, and remove the other",
        ),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"selectors": ["true"]}}),
            "gpu.selectors choose among the devices of a class: name that in gpu.deviceClass",
        ),
        (json!({"cpu": "1", "memory": "1Gi", "gpu": {"deviceClass": "GPU"}}), "spec.gpu.deviceClass"),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"deviceClass": "a", "selectors": vec!["true"; 33]}}),
            "spec.gpu.selectors",
        ),
        (json!({"cpu": "1", "memory": "1Gi", "price": 1}), "unknown field \"spec.price\""),
    ] {
        let said = refusal(&api, "p", spec.clone()).await?;
        assert!(said.contains(words), "{spec}: {words:?} is not in {said:?}");
    }
    for good in [
        json!({"cpu": 4, "memory": "1.5Gi"}),
        json!({"cpu": "500m", "memory": "1e9", "gpu": {"memory": "81559Mi"}, "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}]}),
        json!({"cpu": "1", "memory": "1Gi", "gpu": {"deviceClass": "gpu.nvidia.com", "memory": "80Gi",
            "selectors": ["device.driver == 'gpu.nvidia.com'"]}}),
    ] {
        assert_eq!(refusal(&api, "p", good).await?, "");
    }
    Ok(())
}

#[tokio::test]
async fn the_apiserver_refuses_bad_caches_with_the_field_and_the_fix() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "refuse-cache").await?;
    let api: Api<ModelCache> = namespace.api();
    let named = || json!({"name": "c"});
    let prefetch = |fields: Value| json!({"claim": named(), "prefetch": [fields]});
    let token = json!({"name": "s", "key": "k"});
    let long = "a".repeat(41);
    for (name, spec, words) in [
        ("c", json!({}), "spec.claim: Required"),
        ("c", json!({"claim": {}}), "set name, of a claim that is there, or size"),
        ("c", json!({"claim": {"name": "c", "size": "1Gi"}}), "set name, of a claim that is there, or size"),
        ("c", json!({"claim": {"name": "../c"}}), "spec.claim.name"),
        ("c", json!({"claim": {"size": "big"}}), "claim.size is not a quantity above zero: write 200Gi"),
        ("c", json!({"claim": {"size": "0"}}), "claim.size is not a quantity above zero"),
        (
            "c",
            json!({"claim": {"name": "c", "storageClassName": "s"}}),
            "set size in place of name, or remove it",
        ),
        (
            "c",
            json!({"claim": {"name": "c", "accessModes": ["ReadWriteOnce"]}}),
            "set size in place of name, or remove them",
        ),
        (
            "c",
            json!({"claim": {"size": "1Gi", "accessModes": ["ReadOnlyMany"]}}),
            "spec.claim.accessModes[0]",
        ),
        (
            "c",
            json!({"claim": named(), "maxSize": "-1"}),
            "maxSize is not a quantity above zero: write 180Gi",
        ),
        ("c", json!({"claim": {"size": "1Gi"}, "maxSize": "2Gi"}), "maxSize is more than claim.size"),
        ("c", prefetch(json!({})), "spec.prefetch[0].source: Required"),
        ("c", prefetch(json!({"source": "pvc://c/f"})), "a cache holds what is fetched"),
        ("c", prefetch(json!({"source": "hf://o/r/../f"})), "'.' or '..'"),
        ("c", prefetch(json!({"source": SOURCE, "digest": "md5:0"})), "spec.prefetch[0].digest"),
        ("c", prefetch(json!({"source": SOURCE, "revision": "-"})), "spec.prefetch[0].revision"),
        (
            "c",
            prefetch(json!({"source": SOURCE, "hub": {"endpoint": "http://h", "tokenSecret": token}})),
            "in the clear",
        ),
        ("c", prefetch(json!({"source": SOURCE, "resources": {}})), "unknown field"),
        (long.as_str(), json!({"claim": named()}), "longer than 40 characters"),
        ("9c", json!({"claim": named()}), "must begin with a letter"),
    ] {
        let said = refusal(&api, name, spec.clone()).await?;
        assert!(said.contains(words), "{spec}: {words:?} is not in {said:?}");
    }
    // The largest that there may be: the rules' cost has its bound too.
    let long = format!("hf://o/r/{}", "f".repeat(1015));
    let many: Vec<Value> = (0..64).map(|_| json!({"source": long, "hub": {"tokenSecret": token}})).collect();
    for good in [
        json!({"claim": named(), "maxSize": "180Gi"}),
        json!({"claim": {"size": "1.5Gi", "storageClassName": "s", "accessModes": ["ReadWriteOnce", "ReadWriteMany"]},
            "maxSize": "1.5Gi"}),
        json!({"claim": {"size": 1_000_000}, "prefetch": many}),
    ] {
        assert_eq!(refusal(&api, "c", good).await?, "");
    }
    // What can't change of a claim that is made.
    let with = |claim: Value| json!({"spec": {"claim": claim}});
    apply(&api, "c", with(json!({"size": "2Gi", "storageClassName": "s"}))).await?;
    for (claim, words) in [
        (json!({"size": "1Gi", "storageClassName": "s"}), "no claim can shrink"),
        (json!({"size": "2Gi", "storageClassName": "t"}), "claim.storageClassName can't change"),
        (json!({"size": "2Gi"}), "claim.storageClassName can't change"),
        (
            json!({"size": "2Gi", "storageClassName": "s", "accessModes": ["ReadWriteOnce"]}),
            "claim.accessModes can't change",
        ),
    ] {
        let error = apply(&api, "c", with(claim.clone())).await.expect_err("it can't change").to_string();
        assert!(error.contains(words), "{claim}: {words:?} is not in {error:?}");
    }
    apply(&api, "c", with(json!({"size": "3Gi", "storageClassName": "s"}))).await?;
    apply(&api, "c", with(json!({"name": "other"}))).await?;
    Ok(())
}

#[tokio::test]
async fn the_apiserver_refuses_bad_accesses_with_the_field_and_the_fix() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "refuse-access").await?;
    let api: Api<ModelAccess> = namespace.api();
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let key = |name: &str, digit: &str| json!({"name": name, "sha256": digest(digit)});
    let one = || json!([key("a", "0")]);
    for (spec, words) in [
        (json!({"keys": [], "models": ["*"]}), "spec.keys"),
        (json!({"models": ["*"]}), "spec.keys: Required"),
        (json!({"keys": one()}), "spec.models: Required"),
        (json!({"keys": one(), "models": []}), "spec.models"),
        (json!({"keys": [key("a", "0"), key("a", "1")], "models": ["*"]}), "spec.keys[1]: Duplicate value"),
        (
            json!({"keys": [key("a", "0"), key("b", "0")], "models": ["*"]}),
            "one key is there under two names",
        ),
        (json!({"keys": one(), "models": ["m", "m"]}), "spec.models[1]: Duplicate value"),
        (json!({"keys": one(), "models": ["*", "m"]}), "keep '*' alone, or remove it"),
        (json!({"keys": one(), "models": ["other/m"]}), "spec.models[0]"),
        (json!({"keys": one(), "models": ["m:"]}), "spec.models[0]"),
        (json!({"keys": one(), "models": ["M"]}), "spec.models[0]"),
        (json!({"keys": [key("A", "0")], "models": ["m"]}), "spec.keys[0].name"),
        (json!({"keys": [key("a", "F")], "models": ["m"]}), "spec.keys[0].sha256"),
        (
            json!({"keys": [{"name": "a", "sha256": "wb-8150815"}], "models": ["m"]}),
            "is not the hash of a key",
        ),
        (
            json!({"keys": [{"name": "a", "sha256": digest("0"), "expiresAt": "soon"}], "models": ["m"]}),
            "spec.keys[0].expiresAt",
        ),
        (json!({"keys": one(), "models": ["m"], "roles": []}), "unknown field \"spec.roles\""),
    ] {
        let said = refusal(&api, "a", spec.clone()).await?;
        assert!(said.contains(words), "{spec}: {words:?} is not in {said:?}");
        assert!(!said.contains("8150815"), "a key in place of its hash is repeated: {said}");
    }
    // The largest that there may be: the rules' cost has its bound too.
    let many: Vec<Value> = (0..256)
        .map(|number| {
            json!({"name": format!("{number:063}"), "sha256": format!("sha256:{number:064x}"),
            "expiresAt": "2027-01-31T00:00:00Z"})
        })
        .collect();
    let models: Vec<String> = (0..256).map(|number| format!("m{number:039}:{number:063}")).collect();
    for good in [
        json!({"keys": one(), "models": ["*"]}),
        json!({"keys": one(), "models": ["m", "m:tone", "n-2"]}),
        json!({"keys": many, "models": models}),
    ] {
        assert_eq!(refusal(&api, "a", good).await?, "");
    }
    Ok(())
}

/// What docs/access.md says of adding a key to those that are there: each manager keeps its own.
#[tokio::test]
async fn keys_that_are_applied_by_several_are_kept_beside_each_other() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "merge-access").await?;
    let api: Api<ModelAccess> = namespace.api();
    let applied = async |manager: &str, name: &str, digit: &str| {
        let object = json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelAccess",
            "metadata": {"name": "apps"},
            "spec": {"keys": [{"name": name, "sha256": format!("sha256:{}", digit.repeat(64))}], "models": ["*"]}});
        api.patch("apps", &PatchParams::apply(manager), &Patch::Apply(object)).await
    };
    applied("key-first", "first", "0").await?;
    applied("key-second", "second", "1").await?;
    let names =
        |access: &ModelAccess| access.spec.keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    let both = api.get("apps").await?;
    assert_eq!((names(&both), both.spec.models.len()), (vec!["first".to_owned(), "second".to_owned()], 1));
    // Its manager renews one, and the other stays.
    assert_eq!(names(&applied("key-second", "third", "2").await?), ["first", "third"]);
    Ok(())
}

#[tokio::test]
async fn the_apiserver_refuses_bad_providers_with_the_field_and_the_fix() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "refuse").await?;
    let api: Api<ExternalProvider> = namespace.api();
    let provider = |url: &str, private: bool| -> Result<ExternalProvider> {
        Ok(serde_json::from_value(
            json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider",
            "metadata": {"name": "p"}, "spec": {"kind": "OpenAICompatible", "baseURL": url, "allowPrivate": private,
            "apiKeys": [{"name": "s", "key": "k"}]}}),
        )?)
    };
    let inside = "name a public host";
    for (url, words) in [
        ("http://e.example/v1", "in the clear"),
        ("https://u:p@e.example", "no user"),
        ("x", "baseURL"),
        ("https://localhost/v1", inside),
        ("https://LOCALHOST.:8443/v1", inside),
        ("https://printer.local", inside),
        ("https://metadata.google.internal/v1", inside),
        ("https://127.0.0.1/v1", inside),
        ("https://127.0.0.1./v1", inside),
        ("https://0x7f.1/v1", inside),
        ("https://2130706433/v1", inside),
        ("https://0177.0.0.1/v1", inside),
        ("https://10.0.0.1:443/v1", inside),
        ("https://100.64.0.1", inside),
        ("https://168.63.129.16", inside),
        ("https://169.254.169.254/latest", inside),
        ("https://172.16.0.1", inside),
        ("https://192.168.1.1", inside),
        ("https://255.255.255.255", inside),
        ("https://0.0.0.0", inside),
        ("https://224.0.0.1", inside),
        ("https://[2606:4700::1111]/v1", inside),
        ("https://[::1]/v1", inside),
        ("https://[::]/v1", inside),
        ("https://[::ffff:10.0.0.1]/v1", inside),
        ("https://[64:ff9b::a9fe:a9fe]/v1", inside),
        ("https://[2002:7f00:1::]/v1", inside),
        ("https://[fd00:ec2::254]:443/v1", inside),
        ("https://[fe80::1]/v1", inside),
        ("https://[ff02::1]/v1", inside),
    ] {
        match api.create(&dry_run(), &provider(url, false)?).await {
            Err(kube::Error::Api(status)) => {
                assert!(status.message.contains(words), "{url}: {}", status.message)
            }
            other => panic!("{url}: {other:?}"),
        }
    }
    for good in [
        "https://e.example/v1",
        "https://localhost.example.com/v1",
        "https://internal.example.com",
        "https://1.1.1.1/v1",
        "https://172.32.0.1:443",
    ] {
        api.create(&dry_run(), &provider(good, false)?).await?;
    }
    for good in
        ["http://e.example:8080/v1", "http://localhost:8080/v1", "https://10.0.0.1/v1", "http://[::1]"]
    {
        api.create(&dry_run(), &provider(good, true)?).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_apiserver_refuses_bad_kinds_and_keys_with_the_field_and_the_fix() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "refuse").await?;
    let api: Api<ExternalProvider> = namespace.api();
    let key = json!({"name": "s", "key": "k"});
    let keys = |count: usize| -> Vec<Value> {
        (0..count).map(|index| json!({"name": "s", "key": index.to_string()})).collect()
    };
    let weighed =
        |weight: Value| json!({"kind": "OpenAI", "apiKeys": [{"name": "s", "key": "k", "weight": weight}]});
    for (spec, words) in [
        (json!({"kind": "AzureOpenAI", "apiKeys": [key]}), "set baseURL"),
        (json!({"kind": "OpenAICompatible", "apiKeys": [key]}), "set baseURL"),
        (json!({"kind": "AnthropicCompatible", "apiKeys": [key]}), "set baseURL"),
        (
            json!({"kind": "AzureOpenAI", "baseURL": "https://n.openai.azure.com", "apiKeys": [key]}),
            "ends in /openai/v1",
        ),
        (json!({"kind": "Telepathy", "apiKeys": [key]}), "spec.kind"),
        (json!({"kind": "OpenAI"}), "spec.apiKeys: Required"),
        (json!({"kind": "OpenAI", "apiKeySecret": key, "apiKeys": [key]}), "unknown field"),
        (json!({"kind": "OpenAI", "apiKeys": []}), "spec.apiKeys"),
        (json!({"kind": "OpenAI", "apiKeys": keys(17)}), "spec.apiKeys"),
        (json!({"kind": "OpenAI", "apiKeys": [key, {"name": "s", "key": "k", "weight": 2}]}), "named twice"),
        (json!({"kind": "OpenAI", "apiKeys": [{"name": "s"}]}), "spec.apiKeys[0].key: Required"),
        (json!({"kind": "OpenAI", "apiKeys": [{"name": "", "key": "k"}]}), "spec.apiKeys[0].name"),
        (weighed(json!(0)), "spec.apiKeys[0].weight"),
        (weighed(json!(1001)), "spec.apiKeys[0].weight"),
        (weighed(json!("1")), "spec.apiKeys[0].weight"),
    ] {
        let said = refusal(&api, "p", spec.clone()).await?;
        assert!(said.contains(words), "{spec}: {words:?} is not in {said:?}");
    }
    for good in [
        json!({"kind": "OpenAI", "apiKeys": keys(16)}),
        json!({"kind": "OpenAI", "baseURL": "https://eu.api.openai.com/v1", "apiKeys": [key]}),
        json!({"kind": "AzureOpenAI", "baseURL": "https://n.openai.azure.com/openai/v1/", "apiKeys": [key]}),
        json!({"kind": "Anthropic", "apiKeys": [key, {"name": "t", "key": "k", "weight": 1000}]}),
        json!({"kind": "Gemini", "apiKeys": [key]}),
        json!({"kind": "OpenAICompatible", "baseURL": "https://e.example/v1", "apiKeys": [key]}),
        json!({"kind": "AnthropicCompatible", "baseURL": "https://e.example", "apiKeys": [key]}),
    ] {
        assert_eq!(refusal(&api, "good", good).await?, "");
    }
    let demanding = |kind: &str, policy: Value| {
        let mut spec = json!({"kind": kind, "apiKeys": [key], "dataPolicy": policy});
        match kind {
            "AzureOpenAI" => spec["baseURL"] = json!("https://n.openai.azure.com/openai/v1"),
            "OpenAICompatible" | "AnthropicCompatible" => spec["baseURL"] = json!("https://e.example/v1"),
            _ => {}
        }
        spec
    };
    let mut elsewhere = demanding("OpenAI", json!({"region": "eu"}));
    elsewhere["baseURL"] = json!("https://us.api.openai.com/v1");
    for (spec, words) in [
        (demanding("OpenAI", json!({})), "dataPolicy says nothing"),
        (demanding("OpenAI", json!({"onMismatch": "Fail"})), "dataPolicy says nothing"),
        (
            demanding("OpenAI", json!({"retention": "NotStored", "onMismatch": "Fail"})),
            "onMismatch is about region",
        ),
        (demanding("OpenAI", json!({"region": "Europe"})), "spec.dataPolicy.region"),
        (demanding("OpenAI", json!({"region": "europe"})), "such as us or eu"),
        (demanding("OpenAI", json!({"retention": "Zero"})), "spec.dataPolicy.retention"),
        (
            demanding("Anthropic", json!({"region": "us", "onMismatch": "Ignore"})),
            "spec.dataPolicy.onMismatch",
        ),
        (demanding("Anthropic", json!({"residency": "us"})), "unknown field"),
        (demanding("Anthropic", json!({"retention": "NotStored"})), "agree on it with the provider"),
        (demanding("Gemini", json!({"region": "eu"})), "no request of this kind can name a region"),
        (demanding("OpenAICompatible", json!({"region": "eu"})), "no request of this kind can name a region"),
        (
            demanding("AnthropicCompatible", json!({"region": "us"})),
            "no request of this kind can name a region",
        ),
        (demanding("Gemini", json!({"retention": "NotStored"})), "no request of this kind can say"),
        (elsewhere, "another place than dataPolicy.region"),
    ] {
        let said = refusal(&api, "p", spec.clone()).await?;
        assert!(said.contains(words), "{spec}: {words:?} is not in {said:?}");
    }
    let mut there =
        demanding("OpenAI", json!({"region": "eu", "retention": "NotStored", "onMismatch": "Fail"}));
    assert_eq!(refusal(&api, "good", there.clone()).await?, "");
    there["baseURL"] = json!("https://eu.api.openai.com/v1");
    for good in [
        there,
        demanding("Anthropic", json!({"region": "us", "onMismatch": "Report"})),
        demanding("AzureOpenAI", json!({"region": "swedencentral", "retention": "NotStored"})),
    ] {
        assert_eq!(refusal(&api, "good", good).await?, "");
    }
    let made: ExternalProvider =
        apply(&api, "p", json!({"spec": {"kind": "Gemini", "apiKeys": [key]}})).await?;
    assert_eq!(made.spec.api_keys[0].weight, 1, "the server fills it in");
    Ok(())
}
