use anyhow::Result;
use kube::Api;
use serde_json::{Value, json};
use weighbridge_crds::ExternalProvider;
use weighbridge_tests::testbed::{self, TestNamespace};

use super::super::harness::apply;
use super::rules::Rules;

#[tokio::test]
async fn the_apiserver_refuses_bad_providers_with_the_field_and_the_fix() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "refuse").await?;
    let api: Api<ExternalProvider> = namespace.api();
    let mut rules = Rules::of(api.clone())?;
    names(&mut rules).await?;
    addresses(&mut rules).await?;
    kinds_and_keys(&mut rules).await?;
    data_policies(&mut rules).await?;
    rules.each_had_its_cases();
    let spec = json!({"kind": "Gemini", "apiKeys": [key()]});
    let made = apply(&api, "p", json!({"spec": spec})).await?;
    assert_eq!(made.spec.api_keys[0].weight, 1, "the server fills it in");
    Ok(())
}

fn key() -> Value {
    json!({"name": "s", "key": "k"})
}

async fn names(rules: &mut Rules<ExternalProvider>) -> Result<()> {
    let spec = || json!({"kind": "OpenAI", "apiKeys": [key()]});
    rules.refuse(&"a".repeat(41), spec(), "longer than 40 characters").await?;
    rules.refuse("9p", spec(), "must begin with a letter").await?;
    rules.take(&"a".repeat(40), spec()).await
}

fn address(url: &str, private: bool) -> Value {
    json!({"kind": "OpenAICompatible", "baseURL": url, "allowPrivate": private, "apiKeys": [key()]})
}

async fn addresses(rules: &mut Rules<ExternalProvider>) -> Result<()> {
    let inside = "name a public host";
    for (url, words) in [
        ("http://e.example/v1", "in the clear"),
        ("https://u:p@e.example", "no user"),
        ("x", "baseURL"),
        ("https://localhost/v1", inside),
        ("https://LOCALHOST.:8443/v1", inside),
        ("https://printer.local", inside),
        ("https://metadata.google.internal/v1", inside),
        ("https://127.0.0.1/v1", inside),
        ("https://127.0.0.1./v1", inside),
        ("https://0x7f.1/v1", inside),
        ("https://2130706433/v1", inside),
        ("https://0177.0.0.1/v1", inside),
        ("https://10.0.0.1:443/v1", inside),
        ("https://100.64.0.1", inside),
        ("https://168.63.129.16", inside),
        ("https://169.254.169.254/latest", inside),
        ("https://172.16.0.1", inside),
        ("https://192.168.1.1", inside),
        ("https://255.255.255.255", inside),
        ("https://0.0.0.0", inside),
        ("https://224.0.0.1", inside),
        ("https://[2606:4700::1111]/v1", inside),
        ("https://[::1]/v1", inside),
        ("https://[::]/v1", inside),
        ("https://[::ffff:10.0.0.1]/v1", inside),
        ("https://[64:ff9b::a9fe:a9fe]/v1", inside),
        ("https://[2002:7f00:1::]/v1", inside),
        ("https://[fd00:ec2::254]:443/v1", inside),
        ("https://[fe80::1]/v1", inside),
        ("https://[ff02::1]/v1", inside),
    ] {
        rules.refuse("p", address(url, false), words).await?;
    }
    for good in [
        "https://e.example/v1",
        "https://localhost.example.com/v1",
        "https://internal.example.com",
        "https://1.1.1.1/v1",
        "https://172.32.0.1:443",
    ] {
        rules.take("p", address(good, false)).await?;
    }
    for good in
        ["http://e.example:8080/v1", "http://localhost:8080/v1", "https://10.0.0.1/v1", "http://[::1]"]
    {
        rules.take("p", address(good, true)).await?;
    }
    Ok(())
}

async fn kinds_and_keys(rules: &mut Rules<ExternalProvider>) -> Result<()> {
    let key = key();
    let keys = |count: usize| -> Vec<Value> {
        (0..count).map(|index| json!({"name": "s", "key": index.to_string()})).collect()
    };
    let weighed =
        |weight: Value| json!({"kind": "OpenAI", "apiKeys": [{"name": "s", "key": "k", "weight": weight}]});
    let (vertex, bedrock) =
        (json!({"project": "p", "location": "us-central1"}), json!({"region": "us-east-1"}));
    for (spec, words) in [
        (json!({"kind": "AzureOpenAI", "apiKeys": [key]}), "set baseURL"),
        (json!({"kind": "OpenAICompatible", "apiKeys": [key]}), "set baseURL"),
        (json!({"kind": "AnthropicCompatible", "apiKeys": [key]}), "set baseURL"),
        (
            json!({"kind": "AzureOpenAI", "baseURL": "https://n.openai.azure.com", "apiKeys": [key]}),
            "ends in /openai/v1",
        ),
        (json!({"kind": "Vertex", "apiKeys": [key]}), "vertex is for kind Vertex, which needs it"),
        (json!({"kind": "Gemini", "vertex": vertex, "apiKeys": [key]}), "or remove vertex"),
        (json!({"kind": "Bedrock", "apiKeys": [key]}), "bedrock is for kind Bedrock, which needs it"),
        (json!({"kind": "Anthropic", "bedrock": bedrock, "apiKeys": [key]}), "or remove bedrock"),
        (
            json!({"kind": "Vertex", "vertex": vertex, "bedrock": bedrock, "apiKeys": [key]}),
            "bedrock is for kind Bedrock",
        ),
        (json!({"kind": "Vertex", "vertex": {"project": "p"}, "apiKeys": [key]}), "spec.vertex.location"),
        (json!({"kind": "Bedrock", "bedrock": {"region": "US"}, "apiKeys": [key]}), "spec.bedrock.region"),
        (json!({"kind": "Telepathy", "apiKeys": [key]}), "spec.kind"),
        (json!({"kind": "OpenAI"}), "spec.apiKeys: Required"),
        (json!({"kind": "OpenAI", "apiKeySecret": key, "apiKeys": [key]}), "unknown field"),
        (json!({"kind": "OpenAI", "apiKeys": []}), "spec.apiKeys"),
        (json!({"kind": "OpenAI", "apiKeys": keys(17)}), "spec.apiKeys"),
        (json!({"kind": "OpenAI", "apiKeys": [key, {"name": "s", "key": "k", "weight": 2}]}), "named twice"),
        (json!({"kind": "OpenAI", "apiKeys": [{"name": "s"}]}), "spec.apiKeys[0].key: Required"),
        (json!({"kind": "OpenAI", "apiKeys": [{"name": "", "key": "k"}]}), "spec.apiKeys[0].name"),
        (weighed(json!(0)), "spec.apiKeys[0].weight"),
        (weighed(json!(1001)), "spec.apiKeys[0].weight"),
        (weighed(json!("1")), "spec.apiKeys[0].weight"),
    ] {
        rules.refuse("p", spec, words).await?;
    }
    for good in [
        json!({"kind": "OpenAI", "apiKeys": keys(16)}),
        json!({"kind": "OpenAI", "baseURL": "https://eu.api.openai.com/v1", "apiKeys": [key]}),
        json!({"kind": "AzureOpenAI", "baseURL": "https://n.openai.azure.com/openai/v1/", "apiKeys": [key]}),
        json!({"kind": "Anthropic", "apiKeys": [key, {"name": "t", "key": "k", "weight": 1000}]}),
        json!({"kind": "Gemini", "apiKeys": [key]}),
        json!({"kind": "Vertex", "vertex": vertex, "apiKeys": [key]}),
        json!({"kind": "Bedrock", "bedrock": bedrock, "apiKeys": [key]}),
        json!({"kind": "OpenAICompatible", "baseURL": "https://e.example/v1", "apiKeys": [key]}),
        json!({"kind": "AnthropicCompatible", "baseURL": "https://e.example", "apiKeys": [key]}),
    ] {
        rules.take("good", good).await?;
    }
    Ok(())
}

async fn data_policies(rules: &mut Rules<ExternalProvider>) -> Result<()> {
    let key = key();
    let demanding = |kind: &str, policy: Value| {
        let mut spec = json!({"kind": kind, "apiKeys": [key], "dataPolicy": policy});
        match kind {
            "AzureOpenAI" => spec["baseURL"] = json!("https://n.openai.azure.com/openai/v1"),
            "OpenAICompatible" | "AnthropicCompatible" => spec["baseURL"] = json!("https://e.example/v1"),
            _ => {}
        }
        spec
    };
    let mut elsewhere = demanding("OpenAI", json!({"region": "eu"}));
    elsewhere["baseURL"] = json!("https://us.api.openai.com/v1");
    for (spec, words) in [
        (demanding("OpenAI", json!({})), "dataPolicy says nothing"),
        (demanding("OpenAI", json!({"onMismatch": "Fail"})), "dataPolicy says nothing"),
        (
            demanding("OpenAI", json!({"retention": "NotStored", "onMismatch": "Fail"})),
            "onMismatch is about region",
        ),
        (demanding("OpenAI", json!({"region": "Europe"})), "spec.dataPolicy.region"),
        (demanding("OpenAI", json!({"region": "europe"})), "such as us or eu"),
        (demanding("OpenAI", json!({"retention": "Zero"})), "spec.dataPolicy.retention"),
        (
            demanding("Anthropic", json!({"region": "us", "onMismatch": "Ignore"})),
            "spec.dataPolicy.onMismatch",
        ),
        (demanding("Anthropic", json!({"residency": "us"})), "unknown field"),
        (demanding("Anthropic", json!({"retention": "NotStored"})), "agree on it with the provider"),
        (demanding("Gemini", json!({"region": "eu"})), "no request of this kind can name a region"),
        (demanding("OpenAICompatible", json!({"region": "eu"})), "no request of this kind can name a region"),
        (
            demanding("AnthropicCompatible", json!({"region": "us"})),
            "no request of this kind can name a region",
        ),
        (demanding("Gemini", json!({"retention": "NotStored"})), "no request of this kind can say"),
        (elsewhere, "another place than dataPolicy.region"),
    ] {
        rules.refuse("p", spec, words).await?;
    }
    let mut there =
        demanding("OpenAI", json!({"region": "eu", "retention": "NotStored", "onMismatch": "Fail"}));
    rules.take("good", there.clone()).await?;
    there["baseURL"] = json!("https://eu.api.openai.com/v1");
    for good in [
        there,
        demanding("Anthropic", json!({"region": "us", "onMismatch": "Report"})),
        demanding("AzureOpenAI", json!({"region": "swedencentral", "retention": "NotStored"})),
    ] {
        rules.take("good", good).await?;
    }
    Ok(())
}
