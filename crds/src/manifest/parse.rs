use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{CustomResourceExt, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{native, schema};
use crate::{ExternalProvider, ModelAccess, ModelCache, ModelDeployment, ResourceProfile};

/// One object of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// A model.
    ModelDeployment(Box<ModelDeployment>),
    /// An account at a closed API.
    ExternalProvider(Box<ExternalProvider>),
    /// A slice of hardware.
    ResourceProfile(Box<ResourceProfile>),
    /// Who may call.
    ModelAccess(Box<ModelAccess>),
    /// Weights kept on a claim.
    ModelCache(Box<ModelCache>),
    /// A Secret that one of the others names; with no cluster it lives in memory only.
    Secret(Box<Secret>),
    /// A ConfigMap that one of the others may name.
    ConfigMap(Box<ConfigMap>),
    /// An object of another API, such as a Namespace: a cluster's business, skipped without one.
    Other {
        /// `kind` of the object.
        kind: String,
        /// `metadata.name` of the object.
        name: String,
    },
}

/// A file that can't be used, with every problem of its first bad object.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// No object at all.
    #[error("the file holds no object: write a ModelDeployment")]
    Empty,
    /// Not an object of Kubernetes.
    #[error("object {index} has no {field}: set it")]
    Untyped {
        /// Position in the file, from 1.
        index: usize,
        /// The missing field.
        field: &'static str,
    },
    /// A kind of our group that does not exist in this version.
    #[error(
        "object {index}: {api_version} has no kind {kind}: write apiVersion serving.weighbridge.dev/v1alpha1 and kind ModelDeployment, ExternalProvider, ModelAccess, ModelCache or ResourceProfile"
    )]
    UnknownKind {
        /// Position in the file, from 1.
        index: usize,
        /// `apiVersion` as written.
        api_version: String,
        /// `kind` as written.
        kind: String,
    },
    /// The object breaks its schema or a rule.
    #[error("{kind} {name:?}: {}", problems.join("; "))]
    Invalid {
        /// `kind` of the object.
        kind: String,
        /// `metadata.name` of the object.
        name: String,
        /// Each names a field and the fix.
        problems: Vec<String>,
    },
    /// Two objects that a cluster would hold as one.
    #[error("{kind} {name} is in the file twice: remove one, or give it another metadata.name")]
    Twice {
        /// `kind` of both.
        kind: String,
        /// `namespace/name`, or the name alone where the kind has no namespace.
        name: String,
    },
}

impl Manifest {
    /// Kind and name under which a cluster would hold it; none for what is skipped.
    fn identity(&self) -> Option<(&'static str, String)> {
        let within = |metadata: &ObjectMeta| {
            let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
            format!("{}/{}", namespace.unwrap_or("default"), metadata.name.as_deref().unwrap_or_default())
        };
        match self {
            Manifest::ModelDeployment(model) => Some(("ModelDeployment", within(model.meta()))),
            Manifest::ExternalProvider(provider) => Some(("ExternalProvider", within(provider.meta()))),
            Manifest::ModelAccess(access) => Some(("ModelAccess", within(access.meta()))),
            Manifest::ModelCache(cache) => Some(("ModelCache", within(cache.meta()))),
            Manifest::ResourceProfile(profile) => Some(("ResourceProfile", profile.name_any())),
            Manifest::Secret(secret) => Some(("Secret", within(secret.meta()))),
            Manifest::ConfigMap(map) => Some(("ConfigMap", within(map.meta()))),
            Manifest::Other { .. } => None,
        }
    }
}

/// Reads every object of a file as strictly as the apiserver would.
///
/// # Errors
/// The first object that can't be used, with all its problems; or two of one kind and name.
pub fn parse(text: &str) -> Result<Vec<Manifest>, ManifestError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| ManifestError::Yaml(error.to_string()))?;
    let objects: Vec<_> = documents.into_iter().filter(|document| !document.is_null()).collect();
    if objects.is_empty() {
        return Err(ManifestError::Empty);
    }
    let numbered = objects.into_iter().enumerate();
    let manifests: Vec<Manifest> =
        numbered.map(|(position, object)| one(position + 1, object)).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    for (kind, name) in manifests.iter().filter_map(Manifest::identity) {
        if !seen.insert((kind, name.clone())) {
            return Err(ManifestError::Twice { kind: kind.to_owned(), name });
        }
    }
    Ok(manifests)
}

fn one(index: usize, object: Value) -> Result<Manifest, ManifestError> {
    let text = |field: &'static str, pointer: &str| {
        let found = object.pointer(pointer).and_then(Value::as_str).filter(|found| !found.is_empty());
        found.map(str::to_owned).ok_or(ManifestError::Untyped { index, field })
    };
    let (api_version, kind) = (text("apiVersion", "/apiVersion")?, text("kind", "/kind")?);
    let name = text("metadata.name", "/metadata/name")?;
    match (api_version.as_str(), kind.as_str()) {
        ("serving.weighbridge.dev/v1alpha1", "ModelDeployment") => {
            let model: ModelDeployment = strict(kind, name, object)?;
            ruled(model.validate_cel(), model, Manifest::ModelDeployment)
        }
        ("serving.weighbridge.dev/v1alpha1", "ExternalProvider") => {
            let provider: ExternalProvider = strict(kind, name, object)?;
            ruled(provider.validate_cel(), provider, Manifest::ExternalProvider)
        }
        ("serving.weighbridge.dev/v1alpha1", "ResourceProfile") => {
            let profile: ResourceProfile = strict(kind, name, object)?;
            ruled(profile.validate_cel(), profile, Manifest::ResourceProfile)
        }
        ("serving.weighbridge.dev/v1alpha1", "ModelAccess") => {
            let access: ModelAccess = strict(kind, name, object)?;
            ruled(access.validate_cel(), access, Manifest::ModelAccess)
        }
        ("serving.weighbridge.dev/v1alpha1", "ModelCache") => {
            let cache: ModelCache = strict(kind, name, object)?;
            ruled(cache.validate_cel(), cache, Manifest::ModelCache)
        }
        ("v1", "Secret") => secret(kind, name, object),
        ("v1", "ConfigMap") => config_map(kind, name, object),
        (ours, _) if ours.starts_with("serving.weighbridge.dev/") => {
            Err(ManifestError::UnknownKind { index, api_version, kind })
        }
        _ => Ok(Manifest::Other { kind, name }),
    }
}

fn strict<T: CustomResourceExt + DeserializeOwned>(
    kind: String,
    name: String,
    mut object: Value,
) -> Result<T, ManifestError> {
    if let Some(metadata) = object.get_mut("metadata") {
        native::drop_nulls(metadata);
    }
    let crd = T::crd();
    let root: Option<&JSONSchemaProps> =
        crd.spec.versions.first().and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let mut root = root.cloned().unwrap_or_default();
    // The apiserver types these itself: a CRD's schema does not list them.
    let own = [
        ("apiVersion", native::schema_of::<String>()),
        ("kind", native::schema_of::<String>()),
        ("metadata", native::schema_of::<ObjectMeta>()),
    ];
    root.properties.get_or_insert_default().extend(own.map(|(field, schema)| (field.to_owned(), schema)));
    read(kind, name, schema::problems(&root, &object), object)
}

/// As strict as with our own kinds. No problem repeats a value: it may be a key.
fn secret(kind: String, name: String, mut object: Value) -> Result<Manifest, ManifestError> {
    native::drop_nulls(&mut object);
    let mut problems = schema::problems(&native::schema_of::<Secret>(), &object);
    if problems.is_empty() {
        problems = native::not_base64(&object);
    }
    read(kind, name, problems, object).map(|secret| Manifest::Secret(Box::new(secret)))
}

fn config_map(kind: String, name: String, mut object: Value) -> Result<Manifest, ManifestError> {
    native::drop_nulls(&mut object);
    let problems = schema::problems(&native::schema_of::<ConfigMap>(), &object);
    read(kind, name, problems, object).map(|map| Manifest::ConfigMap(Box::new(map)))
}

fn read<T: DeserializeOwned>(
    kind: String,
    name: String,
    mut problems: Vec<String>,
    object: Value,
) -> Result<T, ManifestError> {
    if problems.is_empty() {
        match serde_json::from_value(object) {
            Ok(parsed) => return Ok(parsed),
            Err(error) => problems.push(error.to_string()),
        }
    }
    Err(ManifestError::Invalid { kind, name, problems })
}

fn ruled<T: kube::Resource<DynamicType = ()>>(
    verdict: Result<(), kube::core::cel::ValidationErrors>,
    object: T,
    wrap: impl Fn(Box<T>) -> Manifest,
) -> Result<Manifest, ManifestError> {
    match verdict {
        Ok(()) => Ok(wrap(Box::new(object))),
        Err(errors) => Err(ManifestError::Invalid {
            kind: T::kind(&()).into_owned(),
            name: object.name_any(),
            problems: errors.iter().map(ToString::to_string).collect(),
        }),
    }
}
