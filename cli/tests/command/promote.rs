//! `promote` over a real apiserver, without an operator: what that says of a trial is put there by hand.

use anyhow::{Result, ensure};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use weighbridge_crds::{ModelDeployment, labels};
use weighbridge_tests::testbed::{self, TestNamespace};

use crate::process::{err, out, weighbridge};

/// Runs `promote` with these arguments, off the test's own thread.
async fn promote(arguments: &[&str]) -> Result<std::process::Output> {
    let mut command = weighbridge();
    command.arg("promote").args(arguments).env("KUBECONFIG", std::env::var(testbed::KUBECONFIG)?);
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

#[tokio::test]
async fn a_step_is_passed_by_its_revision_and_number_and_the_spec_is_left_alone() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "promote").await?;
    let models = namespace.api::<ModelDeployment>();
    let model: ModelDeployment = serde_json::from_value(
        json!({"apiVersion": "serving.weighbridge.dev/v1alpha1",
        "kind": "ModelDeployment", "metadata": {"name": "m"}, "spec": {"openWeights": {"source": "hf://o/r/f.gguf"}}}),
    )?;
    let made = models.create(&PostParams::default(), &model).await?;
    let title = format!("{}/m", namespace.name());
    let none = promote(&[&title]).await?;
    ensure!(!none.status.success() && err(&none).contains("no revision on trial"), "{}", err(&none));

    let trial = json!({"phase": "Paused", "stable": "old", "canary": "new", "step": 2, "traffic": 50,
        "progress": "step 2 of 3, 50 %"});
    let status = Patch::Merge(json!({"status": {"rollout": trial}}));
    models.patch_status("m", &PatchParams::default(), &status).await?;
    for (more, said) in [(None, "new:2"), (Some("--all"), "new:all")] {
        let arguments: Vec<&str> = [title.as_str()].into_iter().chain(more).collect();
        let done = promote(&arguments).await?;
        ensure!(done.status.success(), "{}", err(&done));
        ensure!(out(&done).contains("of revision new is passed"), "{}", out(&done));
        let now = models.get("m").await?;
        ensure!(
            now.annotations().get(labels::PROMOTE).map(String::as_str) == Some(said),
            "{:?}",
            now.annotations()
        );
        ensure!(now.metadata.generation == made.metadata.generation, "no spec was written");
    }
    Ok(())
}
