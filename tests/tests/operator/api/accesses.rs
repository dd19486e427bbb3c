use anyhow::Result;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use weighbridge_crds::ModelAccess;
use weighbridge_tests::testbed::{self, TestNamespace};

use super::rules::Rules;

#[tokio::test]
async fn the_apiserver_refuses_bad_accesses_with_the_field_and_the_fix() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "refuse-access").await?;
    let mut rules = Rules::<ModelAccess>::of(namespace.api())?;
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let key = |name: &str, digit: &str| json!({"name": name, "sha256": digest(digit)});
    let one = || json!([key("a", "0")]);
    for (spec, words) in [
        (json!({"keys": [], "models": ["*"]}), "spec.keys"),
        (json!({"models": ["*"]}), "spec.keys: Required"),
        (json!({"keys": one()}), "spec.models: Required"),
        (json!({"keys": one(), "models": []}), "spec.models"),
        (json!({"keys": [key("a", "0"), key("a", "1")], "models": ["*"]}), "spec.keys[1]: Duplicate value"),
        (
            json!({"keys": [key("a", "0"), key("b", "0")], "models": ["*"]}),
            "one key is there under two names",
        ),
        (json!({"keys": one(), "models": ["m", "m"]}), "spec.models[1]: Duplicate value"),
        (json!({"keys": one(), "models": ["*", "m"]}), "keep '*' alone, or remove it"),
        (json!({"keys": one(), "models": ["other/m"]}), "spec.models[0]"),
        (json!({"keys": one(), "models": ["m:"]}), "spec.models[0]"),
        (json!({"keys": one(), "models": ["M"]}), "spec.models[0]"),
        (json!({"keys": [key("A", "0")], "models": ["m"]}), "spec.keys[0].name"),
        (json!({"keys": [key("a", "F")], "models": ["m"]}), "spec.keys[0].sha256"),
        (
            json!({"keys": [{"name": "a", "sha256": "wb-8150815"}], "models": ["m"]}),
            "is not the hash of a key",
        ),
        (
            json!({"keys": [{"name": "a", "sha256": digest("0"), "expiresAt": "soon"}], "models": ["m"]}),
            "spec.keys[0].expiresAt",
        ),
        (
            json!({"keys": [{"name": "a", "sha256": digest("0"), "expiresAt": "1969-12-31T23:59:59Z"}], "models": ["m"]}),
            "expiresAt is a time: write it as 2027-01-31T12:00:00Z",
        ),
        (json!({"keys": one(), "models": ["m"], "roles": []}), "unknown field \"spec.roles\""),
    ] {
        let said = rules.refuse("a", spec, words).await?;
        assert!(!said.contains("8150815"), "a key in place of its hash is repeated: {said}");
    }
    // The largest that there may be: the rules' cost has its bound too.
    let many: Vec<Value> = (0..256)
        .map(|number| {
            json!({"name": format!("{number:063}"), "sha256": format!("sha256:{number:064x}"),
            "expiresAt": "2027-01-31T00:00:00Z"})
        })
        .collect();
    let models: Vec<String> = (0..256).map(|number| format!("m{number:039}:{number:063}")).collect();
    for good in [
        json!({"keys": one(), "models": ["*"]}),
        json!({"keys": one(), "models": ["m", "m:tone", "n-2"]}),
        json!({"keys": many, "models": models}),
    ] {
        rules.take("a", good).await?;
    }
    rules.each_had_its_cases();
    Ok(())
}

/// What docs/access.md says of adding a key to those that are there: each manager keeps its own.
#[tokio::test]
async fn keys_that_are_applied_by_several_are_kept_beside_each_other() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "merge-access").await?;
    let api: Api<ModelAccess> = namespace.api();
    let applied = async |manager: &str, name: &str, digit: &str| {
        let object = json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelAccess",
            "metadata": {"name": "apps"},
            "spec": {"keys": [{"name": name, "sha256": format!("sha256:{}", digit.repeat(64))}], "models": ["*"]}});
        api.patch("apps", &PatchParams::apply(manager), &Patch::Apply(object)).await
    };
    applied("key-first", "first", "0").await?;
    applied("key-second", "second", "1").await?;
    let names =
        |access: &ModelAccess| access.spec.keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    let both = api.get("apps").await?;
    assert_eq!((names(&both), both.spec.models.len()), (vec!["first".to_owned(), "second".to_owned()], 1));
    // Its manager renews one, and the other stays.
    assert_eq!(names(&applied("key-second", "third", "2").await?), ["first", "third"]);
    Ok(())
}
