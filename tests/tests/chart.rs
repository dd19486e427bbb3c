//! The chart on a real apiserver: it installs under Pod Security "restricted", and its accounts may do what they
//! must and nothing beyond it.

#[path = "chart/calls.rs"]
mod calls;
#[path = "chart/course.rs"]
mod course;
#[path = "chart/secrets.rs"]
mod secrets;

use std::process::Output;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::process::Command;
use weighbridge_crds::ModelDeployment;
use weighbridge_tests::testbed::{self, TestNamespace, wait};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Runs `program` at the repository's root; its output on success, its words on failure.
async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let Output { status, stdout, stderr } =
        Command::new(program).args(arguments).current_dir(ROOT).output().await?;
    ensure!(status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8(stdout)?.trim().to_owned())
}

/// A release of the chart in a test's namespace. Its roles are the cluster's, so it has to be uninstalled.
struct Release {
    helm: String,
    kubeconfig: String,
    namespace: String,
}

impl Release {
    async fn install(namespace: &TestNamespace) -> Result<Self> {
        let folder = run("tests/control-plane/build.sh", &["helm"]).await?;
        let kubeconfig = std::env::var(testbed::KUBECONFIG).context("checked by testbed::client")?;
        let helm = format!("{folder}/helm");
        let release = Self { helm, kubeconfig, namespace: namespace.name().to_owned() };
        // The release is named like the namespace, so that two tests never share a ClusterRole. The testbed
        // installs the CRDs itself.
        let options = ["--set=crds.install=false", "--wait", "--timeout=90s"];
        release.helm("install", &["charts/weighbridge", options[0], options[1], options[2]]).await?;
        Ok(release)
    }

    async fn helm(&self, verb: &str, more: &[&str]) -> Result<String> {
        let base = [verb, &self.namespace, "--namespace", &self.namespace, "--kubeconfig", &self.kubeconfig];
        run(&self.helm, &[&base, more].concat()).await
    }

    fn account(&self, component: &str) -> String {
        format!("system:serviceaccount:{0}:{0}-weighbridge-{component}", self.namespace)
    }
}

/// Whether `account` may `verb` what `what` names: `group/resource[/subresource][:name][@namespace]`.
async fn may(client: &Client, account: &str, verb: &str, what: &str) -> Result<bool> {
    let (what, namespace) = what.split_once('@').unwrap_or((what, "some-team"));
    let (what, name) = what.split_once(':').unwrap_or((what, ""));
    let mut parts = what.splitn(3, '/');
    let review: SubjectAccessReview = serde_json::from_value(json!({"metadata": {}, "spec": {
        "user": account,
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "resourceAttributes": {
            "group": parts.next(), "resource": parts.next(), "subresource": parts.next(),
            "name": name, "namespace": namespace, "verb": verb,
        },
    }}))?;
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("a review has a status")?.allowed)
}

async fn check(client: &Client, account: &str, expected: bool, list: &[(&str, &str)]) -> Result<()> {
    for (verbs, what) in list {
        for verb in verbs.split(' ') {
            if may(client, account, verb, what).await? != expected {
                let word = if expected { "may not" } else { "may" };
                bail!("{account} {word} {verb} {what}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn it_installs_restricted_and_its_accounts_may_do_no_more_than_they_must() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "chart").await?;
    // Waits for both Deployments: no pod template was refused by Pod Security.
    let release = Release::install(&namespace).await?;
    let checked = async {
        check_accounts(&client, &release, namespace.name()).await?;
        a_drain_takes_one_of_two_at_a_time(&namespace, &release).await?;
        a_pod_template_adds_what_it_may(&namespace).await?;
        certificates_are_all_that_the_operator_writes_into_secrets(&namespace, &release).await?;
        pods_that_read_headers_are_all_that_the_operator_makes(&namespace, &release).await?;
        workloads_that_the_operator_writes_are_its_own_and_can_do_no_more(&namespace, &release).await?;
        course::all_becomes_ready(&client, namespace.name(), &release.account("operator")).await?;
        secrets::are_read_where_the_chart_says(&client, &release).await
    };
    let checked = checked.await;
    release.helm("uninstall", &["--wait"]).await?;
    checked
}

/// By Kubernetes' own count: there are two operators and two gateways, and one of each may go.
async fn a_drain_takes_one_of_two_at_a_time(namespace: &TestNamespace, release: &Release) -> Result<()> {
    let budgets: Api<PodDisruptionBudget> = namespace.api();
    for component in ["operator", "gateway"] {
        let name = format!("{}-weighbridge-{component}", release.namespace);
        let counted = |budget: &PodDisruptionBudget| {
            budget.status.as_ref().is_some_and(|status| {
                (status.expected_pods, status.current_healthy, status.disruptions_allowed) == (2, 2, 1)
            })
        };
        wait::until(&budgets, &name, "two pods, of which one may go", counted).await?;
    }
    Ok(())
}

async fn check_accounts(client: &Client, release: &Release, own: &str) -> Result<()> {
    let everywhere = "get list watch create update patch delete deletecollection";
    let operator = release.account("operator");
    let lease = format!("coordination.k8s.io/leases:{own}-weighbridge-operator@{own}");
    let gateways = format!("discovery.k8s.io/endpointslices@{own}");
    let allowed = [
        ("list watch", gateways.as_str()),
        ("get list watch", "serving.weighbridge.dev/modeldeployments"),
        ("get list watch", "serving.weighbridge.dev/externalproviders"),
        ("get list watch", "serving.weighbridge.dev/modelcaches"),
        ("get list watch", "serving.weighbridge.dev/resourceprofiles"),
        ("patch", "serving.weighbridge.dev/modeldeployments/status"),
        ("patch", "serving.weighbridge.dev/externalproviders/status"),
        ("patch", "serving.weighbridge.dev/modelcaches/status"),
        ("get list watch create patch delete", "batch/jobs"),
        ("get list watch create patch", "/persistentvolumeclaims"),
        ("get list watch create patch delete", "apps/deployments"),
        ("get list watch create patch delete", "apps/controllerrevisions"),
        ("get list watch create patch delete", "/services"),
        ("get list watch create patch delete", "networking.k8s.io/networkpolicies"),
        ("get list watch create patch delete", "/pods"),
        ("get create patch delete", "resource.k8s.io/resourceclaimtemplates"),
        ("get create patch", "/secrets:named"),
        ("create patch", "events.k8s.io/events"),
        ("get update", lease.as_str()),
    ];
    check(client, &operator, true, &allowed).await?;
    let forbidden = [
        ("list watch update delete deletecollection", "/secrets"),
        ("update deletecollection", "/pods"),
        ("update delete deletecollection", "/persistentvolumeclaims"),
        (everywhere, "/persistentvolumes"),
        ("list watch update deletecollection", "resource.k8s.io/resourceclaimtemplates"),
        (everywhere, "resource.k8s.io/resourceclaims"),
        (everywhere, "resource.k8s.io/deviceclasses"),
        ("update deletecollection", "batch/jobs"),
        (everywhere, "batch/cronjobs"),
        ("create update patch delete", "serving.weighbridge.dev/modelcaches"),
        ("create update patch delete", "serving.weighbridge.dev/externalproviders"),
        ("create update patch delete", "serving.weighbridge.dev/modelaccesses"),
        ("update deletecollection", "/services"),
        ("update deletecollection", "networking.k8s.io/networkpolicies"),
        ("update", "apps/deployments"),
        ("update", "apps/controllerrevisions"),
        ("create get", "/pods/exec"),
        (everywhere, "discovery.k8s.io/endpointslices"),
        ("create update patch delete", gateways.as_str()),
        (everywhere, "/configmaps"),
        (everywhere, "/serviceaccounts"),
        ("create", "/serviceaccounts/token"),
        (everywhere, "/nodes"),
        ("deletecollection", "apps/deployments"),
        ("deletecollection", "apps/controllerrevisions"),
        ("create update patch delete", "serving.weighbridge.dev/modeldeployments"),
        ("create update patch delete", "serving.weighbridge.dev/resourceprofiles"),
        ("update patch", "serving.weighbridge.dev/modeldeployments/scale"),
        ("get create update patch", "coordination.k8s.io/leases:kube-scheduler@kube-system"),
        ("create update patch bind escalate", "rbac.authorization.k8s.io/clusterroles"),
        ("create update patch", "rbac.authorization.k8s.io/rolebindings"),
        (everywhere, "admissionregistration.k8s.io/validatingwebhookconfigurations"),
    ];
    check(client, &operator, false, &forbidden).await?;
    calls::are_refused(&operator, &forbidden).await?;

    let gateway = release.account("gateway");
    let allowed = [
        ("list watch", "serving.weighbridge.dev/modeldeployments"),
        ("list watch", "serving.weighbridge.dev/externalproviders"),
        ("list watch", "serving.weighbridge.dev/modelaccesses"),
        ("list watch", "discovery.k8s.io/endpointslices"),
        ("get patch", "serving.weighbridge.dev/modeldeployments/scale"),
    ];
    check(client, &gateway, true, &allowed).await?;
    let forbidden = [
        (everywhere, "/secrets"),
        (everywhere, "/pods"),
        (everywhere, "apps/deployments"),
        ("create update patch delete", "discovery.k8s.io/endpointslices"),
        ("create update patch delete", "serving.weighbridge.dev/modeldeployments"),
        ("create update patch delete", "serving.weighbridge.dev/modelaccesses"),
        ("get update patch", "serving.weighbridge.dev/modeldeployments/status"),
        ("update create delete", "serving.weighbridge.dev/modeldeployments/scale"),
        (everywhere, "apps/deployments/scale"),
    ];
    check(client, &gateway, false, &forbidden).await?;
    calls::are_refused(&gateway, &forbidden).await
}

/// What has no schema is checked where it is written.
async fn a_pod_template_adds_what_it_may(namespace: &TestNamespace) -> Result<()> {
    let models: Api<ModelDeployment> = namespace.api();
    let refused = async |template: Value| -> Result<Option<String>> {
        let weights = json!({"source": "hf://org/repo/file.gguf", "podTemplate": template});
        let model = serde_json::from_value(json!({"apiVersion": "serving.weighbridge.dev/v1alpha1",
            "kind": "ModelDeployment", "metadata": {"name": "m"}, "spec": {"openWeights": weights}}))?;
        match models.create(&PostParams { dry_run: true, field_manager: None }, &model).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) => Ok(Some(status.message.clone())),
            Err(error) => Err(error.into()),
        }
    };
    let of_engine = |fields: Value| json!({"spec": {"containers": [fields]}});
    let annotated = |key: &str| json!({"metadata": {"annotations": {key: "unconfined"}}});
    // The apiserver learns of a policy a moment after its creation.
    let began = Instant::now();
    while refused(json!({"spec": {"securityContext": {"runAsUser": 0}}})).await?.is_none() {
        ensure!(began.elapsed() < wait::DEADLINE, "the policy never holds");
    }
    for (template, words) in [
        (json!({"spec": {"securityContext": {"runAsUser": 0}}}), "never the security context"),
        (json!({"spec": {"serviceAccountName": "admin"}}), "never the security context, the service account"),
        (json!({"spec": {"resourceClaims": [{"name": "c", "resourceClaimName": "c"}]}}), "alone"),
        (
            of_engine(json!({"name": "engine", "resources": {"claims": [{"name": "c"}]}})),
            "its image, command and security context",
        ),
        (json!({"spec": {"initContainers": [{"name": "i"}]}}), "alone"),
        (json!({"metadata": {"ownerReferences": []}}), "annotations and labels alone"),
        (json!({"kind": "Pod"}), "metadata and spec alone"),
        (
            annotated("container.apparmor.security.beta.kubernetes.io/engine"),
            "confined less or given devices",
        ),
        (
            annotated("container.seccomp.security.alpha.kubernetes.io/engine"),
            "confined less or given devices",
        ),
        (annotated("seccomp.security.alpha.kubernetes.io/pod"), "confined less or given devices"),
        (annotated("cdi.k8s.io/gpus"), "confined less or given devices"),
        (annotated("io.kubernetes.cri-o.Devices"), "confined less or given devices"),
        (
            of_engine(json!({"name": "engine", "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]})),
            "no variable NVIDIA_*",
        ),
        (of_engine(json!({"name": "engine", "image": "other"})), "its image, command and security context"),
        (of_engine(json!({"name": "beside", "env": []})), "the container engine alone"),
    ] {
        let said = refused(template.clone()).await?.unwrap_or_default();
        ensure!(said.contains(words), "{template}: {words:?} is not in {said:?}");
    }
    for template in [
        json!({}),
        json!({"metadata": {"labels": {"team": "a"}}, "spec": {"priorityClassName": "high"}}),
        annotated("example.com/cdi.k8s.io"),
        of_engine(
            json!({"name": "engine", "env": [{"name": "NCCL_TOPO_FILE", "value": "/etc/nccl/topology.xml"}]}),
        ),
    ] {
        ensure!(refused(template.clone()).await?.is_none(), "{template} is refused");
    }
    Ok(())
}

/// RBAC lets it write any Secret, for it can't know their names; the chart's policy does not.
async fn certificates_are_all_that_the_operator_writes_into_secrets(
    namespace: &TestNamespace,
    release: &Release,
) -> Result<()> {
    let operator = testbed::client_as(&release.account("operator")).await?;
    let (theirs, ours): (Api<Secret>, Api<Secret>) =
        (namespace.api(), Api::namespaced(operator, namespace.name()));
    let secret = |name: &str, type_: &str, manager: &str| -> Result<Secret> {
        Ok(serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "type": type_,
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": manager}},
            "stringData": {"tls.crt": "x", "tls.key": "y"},
        }))?)
    };
    let apply = PatchParams::apply("weighbridge").force();
    let refused = async |secret: Secret| -> Result<bool> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        match ours.patch(&name, &apply, &Patch::Apply(&secret)).await {
            Err(kube::Error::Api(status)) if status.message.contains("certificates of its own") => Ok(true),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(false),
        }
    };
    // The apiserver learns of a policy a moment after its creation: until then a first Secret slips through.
    let began = Instant::now();
    while !refused(secret("first", "Opaque", "weighbridge")?).await? {
        ensure!(began.elapsed() < wait::DEADLINE, "the policy never holds");
    }
    theirs.create(&PostParams::default(), &secret("account", "Opaque", "somebody")?).await?;
    theirs.create(&PostParams::default(), &secret("door", "kubernetes.io/tls", "cert-manager")?).await?;
    for (name, type_, manager) in [
        ("new", "Opaque", "weighbridge"),
        ("new", "kubernetes.io/tls", "somebody"),
        // Said to be ours now, which they were not.
        ("door", "kubernetes.io/tls", "weighbridge"),
    ] {
        ensure!(refused(secret(name, type_, manager)?).await?, "{name} {type_} {manager}");
    }
    for _ in 0..2 {
        ensure!(!refused(secret("m-engine-certificate", "kubernetes.io/tls", "weighbridge")?).await?);
    }
    Ok(())
}

/// RBAC lets it make and delete any pod, for it has no words for labels; the chart's policy does not.
async fn pods_that_read_headers_are_all_that_the_operator_makes(
    namespace: &TestNamespace,
    release: &Release,
) -> Result<()> {
    let operator = testbed::client_as(&release.account("operator")).await?;
    let (theirs, ours): (Api<Pod>, Api<Pod>) = (namespace.api(), Api::namespaced(operator, namespace.name()));
    let pod = |name: &str, component: &str| -> Result<Pod> {
        Ok(serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {
                "app.kubernetes.io/managed-by": "weighbridge", "app.kubernetes.io/component": component}},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "c", "image": "image", "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
            },
        }))?)
    };
    let of_policy =
        |status: &kube::core::Status| status.message.contains("no pod but those that read the header");
    let refused = async |pod: Pod| -> Result<bool> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        match ours.patch(&name, &PatchParams::apply("weighbridge").force(), &Patch::Apply(&pod)).await {
            Err(kube::Error::Api(status)) if of_policy(&status) => Ok(true),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(false),
        }
    };
    // As above, a first one may slip through.
    let began = Instant::now();
    while !refused(pod("first", "engine")?).await? {
        ensure!(began.elapsed() < wait::DEADLINE, "the policy never holds");
    }
    ensure!(!refused(pod("m-inspect-1", "inspection")?).await?);
    ours.delete("m-inspect-1", &DeleteParams::default()).await?;
    theirs.create(&PostParams::default(), &pod("theirs", "engine")?).await?;
    // Neither said to be ours now, nor deleted.
    ensure!(refused(pod("theirs", "inspection")?).await?);
    match ours.delete("theirs", &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) => ensure!(of_policy(&status), "{}", status.message),
        other => bail!("a pod of somebody else was deleted: {other:?}"),
    }
    Ok(())
}

/// RBAC lets it write any Deployment and any Job; the chart's policy does not.
async fn workloads_that_the_operator_writes_are_its_own_and_can_do_no_more(
    namespace: &TestNamespace,
    release: &Release,
) -> Result<()> {
    let operator = testbed::client_as(&release.account("operator")).await?;
    let theirs: Api<Deployment> = namespace.api();
    let ours: Api<Deployment> = Api::namespaced(operator.clone(), namespace.name());
    let jobs: Api<Job> = Api::namespaced(operator, namespace.name());
    let of_policy = |message: &str| {
        message.contains("no Deployment and no Job but its own") || message.contains("makes no pod with")
    };
    let judged = |result: Result<(), kube::Error>| match result {
        Ok(()) => Ok(false),
        Err(kube::Error::Api(status)) if of_policy(&status.message) => Ok(true),
        Err(error) => Err(anyhow::Error::from(error)),
    };
    let apply = PatchParams::apply("weighbridge").force();
    let refused = async |deployment: &Value| -> Result<bool> {
        let name = deployment["metadata"]["name"].as_str().context("a name")?;
        judged(ours.patch(name, &apply, &Patch::Apply(deployment)).await.map(drop))
    };
    // As above, a first one may slip through.
    let began = Instant::now();
    while !refused(&workload("Deployment", "first", "somebody", json!({}))).await? {
        ensure!(began.elapsed() < wait::DEADLINE, "the policy never holds");
    }
    let token = json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]);
    let privileged = json!([{"name": "c", "image": "image", "securityContext": {"privileged": true}}]);
    for more in [
        json!({"automountServiceAccountToken": true}),
        json!({"automountServiceAccountToken": null}),
        json!({"serviceAccountName": "admin"}),
        json!({"hostNetwork": true}),
        json!({"hostPID": true}),
        json!({"hostIPC": true}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        json!({"volumes": token}),
        json!({"containers": privileged}),
        json!({"initContainers": [{"name": "before", "image": "image"}]}),
    ] {
        ensure!(refused(&workload("Deployment", "more", "weighbridge", more.clone())).await?, "{more}");
        let job = workload("Job", "more", "weighbridge", more.clone());
        ensure!(
            judged(jobs.patch("more", &apply, &Patch::Apply(&job)).await.map(drop))?,
            "a Job with {more}"
        );
    }
    let job = workload("Job", "fetch", "weighbridge", json!({}));
    ensure!(!judged(jobs.patch("fetch", &apply, &Patch::Apply(&job)).await.map(drop))?, "a Job of its own");
    ensure!(!judged(jobs.delete("fetch", &DeleteParams::default()).await.map(drop))?, "and its end");

    // Neither said to be ours now, nor deleted.
    let stranger: Deployment = serde_json::from_value(workload("Deployment", "theirs", "helm", json!({})))?;
    theirs.create(&PostParams::default(), &stranger).await?;
    ensure!(refused(&workload("Deployment", "theirs", "weighbridge", json!({}))).await?, "it takes one over");
    ensure!(judged(ours.delete("theirs", &DeleteParams::default()).await.map(drop))?, "it deletes another's");

    // What somebody puts into ours does not keep it from putting that back.
    let own = workload("Deployment", "m-engine", "weighbridge", json!({}));
    ensure!(!refused(&own).await?);
    let account = json!({"spec": {"template": {"spec": {"serviceAccountName": "admin", "automountServiceAccountToken": true}}}});
    theirs.patch("m-engine", &PatchParams::default(), &Patch::Merge(&account)).await?;
    ensure!(!refused(&own).await?, "it can't put back what somebody changed");
    ensure!(!judged(ours.delete("m-engine", &DeleteParams::default()).await.map(drop))?, "nor let it go");
    Ok(())
}

/// A Deployment or Job as restricted as ours, with `more` in its pods' spec.
fn workload(kind: &str, name: &str, manager: &str, more: Value) -> Value {
    let labels = json!({"app.kubernetes.io/managed-by": manager, "app": name});
    let mut pod = json!({
        "automountServiceAccountToken": false,
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": "image", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    });
    let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    if kind == "Job" {
        pod["restartPolicy"] = json!("Never");
    }
    for (field, value) in more.as_object().into_iter().flatten() {
        pod[field] = value.clone();
    }
    let mut spec = json!({"template": {"metadata": {"labels": labels}, "spec": pod}});
    if kind == "Deployment" {
        spec["replicas"] = json!(0);
        spec["selector"] = json!({"matchLabels": {"app": name}});
    }
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec})
}
