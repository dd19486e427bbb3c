//! The network as a pod sees it: the node is this machine, so a test can step into the pod's own.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use weighbridge_tests::testbed::node;

/// Whether a connection from `pod` to `target` comes about. What the enforcer refuses is refused at once.
pub fn connects(pod: &Pod, target: SocketAddr) -> Result<bool> {
    let network = format!("--net=/proc/{}/ns/net", process_of(pod)?);
    let connect = ["timeout", "5", "bash", "-c", "exec 3<>/dev/tcp/$0/$1"];
    let (address, port) = (target.ip().to_string(), target.port().to_string());
    let output = Command::new("nsenter").arg(network).args(connect).args([address, port]).output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    // What kept it from trying is no refusal.
    ensure!(!words.contains("nsenter:"), "{}", words.trim());
    Ok(output.status.success())
}

/// The process of the pod's first container.
fn process_of(pod: &Pod) -> Result<String> {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let id = containers.into_iter().find_map(|container| container.container_id.as_deref());
    let id = id.and_then(|id| id.strip_prefix("containerd://")).context("the pod's container has no id")?;
    let socket = node::folder().join("containerd.sock");
    let mut tasks = Command::new("ctr");
    let output =
        tasks.arg("--address").arg(socket).args(["--namespace", "k8s.io", "tasks", "list"]).output()?;
    ensure!(output.status.success(), "ctr: {}", String::from_utf8_lossy(&output.stderr));
    let tasks = String::from_utf8(output.stdout)?;
    let mut words = tasks.lines().map(str::split_whitespace);
    let process = words.find_map(|mut words| words.next().filter(|word| *word == id).and(words.next()));
    Ok(process.context("the pod's container does not run")?.to_owned())
}
