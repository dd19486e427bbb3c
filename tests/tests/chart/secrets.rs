//! The operator with rights to the Secrets of chosen namespaces.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use weighbridge_crds::{ExternalProvider, ModelDeployment};
use weighbridge_tests::testbed::{TestNamespace, wait};

use super::course::{Team, started};
use super::{Release, may};

/// They end where the chart says, which everything beyond them tells; with one namespace more it is served there too.
pub async fn are_read_where_the_chart_says(client: &Client, release: &Release) -> Result<()> {
    let team = async |name| {
        Ok::<_, anyhow::Error>(Team { client, namespace: TestNamespace::create(client, name).await? })
    };
    let (within, beyond) = (team("within").await?, team("beyond").await?);
    let allow = async |namespaces: &str| {
        let list = format!("operator.secretNamespaces={{{namespaces}}}");
        release.helm("upgrade", &["charts/weighbridge", "--reuse-values", "--set", &list]).await
    };
    allow(within.namespace.name()).await?;
    let account = release.account("operator");
    for (expected, verbs, what) in [
        (true, "get create patch", format!("/secrets:any@{}", within.namespace.name())),
        (false, "get create patch", format!("/secrets:any@{}", beyond.namespace.name())),
        (false, "list watch update delete", format!("/secrets@{}", within.namespace.name())),
        (true, "get patch", format!("/secrets:{0}-weighbridge-authority@{0}", release.namespace)),
        (false, "get patch", format!("/secrets:any@{}", release.namespace)),
    ] {
        for verb in verbs.split(' ') {
            ensure!(may(client, &account, verb, &what).await? == expected, "{verb} {what}: not {expected}");
        }
    }

    let operator = started(client, &release.namespace).await?;
    for team in [&within, &beyond] {
        team.apply::<Secret>("account", json!({"stringData": {"token": "x"}})).await?;
        let provider = json!({"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1",
            "apiKeys": [{"name": "account", "key": "token"}]});
        team.apply::<ExternalProvider>("acme", json!({"spec": provider})).await?;
        let hub = json!({"tokenSecret": {"name": "account", "key": "token"}});
        let source = "hf://org/repo/file.gguf";
        team.model("keyed", json!({"openWeights": {"source": source, "hub": hub}})).await?;
        // It names no Secret: its certificate is one.
        team.model("plain", json!({"openWeights": {"source": source}})).await?;
    }
    within.is_ready::<ExternalProvider>("acme").await?;
    for model in ["keyed", "plain"] {
        within.is_ready::<ModelDeployment>(model).await?;
        let told = |model: &ModelDeployment| {
            let conditions = model.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|one| {
                one.reason == "SecretsForbidden" && one.message.contains("operator.secretNamespaces")
            })
        };
        wait::until(&beyond.namespace.api(), model, "that Secrets are out of reach", told).await?;
    }
    let told = |provider: &ExternalProvider| {
        let conditions = provider.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|one| one.reason == "SecretsForbidden")
    };
    wait::until(&beyond.namespace.api(), "acme", "that Secrets are out of reach", told).await?;
    let said = operator.said();
    let in_vain = |line: &&str| line.contains("forbidden") && line.contains(beyond.namespace.name());
    let in_vain: Vec<_> = said.lines().filter(in_vain).collect();
    ensure!(in_vain.is_empty(), "tried in vain: {in_vain:#?}");

    allow(&format!("{},{}", within.namespace.name(), beyond.namespace.name())).await?;
    // Looked at again at once, and not within the minute.
    let touched = Patch::Merge(json!({"metadata": {"annotations": {"touched": "now"}}}));
    for model in ["keyed", "plain"] {
        beyond.api::<ModelDeployment>().patch(model, &PatchParams::default(), &touched).await?;
        beyond.is_ready::<ModelDeployment>(model).await?;
    }
    beyond.api::<ExternalProvider>().patch("acme", &PatchParams::default(), &touched).await?;
    beyond.is_ready::<ExternalProvider>("acme").await
}
