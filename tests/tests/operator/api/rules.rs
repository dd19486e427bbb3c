//! The rules of a CRD, held against what the apiserver refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use kube::core::Status;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::harness::apply;

/// One of `x-kubernetes-validations`: the field that it blames, without the places in lists, and what it says.
type Rule = (String, String);

/// The CRD of a kind: its rules that refused nothing yet, and the fields that rules blame which no good case has set yet.
pub struct Rules<K> {
    api: Api<K>,
    left: BTreeSet<Rule>,
    unset: BTreeSet<String>,
}

impl<K> Rules<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    pub fn of(api: Api<K>) -> Result<Self> {
        let kind = K::kind(&());
        let mut manifests = manifests()?;
        let schema = manifests.remove(&*kind).with_context(|| format!("no manifest of {kind}"))?;
        let mut left = BTreeSet::new();
        walk("", &schema, &mut left);
        let unset = left.iter().map(|(field, _)| field.clone()).collect();
        Ok(Self { api, left, unset })
    }

    /// The apiserver refuses an object with these words in what it says, which is returned.
    pub async fn refuse(&mut self, name: &str, spec: Value, words: &str) -> Result<String> {
        let said = self.answer(name, &spec).await?;
        Ok(self.refused(said, &spec, words))
    }

    /// It refuses to change the object to this spec.
    pub async fn refuse_change(&mut self, name: &str, spec: Value, words: &str) -> Result<()> {
        let said = match apply(&self.api, name, json!({"spec": spec})).await {
            Ok(_) => None,
            Err(error) => Some(status(error.downcast::<kube::Error>()?)?),
        };
        self.refused(said, &spec, words);
        Ok(())
    }

    /// It takes an object.
    pub async fn take(&mut self, name: &str, spec: Value) -> Result<()> {
        let said = self.answer(name, &spec).await?;
        assert!(said.is_none(), "{spec}: {said:?}");
        for always in ["", "metadata.name"] {
            self.unset.remove(always);
        }
        set("spec", &spec, &mut self.unset);
        Ok(())
    }

    /// Fails for a rule that no case names, and for one that refuses none; and where a field that a rule blames is in no
    /// case that is taken.
    pub fn each_had_its_cases(&self) {
        assert!(self.left.is_empty(), "no case is refused in the words of these rules: {:#?}", self.left);
        assert!(self.unset.is_empty(), "no case that sets these is taken: {:#?}", self.unset);
    }

    async fn answer(&self, name: &str, spec: &Value) -> Result<Option<Status>> {
        let url = format!("{}?dryRun=All&fieldValidation=Strict", self.api.resource_url());
        let body = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()),
            "metadata": {"name": name}, "spec": spec});
        let request = http::Request::post(url).header("content-type", "application/json");
        let request = request.body(serde_json::to_vec(&body)?)?;
        match self.api.clone().into_client().request::<K>(request).await {
            Ok(_) => Ok(None),
            Err(error) => status(error).map(Some),
        }
    }

    fn refused(&mut self, said: Option<Status>, spec: &Value, words: &str) -> String {
        let said = said.unwrap_or_default();
        assert!(said.message.contains(words), "{spec}: {words:?} is not in {:?}", said.message);
        for cause in said.details.into_iter().flat_map(|details| details.causes) {
            let field = without_places(&cause.field);
            self.left.retain(|(path, rule)| {
                !(rule.contains(words) && *path == field && cause.message.ends_with(rule.as_str()))
            });
        }
        said.message
    }
}

/// What the apiserver said, where it is that which refused.
fn status(error: kube::Error) -> Result<Status> {
    match error {
        kube::Error::Api(status) => Ok(*status),
        other => Err(other.into()),
    }
}

/// The schema of each kind.
fn manifests() -> Result<BTreeMap<String, Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/manifests");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let manifest: Value = serde_saphyr::from_str(&fs::read_to_string(entry?.path())?)?;
        let kind = manifest["spec"]["names"]["kind"].as_str().context("a kind")?;
        let schema = &manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        found.insert(kind.to_owned(), schema.clone());
    }
    Ok(found)
}

fn walk(path: &str, schema: &Value, found: &mut BTreeSet<Rule>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let field = format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default());
        let message = rule["message"].as_str().unwrap_or("a rule without a message");
        found.insert((field.trim_start_matches('.').to_owned(), message.to_owned()));
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), inner, found);
    }
    for inner in
        ["items", "additionalProperties"].map(|name| &schema[name]).into_iter().filter(|it| it.is_object())
    {
        walk(path, inner, found);
    }
}

/// Takes what `value` sets out of `unset`.
fn set(path: &str, value: &Value, unset: &mut BTreeSet<String>) {
    unset.remove(path);
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, inner)| set(&format!("{path}.{name}"), inner, unset));
        }
        Value::Array(items) => items.iter().for_each(|inner| set(path, inner, unset)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `spec.steps[0].traffic` is `spec.steps.traffic`, and the object itself is nothing.
fn without_places(field: &str) -> String {
    let mut pieces = field.split('[');
    let first = pieces.next().unwrap_or_default().trim_start_matches("<nil>");
    let rest = pieces.map(|piece| piece.split_once(']').map_or("", |(_, after)| after));
    std::iter::once(first).chain(rest).collect()
}

#[test]
fn each_kind_has_its_cases() -> Result<()> {
    let kinds: Vec<String> = manifests()?.into_keys().collect();
    // Each of these ends its cases with `each_had_its_cases`: a new kind gets a file of its own beside this one.
    let known = ["ExternalProvider", "ModelAccess", "ModelCache", "ModelDeployment", "ResourceProfile"];
    assert_eq!(kinds, known);
    Ok(())
}
