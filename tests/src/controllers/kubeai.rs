use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::testbed::{TestNamespace, wait};

/// Names a folder with its program `kubeai` and its CustomResourceDefinition `models.yaml`; tests/peers/kubeai.sh makes it.
pub const KUBEAI: &str = "KUBEAI";

/// What it is told, as its own configuration for development has it, but for what this machine has no use for.
const CONFIG: &str = r#"
secretNames: {huggingface: huggingface}
modelServers:
  VLLM: {images: {default: "vllm:test", cpu: "vllm:test"}}
  OLlama: {images: {default: "ollama:test"}}
  FasterWhisper: {images: {default: "whisper:test"}}
  Infinity: {images: {default: "infinity:test"}}
modelLoading: {image: "loader:test"}
modelRollouts: {surge: 1}
messaging: {errorMaxBackoff: 30s, streams: []}
resourceProfiles:
  cpu: {imageName: cpu, requests: {cpu: "500m", memory: 1Gi}, limits: {memory: 4Gi}}
cacheProfiles: {}
metricsAddr: "127.0.0.1:18080"
healthAddress: "127.0.0.1:18081"
fixedSelfMetricAddrs: ["127.0.0.1:18080"]
modelAutoscaling: {interval: 10s, timeWindow: 10m, stateConfigMapName: kubeai-autoscaler-state}
"#;

/// What its chart would have made in `namespace`; returns where its configuration is.
///
/// # Errors
/// Where the control plane does not take it.
pub async fn furnish(
    client: &Client,
    namespace: &TestNamespace,
    program: &Path,
    state: &Path,
) -> Result<PathBuf> {
    let manifest = program.with_file_name("models.yaml");
    let text = std::fs::read_to_string(&manifest).with_context(|| format!("read {}", manifest.display()))?;
    let crd: CustomResourceDefinition = serde_saphyr::from_str(&text)?;
    let name = crd.name_any();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.patch(&name, &PatchParams::apply("bench").force(), &Patch::Apply(&crd)).await?;
    let established = await_condition(crds, &name, conditions::is_crd_established());
    tokio::time::timeout(wait::DEADLINE, established)
        .await
        .context("its CustomResourceDefinition is not served")??;
    // Its pods have no seccomp profile, which Pod Security "restricted" refuses.
    let open = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch(namespace.name(), &PatchParams::default(), &Patch::Merge(open)).await?;
    let kept: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "kubeai-autoscaler-state"}}))?;
    namespace.api::<ConfigMap>().create(&PostParams::default(), &kept).await?;
    let config = state.join("kubeai.yaml");
    std::fs::write(&config, CONFIG)?;
    Ok(config)
}
