//! Certificates between our own parts: who gets one, how they are renewed, and what that leaves alone.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use weighbridge_tests::testbed::{self, TestNamespace, wait};
use weighbridge_tls::{Facts, facts_of_pem};

use super::harness::{Bench, SOURCE, apply, operator};

const AUTHORITY: &str = "weighbridge-authority";
const GATEWAY: &str = "weighbridge-gateway-certificate";
const ENGINE: &str = "m-engine-certificate";
const PROXY: &str = "acme-proxy-certificate";

fn value(secret: &Secret, name: &str) -> Result<String> {
    let data = secret.data.as_ref().context("data")?;
    Ok(String::from_utf8(
        data.get(name).with_context(|| format!("{name} of {}", secret.name_any()))?.0.clone(),
    )?)
}

fn certificate(secret: &Secret) -> Result<Facts> {
    Ok(facts_of_pem(value(secret, "tls.crt")?.as_bytes())?)
}

async fn there(bench: &Bench, name: &str) -> Result<Secret> {
    wait::until(&bench.api::<Secret>(), name, "a certificate", |_| true).await
}

async fn model_and_provider(bench: &Bench) -> Result<()> {
    let secrets: Api<Secret> = bench.api();
    apply(&secrets, "account", json!({"stringData": {"token": "x"}})).await?;
    let provider = json!({"kind": "OpenAICompatible", "baseURL": "https://api.example.com/v1", "apiKeys": [{"name": "account", "key": "token"}]});
    bench.provider("acme", provider).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench.model_is_ready("m").await?;
    bench.provider_says("acme", "Ready", "is True", |condition| condition.status == "True").await?;
    Ok(())
}

#[tokio::test]
async fn each_part_has_a_certificate_of_one_authority_and_keys_are_nowhere_else() -> Result<()> {
    let bench = Bench::new("certificates").await?;
    model_and_provider(&bench).await?;
    let authority = there(&bench, AUTHORITY).await?;
    let signer = certificate(&authority)?;
    let bundle = value(&authority, "tls.crt")?;
    let namespace = bench.namespace.name();
    let mut keys = vec![value(&authority, "tls.key")?];
    for (secret, name, owner) in [
        (GATEWAY, "gateway.weighbridge.internal".to_owned(), None),
        (ENGINE, format!("m.{namespace}.engine.weighbridge.internal"), Some("ModelDeployment")),
        (PROXY, format!("acme.{namespace}.proxy.weighbridge.internal"), Some("ExternalProvider")),
    ] {
        let secret = there(&bench, secret).await?;
        let facts = certificate(&secret)?;
        assert_eq!(facts.dns_names, [name]);
        assert_eq!(facts.issuer, signer.subject);
        assert_eq!(value(&secret, "ca.crt")?, bundle);
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        let owners: Vec<_> = secret.owner_references().iter().map(|owner| owner.kind.as_str()).collect();
        assert_eq!(owners, owner.into_iter().collect::<Vec<_>>());
        keys.push(value(&secret, "tls.key")?);
    }
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 4, "each has its own key");

    let deployments = bench.api::<Deployment>().list(&ListParams::default()).await?;
    let pods = bench.api::<Pod>().list(&ListParams::default()).await?;
    let template = serde_json::to_string(&pods)?;
    for flag in ["--tls-cert-file=", "--tls-key-file=", "--client-ca-file="] {
        assert_eq!(template.matches(flag).count(), 2, "{flag}: engine and proxy");
    }
    let mut everything = serde_json::to_string(&deployments)? + &template;
    everything += &serde_json::to_string(&bench.api::<Event>().list(&ListParams::default()).await?)?;
    everything += &bench.operator.said();
    assert!(everything.contains(ENGINE), "the Event names it");
    for key in keys {
        for line in key.lines() {
            assert!(!everything.contains(line), "{line}: a private key leaked");
        }
    }
    // They go with their owners.
    bench.api::<weighbridge_crds::ModelDeployment>().delete("m", &DeleteParams::default()).await?;
    wait::until_gone(&bench.api::<Secret>(), ENGINE).await
}

/// With lives of seconds: authorities come and go, every certificate is made anew, and no Deployment is touched.
#[tokio::test]
async fn renewals_and_new_authorities_roll_no_pod() -> Result<()> {
    let bench = Bench::with("rotation", &["--certificate-lifetime=3s", "--authority-lifetime=18s"]).await?;
    model_and_provider(&bench).await?;
    let templates = async || -> Result<Vec<(String, Option<i64>)>> {
        let all = bench.api::<Deployment>().list(&ListParams::default()).await?;
        Ok(all.items.iter().map(|child| (child.name_any(), child.metadata.generation)).collect())
    };
    let (before, pods) = (templates().await?, bench.api::<Pod>().list(&ListParams::default()).await?);
    let first = certificate(&there(&bench, ENGINE).await?)?;
    let old = certificate(&there(&bench, AUTHORITY).await?)?;

    let renewed = |secret: &Secret| certificate(secret).is_ok_and(|facts| facts.not_after > first.not_after);
    let renewed = wait::until(&bench.api::<Secret>(), ENGINE, "a renewed certificate", renewed).await?;
    assert_eq!(certificate(&renewed)?.issuer, old.subject);
    // The next authority is trusted everywhere while the old one still signs.
    let both = wait::until(&bench.api::<Secret>(), AUTHORITY, "a second authority", |secret| {
        secret.data.as_ref().is_some_and(|data| data.contains_key("previous-1.crt"))
    })
    .await?;
    let bundle = value(&both, "tls.crt")? + &value(&both, "previous-1.crt")?;
    for name in [GATEWAY, ENGINE, PROXY] {
        let trusts = |secret: &Secret| value(secret, "ca.crt").is_ok_and(|trusted| trusted == bundle);
        let trusting = wait::until(&bench.api::<Secret>(), name, "both authorities", trusts).await?;
        assert_eq!(certificate(&trusting)?.issuer, old.subject, "{name}");
    }
    // Then it signs, and the old one goes.
    let new = certificate(&both)?.subject;
    for name in [GATEWAY, ENGINE, PROXY] {
        let signed = |secret: &Secret| certificate(secret).is_ok_and(|facts| facts.issuer == new);
        wait::until(&bench.api::<Secret>(), name, "the new authority's word", signed).await?;
    }
    let alone = |secret: &Secret| {
        certificate(secret).is_ok_and(|facts| facts.subject == new)
            && secret.data.as_ref().is_some_and(|data| !data.contains_key("previous-1.crt"))
    };
    wait::until(&bench.api::<Secret>(), AUTHORITY, "the end of the old authority", alone).await?;

    assert_eq!(templates().await?, before);
    let uids = |pods: &[Pod]| pods.iter().filter_map(ResourceExt::uid).collect::<BTreeSet<_>>();
    let after = bench.api::<Pod>().list(&ListParams::default()).await?;
    assert_eq!(uids(&after.items), uids(&pods.items));
    let errors =
        bench.operator.count("weighbridge_reconcile_api_writes_total", &["outcome=\"error\""]).await?;
    assert_eq!(errors, 0.0);
    Ok(())
}

#[tokio::test]
async fn pods_of_an_older_spec_keep_a_good_certificate_though_the_new_one_is_refused() -> Result<()> {
    let bench = Bench::with("refused", &["--certificate-lifetime=3s", "--authority-lifetime=1h"]).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench.model_is_ready("m").await?;
    bench.model("m", json!({"openWeights": {"source": "file:///m.gguf"}})).await?;
    bench.model_says("m", "Accepted", "refused", |condition| condition.status == "False").await?;
    for _ in 0..2 {
        let before = certificate(&there(&bench, ENGINE).await?)?;
        let renewed =
            |secret: &Secret| certificate(secret).is_ok_and(|facts| facts.not_after > before.not_after);
        wait::until(&bench.api::<Secret>(), ENGINE, "a renewed certificate", renewed).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_not_taken() -> Result<()> {
    let bench = Bench::new("theirs").await?;
    let secrets: Api<Secret> = bench.api();
    apply(&secrets, ENGINE, json!({"stringData": {"theirs": "x"}})).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench
        .model_says("m", "Accepted", "names the Secret", |condition| {
            condition.reason == "ChildNotOwned" && condition.message.contains(ENGINE)
        })
        .await?;
    assert!(bench.api::<Deployment>().list(&ListParams::default()).await?.items.is_empty());
    let theirs = secrets.get(ENGINE).await?;
    assert_eq!(theirs.data.context("data")?.keys().collect::<Vec<_>>(), ["theirs"]);
    secrets.delete(ENGINE, &DeleteParams::default()).await?;
    bench.model_is_ready("m").await?;
    Ok(())
}

#[tokio::test]
async fn what_was_deleted_comes_back_and_an_authority_that_was_is_trusted_no_more() -> Result<()> {
    let mut bench = Bench::new("deleted").await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench.model_is_ready("m").await?;
    let old = certificate(&there(&bench, AUTHORITY).await?)?.subject;
    let secrets: Api<Secret> = bench.api();
    for name in [AUTHORITY, GATEWAY, ENGINE] {
        secrets.delete(name, &DeleteParams::default()).await?;
    }
    bench.operator.signal("TERM").await?;
    assert!(bench.operator.ended().await?.success());
    let _fresh = operator(bench.namespace.name(), "fresh").await?;
    let new = certificate(&there(&bench, AUTHORITY).await?)?.subject;
    ensure!(old != new);
    for name in [GATEWAY, ENGINE] {
        assert_eq!(certificate(&there(&bench, name).await?)?.issuer, new, "{name}");
    }
    Ok(())
}

/// Nobody but a person can say whether what is in an authority's place may be thrown away.
#[tokio::test]
async fn without_an_authority_no_pod_is_made_and_the_model_says_so() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "authority").await?;
    let secrets: Api<Secret> = namespace.api();
    apply(&secrets, AUTHORITY, json!({"stringData": {"theirs": "x"}})).await?;
    let bench = Bench::in_namespace(client, namespace).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    let says = |condition: &Condition| condition.message.contains("no authority");
    bench.model_says("m", "Accepted", "no authority", says).await?;
    assert!(bench.api::<Deployment>().list(&ListParams::default()).await?.items.is_empty());
    assert!(bench.operator.said().contains(&format!("Secret {}/{AUTHORITY}", bench.namespace.name())));
    secrets.delete(AUTHORITY, &DeleteParams::default()).await?;
    bench.model_is_ready("m").await?;
    Ok(())
}
