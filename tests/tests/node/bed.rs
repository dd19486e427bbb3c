//! What tests with our own programs on a node share: the images of this build, and objects as people make them.

use std::env;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weighbridge_tests::testbed::TestNamespace;
use weighbridge_tests::testbed::node::NODE;

/// The version that images are tagged with.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder of the images, of the programs that this build made: release images may be in use by a cluster.
pub fn images() -> Result<PathBuf> {
    let test = env::current_exe()?;
    Ok(binaries(&test)?.join("../images-of-tests"))
}

fn binaries(test: &Path) -> Result<&Path> {
    test.ancestors().nth(2).context("the folder of programs")
}

/// Builds the images called `names`.
pub fn build_images(names: &[&str]) -> Result<()> {
    let test = env::current_exe()?;
    let binaries = binaries(&test)?.to_str().context("a path")?;
    let built = [&["--binaries", binaries], names].concat();
    for (script, arguments) in
        [("tests/install-packages.sh", &["images"][..]), ("images/build.sh", &built[..])]
    {
        let mut command = Command::new(root().join(script));
        let output = command.args(arguments).env("WEIGHBRIDGE_IMAGES", images()?).output()?;
        ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The root of this checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Applies an object as kubectl does.
pub async fn make<K>(api: &Api<K>, name: &str, mut object: Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    object["metadata"]["name"] = json!(name);
    let parameters = PatchParams::apply("kubectl").force();
    api.patch(name, &parameters, &Patch::Apply(object)).await.with_context(|| format!("make {name}"))?;
    Ok(())
}

/// The claim `name` on a folder of this machine, which is the node.
pub async fn claim(
    client: &Client,
    namespace: &TestNamespace,
    name: &str,
    folder: &Path,
    mode: &str,
) -> Result<()> {
    let here = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]);
    let size = json!({"storage": "1Gi"});
    let volume = json!({"spec": {"storageClassName": "", "capacity": size, "accessModes": [mode],
        "persistentVolumeReclaimPolicy": "Retain", "local": {"path": folder},
        "claimRef": {"namespace": namespace.name(), "name": name},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}}}});
    make(&Api::<PersistentVolume>::all(client.clone()), name, volume).await?;
    let claim = json!({"spec": {"storageClassName": "", "volumeName": name,
        "accessModes": [mode], "resources": {"requests": size}}});
    make(&namespace.api::<PersistentVolumeClaim>(), name, claim).await
}
