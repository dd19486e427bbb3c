//! A revision on trial under load: an operator, a gateway that it listens to, and scripted engines in the place of every pod.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::client::{ClientBuilder, DynBody};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tower::BoxError;
use tower::util::MapResponseLayer;
use weighbridge_crds::{ModelDeployment, Promotion, RolloutPhase, labels};
use weighbridge_tests::door::Client as Caller;
use weighbridge_tests::scripted::{Engines, Given};
use weighbridge_tests::testbed::{self, wait};

use super::gateway::{Gateway, Place};
use super::harness::{Bench, SOURCE, merge};

/// Where simulated pods are, and where this machine has the same addresses to itself.
const PODS: &str = "\"10.245.";
const HERE: &str = "\"127.245.";

/// A gateway's way to the apiserver, by which each simulated pod is found at an address of this machine, at `port`.
async fn client_to(port: u16) -> Result<Client> {
    let path = std::env::var_os(testbed::KUBECONFIG).context("no control plane")?;
    let config = Kubeconfig::read_from(path)?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    let (here, there) = (format!("\"port\":{port}"), format!("\"port\":{}", labels::SERVING_PORT));
    let moved = move |response: http::Response<Box<DynBody>>| {
        let (here, there) = (here.clone(), there.clone());
        response.map(|body| by_lines(body, move |text| text.replace(PODS, HERE).replace(&there, &here)))
    };
    let builder = ClientBuilder::try_from(config)?.with_layer(&MapResponseLayer::new(moved));
    Ok(builder.build())
}

/// `body` with each of its lines changed: an apiserver writes an event of a watch as one.
fn by_lines(
    body: Box<DynBody>,
    change: impl Fn(&str) -> String + Send + 'static,
) -> impl http_body::Body<Data = bytes::Bytes, Error = BoxError> + Send + 'static {
    let pieces = Box::pin(body.into_data_stream());
    let lines = stream::unfold((pieces, Vec::new(), change), async |(mut pieces, mut held, change)| {
        loop {
            let piece = pieces.next().await;
            let whole = match &piece {
                Some(Ok(piece)) => {
                    held.extend_from_slice(piece);
                    held.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1)
                }
                Some(Err(_)) => None,
                None if held.is_empty() => return None,
                None => Some(held.len()),
            };
            if let Some(Err(error)) = piece {
                return Some((Err(error), (pieces, held, change)));
            }
            if let Some(end) = whole {
                let rest = held.split_off(end);
                let changed = change(&String::from_utf8_lossy(&held));
                return Some((Ok(Frame::data(bytes::Bytes::from(changed))), (pieces, rest, change)));
            }
        }
    });
    StreamBody::new(lines)
}

/// What pods of each revision have answered, and how often the ones that are not `stable` fail.
#[derive(Default)]
struct Fleet {
    given: Mutex<HashMap<String, Arc<Given>>>,
    stable: Mutex<String>,
}

impl Fleet {
    fn given(&self, revision: &str) -> Arc<Given> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(given.entry(revision.to_owned()).or_default())
    }

    fn set_stable(&self, revision: &str) {
        revision.clone_into(&mut self.stable.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Answers of the pod that is called at `called`, and how often it fails.
    async fn pod(
        &self,
        pods: &Api<Pod>,
        called: SocketAddr,
        every: Option<u64>,
    ) -> (Arc<Given>, Option<u64>) {
        let ip = called.ip().to_string().replacen("127.", "10.", 1);
        let found = pods.list(&ListParams::default()).await.ok().and_then(|pods| {
            let at = |pod: &&Pod| pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()) == Some(&ip);
            pods.items.iter().find(at).and_then(|pod| pod.labels().get(labels::REVISION).cloned())
        });
        let revision = found.unwrap_or_default();
        let stable = *self.stable.lock().unwrap_or_else(PoisonError::into_inner) == revision;
        (self.given(&revision), every.filter(|_| !stable))
    }
}

/// A model of four pods under load, whose new revisions fail once in so many answers.
struct Bed {
    bench: Bench,
    gateway: Gateway,
    fleet: Arc<Fleet>,
    heard: Arc<Mutex<HashMap<u16, u64>>>,
    ends: Arc<AtomicBool>,
    callers: Vec<AbortOnDropHandle<Result<()>>>,
    _alive: (Engines, Place),
}

impl Bed {
    async fn new(hint: &str, every: Option<u64>) -> Result<Self> {
        let place = Place::new().await?;
        let flags = place.flags();
        let bench = Bench::with(hint, &[&flags[0], &flags[1]]).await?;

        let (fleet, pods) = (Arc::new(Fleet::default()), bench.api::<Pod>());
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let its = Arc::clone(&fleet);
        let engines = Engines::on(listener, move |called| {
            let (fleet, pods) = (Arc::clone(&its), pods.clone());
            async move { fleet.pod(&pods, called, every).await }
        })?;
        let gateway = place.start_over(&bench, client_to(engines.address.port()).await?).await?;
        place.ready(&bench, &[("gateway", true)]).await?;
        let (heard, ends) = (Arc::default(), Arc::default());
        let alive = (engines, place);
        Ok(Self { bench, gateway, fleet, heard, ends, callers: Vec::new(), _alive: alive })
    }

    /// Applies the model; the context makes the revision.
    async fn model(&self, context: i32, second: &str) -> Result<()> {
        let steps = json!([{"capacity": 1, "traffic": 25, "pause": "3s"},
            {"capacity": "50%", "traffic": 50, "pause": second}]);
        let canary = json!({"steps": steps, "abort": {"minRequests": 40, "timeToFirstToken": 10000, "interTokenLatency": 10000}});
        let spec = json!({"openWeights": {"source": SOURCE, "engine": {"contextLength": context}}, "replicas": 4,
            "rollout": {"strategy": "Canary", "canary": canary}, "hold": {"maxWait": "0s"}});
        self.bench.model("m", spec).await?;
        Ok(())
    }

    /// The first revision, which answers; callers come from then on.
    async fn first(&mut self) -> Result<String> {
        self.model(64, "2s").await?;
        let all =
            |model: &ModelDeployment| model.status.as_ref().is_some_and(|status| status.ready_replicas == 4);
        let model = wait::until(&self.bench.api(), "m", "four pods", all).await?;
        let revision = model.status.and_then(|status| status.revision).context("a revision")?;
        self.fleet.set_stable(&revision);
        let name = format!("{}/m", self.bench.namespace.name());
        let body = json!({"model": name, "messages": [{"role": "user", "content": "hi"}], "stream": true});
        // Until the gateway knows of it.
        let answers = async {
            loop {
                let mut caller = Caller::connect(self.gateway.door.address).await?;
                if caller.post("/v1/chat/completions", body.to_string()).await?.status == 200 {
                    return anyhow::Ok(());
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(wait::DEADLINE, answers).await.context("the gateway does not answer")??;
        for _ in 0..4 {
            let (heard, ends, door) =
                (Arc::clone(&self.heard), Arc::clone(&self.ends), self.gateway.door.address);
            let load = ask_on(door, body.to_string(), heard, ends);
            self.callers.push(AbortOnDropHandle::new(tokio::spawn(load)));
        }
        Ok(revision)
    }

    async fn until(
        &self,
        what: &str,
        fits: impl Fn(&ModelDeployment) -> bool + Clone + Send + Sync + 'static,
    ) -> Result<ModelDeployment> {
        let model = wait::until(&self.bench.api(), "m", what, fits).await;
        model.with_context(|| {
            format!("so far {:?}", self.heard.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// What callers heard, when the last answers are there.
    async fn end(&mut self) -> Result<HashMap<u16, u64>> {
        self.ends.store(true, Ordering::Relaxed);
        for caller in self.callers.drain(..) {
            caller.await??;
        }
        Ok(self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn deployments(&self) -> Result<Vec<String>> {
        let found = self.bench.api::<Deployment>().list(&ListParams::default()).await?;
        Ok(found.items.iter().map(ResourceExt::name_any).collect())
    }
}

async fn ask_on(
    door: SocketAddr,
    body: String,
    heard: Arc<Mutex<HashMap<u16, u64>>>,
    ends: Arc<AtomicBool>,
) -> Result<()> {
    let mut caller = Caller::connect(door).await?;
    while !ends.load(Ordering::Relaxed) {
        let headers = [("content-type", "application/json")];
        let answer = caller.open(Method::POST, "/v1/chat/completions", &headers, body.clone()).await?;
        let answer = answer.whole().await?;
        let status = if answer.status == 200 && !answer.text()?.contains("[DONE]") {
            0
        } else {
            answer.status.as_u16()
        };
        *heard.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }
    Ok(())
}

fn phase(model: &ModelDeployment) -> Option<RolloutPhase> {
    Some(model.status.as_ref()?.rollout.as_ref()?.phase)
}

fn says(model: &ModelDeployment, type_: &str) -> (String, String) {
    let conditions = model.status.iter().flat_map(|status| &status.conditions);
    let found = conditions.into_iter().find(|condition| condition.type_ == type_);
    found.map(|condition| (condition.reason.clone(), condition.message.clone())).unwrap_or_default()
}

#[tokio::test]
async fn a_canary_that_fails_is_aborted_and_no_caller_hears_of_it() -> Result<()> {
    let mut bed = Bed::new("canarybad", Some(5)).await?;
    let stable = bed.first().await?;
    bed.model(128, "2s").await?;
    let model = bed.until("aborted", |model| phase(model) == Some(RolloutPhase::Aborted)).await?;
    let trial = model.status.as_ref().and_then(|status| status.rollout.clone()).context("a trial")?;
    ensure!((trial.stable.as_str(), trial.traffic) == (stable.as_str(), 0), "{trial:?}");
    let (reason, words) = says(&model, "RolledOut");
    ensure!(
        reason == "RolloutAborted" && words.contains("error rate ") && words.contains(" against 0.0 % over "),
        "{words}"
    );
    ensure!(says(&model, "Ready").0 == "Serving", "the one that runs answers");
    wait::until_gone(&bed.bench.api::<Deployment>(), &format!("m-{}", trial.canary)).await?;
    let told =
        |events: &[Event]| events.iter().any(|event| event.reason.as_deref() == Some("RolloutAborted"));
    wait::until_all(&bed.bench.api::<Event>(), Default::default(), "an Event of it", told).await?;
    ensure!(bed.deployments().await? == [format!("m-{stable}")]);

    // A better one beside the one that runs, and back by the spec.
    bed.model(256, "2s").await?;
    let other = trial.canary.clone();
    let next = move |model: &ModelDeployment| {
        let trial = model.status.as_ref().and_then(|status| status.rollout.as_ref());
        trial.is_some_and(|trial| trial.canary != other && trial.phase == RolloutPhase::Measuring)
    };
    bed.until("another on trial", next).await?;
    bed.model(64, "2s").await?;
    bed.until("no trial", |model| phase(model).is_none() && says(model, "RolledOut").0 == "RolloutComplete")
        .await?;
    ensure!(bed.deployments().await? == [format!("m-{stable}")]);

    let heard = bed.end().await?;
    let (answered, failed) = bed.fleet.given(&trial.canary).counts();
    ensure!(failed >= 8 && failed <= answered.div_ceil(4) + 1, "{answered} {failed}");
    ensure!(heard.keys().all(|status| *status == 200), "what failed was made good: {heard:?}");
    Ok(())
}

#[tokio::test]
async fn a_canary_as_good_as_what_runs_is_promoted_by_a_person_and_no_request_fails() -> Result<()> {
    let mut bed = Bed::new("canarygood", None).await?;
    let stable = bed.first().await?;
    bed.model(128, "Manual").await?;
    let paused = |model: &ModelDeployment| {
        let trial = model.status.as_ref().and_then(|status| status.rollout.as_ref());
        trial.is_some_and(|trial| trial.phase == RolloutPhase::Paused && trial.step == 2)
    };
    let model = bed.until("the second step waits", paused).await?;
    let trial = model.status.and_then(|status| status.rollout).context("a trial")?;
    ensure!((trial.traffic, trial.progress.as_str()) == (50, "step 2 of 2, 50 %"), "{trial:?}");
    let counts = |revision: &str| bed.fleet.given(revision).counts();
    ensure!(counts(&trial.canary).0 >= 80, "each step has its least requests: {:?}", counts(&trial.canary));
    let pods: Vec<Pod> = bed.bench.api::<Pod>().list(&ListParams::default()).await?.items;
    let of = |revision: &str| {
        pods.iter().filter(|pod| pod.labels().get(labels::REVISION).is_some_and(|of| of == revision)).count()
    };
    ensure!((of(&stable), of(&trial.canary)) == (4, 2), "what runs keeps every pod");

    let models: Api<ModelDeployment> = bed.bench.api();
    let say = async |said: Promotion| {
        let annotations: Value = json!({labels::PROMOTE: said.to_string()});
        merge(&models, "m", json!({"metadata": {"annotations": annotations}})).await
    };
    say(Promotion { revision: trial.canary.clone(), step: Some(1) }).await?;
    say(Promotion { revision: trial.canary.clone(), step: Some(2) }).await?;
    let canary = trial.canary.clone();
    let promoted = move |model: &ModelDeployment| {
        let revision = model.status.as_ref().and_then(|status| status.revision.as_ref());
        phase(model).is_none() && revision == Some(&canary)
    };
    bed.until("promoted", promoted).await?;
    wait::until_gone(&bed.bench.api::<Deployment>(), &format!("m-{stable}")).await?;
    ensure!(bed.deployments().await? == [format!("m-{}", trial.canary)]);
    let there = bed.bench.api::<Deployment>().get(&format!("m-{}", trial.canary)).await?;
    ensure!(!there.annotations().contains_key(labels::CANARY_OF), "it is on trial no more");
    ensure!(there.spec.and_then(|spec| spec.replicas) == Some(4));
    let heard = bed.end().await?;
    ensure!(heard.keys().all(|status| *status == 200), "{heard:?}");
    Ok(())
}
