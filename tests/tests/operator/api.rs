//! What the apiserver itself takes and refuses, by the CRDs.

use anyhow::Result;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use weighbridge_crds::{ExternalProvider, ModelDeployment};
use weighbridge_tests::testbed::{self, TestNamespace};

use super::harness::SOURCE;

fn dry_run() -> PostParams {
    PostParams { dry_run: true, field_manager: None }
}

async fn refusal(api: &Api<ModelDeployment>, name: &str, spec: Value) -> Result<String> {
    let request = http::Request::post(format!("{}?dryRun=All&fieldValidation=Strict", api.resource_url()));
    let body = json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
        "metadata": {"name": name}, "spec": spec});
    let request = request.header("content-type", "application/json").body(serde_json::to_vec(&body)?)?;
    match api.clone().into_client().request::<ModelDeployment>(request).await {
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
            open(json!({"source": SOURCE, "flavour": "mild"})),
            "unknown field \"spec.openWeights.flavour\"",
        ),
        ("m", json!({"openWeights": {"source": SOURCE}, "replicas": -1}), "replicas"),
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
        "resources": {"profile": "p", "gpus": 2}, "engine": {"contextLength": 4096, "maxSequences": 8}}));
    assert_eq!(refusal(&api, "good", full).await?, "");
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
