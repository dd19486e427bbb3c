//! The testbed: a real control plane, or a real node as well, for tests and for people.
//!
//! A test asks for a [`client`] and a [`TestNamespace`], and waits with [`wait`]. It runs under
//! `testbed run -- cargo test` (which is what `make test` does) or against any cluster that
//! [`KUBECONFIG`] names. A test that finds neither fails: nothing here is skipped quietly.

use std::io::Write;
use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

pub mod audit;
pub mod cli;
mod control_plane;
pub mod crds;
mod flags;
mod interruptions;
mod kubelet;
mod namespace;
pub mod node;
mod nodes;
mod pki;
mod process;
mod programs;
mod record;
mod run;
pub mod wait;

pub use control_plane::{ControlPlane, Options};
pub use kubelet::{Behaviour, Rule};
pub use namespace::TestNamespace;
pub use nodes::{Gpu, H100, L4, SimulatedNode};
pub use pki::Authority;
pub use programs::{Level, Programs};

/// Names the kubeconfig of the cluster to test against.
pub const KUBECONFIG: &str = "WEIGHBRIDGE_TEST_KUBECONFIG";

/// Names the process of Kubernetes' own controllers; absent for somebody's own cluster.
pub const CONTROLLER_MANAGER: &str = "WEIGHBRIDGE_TEST_CONTROLLER_MANAGER";

/// A client for the cluster under test, as its administrator.
pub async fn client() -> Result<Client> {
    let client = connect(None).await?;
    record::note()?;
    Ok(client)
}

/// A client that may do what `user` may, such as `system:serviceaccount:NAMESPACE:NAME`.
pub async fn client_as(user: &str) -> Result<Client> {
    connect(Some(user)).await
}

/// A kubeconfig of the cluster under test with a token of the ServiceAccount `name`, for a program that may do what that may.
pub async fn kubeconfig_of(client: &Client, namespace: &str, name: &str) -> Result<NamedTempFile> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let made = accounts.create_token_request(name, &PostParams::default(), &TokenRequest::default()).await?;
    let token = made.status.context("a token")?.token;
    let path = env::var_os(KUBECONFIG).context("no control plane")?;
    let mut config: Value = serde_saphyr::from_str(&fs::read_to_string(path)?)?;
    for entry in config["users"].as_array_mut().into_iter().flatten() {
        entry["user"] = json!({ "token": token });
    }
    let mut file = NamedTempFile::new()?;
    file.write_all(config.to_string().as_bytes())?;
    Ok(file)
}

async fn connect(user: Option<&str>) -> Result<Client> {
    let path = env::var_os(KUBECONFIG).with_context(|| {
        format!(
            "this test needs a Kubernetes control plane: run it with `make test`, or set {KUBECONFIG} to \
             the kubeconfig of a cluster of your own that may be written to, such as one made by kind"
        )
    })?;
    control_plane::client_for(Path::new(&path), user).await
}
