use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, VersionMatch};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use weighbridge_crds::condition::READY;
use weighbridge_crds::{ExternalProvider, ModelDeployment, World, labels};
use weighbridge_tests::operator::Operator;
use weighbridge_tests::testbed::{self, TestNamespace, wait};

use super::proxy::{Fault, Proxy, Write};
use super::state::State;

/// Between two looks at what no one watch tells.
const LOOK: Duration = Duration::from_millis(100);
/// Looks of the operator at its objects, at rest, which write nothing.
const ROUNDS: u32 = 3;

/// One thing that people do to the model `m`.
#[derive(Clone, Debug)]
pub enum Step {
    /// Apply this spec.
    Model(Value),
    /// Scale.
    Scale(i32),
    /// Delete.
    Delete,
}

/// A namespace, and an operator's process that sees the cluster through a proxy.
pub struct Bed {
    namespace: TestNamespace,
    proxy: Proxy,
    operator: Mutex<Operator>,
    folder: tempfile::TempDir,
}

impl Bed {
    /// With a provider `acme` that is ready, and an operator that leads.
    pub async fn new(hint: &str) -> Result<Self> {
        let client = testbed::client().await?;
        let namespace = TestNamespace::create(&client, hint).await?;
        let proxy = Proxy::start(client).await?;
        let folder = tempfile::tempdir()?;
        let cluster = json!({"apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{}", proxy.address)}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}]});
        std::fs::write(folder.path().join("kubeconfig"), cluster.to_string())?;
        let operator = Mutex::new(start(folder.path(), namespace.name(), &proxy).await?);
        let bed = Bed { namespace, proxy, operator, folder };
        bed.apply(&bed.namespace.api::<Secret>(), "account", json!({"stringData": {"token": "x"}})).await?;
        let provider = json!({"spec": {"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1",
            "apiKeys": [{"name": "account", "key": "token"}]}});
        let providers = bed.namespace.api::<ExternalProvider>();
        bed.apply(&providers, "acme", provider).await?;
        let ready = |provider: &ExternalProvider| {
            let conditions = provider.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|one| one.type_ == READY && one.status == "True")
        };
        wait::until(&providers, "acme", "a provider that is ready", ready).await?;
        Ok(bed)
    }

    /// Runs `steps` with one write spoilt, if one is given. Each step ends as `ends` says, or, where that is empty, wherever it
    /// comes to rest. Returns the ends, and what was written.
    pub async fn run(
        &self,
        steps: &[Step],
        spoilt: Option<(&Write, Fault)>,
        ends: &[State],
    ) -> Result<(Vec<State>, Vec<Write>)> {
        self.proxy.arm(spoilt.map(|(write, fault)| (write.clone(), fault)));
        let mut states = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            self.make(step).await?;
            match ends.get(index) {
                Some(end) => self.ends_as(end).await.with_context(|| format!("{step:?}"))?,
                None => self.rest(step).await.with_context(|| format!("{step:?}"))?,
            }
            states.push(self.state().await?);
            let last_but_deleted = index + 2 == steps.len();
            if last_but_deleted {
                self.quiet().await.with_context(|| format!("after {step:?}"))?;
            }
        }
        Ok((states, self.proxy.writes()))
    }

    /// Whether the write that was to be spoilt came.
    pub fn met(&self) -> bool {
        self.proxy.met()
    }

    /// Does what people do.
    pub async fn make(&self, step: &Step) -> Result<()> {
        let models = self.namespace.api::<ModelDeployment>();
        match step {
            Step::Model(spec) => self.apply(&models, "m", json!({"spec": spec})).await,
            Step::Scale(replicas) => {
                let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
                models.patch_scale("m", &PatchParams::default(), &scale).await?;
                Ok(())
            }
            Step::Delete => {
                models.delete("m", &DeleteParams::default()).await?;
                Ok(())
            }
        }
    }

    /// Waits until `step` is done, and nothing more is written.
    pub async fn rest(&self, step: &Step) -> Result<()> {
        self.eventually("it does not come to an end", async || {
            let model = self.namespace.api::<ModelDeployment>().get_opt("m").await?;
            let deployments = self.namespace.api::<Deployment>().list(&of_model()).await?.items;
            Ok(is_done(step, model.as_ref(), &deployments))
        })
        .await?;
        if matches!(step, Step::Delete) { Ok(()) } else { self.quiet().await }
    }

    /// Waits until all is as in `end`.
    pub async fn ends_as(&self, end: &State) -> Result<()> {
        let differs = Mutex::new(Vec::new());
        let same = async || {
            self.revive().await?;
            let found = end.differences(&self.state().await?);
            let same = found.is_empty();
            *differs.lock().await = found;
            Ok(same)
        };
        let ended = self.eventually("it ends otherwise", same).await;
        let differs = differs.into_inner();
        ended.with_context(|| format!("{differs:#?}"))
    }

    /// The operator looks at its objects again and again, and writes nothing; what was still on its way comes first.
    async fn quiet(&self) -> Result<()> {
        let mut silent = 0;
        self.eventually("it writes at rest", async || {
            let before = self.proxy.writes().len();
            self.look().await?;
            silent = if self.proxy.writes().len() == before { silent + 1 } else { 0 };
            Ok(silent == ROUNDS)
        })
        .await
    }

    /// Touches each object, and waits until the operator has looked at it.
    async fn look(&self) -> Result<()> {
        self.revive().await?;
        let touch = Patch::Merge(json!({"metadata": {"annotations":
            {"touched": format!("{:?}", std::time::SystemTime::now())}}}));
        let before = (self.looks("ModelDeployment").await?, self.looks("ExternalProvider").await?);
        let parameters = PatchParams::default();
        self.namespace.api::<ModelDeployment>().patch("m", &parameters, &touch).await?;
        self.namespace.api::<ExternalProvider>().patch("acme", &parameters, &touch).await?;
        self.eventually("an object is not looked at", async || {
            let now = (self.looks("ModelDeployment").await?, self.looks("ExternalProvider").await?);
            Ok(now.0 > before.0 && now.1 > before.1)
        })
        .await
    }

    async fn looks(&self, kind: &str) -> Result<f64> {
        self.operator.lock().await.reconciles(kind).await
    }

    /// Everything that counts in the namespace.
    pub async fn state(&self) -> Result<State> {
        State::of(&self.namespace).await
    }

    /// The revision of the cluster now.
    pub async fn revision(&self) -> Result<String> {
        let listed = self.namespace.api::<Secret>().list(&ListParams::default()).await?;
        listed.metadata.resource_version.context("a list has a revision")
    }

    /// Every Deployment with its UID, its generation and its replicas.
    pub async fn deployments(&self) -> Result<BTreeMap<String, (Option<String>, Option<i64>, Option<i32>)>> {
        let found = self.namespace.api::<Deployment>().list(&ListParams::default()).await?;
        let told = found.items.into_iter().map(|one| {
            let replicas = one.spec.as_ref().and_then(|spec| spec.replicas);
            (one.name_any(), (one.uid(), one.metadata.generation, replicas))
        });
        Ok(told.collect())
    }

    /// The operator is killed, and one starts that sees the past until it is told to come back. Returns when it has looked at
    /// everything that it sees.
    pub async fn travel(&self, revision: &str) -> Result<()> {
        let past = ListParams::default().at(revision).matching(VersionMatch::Exact);
        let models = self.namespace.api::<ModelDeployment>().list(&past).await?.items.len();
        let mut operator = self.operator.lock().await;
        operator.signal("KILL").await?;
        operator.ended().await?;
        self.proxy.travel(revision);
        *operator = start(self.folder.path(), self.namespace.name(), &self.proxy).await?;
        drop(operator);
        self.eventually("it does not look at what it sees", async || {
            let (of_models, of_providers) =
                (self.looks("ModelDeployment").await?, self.looks("ExternalProvider").await?);
            Ok(of_providers >= 1.0 && (models == 0 || of_models >= 1.0))
        })
        .await
    }

    /// The present is seen again.
    pub async fn come_back(&self) -> Result<()> {
        self.proxy.tell();
        self.look().await
    }

    /// What watches tell is lost from now on.
    pub fn swallow(&self) {
        self.proxy.swallow();
    }

    /// Watches tell again, and say that something was lost.
    pub fn tell_again(&self) {
        self.proxy.tell();
    }

    /// Starts the operator where a crash ended it.
    async fn revive(&self) -> Result<()> {
        let mut operator = self.operator.lock().await;
        if operator.has_ended()? {
            *operator = start(self.folder.path(), self.namespace.name(), &self.proxy).await?;
        }
        Ok(())
    }

    async fn apply<K>(&self, api: &Api<K>, name: &str, mut object: Value) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        object["metadata"]["name"] = json!(name);
        let parameters = PatchParams::apply("kubectl").force();
        api.patch(name, &parameters, &Patch::Apply(object)).await?;
        Ok(())
    }

    async fn eventually(&self, words: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let began = Instant::now();
        loop {
            match holds().await {
                Ok(true) => return Ok(()),
                outcome if began.elapsed() > wait::DEADLINE => {
                    outcome?;
                    anyhow::bail!("{words} within {:?}", wait::DEADLINE);
                }
                // An operator that was killed just now answers nothing.
                Ok(false) | Err(_) => sleep(LOOK).await,
            }
        }
    }
}

async fn start(folder: &Path, namespace: &str, proxy: &Proxy) -> Result<Operator> {
    let program = Path::new(env!("CARGO_BIN_EXE_operator-under-test"));
    let kubeconfig = folder.join("kubeconfig");
    let scope = format!("--watch-namespace={namespace}");
    let image = "images.weighbridge.local/inference-server:test";
    // Always the same name: a process that starts anew under it goes on with the Lease that it had.
    let operator =
        Operator::start_at(program, (kubeconfig.as_os_str(), namespace), "alone", image, [scope]).await?;
    proxy.ends_with_a_crash(operator.id()?);
    Ok(operator)
}

fn of_model() -> ListParams {
    ListParams::default().labels(&format!("{}=m", labels::MODEL))
}

/// Whether what `step` asks for is there, and what it took the place of is gone.
fn is_done(step: &Step, model: Option<&ModelDeployment>, deployments: &[Deployment]) -> bool {
    let Some(model) = model else { return matches!(step, Step::Delete) && deployments.is_empty() };
    let Some(status) = model.status.as_ref().filter(|_| !matches!(step, Step::Delete)) else { return false };
    let ready = status.conditions.iter().any(|one| {
        one.type_ == READY && one.status == "True" && one.observed_generation == model.metadata.generation
    });
    let world = status.served.as_ref().and_then(weighbridge_crds::Served::world);
    let pods = match model.spec.world() {
        Some(World::OpenWeights) => {
            let wanted = model.spec.replicas;
            deployments.len() == 1 && status.ready_replicas == wanted
        }
        Some(World::External) | None => deployments.is_empty() && status.replicas == 0,
    };
    ready && world == model.spec.world() && pods && status.ready_replicas == status.replicas
}
