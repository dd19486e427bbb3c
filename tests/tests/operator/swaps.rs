//! The swap of worlds under load: an operator, a gateway, and one simulator in the place of every pod.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use http::Method;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_crds::{ModelDeployment, labels};
use weighbridge_tests::door::{Client, Door};
use weighbridge_tests::simulator::Simulator;
use weighbridge_tests::testbed::{Behaviour, Rule, wait};

use super::gateway::{Place, address};
use super::harness::{Bench, SOURCE, apply, merge};

/// Callers who ask one after the other, and what each heard.
struct Load {
    heard: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    callers: Vec<AbortOnDropHandle<Result<()>>>,
}

impl Load {
    fn start(door: &Door, model: &str) -> Self {
        let (heard, ends) = (Arc::default(), Arc::default());
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let callers = (0..4).map(|_| {
            let (heard, ends, body, door) =
                (Arc::clone(&heard), Arc::clone(&ends), body.clone(), door.address);
            AbortOnDropHandle::new(tokio::spawn(ask_on(door, body, heard, ends)))
        });
        let callers = callers.collect();
        Self { heard, ends, callers }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many more were answered, and each of them by `world`.
    async fn until(&self, world: &str) -> Result<()> {
        let all = |heard: &[String]| heard.iter().all(|one| one == world);
        let settled = async {
            loop {
                let heard = self.heard();
                if heard.len() > 40 && all(&heard[heard.len() - 40..]) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let last = || self.heard().into_iter().rev().take(3).collect::<Vec<_>>();
        tokio::time::timeout(wait::DEADLINE, settled)
            .await
            .with_context(|| format!("waiting for {world}, last heard {:?}", last()))
    }

    /// What was heard in all, when the last answers are there.
    async fn end(self) -> Result<Vec<String>> {
        self.ends.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await??;
        }
        Ok(self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

async fn ask_on(
    door: std::net::SocketAddr,
    body: String,
    heard: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
) -> Result<()> {
    let mut caller = Client::connect(door).await?;
    while !ends.load(Ordering::Relaxed) {
        let headers = [("content-type", "application/json")];
        let answer =
            caller.open(Method::POST, "/v1/chat/completions", &headers, body.clone()).await?.whole().await?;
        // As an engine the simulator is asked for `namespace/m`, which it does not know: its 404 shows that it was asked.
        let said = match answer.status.as_u16() {
            200 if answer.headers["x-weighbridge-world"] == "closed" => "closed".to_owned(),
            404 if answer.text()?.contains("no such behaviour") => "open".to_owned(),
            status => format!("{status} {}", answer.text()?),
        };
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }
    Ok(())
}

fn is_true(condition: &Condition) -> bool {
    condition.status == "True"
}

fn served(model: &ModelDeployment) -> &str {
    let status = model.status.as_ref();
    status.and_then(|status| status.served.as_ref()).map_or("", |served| served.backend.as_str())
}

#[tokio::test]
async fn a_swap_of_worlds_and_back_holds_and_fails_no_request() -> Result<()> {
    let place = Place::new().await?;
    let flags = place.flags();
    let bench = Bench::with("swaps", &[&flags[0], &flags[1]]).await?;
    let address = address()?;
    bench.namespace.pods_at(address).await?;
    let listener = TcpListener::bind((address, labels::SERVING_PORT)).await?;
    let simulator = Simulator::on(listener, None)?;
    apply(&bench.api::<Secret>(), "account", json!({"stringData": {"token": "sk-1"}})).await?;
    let spec = json!({"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1",
        "apiKeys": [{"name": "account", "key": "token"}]});
    bench.provider("acme", spec).await?;
    bench.provider_says("acme", "Ready", "is True", |condition| condition.status == "True").await?;
    // Whoever would have to wait hears 503.
    let both = |serve: &str| {
        json!({"serve": serve, "openWeights": {"source": SOURCE},
        "external": {"provider": "acme", "model": "normal"}, "hold": {"maxWait": "0s"}})
    };
    bench.model("m", both("OpenWeights")).await?;
    bench.model_is_ready("m").await?;
    let gateway = place.start(&bench).await?;
    place.ready(&bench, &[("gw-a", true)]).await?;
    bench.model_says("m", "Routable", "by the gateway's word", is_true).await?;
    let door = &gateway.door;
    let name = format!("{}/m", bench.namespace.name());
    let warm = Load::start(door, &name);
    warm.until("open").await?;
    warm.end().await?;

    let load = Load::start(door, &name);
    load.until("open").await?;
    let models = bench.api::<ModelDeployment>();
    merge(&models, "m", json!({"spec": {"serve": "External"}})).await?;
    load.until("closed").await?;
    // It was routable in the one world and is in the other, and at no time in neither.
    let model = bench.model_says("m", "Routable", "in the closed world", is_true).await?;
    assert_eq!(served(&model), "Closed");
    wait::until_gone(&bench.api::<k8s_openapi::api::core::v1::Service>(), "m-engine").await?;

    // Back, to an engine that takes its time: the provider answers meanwhile, and the status says so.
    let engines = [("app.kubernetes.io/component".to_owned(), "engine".to_owned())].into();
    bench.namespace.script(&[Rule { pods: engines, fare: Behaviour::NeverReady }]).await?;
    merge(&models, "m", json!({"spec": {"serve": "OpenWeights"}})).await?;
    let model = bench
        .model_says("m", "Ready", "says where calls go", |condition| {
            condition.status == "False" && condition.message.contains("calls go to acme/normal until")
        })
        .await?;
    assert_eq!(served(&model), "Closed");
    bench
        .model_says("m", "Routable", "follows the world that is called", |condition| {
            condition.status == "False" && condition.message.contains("calls go to acme/normal until")
        })
        .await?;
    let so_far = load.heard().len();
    load.until("closed").await?;
    bench.namespace.pods_fare(Behaviour::Ready).await?;
    load.until("open").await?;
    let model = bench.model_is_ready("m").await?;
    assert_eq!(served(&model), "Open");
    bench.model_says("m", "Routable", "in the open world", is_true).await?;
    let heard = load.end().await?;
    ensure!(heard.len() > so_far);
    let failed: Vec<_> = heard.iter().filter(|one| !matches!(one.as_str(), "open" | "closed")).collect();
    ensure!(failed.is_empty(), "{} of {}: {:?}", failed.len(), heard.len(), failed.first());
    ensure!(simulator.counts().requests >= u64::try_from(heard.len())?);
    Ok(())
}
