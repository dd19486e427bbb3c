//! The node level's own promises, what befalls a node, and what NetworkPolicies let through, each on one real node that its test starts and removes.

mod bed;
mod faults;
mod hub;
mod inside;
mod policies;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use weighbridge_tests::testbed::node::{self, NodeCluster};
use weighbridge_tests::testbed::{Level, Programs, TestNamespace, wait};

const PROBE: &str = "images.weighbridge.local/testbed/probe:1";

/// Set inside `own-machine.sh`.
const INSIDE: &str = "WEIGHBRIDGE_TEST_OWN_MACHINE";

#[tokio::test]
async fn a_real_node_runs_pods_gives_them_devices_and_leaves_nothing_behind() -> Result<()> {
    // What has to be installed or built comes from the network, which is not there inside.
    let programs = Programs::prepare(Level::Node)?;
    if std::env::var_os(INSIDE).is_none() {
        return again_on_a_machine_of_its_own();
    }
    let before = machine_state()?;
    {
        let cluster = NodeCluster::start(&programs, 1).await?;
        let client = cluster.control_plane().client().await?;
        let namespace = TestNamespace::create(&client, "node").await?;
        let kubectl = Kubectl { programs: &programs, kubeconfig: cluster.control_plane().kubeconfig() };
        pods_and_services_reach_each_other(&namespace, &kubectl).await?;
        a_gpu_is_placed_and_given(&namespace, &kubectl).await?;
        more_gpus_than_there_are_stay_pending(&namespace).await?;
    }
    assert_eq!(difference(&before, &machine_state()?), "", "the node left something on this machine");
    Ok(())
}

#[test]
fn down_leaves_nothing_even_when_the_keeper_was_killed() -> Result<()> {
    Programs::prepare(Level::Node)?;
    if std::env::var_os(INSIDE).is_none() {
        return again_on_a_machine_of_its_own();
    }
    let before = machine_state()?;
    testbed(&["up", "--gpus", "0"])?;
    let refusal = testbed(&["serve", "--gpus", "0"]).unwrap_err().to_string();
    assert!(refusal.contains("a node is up already"), "{refusal}");
    let owner = std::fs::read_to_string(node::folder().join("owner"))?;
    let keeper = owner.split(' ').next().and_then(|id| Pid::from_raw(id.parse().ok()?));
    let keeper = keeper.context("the owner's note")?;
    kill_process(keeper, Signal::KILL)?;
    // Killed is not yet gone, on a machine that has other things to do.
    let stat = format!("/proc/{}/stat", keeper.as_raw_nonzero());
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
    let refusal = testbed(&["env"]).unwrap_err().to_string();
    assert!(refusal.contains("no cluster is up"), "{refusal}");
    testbed(&["down"])?;
    assert_eq!(difference(&before, &machine_state()?), "", "the node left something on this machine");
    Ok(())
}

fn testbed(arguments: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_testbed")).args(arguments).output()?;
    ensure!(output.status.success(), "testbed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs this test once more where it meets no cluster that somebody has up.
fn again_on_a_machine_of_its_own() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("own-machine.sh");
    let test = std::thread::current().name().context("the test's thread has no name")?.to_owned();
    let arguments = ["--exact", &test, "--nocapture"];
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(script).arg(std::env::current_exe()?).args(arguments);
    let output = command.env(INSIDE, "1").output()?;
    let words = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&words));
    Ok(())
}

async fn pods_and_services_reach_each_other(namespace: &TestNamespace, kubectl: &Kubectl<'_>) -> Result<()> {
    let deployments: Api<Deployment> = namespace.api();
    let deployment = json!({
        "metadata": {"name": "probe"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "probe"}},
            "template": {"metadata": {"labels": {"app": "probe"}}, "spec": pod_spec(0)},
        },
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    let available =
        |found: &Deployment| found.status.as_ref().and_then(|status| status.available_replicas) == Some(2);
    wait::until(&deployments, "probe", "two available replicas", available).await?;
    let services: Api<Service> = namespace.api();
    let service = json!({
        "metadata": {"name": "probe"},
        "spec": {"selector": {"app": "probe"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let service = services.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
    let service = service.spec.and_then(|spec| spec.cluster_ip).context("the service has no address")?;

    let pods = namespace.api::<Pod>().list(&Default::default()).await?.items;
    let address = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let first = address(&pods[0]).context("the pod has no address")?;
    assert_eq!(get(&first, 8080, "/").await?.trim(), pods[0].name_any(), "a pod answers on its address");

    // kube-proxy learns of a service a moment after its creation.
    let from_here = eventually(|| get(&service, 80, "/")).await?;
    assert!(pods.iter().any(|pod| pod.name_any() == from_here.trim()), "a service answers: {from_here}");
    let name = format!("probe.{}.svc.cluster.local", namespace.name());
    for target in [format!("http://{service}/"), format!("http://{name}/"), "http://probe/".to_owned()] {
        let answer = get(&first, 8080, &format!("/fetch?url={target}")).await?;
        assert!(answer.starts_with("200 probe-"), "a pod calls {target}: {answer}");
    }
    let answer = get(&first, 8080, "/fetch?url=https://kubernetes.default.svc/version").await?;
    assert!(answer.contains("v1.34"), "a pod calls the apiserver: {answer}");
    let outside = get(&first, 8080, "/fetch?url=http://example.com/").await?;
    assert!(outside.contains("no such host"), "nothing outside has a name: {outside}");

    let logs = kubectl.run(&["-n", namespace.name(), "logs", "-l", "app=probe"])?;
    assert!(logs.contains("answering"), "the kubelet hands out logs: {logs}");
    Ok(())
}

async fn a_gpu_is_placed_and_given(namespace: &TestNamespace, kubectl: &Kubectl<'_>) -> Result<()> {
    let pods: Api<Pod> = namespace.api();
    pods.create(&PostParams::default(), &pod("one-gpu", 1)?).await?;
    let ready = |pod: &Pod| has_condition(pod, "Ready", "True");
    wait::until(&pods, "one-gpu", "the pod with a GPU to be ready", ready).await?;
    let device = ["-n", namespace.name(), "exec", "one-gpu", "--", "/probe", "device", "/dev/nvidia0"];
    assert_eq!(kubectl.run(&device)?.trim(), "character device 1:3");
    Ok(())
}

async fn more_gpus_than_there_are_stay_pending(namespace: &TestNamespace) -> Result<()> {
    let pods: Api<Pod> = namespace.api();
    pods.create(&PostParams::default(), &pod("two-gpus", 2)?).await?;
    let refused = |pod: &Pod| has_condition(pod, "PodScheduled", "False");
    let pod = wait::until(&pods, "two-gpus", "the scheduler's refusal", refused).await?;
    let words = json!(pod.status).to_string();
    assert!(words.contains("1 Insufficient nvidia.com/gpu"), "{words}");
    Ok(())
}

fn pod_spec(gpus: u32) -> Value {
    json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "probe", "image": PROBE,
            "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            "resources": {"limits": {"nvidia.com/gpu": gpus.to_string()}},
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
    })
}

fn pod(name: &str, gpus: u32) -> Result<Pod> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": pod_spec(gpus)}))?)
}

fn has_condition(pod: &Pod, kind: &str, value: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == kind && condition.status == value)
}

/// The body of an answer, whatever its status.
async fn get(host: &str, port: u16, path: &str) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect((host.parse::<Ipv4Addr>()?, port)).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
        anyhow::Ok(body.to_owned())
    };
    timeout(Duration::from_secs(10), exchange)
        .await
        .with_context(|| format!("calling {host}:{port}{path}"))?
}

async fn eventually<F: Future<Output = Result<String>>>(attempt: impl Fn() -> F) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match attempt().await {
            Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            outcome => return outcome,
        }
    }
}

struct Kubectl<'a> {
    programs: &'a Programs,
    kubeconfig: std::path::PathBuf,
}

impl Kubectl<'_> {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.programs.kube());
        let output = command.arg("kubectl").args(arguments).env("KUBECONFIG", &self.kubeconfig).output()?;
        ensure!(output.status.success(), "kubectl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn machine_state() -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("machine-state.sh");
    Ok(String::from_utf8(Command::new(script).output()?.stdout)?)
}

fn difference(before: &str, after: &str) -> String {
    let added = after.lines().filter(|line| !before.lines().any(|known| known == *line));
    let removed = before.lines().filter(|line| !after.lines().any(|known| known == *line));
    let changes = added.map(|line| format!("+ {line}\n")).chain(removed.map(|line| format!("- {line}\n")));
    changes.collect()
}
