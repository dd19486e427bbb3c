//! `rollback` over a real apiserver, without an operator: what that records is put there by hand.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weighbridge_crds::ModelDeployment;
use weighbridge_tests::testbed::{self, TestNamespace};

use crate::process::{err, out, weighbridge};

/// Runs `rollback` with these arguments, off the test's own thread.
async fn rollback(arguments: &[&str]) -> Result<std::process::Output> {
    let mut command = weighbridge();
    command.arg("rollback").args(arguments).env("KUBECONFIG", std::env::var(testbed::KUBECONFIG)?);
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

#[tokio::test]
async fn an_earlier_revision_is_written_back_into_the_spec() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "rollback").await?;
    let models = namespace.api::<ModelDeployment>();
    let spec = json!({"openWeights": {"source": "hf://o/new/f.gguf"}, "drainTimeout": "9s", "replicas": 2});
    let model: ModelDeployment =
        serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1",
        "kind": "ModelDeployment", "metadata": {"name": "m"}, "spec": spec}))?;
    let made = models.create(&PostParams::default(), &model).await?;
    let title = format!("{}/m", namespace.name());

    let none = rollback(&[&title]).await?;
    ensure!(!none.status.success() && err(&none).contains("no earlier revision"), "{}", err(&none));
    let gone = rollback(&[&format!("{}/n", namespace.name())]).await?;
    ensure!(err(&gone).contains("there is no ModelDeployment \"n\""), "{}", err(&gone));

    let record = |name: &str, number: i64, spec: Value| -> Result<ControllerRevision> {
        let labels = json!({"serving.weighbridge.dev/model-uid": made.uid(), "serving.weighbridge.dev/revision": name});
        Ok(serde_json::from_value(json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {"name": format!("m-{name}"), "labels": labels}, "revision": number, "data": {"spec": spec}}))?)
    };
    let records = namespace.api::<ControllerRevision>();
    let engine = json!({"contextLength": 64});
    let first = json!({"openWeights": {"source": "hf://o/first/f.gguf", "engine": engine}});
    let second = json!({"openWeights": {"source": "hf://o/second/f.gguf"}, "drainTimeout": "90s"});
    records.create(&PostParams::default(), &record("first", 2, first.clone())?).await?;
    records.create(&PostParams::default(), &record("second", 3, second.clone())?).await?;

    for (arguments, wanted, drain) in [
        (vec![title.as_str()], &second, json!("90s")),
        (vec![title.as_str(), "--to", "first"], &first, Value::Null),
    ] {
        let done = rollback(&arguments).await?;
        ensure!(done.status.success(), "{}", err(&done));
        ensure!(out(&done).contains("is that of revision"), "{}", out(&done));
        let spec = serde_json::to_value(models.get("m").await?.spec)?;
        ensure!(spec["openWeights"] == wanted["openWeights"] && spec["drainTimeout"] == drain, "{spec}");
        ensure!(spec["replicas"] == 2, "nothing else is touched: {spec}");
    }
    let unknown = rollback(&[&title, "--to", "third"]).await?;
    ensure!(err(&unknown).contains("there are second, first"), "{}", err(&unknown));
    // What the apiserver refuses is said in its words.
    let bad = json!({"openWeights": {"source": "nowhere"}});
    records.create(&PostParams::default(), &record("bad", 9, bad)?).await?;
    let refused = rollback(&[&title]).await?;
    ensure!(!refused.status.success() && err(&refused).contains("no known scheme"), "{}", err(&refused));
    let kept = models.patch("m", &PatchParams::default(), &Patch::Merge(json!({}))).await?;
    ensure!(serde_json::to_value(kept.spec.open_weights)? == first["openWeights"]);
    Ok(())
}
