use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use crate::validate::Refusal;
use weighbridge_crds::condition::Reason;

/// Longest `metadata.name` of a parent. CEL in the CRD says the same.
pub const LONGEST_NAME: usize = 40;

/// Longest suffix that a child's name adds: `-inspect-` and the ten characters of an inspection.
const LONGEST_SUFFIX: usize = 19;

// A Service's name is a DNS label, and every child's name must leave room for its parent's.
const _: () = assert!(LONGEST_NAME + LONGEST_SUFFIX <= 63);

/// Parent of children: identity that apply, events and labels are made from.
///
/// Guarantees: name fits every child's name; namespace and UID are not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    generation: i64,
    version: Option<String>,
}

impl Owner {
    /// Takes the identity of `parent`.
    ///
    /// # Errors
    /// A name that children can't be made from, or an object that no server has stored.
    pub fn of<K>(parent: &K) -> Result<Owner, Refusal>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let meta = parent.meta();
        let text = |value: &Option<String>, field: &str| {
            value.clone().filter(|value| !value.is_empty()).ok_or_else(|| {
                Refusal::new(
                    Reason::InvalidSpec,
                    format!("metadata.{field} is empty: the object was never stored"),
                )
            })
        };
        let name = text(&meta.name, "name")?;
        let characters =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let ends = name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.ends_with('-');
        if name.len() > LONGEST_NAME || !characters || !ends {
            return Err(Refusal::new(
                Reason::InvalidSpec,
                format!(
                    "metadata.name {name:?} must begin with a letter, hold only a-z, 0-9 and '-', \
                     and have at most {LONGEST_NAME} characters: the names of children are made from it"
                ),
            ));
        }
        Ok(Owner {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: text(&meta.namespace, "namespace")?,
            name,
            uid: text(&meta.uid, "uid")?,
            generation: meta.generation.unwrap_or_default(),
            version: meta.resource_version.clone(),
        })
    }

    /// Kind of the parent.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Namespace of the parent and of every child.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name of the parent.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// UID of the parent: children are told apart by it, never by name.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// `metadata.generation` of the spec that a decision was made on.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// `metadata.resourceVersion` of spec and status together that a decision was made on.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The owner reference on every child.
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    /// The parent as Events name it.
    pub fn object_reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(self.api_version.clone()),
            kind: Some(self.kind.clone()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }

    /// Whether `child` is controlled by this very parent.
    pub fn owns<K: Resource>(&self, child: &K) -> bool {
        controller_uid(child) == Some(&self.uid)
    }
}

/// UID of the controller of `child`.
pub fn controller_uid<K: Resource>(child: &K) -> Option<&str> {
    let owners = child.meta().owner_references.iter().flatten();
    owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}
