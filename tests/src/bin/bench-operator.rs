//! The operator over many ModelDeployments on a real control plane: time from apply to the first child, memory, CPU
//! time, writes for each model, and writes when nothing changed.
//!
//! Runs under `testbed run`; the operator is the release build beside this program.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use weighbridge_crds::{ExternalProvider, ModelDeployment};
use weighbridge_tests::figures::{Figures, quantile};
use weighbridge_tests::measured::{cpu_time, rss_mb};
use weighbridge_tests::operator::Operator;
use weighbridge_tests::testbed::{self, TestNamespace, wait};

/// Measures the operator on the control plane of `testbed run`.
#[derive(Parser)]
struct Args {
    /// ModelDeployments to make, a tenth of them external.
    #[arg(long, default_value_t = 100)]
    models: usize,
    /// ModelDeployments applied each second.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// The operator's program. Default: `weighbridge-operator` beside this one.
    #[arg(long)]
    operator: Option<PathBuf>,
}

/// Rounds of reconciles in which nothing changed.
const ROUNDS: usize = 10;

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "bench").await?;
    let program = match &args.operator {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("weighbridge-operator"),
    };
    let operator = Operator::start::<&str>(&program, namespace.name(), "bench", []).await?;
    let mut figures = Figures::new("operator");

    provider(&namespace).await?;
    let settled = operator.writes().await?;
    let mut latencies = apply_models(&namespace, &args).await?;
    figures.add("models", args.models as f64, "count")?;
    figures.add("apply_to_child_p50_ms", quantile(&mut latencies, 0.5), "ms")?;
    figures.add("apply_to_child_p99_ms", quantile(&mut latencies, 0.99), "ms")?;
    let models: Api<ModelDeployment> = namespace.api();
    wait::until_all(
        &models,
        watcher::Config::default(),
        "every model is ready",
        |models: &[ModelDeployment]| models.len() == args.models && models.iter().all(is_ready),
    )
    .await?;
    quiet(&operator).await?;
    figures.add("writes_per_model", (operator.writes().await? - settled) / args.models as f64, "writes")?;
    figures.add("operator_rss_mb", rss_mb(operator.id()?)?, "MB")?;

    let before = (operator.writes().await?, operator.reconciles("").await?);
    let providers: Api<ExternalProvider> = namespace.api();
    for round in 0..ROUNDS {
        touch_all(&models, &operator, round).await?;
        touch_all(&providers, &operator, round).await?;
        // A provider's change may have its models looked at once more: those must not count for the next round.
        quiet(&operator).await?;
    }
    figures.add("idle_reconciles", operator.reconciles("").await? - before.1, "count")?;
    figures.add("idle_writes", operator.writes().await? - before.0, "writes")?;
    figures.add("operator_rss_after_mb", rss_mb(operator.id()?)?, "MB")?;
    figures.add("operator_cpu_seconds", cpu_time(operator.id()?)?.as_secs_f64(), "s")?;
    figures.write()?;
    Ok(())
}

async fn provider(namespace: &TestNamespace) -> Result<()> {
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "account"}, "stringData": {"token": "x"}}))?;
    namespace.api::<Secret>().create(&PostParams::default(), &secret).await?;
    let provider: ExternalProvider = serde_json::from_value(json!({
        "apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ExternalProvider", "metadata": {"name": "acme"},
        "spec": {"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1",
            "apiKeys": [{"name": "account", "key": "token"}]}}))?;
    let providers: Api<ExternalProvider> = namespace.api();
    providers.create(&PostParams::default(), &provider).await?;
    wait::until(&providers, "acme", "ready", |provider: &ExternalProvider| {
        let conditions = provider.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
    .await?;
    Ok(())
}

/// Applies the models at a steady rate, and returns the milliseconds from each open one's apply to its Service.
async fn apply_models(namespace: &TestNamespace, args: &Args) -> Result<Vec<f64>> {
    let services =
        watcher(namespace.api::<Service>(), watcher::Config::default()).default_backoff().touched_objects();
    let (seen, mut arrivals) = mpsc::channel(args.models.max(1));
    let watching = tokio::spawn(async move {
        tokio::pin!(services);
        while let Some(service) = services.next().await {
            if let Ok(service) = service
                && seen.send((service.name_any(), Instant::now())).await.is_err()
            {
                return;
            }
        }
    });
    let models: Api<ModelDeployment> = namespace.api();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / args.rate.max(1));
    let mut begun = HashMap::new();
    for number in 0..args.models {
        tick.tick().await;
        let (name, spec) = model(number);
        let object = json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": name}, "spec": spec});
        if spec.get("openWeights").is_some() {
            begun.insert(format!("{name}-engine"), Instant::now());
        }
        models.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(object)).await?;
    }
    let mut latencies = HashMap::new();
    let wanted = begun.len();
    while latencies.len() < wanted {
        let next =
            tokio::time::timeout(wait::DEADLINE, arrivals.recv()).await.context("a child never came")?;
        let (name, at) = next.context("the watch ended")?;
        if let Some(start) = begun.get(&name) {
            latencies.entry(name).or_insert_with(|| at.duration_since(*start).as_secs_f64() * 1000.0);
        }
    }
    watching.abort();
    Ok(latencies.into_values().collect())
}

fn model(number: usize) -> (String, Value) {
    let spec = if number % 10 == 9 {
        json!({"external": {"provider": "acme", "model": "large"}})
    } else {
        json!({"openWeights": {"source": "hf://org/repo/file.gguf"}})
    };
    (format!("m{number}"), spec)
}

fn is_ready(model: &ModelDeployment) -> bool {
    let conditions = model.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits until nothing is left to do, the Events of the last readiness included: no write and no reconcile
/// within a second.
async fn quiet(operator: &Operator) -> Result<()> {
    let began = Instant::now();
    let mut last = (-1.0, -1.0);
    loop {
        let now = (operator.writes().await?, operator.reconciles("").await?);
        if now == last {
            return Ok(());
        }
        ensure!(began.elapsed() < wait::DEADLINE, "the operator does not come to rest");
        last = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Lets every object of a kind be reconciled once more, by a change that means nothing.
async fn touch_all<K>(objects: &Api<K>, operator: &Operator, round: usize) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let kind = K::kind(&());
    let names: Vec<_> = objects.list(&Default::default()).await?.iter().map(ResourceExt::name_any).collect();
    ensure!(!names.is_empty(), "there is no {kind} to touch");
    let wanted = operator.reconciles(&kind).await? + names.len() as f64;
    for name in &names {
        let touch = json!({"metadata": {"annotations": {"touched": round.to_string()}}});
        objects.patch(name, &PatchParams::default(), &Patch::Merge(touch)).await?;
    }
    let began = Instant::now();
    while operator.reconciles(&kind).await? < wanted {
        ensure!(began.elapsed() < wait::DEADLINE, "not every {kind} was reconciled");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
