//! What was written to the cluster and by whom, from the apiserver's audit log.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result};
use serde::Deserialize;

/// Names the audit log of the cluster under test; absent for somebody's own cluster.
pub const FILE: &str = "WEIGHBRIDGE_TEST_AUDIT_LOG";

/// One write that reached the apiserver.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Write {
    /// create, update, patch, delete, deletecollection
    pub verb: String,
    /// The program that wrote, as it names itself.
    #[serde(default)]
    pub user_agent: String,
    /// What was written.
    #[serde(default)]
    pub object_ref: Object,
    /// The user, or who that user spoke for.
    pub user: User,
}

/// The object of a write.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    /// The plural of the kind, such as `deployments`.
    pub resource: String,
    /// Such as `status`.
    pub subresource: String,
    /// Empty for cluster-wide objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

/// Who wrote.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct User {
    /// Such as `system:serviceaccount:NAMESPACE:NAME`.
    pub username: String,
}

/// Every write so far to objects in `namespace`, refused ones too, in order.
///
/// The apiserver logs a write before it obeys, so what a test has seen happen is in here.
pub fn writes(namespace: &str) -> Result<Vec<Write>> {
    let path = env::var_os(FILE).with_context(|| {
        format!("{FILE} is not set: writes can be counted only in a cluster that `testbed run` started")
    })?;
    read(Path::new(&path), namespace)
}

fn read(path: &Path, namespace: &str) -> Result<Vec<Write>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let mut writes = Vec::new();
    // A last line without its end is one that is being written.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let write: Write = serde_json::from_str(line).context("an audit event")?;
        if write.object_ref.namespace == namespace {
            writes.push(write);
        }
    }
    Ok(writes)
}
