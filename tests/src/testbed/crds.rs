//! Weighbridge's own resource types, applied as the chart would.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};

use super::wait;

/// Applies every `*.yaml` of `folder` and waits until the apiserver serves the types.
pub async fn apply(client: &Client, folder: &Path) -> Result<usize> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let definition: CustomResourceDefinition =
            serde_saphyr::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        let name = definition.name_any();
        let params = PatchParams::apply("testbed").force();
        api.patch(&name, &params, &Patch::Apply(&definition))
            .await
            .with_context(|| format!("apply {}", path.display()))?;
        names.push(name);
    }
    for name in &names {
        wait::until(&api, name, &format!("{name} to be served"), established).await?;
    }
    Ok(names.len())
}

fn established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}
