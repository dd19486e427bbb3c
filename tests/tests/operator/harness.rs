use std::collections::BTreeMap;
use std::env;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use weighbridge_crds::{ExternalProvider, ModelDeployment, ResourceProfile};
use weighbridge_tests::testbed::{self, TestNamespace, wait};

/// An operator that looks at one namespace, as a process of its own.
pub struct Operator {
    child: Child,
    admin: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Operator {
    /// Starts one and waits until its admin port is open.
    pub async fn start(namespace: &str, identity: &str) -> Result<Self> {
        let kubeconfig = env::var_os(testbed::KUBECONFIG).context("no control plane")?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_operator-under-test"))
            .args(["--inference-server-image=images.weighbridge.local/inference-server:test"])
            .args(["--gateway-image=images.weighbridge.local/gateway:test"])
            .args(["--gateway-namespace=weighbridge-system", "--metrics-listen=127.0.0.1:0"])
            .args([format!("--namespace={namespace}"), format!("--watch-namespace={namespace}")])
            .arg(format!("--identity={identity}"))
            .env("KUBECONFIG", kubeconfig)
            .env("RUST_LOG", "info,weighbridge_operator=debug")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the operator")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (opened, mut open) = watch::channel(None);
        let mut output = BufReader::new(child.stderr.take().context("its stderr")?).lines();
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                if let Ok(parsed) = serde_json::from_str::<Value>(&line)
                    && parsed["fields"]["message"] == "admin port open"
                {
                    opened.send_replace(parsed["fields"]["address"].as_str().map(str::to_owned));
                }
                kept.lock().unwrap().push(line);
            }
        });
        let admin = open.wait_for(Option::is_some).await.map(|address| address.clone().unwrap_or_default());
        let Ok(admin) = admin else { bail!("the operator ended: {}", lines.lock().unwrap().join("\n")) };
        Ok(Operator { child, admin, lines })
    }

    /// Its own `/metrics`, by the name of a series with its labels.
    pub async fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(&self.admin).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let series = text.lines().filter(|line| line.starts_with("weighbridge_"));
        Ok(series.filter_map(|line| line.rsplit_once(' ')).filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// Sum of the series that begin with `name` and hold every one of `labels`.
    pub async fn count(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let metrics = self.metrics().await?;
        let fits = |series: &str| series.starts_with(name) && labels.iter().all(|label| series.contains(label));
        Ok(metrics.iter().filter(|(series, _)| fits(series)).map(|(_, value)| value).sum())
    }

    /// Writes so far, but for those of the Lease.
    pub async fn writes(&self) -> Result<f64> {
        let all = self.count("weighbridge_reconcile_api_writes_total", &[]).await?;
        Ok(all - self.count("weighbridge_reconcile_api_writes_total", &["kind=\"Lease\""]).await?)
    }

    /// Everything it logged.
    pub fn said(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Sends a signal by its name, such as `TERM`.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().context("it has ended")?;
        let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status().await?;
        ensure!(sent.success(), "kill -{name} {id}");
        Ok(())
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Result<std::process::ExitStatus> {
        Ok(tokio::time::timeout(wait::DEADLINE, self.child.wait()).await.context("the operator does not end")??)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the operator said:\n{}", self.lines.lock().unwrap().join("\n"));
        }
    }
}

/// A namespace with an operator of its own that leads.
pub struct Bench {
    pub client: Client,
    pub namespace: TestNamespace,
    pub operator: Operator,
}

impl Bench {
    pub async fn new(hint: &str) -> Result<Self> {
        let client = testbed::client().await?;
        let namespace = TestNamespace::create(&client, hint).await?;
        Self::in_namespace(client, namespace).await
    }

    pub async fn in_namespace(client: Client, namespace: TestNamespace) -> Result<Self> {
        let operator = Operator::start(namespace.name(), "alone").await?;
        Ok(Bench { client, namespace, operator })
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        self.namespace.api()
    }

    /// Applies a ModelDeployment as kubectl does.
    pub async fn model(&self, name: &str, spec: Value) -> Result<ModelDeployment> {
        apply(&self.api(), name, json!({"spec": spec})).await
    }

    /// Applies an ExternalProvider as kubectl does.
    pub async fn provider(&self, name: &str, spec: Value) -> Result<ExternalProvider> {
        apply(&self.api(), name, json!({"spec": spec})).await
    }

    /// Makes a ResourceProfile under the namespace's name, which goes with the namespace.
    pub async fn profile(&self, spec: Value) -> Result<String> {
        let name = self.namespace.name().to_owned();
        let namespace = Api::<Namespace>::all(self.client.clone()).get(&name).await?;
        let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": namespace.uid()}]);
        let api: Api<ResourceProfile> = Api::all(self.client.clone());
        apply(&api, &name, json!({"metadata": {"ownerReferences": owner}, "spec": spec})).await?;
        Ok(name)
    }

    /// Waits until a condition of a ModelDeployment speaks of its present spec and is as `fits` says.
    pub async fn model_says(&self, name: &str, type_: &str, what: &str, fits: impl Fn(&Condition) -> bool + Clone + Send + Sync + 'static) -> Result<ModelDeployment> {
        let (type_, words) = (type_.to_owned(), format!("{type_} of {name}: {what}"));
        wait::until(&self.api::<ModelDeployment>(), name, &words, move |model: &ModelDeployment| {
            let generation = model.metadata.generation;
            let conditions = model.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.type_ == type_ && condition.observed_generation == generation && fits(condition))
        })
        .await
    }

    /// As [`Bench::model_says`], of an ExternalProvider.
    pub async fn provider_says(&self, name: &str, type_: &str, what: &str, fits: impl Fn(&Condition) -> bool + Clone + Send + Sync + 'static) -> Result<ExternalProvider> {
        let (type_, words) = (type_.to_owned(), format!("{type_} of {name}: {what}"));
        wait::until(&self.api::<ExternalProvider>(), name, &words, move |provider: &ExternalProvider| {
            let generation = provider.metadata.generation;
            let conditions = provider.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.type_ == type_ && condition.observed_generation == generation && fits(condition))
        })
        .await
    }

    pub async fn model_is_ready(&self, name: &str) -> Result<ModelDeployment> {
        self.model_says(name, "Ready", "is True", |condition| condition.status == "True").await
    }
}

/// Server-side apply as a person's kubectl.
pub async fn apply<K>(api: &Api<K>, name: &str, mut object: Value) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    object["metadata"]["name"] = json!(name);
    Ok(api.patch(name, &PatchParams::apply("kubectl").force(), &Patch::Apply(object)).await?)
}

/// Changes a field as a person's `kubectl patch`.
pub async fn merge<K>(api: &Api<K>, name: &str, patch: impl Serialize + std::fmt::Debug) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    Ok(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

/// A source that every test may name: nothing is fetched by simulated pods.
pub const SOURCE: &str = "hf://org/repo/file.gguf";
