//! What was written under the chart before is read under this one, and goes through a later version of the API and back.
//!
//! On the real apiserver, under a group of its own, for the definitions of a cluster are one for all tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelCache, ModelDeployment, ResourceProfile};
use weighbridge_tests::testbed::{self, wait};

const GROUP: &str = "upgrade.weighbridge.dev";
const NOW: &str = "v1alpha1";
const LATER: &str = "v1beta1";

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every definition of a folder, in the group of this test.
fn definitions(path: &str) -> Result<Vec<CustomResourceDefinition>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder(path))? {
        let mut definition: CustomResourceDefinition =
            serde_saphyr::from_str(&fs::read_to_string(entry?.path())?)?;
        definition.spec.group = GROUP.to_owned();
        definition.metadata.name = Some(format!("{}.{GROUP}", definition.spec.names.plural));
        found.push(definition);
    }
    Ok(found)
}

/// Objects of the chart before, with their kinds.
fn objects() -> Result<Vec<Value>> {
    let text = fs::read_to_string(folder("upgrade/objects.yaml"))?;
    Ok(serde_saphyr::from_multiple(&text)?)
}

fn resource(definition: &CustomResourceDefinition, version: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, version, &definition.spec.names.kind);
    ApiResource::from_gvk_with_plural(&kind, &definition.spec.names.plural)
}

/// A view of one kind at one version, in the default namespace where it has one.
fn api(client: &Client, definition: &CustomResourceDefinition, version: &str) -> Api<DynamicObject> {
    let resource = resource(definition, version);
    if definition.spec.scope == "Namespaced" {
        Api::namespaced_with(client.clone(), "default", &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    }
}

async fn install(client: &Client, definition: &CustomResourceDefinition) -> Result<()> {
    let all: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = definition.name_any();
    let apply = PatchParams::apply("upgrade").force();
    all.patch(&name, &apply, &Patch::Apply(definition)).await.with_context(|| format!("apply {name}"))?;
    for version in &definition.spec.versions {
        let served = api(client, definition, &version.name);
        // Discovery follows the definition a moment later.
        let began = Instant::now();
        while let Err(error) = served.list(&ListParams::default()).await {
            anyhow::ensure!(began.elapsed() < wait::DEADLINE, "{name} at {}: {error}", version.name);
        }
    }
    Ok(())
}

/// Paths of every field of a schema.
fn fields(schema: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
    for (name, inner) in schema.properties.iter().flatten() {
        let path = format!("{path}/{name}");
        found.push(path.clone());
        fields(inner, &path, found);
        if let Some(JSONSchemaPropsOrArray::Schema(item)) = &inner.items {
            fields(item, &format!("{path}/0"), found);
        }
    }
}

/// What of `before` is not so in `after`.
fn lost(before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                lost(value, after.get(name).unwrap_or(&Value::Null), &format!("{path}/{name}"), found);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (place, (before, after)) in before.iter().zip(after).enumerate() {
                lost(before, after, &format!("{path}/{place}"), found);
            }
        }
        (before, after) if before != after => found.push(format!("{path}: {before} is {after}")),
        _ => {}
    }
}

fn keeps(before: &Value, after: &DynamicObject, when: &str) -> Result<()> {
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        lost(&before[part], &after.data[part], part, &mut found);
    }
    anyhow::ensure!(found.is_empty(), "{} {when}: {}", after.name_any(), found.join("; "));
    Ok(())
}

/// The operator's own types read it.
fn parses(kind: &str, object: &DynamicObject) -> Result<()> {
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = json!("serving.weighbridge.dev/v1alpha1");
    match kind {
        "ModelDeployment" => drop(serde_json::from_value::<ModelDeployment>(value)?),
        "ExternalProvider" => drop(serde_json::from_value::<ExternalProvider>(value)?),
        "ModelAccess" => drop(serde_json::from_value::<ModelAccess>(value)?),
        "ModelCache" => drop(serde_json::from_value::<ModelCache>(value)?),
        "ResourceProfile" => drop(serde_json::from_value::<ResourceProfile>(value)?),
        other => anyhow::bail!("nobody reads a {other}"),
    }
    Ok(())
}

#[tokio::test]
async fn what_the_chart_before_wrote_is_read_and_goes_to_a_later_version_and_back() -> Result<()> {
    let client = testbed::client().await?;
    let objects = objects()?;
    let before = definitions("upgrade/crds")?;
    let mut now = definitions("../crds/manifests")?;
    for old in &before {
        install(&client, old).await?;
        let (kind, name) = (&old.spec.names.kind, old.name_any());
        let ours: Vec<&Value> = objects.iter().filter(|object| object["kind"] == json!(kind)).collect();
        let version = &old.spec.versions[0];
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let spec = schema.and_then(|schema| schema.properties.as_ref()?.get("spec")).context("a schema")?;
        let mut known = Vec::new();
        fields(spec, "/spec", &mut known);
        let unused: Vec<_> =
            known.iter().filter(|path| ours.iter().all(|object| object.pointer(path).is_none())).collect();
        anyhow::ensure!(unused.is_empty(), "no object of tests/upgrade/objects.yaml has {unused:?}");
        for object in &ours {
            let mut written: DynamicObject = serde_json::from_value((*object).clone())?;
            let view = api(&client, old, NOW);
            written.types.as_mut().context("types")?.api_version = format!("{GROUP}/{NOW}");
            let made = view.create(&PostParams::default(), &written).await?;
            if !object["status"].is_null() {
                let status = json!({"status": object["status"]});
                view.patch_status(&made.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
            }
        }

        let new = now.iter_mut().find(|new| new.name_any() == name).context("the kind is still there")?;
        install(&client, new).await?;
        for object in &ours {
            let view = api(&client, new, NOW);
            let read = view.get(object["metadata"]["name"].as_str().context("a name")?).await?;
            keeps(object, &read, "after the upgrade")?;
            parses(kind, &read)?;
            // What reads it may also write it again: no new rule refuses what was taken.
            view.replace(&read.name_any(), &PostParams::default(), &read).await?;
        }

        let mut later = new.spec.versions[0].clone();
        later.name = LATER.to_owned();
        new.spec.versions[0].storage = false;
        new.spec.versions.push(later);
        install(&client, new).await?;
        for object in &ours {
            let (old, new) = (api(&client, new, NOW), api(&client, new, LATER));
            let read = new.get(object["metadata"]["name"].as_str().context("a name")?).await?;
            keeps(object, &read, "at the later version")?;
            // Written at the later version it is stored as such, and reads the same at the one before.
            let written = new.replace(&read.name_any(), &PostParams::default(), &read).await?;
            let back = old.get(&written.name_any()).await?;
            keeps(object, &back, "back at this version")?;
            parses(kind, &back)?;
        }

        // With nothing stored as it any more, the version before can go.
        let all: Api<CustomResourceDefinition> = Api::all(client.clone());
        let stored = json!({"status": {"storedVersions": [LATER]}});
        all.patch_status(&name, &PatchParams::default(), &Patch::Merge(stored)).await?;
        new.spec.versions.remove(0);
        install(&client, new).await?;
        for object in &ours {
            let view = api(&client, new, LATER);
            let read = view.get(object["metadata"]["name"].as_str().context("a name")?).await?;
            keeps(object, &read, "with the version before gone")?;
        }
        all.delete(&name, &DeleteParams::default()).await?;
    }
    assert_eq!(before.len(), 4);
    Ok(())
}
