//! What the apiserver itself takes and refuses, by the CRDs.

use anyhow::Result;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weighbridge_crds::{ExternalProvider, ModelDeployment, ResourceProfile};
use weighbridge_tests::testbed::{self, TestNamespace};

use super::harness::{SOURCE, apply};

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
        ("m", open(json!({"source": "s3://bucket/key"})), "hf://org/repo/file.gguf"),
        ("m", open(json!({"source": "hf://org/repo"})), "organisation, repository and file"),
        ("m", open(json!({"source": "pvc://claim/../x"})), "'.' or '..'"),
        ("m", open(json!({"source": "pvc://claim/x", "revision": "main"})), "revision belongs to hf"),
        ("m", open(json!({"source": SOURCE, "digest": "md5:1"})), "spec.openWeights.digest"),
        ("m", open(json!({"source": SOURCE, "resources": {"gpus": 1}})), "set profile"),
        ("m", open(json!({"source": SOURCE, "engine": {"contextLength": 1}})), "contextLength"),
        (
            "m",
            open(json!({"source": SOURCE, "engine": {"kvCacheType": "fp8"}})),
            "spec.openWeights.engine.kvCacheType",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "engine": {"quantize": "Q5_K"}})),
            "spec.openWeights.engine.quantize",
        ),
        (
            "m",
            open(json!({"source": SOURCE, "flavour": "mild"})),
            "unknown field \"spec.openWeights.flavour\"",
        ),
        ("m", json!({"openWeights": {"source": SOURCE}, "replicas": -1}), "replicas"),
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
        "kvCacheType": "q8_0"}}));
    assert_eq!(refusal(&api, "good", full).await?, "");
    let external = json!({"provider": "p", "model": "m"});
    for good in [
        json!({"external": external, "replicas": 0}),
        json!({"serve": "External", "external": external, "openWeights": {"source": SOURCE}, "replicas": 3}),
        open(json!({"source": SOURCE, "hub": {"endpoint": "http://hub.example.com"}})),
        open(json!({"source": SOURCE, "hub": {"endpoint": "http://localhost:8080",
            "tokenSecret": {"name": "s", "key": "k"}}})),
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
        (json!({"cpu": "1", "memory": "1Gi", "gpu": {"resource": "gpu"}}), "spec.gpu.resource"),
        (json!({"cpu": "1", "memory": "1Gi", "price": 1}), "unknown field \"spec.price\""),
    ] {
        let said = refusal(&api, "p", spec.clone()).await?;
        assert!(said.contains(words), "{spec}: {words:?} is not in {said:?}");
    }
    for good in [
        json!({"cpu": 4, "memory": "1.5Gi"}),
        json!({"cpu": "500m", "memory": "1e9", "gpu": {}, "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}]}),
    ] {
        assert_eq!(refusal(&api, "p", good).await?, "");
    }
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
            "apiKeySecret": {"name": "s", "key": "k"}}}),
        )?)
    };
    for (url, words) in
        [("http://e.example/v1", "in the clear"), ("https://u:p@e.example", "no user"), ("x", "baseURL")]
    {
        match api.create(&dry_run(), &provider(url, false)?).await {
            Err(kube::Error::Api(status)) => {
                assert!(status.message.contains(words), "{url}: {}", status.message)
            }
            other => panic!("{url}: {other:?}"),
        }
    }
    api.create(&dry_run(), &provider("https://e.example/v1", false)?).await?;
    api.create(&dry_run(), &provider("http://e.example:8080/v1", true)?).await?;
    Ok(())
}
