//! What befalls a node, with a real engine on it: each fault is told in words, and mended without anybody's help once it is over.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use weighbridge_crds::{ModelCache, ModelDeployment, ResourceProfile};
use weighbridge_tests::engine::random_model;
use weighbridge_tests::operator::Operator;
use weighbridge_tests::testbed::node::{GATEWAY, NODE, NodeCluster};
use weighbridge_tests::testbed::{Level, Programs, TestNamespace, crds, wait};

use super::bed::{VERSION, build_images, claim, images, make};
use super::hub::Hub;
use super::{INSIDE, again_on_a_machine_of_its_own};

/// Of the node; a rollout takes one more than the model has.
const GPUS: u32 = 2;

/// An image that no node has, and nobody can pull.
const MISSING: &str = "images.weighbridge.local/inference-server:missing";

#[tokio::test]
async fn what_befalls_a_node_is_told_and_mended() -> Result<()> {
    let programs = Programs::prepare(Level::Node)?;
    if env::var_os(INSIDE).is_none() {
        build_images(&["inference-server"])?;
        return again_on_a_machine_of_its_own();
    }
    let mut bed = Bed::start(&programs).await?;
    bed.an_image_is_missing().await?;
    bed.a_volume_is_full().await?;
    bed.a_pod_is_evicted().await?;
    bed.the_node_is_drained().await?;
    bed.the_kubelet_hangs().await?;
    bed.the_node_is_lost().await
}

/// A node with an operator beside it, and a model of random weights on a claim.
struct Bed {
    cluster: NodeCluster,
    client: Client,
    namespace: TestNamespace,
    operator: Option<Operator>,
    weights: tempfile::TempDir,
}

/// A file system of its own, of a size, on this machine.
struct SmallVolume(tempfile::TempDir);

impl SmallVolume {
    fn mount(size: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let volume = Self(folder);
        volume.call("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=777"), "tmpfs"])?;
        Ok(volume)
    }

    fn resize(&self, size: &str) -> Result<()> {
        self.call("mount", &["-o", &format!("remount,size={size}")])
    }

    fn call(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let status = Command::new(program).args(arguments).arg(self.0.path()).status()?;
        ensure!(status.success(), "{program} {arguments:?}");
        Ok(())
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        // Its folder is removed after it, and would not be with a volume in it. What is left ends with the test's machine.
        self.call("umount", &["-l"]).ok();
    }
}

impl Bed {
    async fn start(programs: &Programs) -> Result<Self> {
        let cluster = NodeCluster::start_with(programs, GPUS, &images()?).await?;
        let client = cluster.control_plane().client().await?;
        crds::apply(&client, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/manifests")).await?;
        let namespace = TestNamespace::create(&client, "faults").await?;
        let weights = tempfile::tempdir()?;
        random_model(weights.path())?;
        claim(&client, &namespace, "weights", weights.path(), "ReadOnlyMany").await?;
        // The stand-ins are no GPUs that an engine could use: it serves on the CPU, which is what it does without a driver.
        let profile = json!({"spec": {"cpu": "100m", "memory": "512Mi", "gpu": {}}});
        make(&Api::<ResourceProfile>::all(client.clone()), "faults", profile).await?;
        Ok(Bed { cluster, client, namespace, operator: None, weights })
    }

    async fn operate(&mut self, image: &str) -> Result<()> {
        // One after the other: both would hold one Lease.
        if let Some(mut before) = self.operator.take() {
            before.signal("TERM").await?;
            before.ended().await?;
        }
        let program = Path::new(env!("CARGO_BIN_EXE_operator-under-test"));
        let scope = format!("--watch-namespace={}", self.namespace.name());
        let kubeconfig = self.cluster.control_plane().kubeconfig();
        let place = (kubeconfig.as_os_str(), self.namespace.name());
        self.operator = Some(Operator::start_at(program, place, "alone", image, [scope]).await?);
        Ok(())
    }

    /// Waits until a condition of the model is as `fits` says.
    async fn says(
        &self,
        type_: &'static str,
        what: &str,
        fits: impl Fn(&Condition) -> bool + Send + Sync,
    ) -> Result<Condition> {
        let found = |model: &ModelDeployment| {
            let conditions = model.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().find(|condition| condition.type_ == type_ && fits(condition)).cloned()
        };
        let words = format!("{type_} of the model: {what}");
        let models = self.namespace.api::<ModelDeployment>();
        let model = wait::until(&models, "m", &words, |model| found(model).is_some()).await?;
        found(&model).context("the condition")
    }

    /// Waits until the model is ready with a pod that is not `before`, and returns the pod.
    async fn ready_without(&self, before: Option<&Pod>) -> Result<Pod> {
        self.says("Ready", "is True", |ready| ready.status == "True").await?;
        let old = before.and_then(ResourceExt::uid);
        let is_ready = move |pod: &&Pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let ready = conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True");
            ready && pod.uid() != old && pod.metadata.deletion_timestamp.is_none()
        };
        let only = Config::default().labels("serving.weighbridge.dev/model=m");
        let pods = self.namespace.api::<Pod>();
        let found = wait::until_all(&pods, only, "a ready pod", |pods| pods.iter().any(|pod| is_ready(&pod)));
        found.await?.into_iter().find(|pod| is_ready(&pod)).context("a ready pod")
    }

    async fn an_image_is_missing(&mut self) -> Result<()> {
        self.operate(MISSING).await?;
        let spec = json!({"spec": {"openWeights": {"source": "pvc://weights/model.gguf",
            "resources": {"profile": "faults", "gpus": 1}, "engine": {"contextLength": 256, "maxSequences": 4}}}});
        make(&self.namespace.api::<ModelDeployment>(), "m", spec).await?;
        let told = self.says("EngineReady", "an image is missing", |told| told.reason == "ImagePull").await?;
        assert!(told.message.contains(MISSING), "{}", told.message);
        self.operate(&format!("images.weighbridge.local/inference-server:{VERSION}")).await?;
        self.ready_without(None).await.map(drop)
    }

    /// Of a cache: what it has no room for is told, and fetched once somebody makes room.
    async fn a_volume_is_full(&self) -> Result<()> {
        let volume = SmallVolume::mount("16m")?;
        claim(&self.client, &self.namespace, "store", volume.0.path(), "ReadWriteMany").await?;
        let hub = Hub::start(GATEWAY, std::fs::read(self.weights.path().join("model.gguf"))?).await?;
        hub.release();
        let caches = self.namespace.api::<ModelCache>();
        make(&caches, "store", json!({"spec": {"claim": {"name": "store"}}})).await?;
        let weights = json!({"source": "hf://org/repo/model.gguf", "hub": {"endpoint": hub.url}, "cache": "store",
            "resources": {"profile": "faults"}, "engine": {"contextLength": 256, "maxSequences": 4}});
        let models = self.namespace.api::<ModelDeployment>();
        make(&models, "cached", json!({"spec": {"openWeights": weights}})).await?;
        let full = |cache: &ModelCache| {
            let entries = cache.status.iter().flat_map(|status| &status.entries);
            entries.into_iter().any(|entry| entry.reason.as_deref() == Some("NoSpace"))
        };
        wait::until(&caches, "store", "that there is no room", full).await?;
        let told = |model: &ModelDeployment| {
            let conditions = model.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|one| one.type_ == "ArtifactReady" && one.reason == "NoSpace")
        };
        wait::until(&models, "cached", "that there is no room", told).await?;
        volume.resize("256m")?;
        let ready = |model: &ModelDeployment| {
            let conditions = model.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
        };
        wait::until(&models, "cached", "that it is fetched and ready", ready).await?;
        // The volume goes: nothing may use it any more.
        models.delete("cached", &DeleteParams::default()).await?;
        caches.delete("store", &DeleteParams::default()).await?;
        let ours = Config::default().labels("serving.weighbridge.dev/model=cached");
        wait::until_all(&self.namespace.api::<Pod>(), ours, "no pod of it", <[Pod]>::is_empty).await.map(drop)
    }

    async fn a_pod_is_evicted(&self) -> Result<()> {
        let before = self.ready_without(None).await?;
        self.evict(&before).await?;
        self.ready_without(Some(&before)).await.map(drop)
    }

    /// As `kubectl drain` does it.
    async fn the_node_is_drained(&self) -> Result<()> {
        let before = self.ready_without(None).await?;
        self.cordon(true).await?;
        self.evict(&before).await?;
        let told = self.says("Scheduled", "no node", |told| told.reason == "InsufficientCapacity").await?;
        assert!(told.message.contains("unschedulable"), "{}", told.message);
        self.cordon(false).await?;
        self.ready_without(Some(&before)).await.map(drop)
    }

    async fn the_kubelet_hangs(&self) -> Result<()> {
        let before = self.ready_without(None).await?;
        self.cluster.pause_kubelet()?;
        let told = self.says("EngineReady", "a silent node", |told| told.reason == "NodeSilent").await?;
        assert!(told.message.contains(NODE), "{}", told.message);
        self.cluster.resume_kubelet()?;
        let after = self.ready_without(None).await?;
        assert_eq!(after.uid(), before.uid(), "a kubelet that comes back keeps its pods");
        Ok(())
    }

    async fn the_node_is_lost(&mut self) -> Result<()> {
        let before = self.ready_without(None).await?;
        self.cluster.kill_kubelet();
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.delete(NODE, &DeleteParams::default()).await?;
        // Nobody takes the pods of a node that is gone away by themselves at once: an administrator says that it is.
        let pods = self.namespace.api::<Pod>();
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete(&before.name_any(), &now).await?;
        let told = self.says("Scheduled", "no node", |told| told.reason == "InsufficientCapacity").await?;
        assert!(told.message.contains("no nodes available"), "{}", told.message);
        self.cluster.start_kubelet().await?;
        self.ready_without(Some(&before)).await.map(drop)
    }

    async fn evict(&self, pod: &Pod) -> Result<()> {
        self.namespace.api::<Pod>().evict(&pod.name_any(), &EvictParams::default()).await?;
        Ok(())
    }

    async fn cordon(&self, unschedulable: bool) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"spec": {"unschedulable": unschedulable}}));
        nodes.patch(NODE, &PatchParams::default(), &patch).await?;
        Ok(())
    }
}
