//! The testbed: a real control plane, or a real node as well, for tests and for people.
//!
//! A test asks for a [`client`] and a [`TestNamespace`], and waits with [`wait`]. It runs under
//! `testbed run -- cargo test` (which is what `make test` does) or against any cluster that
//! [`KUBECONFIG`] names. A test that finds neither fails: nothing here is skipped quietly.

use std::env;
use std::path::Path;

use anyhow::{Context, Result};
use kube::Client;

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

async fn connect(user: Option<&str>) -> Result<Client> {
    let path = env::var_os(KUBECONFIG).with_context(|| {
        format!(
            "this test needs a Kubernetes control plane: run it with `make test`, or set {KUBECONFIG} to \
             the kubeconfig of a cluster of your own that may be written to, such as one made by kind"
        )
    })?;
    control_plane::client_for(Path::new(&path), user).await
}
