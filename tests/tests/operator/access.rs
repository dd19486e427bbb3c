//! What a ModelAccess says of the models that it names and of its keys.

use anyhow::Result;
use kube::Api;
use serde_json::{Value, json};
use weighbridge_crds::ModelAccess;

use super::harness::{Bench, SOURCE, apply};

async fn access(bench: &Bench, models: Value, ends: Value) -> Result<()> {
    let api: Api<ModelAccess> = bench.api();
    let key = json!({"name": "notebook", "sha256": format!("sha256:{}", "0".repeat(64)), "expiresAt": ends});
    apply(&api, "apps", json!({"spec": {"models": models, "keys": [key]}})).await?;
    Ok(())
}

#[tokio::test]
async fn models_that_are_not_there_are_named_until_they_are() -> Result<()> {
    let bench = Bench::new("access").await?;
    access(&bench, json!(["m", "m:tone"]), Value::Null).await?;
    let missing = |words: &'static str| {
        move |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            condition.status == "False"
                && condition.reason == "ModelNotFound"
                && condition.message.contains(words)
        }
    };
    bench.access_says("apps", "ModelsFound", "names both", missing("m, m:tone;")).await?;
    bench.access_says("apps", "Ready", "none is there", missing("m, m:tone;")).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench.access_says("apps", "ModelsFound", "names the adapter", missing("namespace: m:tone;")).await?;
    bench.access_says("apps", "Ready", "one is there", |condition| condition.status == "True").await?;
    let adapters = json!([{"name": "tone", "source": "hf://org/repo/tone.gguf"}]);
    bench.model("m", json!({"openWeights": {"source": SOURCE, "engine": {"adapters": adapters}}})).await?;
    bench
        .access_says("apps", "ModelsFound", "both are there", |condition| condition.reason == "ModelsFound")
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_key_that_has_ended_is_named() -> Result<()> {
    let bench = Bench::new("ended").await?;
    access(&bench, json!(["*"]), json!("2026-01-31T00:00:00Z")).await?;
    for type_ in ["KeysCurrent", "Ready"] {
        bench
            .access_says("apps", type_, "names the key", |condition| {
                condition.reason == "KeyEnded"
                    && condition.message.contains("notebook ended at 2026-01-31T00:00:00Z")
            })
            .await?;
    }
    access(&bench, json!(["*"]), json!("2126-01-31T00:00:00Z")).await?;
    bench.access_says("apps", "Ready", "is renewed", |condition| condition.status == "True").await?;
    Ok(())
}
