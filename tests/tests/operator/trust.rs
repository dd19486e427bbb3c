//! What an operator must never do: write without need, write without leading, take what is not its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use weighbridge_crds::{ExternalProvider, ModelDeployment};
use weighbridge_tests::testbed::{self, TestNamespace, audit, wait};

use super::harness::{Bench, SOURCE, apply, merge, operator, operator_by_name};

#[tokio::test]
async fn ten_reconciles_of_each_object_write_nothing() -> Result<()> {
    let bench = Bench::new("idle").await?;
    let secrets: Api<Secret> = bench.api();
    apply(&secrets, "account", json!({"stringData": {"token": "x"}})).await?;
    let provider = json!({"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1", "apiKeys": [{"name": "account", "key": "token"}]});
    bench.provider("acme", provider).await?;
    let profile = bench
        .profile(
            json!({"cpu": "0.5", "memory": "1024Mi", "tolerations": [{"key": "a", "operator": "Exists"}]}),
        )
        .await?;
    bench.model("far", json!({"external": {"provider": "acme", "model": "large"}})).await?;
    bench
        .model(
            "near",
            json!({"openWeights": {"source": SOURCE, "resources": {"profile": profile}}, "replicas": 2}),
        )
        .await?;
    bench.model("bad", json!({"openWeights": {"source": "file:///m.gguf"}})).await?;
    bench.model_is_ready("far").await?;
    bench.model_says("near", "EngineReady", "both pods", |condition| condition.status == "True").await?;
    bench.model_says("bad", "Accepted", "refused", |condition| condition.status == "False").await?;

    // Events of the last readiness may still be on their way: the first round is for them, and ten come after.
    let mut before = None;
    for round in 0..11 {
        for (kind, names) in
            [("ModelDeployment", vec!["far", "near", "bad"]), ("ExternalProvider", vec!["acme"])]
        {
            for name in names {
                looked_at(&bench, kind, name, round).await?;
            }
        }
        if round == 0 {
            before = Some(bench.operator.writes().await?);
        }
    }
    assert_eq!(Some(bench.operator.writes().await?), before, "writes in ten rounds after the first");
    assert_eq!(
        bench.operator.count("weighbridge_reconcile_api_writes_total", &["outcome=\"error\""]).await?,
        0.0
    );
    Ok(())
}

/// Touches an object, and waits until it was reconciled once more: what was written for it before is counted then.
async fn looked_at(bench: &Bench, kind: &str, name: &str, round: u32) -> Result<()> {
    let done = bench.operator.count("weighbridge_reconcile_total", &[kind]).await?;
    let touch = json!({"metadata": {"annotations": {"touched": round.to_string()}}});
    if kind == "ModelDeployment" {
        merge(&bench.api::<ModelDeployment>(), name, touch).await?;
    } else {
        merge(&bench.api::<ExternalProvider>(), name, touch).await?;
    }
    let began = Instant::now();
    while bench.operator.count("weighbridge_reconcile_total", &[kind]).await? <= done {
        anyhow::ensure!(began.elapsed() < wait::DEADLINE, "{kind} {name} was not reconciled");
    }
    Ok(())
}

#[tokio::test]
async fn a_restarted_operator_writes_nothing_over_what_is_there() -> Result<()> {
    let mut bench = Bench::new("restart").await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench.model_is_ready("m").await?;
    bench.operator.signal("TERM").await?;
    assert!(bench.operator.ended().await?.success());
    let fresh = operator(bench.namespace.name(), "fresh").await?;
    let began = Instant::now();
    while fresh.count("weighbridge_reconcile_total", &["ModelDeployment", "ok"]).await? < 1.0 {
        anyhow::ensure!(began.elapsed() < wait::DEADLINE, "nothing was reconciled");
    }
    assert_eq!(fresh.writes().await?, 0.0);
    Ok(())
}

/// Writes that the apiserver got from the account of this name, but for those of the Lease. It notes each before it obeys.
fn written_by(name: &str, namespace: &TestNamespace) -> Result<Vec<String>> {
    let account = format!("system:serviceaccount:{}:{name}", namespace.name());
    let writes = audit::writes(namespace.name())?.into_iter();
    let writes =
        writes.filter(|write| write.user.username == account && write.object_ref.resource != "leases");
    Ok(writes
        .map(|write| format!("{} {}/{}", write.verb, write.object_ref.resource, write.object_ref.name))
        .collect())
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

#[tokio::test]
async fn of_two_operators_only_the_leader_writes_and_a_stopped_one_never_again() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "lead").await?;
    let leases: Api<Lease> = namespace.api();
    let first = operator_by_name(&namespace, "first").await?;
    wait::until(&leases, "weighbridge-operator", "the first leads", |lease: &Lease| {
        holder(lease) == Some("first")
    })
    .await?;
    let mut second = operator_by_name(&namespace, "second").await?;
    let bench = Bench { client, namespace, operator: first };
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench.model_is_ready("m").await?;
    assert_eq!(
        second.count("weighbridge_reconcile_api_writes_total", &[]).await?,
        0.0,
        "the second does not lead"
    );
    assert_eq!(written_by("second", &bench.namespace)?, Vec::<String>::new());

    // The apiserver shows a status before the operator hears that it was taken, and counts it.
    looked_at(&bench, "ModelDeployment", "m", 0).await?;
    let before = bench.operator.writes().await?;
    let sent = written_by("first", &bench.namespace)?;
    assert!(!sent.is_empty(), "the audit log knows the first by another name");
    // A leader that is stopped loses the Lease, and comes back as a zombie with work in its queue.
    bench.operator.signal("STOP").await?;
    wait::until(&leases, "weighbridge-operator", "the second leads", |lease: &Lease| {
        holder(lease) == Some("second")
    })
    .await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE, "engine": {"contextLength": 999}}})).await?;
    bench.model_is_ready("m").await?;
    bench.operator.signal("CONT").await?;
    let model = bench
        .model("m", json!({"openWeights": {"source": SOURCE, "engine": {"contextLength": 998}}}))
        .await?;
    bench.model_is_ready("m").await?;
    assert_eq!(
        bench.operator.writes().await?,
        before,
        "the zombie wrote after generation {:?}",
        model.metadata.generation
    );
    // Its own word is one thing, and what the apiserver got of it another.
    assert_eq!(written_by("first", &bench.namespace)?, sent, "the zombie wrote");
    assert!(!written_by("second", &bench.namespace)?.is_empty());

    let began = Instant::now();
    second.signal("TERM").await?;
    assert!(second.ended().await?.success());
    let took = began.elapsed();
    let lease = leases.get("weighbridge-operator").await?;
    assert_ne!(holder(&lease), Some("second"), "it was given back in {took:?}");
    wait::until(&leases, "weighbridge-operator", "the first leads again", |lease: &Lease| {
        holder(lease) == Some("first")
    })
    .await?;
    assert!(began.elapsed() < Duration::from_secs(15), "sooner than an abandoned Lease runs out");
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench.model_is_ready("m").await?;
    Ok(())
}

#[tokio::test]
async fn a_service_of_somebody_else_is_not_taken() -> Result<()> {
    let bench = Bench::new("foreign").await?;
    let services: Api<Service> = bench.api();
    let theirs = json!({"spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}});
    let before: Service = apply(&services, "m-engine", theirs).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench
        .model_says("m", "Accepted", "names the Service", |condition| {
            condition.reason == "ChildNotOwned" && condition.message.contains("Service m-engine")
        })
        .await?;
    let after = services.get("m-engine").await?;
    assert_eq!((after.resource_version(), after.uid()), (before.resource_version(), before.uid()));
    services.delete("m-engine", &DeleteParams::default()).await?;
    bench.model_is_ready("m").await?;
    Ok(())
}

#[tokio::test]
async fn a_deployment_of_an_earlier_model_of_the_same_name_is_not_deleted() -> Result<()> {
    let bench = Bench::new("stale").await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    let old = bench.model_is_ready("m").await?;
    let old_name =
        format!("m-{}", old.status.as_ref().and_then(|status| status.revision.clone()).unwrap_or_default());
    // Orphaned, so that it outlives its model and is nobody's.
    bench.api::<ModelDeployment>().delete("m", &DeleteParams::orphan()).await?;
    wait::until_gone(&bench.api::<ModelDeployment>(), "m").await?;
    let deployments: Api<Deployment> = bench.api();
    let orphan = wait::until(&deployments, &old_name, "no owner", |child: &Deployment| {
        child.owner_references().is_empty()
    })
    .await?;
    merge(&bench.api::<Service>(), "m-engine", json!({"metadata": {"labels": {"kept": "yes"}}})).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench
        .model_says("m", "Accepted", "the old Service is not ours", |condition| {
            condition.reason == "ChildNotOwned"
        })
        .await?;
    bench.api::<Service>().delete("m-engine", &DeleteParams::default()).await?;
    let new = bench.model_is_ready("m").await?;
    assert_ne!(new.uid(), old.uid());
    let after = deployments.get_opt(&old_name).await?.context("the orphan is still there")?;
    assert_eq!(after.uid(), orphan.uid());
    Ok(())
}
