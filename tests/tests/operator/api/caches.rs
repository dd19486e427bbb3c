use anyhow::Result;
use kube::Api;
use serde_json::{Value, json};
use weighbridge_crds::ModelCache;
use weighbridge_tests::testbed::{self, TestNamespace};

use super::super::harness::{SOURCE, apply};
use super::rules::Rules;

#[tokio::test]
async fn the_apiserver_refuses_bad_caches_with_the_field_and_the_fix() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "refuse-cache").await?;
    let api: Api<ModelCache> = namespace.api();
    let mut rules = Rules::of(api.clone())?;
    let named = || json!({"name": "c"});
    let prefetch = |fields: Value| json!({"claim": named(), "prefetch": [fields]});
    let token = json!({"name": "s", "key": "k"});
    let long = "a".repeat(41);
    for (name, spec, words) in [
        ("c", json!({}), "spec.claim: Required"),
        ("c", json!({"claim": {}}), "set name, of a claim that is there, or size"),
        ("c", json!({"claim": {"name": "c", "size": "1Gi"}}), "set name, of a claim that is there, or size"),
        ("c", json!({"claim": {"name": "../c"}}), "spec.claim.name"),
        ("c", json!({"claim": {"size": "big"}}), "claim.size is not a quantity above zero: write 200Gi"),
        ("c", json!({"claim": {"size": "0"}}), "claim.size is not a quantity above zero"),
        (
            "c",
            json!({"claim": {"name": "c", "storageClassName": "s"}}),
            "set size in place of name, or remove it",
        ),
        (
            "c",
            json!({"claim": {"name": "c", "accessModes": ["ReadWriteOnce"]}}),
            "set size in place of name, or remove them",
        ),
        (
            "c",
            json!({"claim": {"size": "1Gi", "accessModes": ["ReadOnlyMany"]}}),
            "spec.claim.accessModes[0]",
        ),
        (
            "c",
            json!({"claim": named(), "maxSize": "-1"}),
            "maxSize is not a quantity above zero: write 180Gi",
        ),
        ("c", json!({"claim": {"size": "1Gi"}, "maxSize": "2Gi"}), "maxSize is more than claim.size"),
        ("c", prefetch(json!({})), "spec.prefetch[0].source: Required"),
        ("c", prefetch(json!({"source": "pvc://c/f"})), "a cache holds what is fetched"),
        ("c", prefetch(json!({"source": "hf://o/r/../f"})), "'.' or '..'"),
        ("c", prefetch(json!({"source": SOURCE, "digest": "md5:0"})), "spec.prefetch[0].digest"),
        ("c", prefetch(json!({"source": SOURCE, "revision": "-"})), "spec.prefetch[0].revision"),
        (
            "c",
            prefetch(json!({"source": SOURCE, "hub": {"endpoint": "http://h", "tokenSecret": token}})),
            "in the clear",
        ),
        ("c", prefetch(json!({"source": SOURCE, "resources": {}})), "unknown field"),
        (long.as_str(), json!({"claim": named()}), "longer than 40 characters"),
        ("9c", json!({"claim": named()}), "must begin with a letter"),
    ] {
        rules.refuse(name, spec, words).await?;
    }
    // The largest that there may be: the rules' cost has its bound too.
    let long = format!("hf://o/r/{}", "f".repeat(1015));
    let many: Vec<Value> = (0..64).map(|_| json!({"source": long, "hub": {"tokenSecret": token}})).collect();
    for good in [
        json!({"claim": named(), "maxSize": "180Gi"}),
        json!({"claim": {"size": "1.5Gi", "storageClassName": "s", "accessModes": ["ReadWriteOnce", "ReadWriteMany"]},
            "maxSize": "1.5Gi"}),
        json!({"claim": {"size": 1_000_000}, "prefetch": many}),
        prefetch(
            json!({"source": SOURCE, "hub": {"endpoint": "https://hub.example.com", "tokenSecret": token}}),
        ),
    ] {
        rules.take("c", good).await?;
    }
    // What can't change of a claim that is made.
    let with = |claim: Value| json!({"spec": {"claim": claim}});
    apply(&api, "c", with(json!({"size": "2Gi", "storageClassName": "s"}))).await?;
    for (claim, words) in [
        (json!({"size": "1Gi", "storageClassName": "s"}), "no claim can shrink"),
        (json!({"size": "2Gi", "storageClassName": "t"}), "claim.storageClassName can't change"),
        (json!({"size": "2Gi"}), "claim.storageClassName can't change"),
        (
            json!({"size": "2Gi", "storageClassName": "s", "accessModes": ["ReadWriteOnce"]}),
            "claim.accessModes can't change",
        ),
    ] {
        rules.refuse_change("c", json!({"claim": claim}), words).await?;
    }
    apply(&api, "c", with(json!({"size": "3Gi", "storageClassName": "s"}))).await?;
    apply(&api, "c", with(json!({"name": "other"}))).await?;
    rules.each_had_its_cases();
    Ok(())
}
