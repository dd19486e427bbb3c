//! The real kubelet, and what runs beside it on a node: kube-proxy, the name server, the device plugin.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::containerd;
use super::network::GATEWAY;
use crate::testbed::flags::{self, POD_RANGE, SERVICE_RANGE};
use crate::testbed::nodes::{L4, gpu_labels};
use crate::testbed::pki::Authority;
use crate::testbed::process::Process;
use crate::testbed::programs::Programs;

/// The node's name.
pub const NODE: &str = "testbed-node";

/// Starts the kubelet.
pub fn start(programs: &Programs, folder: &Path, authority: &Authority, gpus: u32) -> Result<Process> {
    let server = authority.server("kubelet", &[NODE.to_owned(), GATEWAY.to_string()])?;
    let client = authority.client("node", &format!("system:node:{NODE}"), "system:nodes")?;
    let kubeconfig = folder.join("kubelet.kubeconfig");
    authority.kubeconfig(&kubeconfig, &apiserver_url(folder)?, &client)?;
    let at = |name: &str| folder.join(name).display().to_string();
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": GATEWAY, "port": free_port()?, "healthzPort": 0, "readOnlyPort": 0,
        "authentication": {
            "x509": {"clientCAFile": authority.certificate()},
            "webhook": {"enabled": true}, "anonymous": {"enabled": false},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": server.certificate, "tlsPrivateKeyFile": server.key,
        "containerRuntimeEndpoint": format!("unix://{}", containerd::socket(folder).display()),
        // Several signs of life within what the controller-manager waits for one.
        "nodeLeaseDurationSeconds": 10,
        "cgroupDriver": "cgroupfs", "failSwapOn": false, "localStorageCapacityIsolation": false,
        // A developer's disk is often fuller than a node's may be.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        // Images come from archives; one that was collected could not be pulled again.
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": false,
        "clusterDomain": "cluster.local", "clusterDNS": [GATEWAY],
        "podLogsDir": at("pod-logs"), "volumePluginDir": at("volume-plugins"),
    });
    let mut arguments = vec![
        format!("--config={}", write(folder, "kubelet.json", &config)?),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--root-dir={}", at("kubelet")),
        format!("--cert-dir={}", at("kubelet-pki")),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={GATEWAY}"),
    ];
    if gpus > 0 {
        let labels = gpu_labels(L4, gpus).map(|(key, value)| format!("{key}={value}"));
        arguments.push(format!("--node-labels={}", labels.join(",")));
    }
    run(programs, folder, "kubelet", arguments)
}

/// Starts kube-proxy.
pub fn start_proxy(programs: &Programs, folder: &Path, authority: &Authority) -> Result<Process> {
    let client = authority.client("kube-proxy", "system:kube-proxy", "system:node-proxiers")?;
    let kubeconfig = folder.join("kube-proxy.kubeconfig");
    authority.kubeconfig(&kubeconfig, &apiserver_url(folder)?, &client)?;
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "nftables", "clientConnection": {"kubeconfig": kubeconfig}, "clusterCIDR": POD_RANGE,
        "hostnameOverride": NODE, "conntrack": {"maxPerCore": 0},
        "healthzBindAddress": format!("{GATEWAY}:{}", free_port()?),
        "metricsBindAddress": format!("{GATEWAY}:{}", free_port()?),
    });
    let config = write(folder, "kube-proxy.json", &config)?;
    run(programs, folder, "kube-proxy", vec![format!("--config={config}")])
}

/// Starts the name server on the bridge's address, where pods find it without a service or a pod.
pub fn start_name_server(programs: &Programs, folder: &Path) -> Result<Process> {
    let corefile = folder.join("Corefile");
    // Names outside the cluster do not exist: nothing can leave it, so an answer would only mislead.
    let text = format!(
        "cluster.local:53 in-addr.arpa:53 {{
    bind {GATEWAY}
    errors
    kubernetes cluster.local {SERVICE_RANGE} {POD_RANGE} {{
        kubeconfig {}
    }}
    cache 5
}}
.:53 {{
    bind {GATEWAY}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
",
        flags::kubeconfig(folder).display()
    );
    fs::write(&corefile, text)?;
    let arguments = ["-conf".to_owned(), corefile.display().to_string()];
    Process::start("coredns", &programs.coredns()?, &arguments, &folder.join("logs"))
}

/// Starts the stand-in for a GPU vendor's device plugin.
pub fn start_device_plugin(programs: &Programs, folder: &Path, gpus: u32) -> Result<Process> {
    run(programs, folder, "gpu-device-plugin", vec![format!("--devices={gpus}")])
}

fn run(programs: &Programs, folder: &Path, name: &str, arguments: Vec<String>) -> Result<Process> {
    let mut all = vec![name.to_owned()];
    all.extend(arguments);
    Process::start(name, &programs.kube(), &all, &folder.join("logs"))
}

fn write(folder: &Path, name: &str, config: &Value) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, serde_json::to_vec_pretty(config)?)?;
    Ok(path.display().to_string())
}

fn apiserver_url(folder: &Path) -> Result<String> {
    let config: Value = serde_json::from_slice(&fs::read(flags::kubeconfig(folder))?)?;
    let url = config.pointer("/clusters/0/cluster/server").and_then(Value::as_str);
    Ok(url.context("the kubeconfig names no server")?.to_owned())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((GATEWAY, 0)).context("find a free port")?.local_addr()?.port())
}
