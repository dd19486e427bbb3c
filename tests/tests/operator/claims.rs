//! GPUs by dynamic resource allocation, found by the real scheduler.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use weighbridge_crds::{ModelDeployment, labels};
use weighbridge_tests::testbed::{self, SimulatedNode, TestNamespace, wait};

use super::harness::{Bench, SOURCE, apply};

/// A namespace with a node of two such devices, as a driver would tell of them; their class has the driver's name.
async fn bench(hint: &str) -> Result<(Bench, String)> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::with_nodes(&client, hint, vec![SimulatedNode::new(hint)]).await?;
    let (name, node) = (namespace.name().to_owned(), namespace.nodes()[0].clone());
    let driver = format!("{name}.testbed.weighbridge.dev");
    let own: Namespace = Api::all(client.clone()).get(&name).await?;
    // They go with the namespace.
    let owners = json!([{"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": own.uid()}]);
    let object = |spec: Value| json!({"metadata": {"ownerReferences": owners}, "spec": spec});
    let device = |name: &str| json!({"name": name, "attributes": {"architecture": {"string": "Hopper"}}, "capacity": {"memory": {"value": "80Gi"}}});
    let pool = json!({"name": node, "generation": 1, "resourceSliceCount": 1});
    let slice = json!({"driver": driver, "nodeName": node, "pool": pool, "devices": [device("gpu-0"), device("gpu-1")]});
    apply::<ResourceSlice>(&Api::all(client.clone()), &node, object(slice)).await?;
    let of_driver = json!({"selectors": [{"cel": {"expression": format!("device.driver == '{driver}'")}}]});
    apply::<DeviceClass>(&Api::all(client.clone()), &driver, object(of_driver)).await?;
    Ok((Bench::in_namespace(client, namespace).await?, driver))
}

fn of_model(model: &str) -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={model}", labels::MODEL))
}

async fn templates(
    bench: &Bench,
    model: &str,
    what: &str,
    count: usize,
) -> Result<Vec<ResourceClaimTemplate>> {
    let fits = move |all: &[ResourceClaimTemplate]| all.len() == count;
    wait::until_all(&bench.api(), of_model(model), what, fits).await
}

/// How many devices `template` asks for.
fn devices(template: &ResourceClaimTemplate) -> Option<i64> {
    let devices = template.spec.spec.devices.as_ref()?;
    devices.requests.as_ref()?.first()?.exactly.as_ref()?.count
}

#[tokio::test]
async fn gpus_are_claimed_and_a_model_that_claims_too_many_says_so() -> Result<()> {
    let (bench, class) = bench("claims").await?;
    let hopper = format!("device.attributes['{class}'].architecture == 'Hopper'");
    let gpu = json!({"deviceClass": class, "selectors": [hopper]});
    let profile = bench.profile(json!({"cpu": "1", "memory": "1Gi", "gpu": gpu})).await?;
    let asks = |gpus: i32| json!({"openWeights": {"source": SOURCE, "resources": {"profile": profile, "gpus": gpus}}});
    bench.model("fits", asks(1)).await?;
    bench.model_is_ready("fits").await?;
    let pods =
        bench.api::<Pod>().list(&ListParams::default().labels(&format!("{}=fits", labels::MODEL))).await?;
    let pod = pods.items.first().context("a pod")?;
    let claimed = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_ref());
    let claim = claimed.and_then(|all| all.first()?.resource_claim_name.clone()).context("a claim")?;
    let claim: ResourceClaim = bench.api().get(&claim).await?;
    let results = serde_json::to_value(&claim.status)?["allocation"]["devices"]["results"].take();
    let allocated = results.as_array().context("devices")?;
    ensure!(allocated.len() == 1 && allocated[0]["pool"] == bench.namespace.nodes()[0].as_str(), "{results}");

    bench.model("greedy", asks(3)).await?;
    let says = |condition: &Condition| {
        condition.reason == "InsufficientCapacity" && condition.message.contains("cannot allocate all claims")
    };
    bench.model_says("greedy", "Scheduled", "the scheduler's words", says).await?;
    bench.model_says("greedy", "Ready", "the same reason", says).await?;
    let first = templates(&bench, "greedy", "one template", 1).await?;
    assert_eq!(devices(&first[0]), Some(3));
    // Asking for less mends it, and the template goes with the revision that named it.
    bench.model("greedy", asks(1)).await?;
    let model = bench.model_is_ready("greedy").await?;
    wait::until_gone(&bench.api::<ResourceClaimTemplate>(), &first[0].name_any()).await?;
    let revision = model.status.and_then(|status| status.revision).context("a revision")?;
    let deployment: Deployment = bench.api().get(&format!("greedy-{revision}")).await?;
    let handed_on = move |template: &ResourceClaimTemplate| {
        template.owner_references().iter().map(|owner| owner.uid.clone()).eq(deployment.uid())
    };
    let left = templates(&bench, "greedy", "one template", 1).await?;
    wait::until(&bench.api(), &left[0].name_any(), "owned by its Deployment", handed_on).await?;
    assert_eq!(devices(&left[0]), Some(1));

    bench.api::<ModelDeployment>().delete("greedy", &DeleteParams::default()).await?;
    templates(&bench, "greedy", "no template", 0).await?;
    Ok(())
}

#[tokio::test]
async fn a_selector_that_is_no_cel_and_a_class_that_is_not_there_are_told_in_the_apiservers_words()
-> Result<()> {
    let (bench, class) = bench("claimless").await?;
    let profile = |gpu: Value| bench.profile(json!({"cpu": "1", "memory": "1Gi", "gpu": gpu}));
    let name = profile(json!({"deviceClass": class, "selectors": ["device.attributes["]})).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE, "resources": {"profile": name}}})).await?;
    let refused = |condition: &Condition| {
        condition.reason == "ChildRefused" && condition.message.contains("selectors[0].cel.expression")
    };
    bench.model_says("m", "Ready", "the apiserver's words", refused).await?;
    profile(json!({"deviceClass": "nowhere.example.com"})).await?;
    let says = |condition: &Condition| {
        condition.reason == "InsufficientCapacity" && condition.message.contains("nowhere.example.com")
    };
    bench.model_says("m", "Scheduled", "the scheduler's words", says).await?;
    profile(json!({"deviceClass": class})).await?;
    bench.model_is_ready("m").await?;
    Ok(())
}
