//! The command lines of the control plane, and where each file lies in its folder.

use std::path::{Path, PathBuf};

use super::control_plane::Options;

/// Where services get their addresses.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The first of them, which is always the apiserver's own.
pub const KUBERNETES_SERVICE: &str = "10.96.0.1";
/// Where pods get their addresses on real nodes.
pub const POD_RANGE: &str = "10.244.0.0/16";

/// Who wrote what, for tests that count writes. Reads would drown them, and bodies would be large.
/// A request is logged as it arrives, so what a test has seen happen is in the log already.
pub const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["ResponseStarted", "ResponseComplete"],
  "rules": [
    {"level": "None", "verbs": ["get", "list", "watch"]},
    {"level": "None", "users": ["system:apiserver"]},
    {"level": "Metadata"}
  ]
}"#;

/// The folder of certificates and keys.
pub fn pki(folder: &Path) -> PathBuf {
    folder.join("pki")
}

/// The administrator's kubeconfig.
pub fn kubeconfig(folder: &Path) -> PathBuf {
    folder.join("kubeconfig")
}

/// The audit policy's file.
pub fn audit_policy(folder: &Path) -> PathBuf {
    folder.join("audit-policy.json")
}

/// The audit log: one JSON event a line for each write.
pub fn audit_log(folder: &Path) -> PathBuf {
    folder.join("logs").join("audit.jsonl")
}

pub(super) fn etcd(folder: &Path, client: u16, peer: u16) -> Vec<String> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    vec![
        "--name=testbed".to_owned(),
        flag("--data-dir", folder.join("etcd")),
        format!("--listen-client-urls={}", url(client)),
        format!("--advertise-client-urls={}", url(client)),
        format!("--listen-peer-urls={}", url(peer)),
        format!("--initial-advertise-peer-urls={}", url(peer)),
        format!("--initial-cluster=testbed={}", url(peer)),
        // Its data never outlives the run, and syncing would make it wait for the disk.
        "--unsafe-no-fsync".to_owned(),
    ]
}

pub(super) fn apiserver(folder: &Path, etcd: u16, port: u16, options: &Options) -> Vec<String> {
    let pki = pki(folder);
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--bind-address={}", options.address),
        format!("--advertise-address={}", options.address),
        format!("--secure-port={port}"),
        flag("--client-ca-file", pki.join("ca.crt")),
        flag("--tls-cert-file", pki.join("apiserver.crt")),
        flag("--tls-private-key-file", pki.join("apiserver.key")),
        flag("--kubelet-certificate-authority", pki.join("ca.crt")),
        flag("--kubelet-client-certificate", pki.join("kubelet-client.crt")),
        flag("--kubelet-client-key", pki.join("kubelet-client.key")),
        // Without it, logs and exec try to resolve the node's name.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        flag("--service-account-key-file", pki.join("service-accounts.pub")),
        flag("--service-account-signing-key-file", pki.join("service-accounts.key")),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        // These two let a test namespace have nodes of its own: see `TestNamespace::with_nodes`.
        "--enable-admission-plugins=NodeRestriction,PodNodeSelector,PodTolerationRestriction".to_owned(),
        flag("--audit-policy-file", audit_policy(folder)),
        flag("--audit-log-path", audit_log(folder)),
        "--profiling=false".to_owned(),
    ]
}

pub(super) fn controller_manager(folder: &Path, options: &Options) -> Vec<String> {
    let pki = pki(folder);
    let mut flags = client_flags(folder);
    flags.extend([
        "--use-service-account-credentials=true".to_owned(),
        flag("--root-ca-file", pki.join("ca.crt")),
        flag("--service-account-private-key-file", pki.join("service-accounts.key")),
        flag("--cluster-signing-cert-file", pki.join("ca.crt")),
        flag("--cluster-signing-key-file", pki.join("ca.key")),
        // A namespace's end walks every resource type; at the default 20 calls a second that is 10 s.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
    ]);
    if options.real_nodes {
        // Half of what is usual: tests and people wait for a node that fell silent to be told.
        flags.push("--node-monitor-grace-period=20s".to_owned());
    } else {
        // On a machine that is busy compiling, a simulated node's sign of life may come late.
        flags.push("--controllers=*,-node-lifecycle-controller".to_owned());
    }
    flags
}

pub(super) fn scheduler(folder: &Path) -> Vec<String> {
    let mut flags = client_flags(folder);
    flags.extend(["--kube-api-qps=500".to_owned(), "--kube-api-burst=1000".to_owned()]);
    flags
}

fn client_flags(folder: &Path) -> Vec<String> {
    vec![
        flag("--kubeconfig", kubeconfig(folder)),
        "--leader-elect=false".to_owned(),
        // Nobody asks for their health or metrics here, and a port is one more thing to collide on.
        "--secure-port=0".to_owned(),
        "--profiling=false".to_owned(),
    ]
}

fn flag(name: &str, path: PathBuf) -> String {
    format!("{name}={}", path.display())
}
