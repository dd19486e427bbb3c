//! What an account may not do, done for real.

use anyhow::{Context, Result, ensure};
use http::Method;
use kube::Client;
use weighbridge_tests::testbed;

/// Kinds that are of no namespace.
const OF_THE_CLUSTER: [&str; 4] =
    ["persistentvolumes", "nodes", "clusterroles", "validatingwebhookconfigurations"];

/// Each call is refused to `account` as one that it may not make; they are listed as reviews ask for them.
pub async fn are_refused(account: &str, list: &[(&str, &str)]) -> Result<()> {
    let client = testbed::client_as(account).await?;
    for (verbs, what) in list {
        let of_one = what.matches('/').count() > 1;
        for verb in verbs.split(' ').filter(|verb| is_call(verb, of_one)) {
            is_refused(&client, verb, what).await.with_context(|| format!("{account}: {verb} {what}"))?;
        }
    }
    Ok(())
}

/// Some are rights without a call, and of the part of an object there is but one.
fn is_call(verb: &str, of_one: bool) -> bool {
    !matches!((verb, of_one), ("bind" | "escalate", _) | ("list" | "watch" | "deletecollection", true))
}

async fn is_refused(client: &Client, verb: &str, what: &str) -> Result<()> {
    let method = match verb {
        "create" => Method::POST,
        "update" => Method::PUT,
        "patch" => Method::PATCH,
        "delete" | "deletecollection" => Method::DELETE,
        _ => Method::GET,
    };
    // Where it were not refused, nothing is to come of it.
    let dry_run = if method == Method::GET { "" } else { "dryRun=All" };
    let query = if verb == "watch" { "watch=true&timeoutSeconds=1" } else { dry_run };
    let request = http::Request::builder().method(method).uri(format!("{}?{query}", path(verb, what)?));
    let content = if verb == "patch" { "application/merge-patch+json" } else { "application/json" };
    let request = request.header("content-type", content).body(b"{}".to_vec())?;
    match client.request_text(request).await {
        Err(kube::Error::Api(status)) => {
            let is_meant = status.code == 403 && status.message.contains(&format!("cannot {verb} resource"));
            ensure!(is_meant, "{} {}", status.code, status.message);
            Ok(())
        }
        other => anyhow::bail!("{other:?}"),
    }
}

/// Where `group/resource[/subresource][:name][@namespace]` is called.
fn path(verb: &str, what: &str) -> Result<String> {
    let (what, namespace) = what.split_once('@').unwrap_or((what, "some-team"));
    let (what, name) = what.split_once(':').unwrap_or((what, "some"));
    let mut parts = what.splitn(3, '/');
    let (group, resource) = (parts.next().unwrap_or_default(), parts.next().context("a resource")?);
    let root = match group {
        "" => "/api/v1".to_owned(),
        "serving.weighbridge.dev" => format!("/apis/{group}/v1alpha1"),
        _ => format!("/apis/{group}/v1"),
    };
    let place =
        if OF_THE_CLUSTER.contains(&resource) { String::new() } else { format!("/namespaces/{namespace}") };
    let all = format!("{root}{place}/{resource}");
    Ok(match (verb, parts.next()) {
        (_, Some(subresource)) => format!("{all}/{name}/{subresource}"),
        ("list" | "watch" | "create" | "deletecollection", None) => all,
        (_, None) => format!("{all}/{name}"),
    })
}
