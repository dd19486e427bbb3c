use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weighbridge_crds::ResourceProfile;
use weighbridge_crds::labels::{self, MANAGED_BY};

use super::added::{drift, removal};
use super::compare::differences;
use super::{ApplyError, CallError, Caller, Change, Settled, Verb};
use crate::events::Events;
use crate::owner::{Owner, controller_uid};
use crate::plan::{ChildKind, Guard, Removal, answers, has_ready};
use crate::validate::ProfileSeen;

/// A version that no object has: where one is there, server-side apply that demands this one is refused as a conflict; where
/// none is, it is made. etcd gives its first revisions to the apiserver's own objects.
const NOT_THERE: &str = "1";

/// What apply needs for every parent.
pub struct Means {
    /// The apiserver.
    pub client: Client,
    /// The one way to it.
    pub caller: Caller,
    /// Children that the server keeps otherwise than asked.
    pub settled: Settled,
    /// Tells people what was written.
    pub events: Events,
}

/// A namespaced kind of child.
pub trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug
{
}

impl<K> Child for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
{
}

/// One pass over the children of one parent.
///
/// Guarantees: a cached view only says that there may be something to do. Before the first write the parent
/// is read from the server, and before each write the child; what does not hold there is not written.
pub struct Pass<'a, P> {
    means: &'a Means,
    owner: &'a Owner,
    parent: Api<PartialObjectMeta<P>>,
    /// Whether its status must be as it was seen too, and not the spec alone.
    exact: bool,
    confirmed: bool,
    /// Whether nobody has looked at the parent before.
    first: bool,
    /// What was written, in order.
    pub changes: Vec<Change>,
}

impl<'a, P> Pass<'a, P>
where
    P: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    /// A pass that has written nothing.
    pub fn new(means: &'a Means, owner: &'a Owner) -> Self {
        let parent = Api::namespaced(means.client.clone(), owner.namespace());
        Pass { means, owner, parent, exact: false, confirmed: false, first: false, changes: Vec::new() }
    }

    /// What is written from now on leans on the parent's status too, where `exact`.
    pub fn lean_on_status(&mut self, exact: bool) {
        self.confirmed &= self.exact || !exact;
        self.exact = exact;
    }

    /// Nobody has looked at the parent before, so that all is to be made: it is read before anything is written, beside other
    /// reads, and what no view shows is made without asking first. What is found amiss, or not found out, the first write
    /// asks again.
    pub async fn look_ahead(&mut self) {
        self.first = true;
        self.confirmed = matches!(self.parent_is_current().await, Ok(true));
    }

    /// Makes `desired` so, and returns the server's view of it. Writes nothing where `observed` is so already.
    pub async fn ensure<K: Child>(
        &mut self,
        desired: &K,
        observed: &[Arc<K>],
        why: &str,
    ) -> Result<K, ApplyError> {
        let (name, wanted) = (desired.name_any(), value(desired));
        let seen = observed.iter().find(|seen| seen.name_any() == name);
        if let Some(seen) = seen
            && self.is_ours(&**seen)
            && self.suffices(&wanted, &**seen)
        {
            return Ok((**seen).clone());
        }
        // Boxed: its calls make a large future, and most reconciles end above.
        Box::pin(self.make(&name, wanted, seen.is_none(), why)).await
    }

    async fn make<K: Child>(
        &mut self,
        name: &str,
        wanted: Value,
        unseen: bool,
        why: &str,
    ) -> Result<K, ApplyError> {
        let (api, kind) = (self.api::<K>(), K::kind(&()));
        if unseen
            && self.first
            && let Some(made) = self.add(&api, name, &wanted).await?
        {
            self.note(Verb::Created, &kind, name, why);
            return Ok(made);
        }
        // At once, for both are needed and neither depends on the other.
        let live = self.means.caller.read(&kind, api.get_opt(name));
        let (parent, live) = futures::join!(self.parent_is_current(), live);
        self.confirm(parent?)?;
        match live? {
            None => {
                self.keeps_image_volumes(&api, name, &wanted).await?;
                let made = self.patch(&api, name, &anew(&wanted), false).await?;
                self.note(Verb::Created, &kind, name, why);
                Ok(made)
            }
            Some(live) => self.correct(&api, live, wanted).await,
        }
    }

    /// Makes what no view shows, without asking first: the apiserver refuses it where an object of that name is there after
    /// all, and then there is none. Not done again and again, for a write that is refused is one for everybody who counts them.
    async fn add<K: Child>(
        &mut self,
        api: &Api<K>,
        name: &str,
        wanted: &Value,
    ) -> Result<Option<K>, ApplyError> {
        let current = self.parent_is_current().await?;
        self.confirm(current)?;
        self.keeps_image_volumes(api, name, wanted).await?;
        match self.patch(api, name, &anew(wanted), false).await {
            Ok(made) => Ok(Some(made)),
            Err(ApplyError::Call(error)) if error.status().is_some_and(|status| status.code == 409) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn correct<K: Child>(&mut self, api: &Api<K>, live: K, mut wanted: Value) -> Result<K, ApplyError> {
        let (kind, name) = (K::kind(&()), live.name_any());
        if !self.is_ours(&live) {
            return Err(ApplyError::NotOwned { kind: kind.into_owned(), name, owner: owner_in_words(&live) });
        }
        if live.meta().deletion_timestamp.is_some() {
            return Err(ApplyError::Terminating { kind: kind.into_owned(), name });
        }
        let found = drift(&wanted, &value(&live));
        let uid = live.uid().unwrap_or_default();
        if found.is_empty() || self.means.settled.knows(&uid, &wanted, &value(&live)) {
            return Ok(live);
        }
        let asked = wanted.clone();
        // The UID is the precondition: an object of the same name made meanwhile is not touched.
        wanted["metadata"]["uid"] = json!(uid);
        let made = if differences(&asked, &value(&live)).is_empty() {
            live
        } else {
            self.patch(api, &name, &wanted, true).await?
        };
        let made = self.take_out(api, &name, &asked, made).await?;
        if drift(&asked, &value(&made)).is_empty() {
            self.means.settled.forget(&uid);
        } else {
            self.means.settled.remember(&uid, &asked, &value(&made));
        }
        self.note(Verb::Updated, &kind, &name, &format!("not as planned: {}", found.join(", ")));
        Ok(made)
    }

    /// Takes out of `made` what somebody has added, which server-side apply leaves.
    async fn take_out<K: Child>(
        &self,
        api: &Api<K>,
        name: &str,
        wanted: &Value,
        made: K,
    ) -> Result<K, ApplyError> {
        let Some(patch) = removal(wanted, &value(&made)) else { return Ok(made) };
        let parameters = PatchParams { field_manager: Some(MANAGED_BY.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        Ok(self.means.caller.write("patch", &K::kind(&()), api.patch(name, &parameters, &patch)).await?)
    }

    /// Writes `wanted` over whatever is there, if that is ours: for what is made anew each time, so that there is nothing
    /// to compare. What is there is not read, but for whose it is; nor that, on a first look, where there was none when it was
    /// looked for (`unseen`).
    pub async fn replace<K: Child>(&mut self, wanted: &K, unseen: bool, why: &str) -> Result<(), ApplyError> {
        let (name, mut body) = (wanted.name_any(), value(wanted));
        let (api, kind) = (self.api::<K>(), K::kind(&()));
        if unseen && self.first && self.add(&api, &name, &body).await?.is_some() {
            self.note(Verb::Created, &kind, &name, why);
            return Ok(());
        }
        let owners: Api<PartialObjectMeta<K>> =
            Api::namespaced(self.means.client.clone(), self.owner.namespace());
        let live = self.means.caller.read(&kind, owners.get_opt(&name));
        let (parent, live) = futures::join!(self.parent_is_current(), live);
        self.confirm(parent?)?;
        let verb = match &live? {
            None => {
                body = anew(&body);
                Verb::Created
            }
            Some(live) if !self.is_ours(live) => {
                let owner = owner_in_words(live);
                return Err(ApplyError::NotOwned { kind: kind.into_owned(), name, owner });
            }
            Some(live) if live.meta().deletion_timestamp.is_some() => {
                return Err(ApplyError::Terminating { kind: kind.into_owned(), name });
            }
            Some(live) => {
                // The UID is the precondition: an object of the same name made meanwhile is not touched.
                body["metadata"]["uid"] = json!(live.uid().unwrap_or_default());
                Verb::Updated
            }
        };
        self.patch(&api, &name, &body, verb == Verb::Updated).await?;
        self.note(verb, &kind, &name, why);
        Ok(())
    }

    /// Makes `desired` unless one of ours is there, which is left as it is: for what can't be changed once it is made.
    pub async fn once<K: Child>(&mut self, desired: &K, why: &str) -> Result<(), ApplyError> {
        let (name, api, kind) = (desired.name_any(), self.api::<K>(), K::kind(&()));
        let live = self.means.caller.read(&kind, api.get_opt(&name));
        let (parent, live) = futures::join!(self.parent_is_current(), live);
        self.confirm(parent?)?;
        match live? {
            None => {
                let wanted = value(desired);
                self.keeps_image_volumes(&api, &name, &wanted).await?;
                self.patch(&api, &name, &anew(&wanted), false).await?;
                self.note(Verb::Created, &kind, &name, why);
                Ok(())
            }
            Some(live) if !self.is_ours(&live) => {
                Err(ApplyError::NotOwned { kind: kind.into_owned(), name, owner: owner_in_words(&live) })
            }
            Some(live) if live.meta().deletion_timestamp.is_some() => {
                Err(ApplyError::Terminating { kind: kind.into_owned(), name })
            }
            Some(_) => Ok(()),
        }
    }

    /// Deletes what a plan wants gone, if its guard still holds on the server.
    pub async fn remove(&mut self, removal: &Removal) -> Result<(), ApplyError> {
        let Removal { kind, name, uid, guard, why } = removal;
        let current = self.parent_is_current().await?;
        self.confirm(current)?;
        let (kind_name, version) = match kind {
            ChildKind::Deployment => {
                ("Deployment", self.version_to_delete::<Deployment>(name, uid, guard, answers).await?)
            }
            ChildKind::Service => {
                ("Service", self.version_to_delete::<Service>(name, uid, guard, |_| true).await?)
            }
            ChildKind::NetworkPolicy => {
                ("NetworkPolicy", self.version_to_delete::<NetworkPolicy>(name, uid, guard, |_| true).await?)
            }
            ChildKind::ControllerRevision => (
                "ControllerRevision",
                self.version_to_delete::<ControllerRevision>(name, uid, guard, |_| true).await?,
            ),
            ChildKind::Job => ("Job", self.version_to_delete::<Job>(name, uid, guard, |_| true).await?),
            ChildKind::Pod => ("Pod", self.version_to_delete::<Pod>(name, uid, guard, |_| true).await?),
        };
        let Some(resource_version) = version else { return Ok(()) };
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.clone()),
                resource_version: Some(resource_version),
            }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        match kind {
            ChildKind::Deployment => self.delete::<Deployment>(name, &parameters).await?,
            ChildKind::Service => self.delete::<Service>(name, &parameters).await?,
            ChildKind::NetworkPolicy => self.delete::<NetworkPolicy>(name, &parameters).await?,
            ChildKind::ControllerRevision => self.delete::<ControllerRevision>(name, &parameters).await?,
            ChildKind::Job => self.delete::<Job>(name, &parameters).await?,
            ChildKind::Pod => self.delete::<Pod>(name, &parameters).await?,
        }
        self.means.settled.forget(uid);
        self.note(Verb::Deleted, kind_name, name, why);
        Ok(())
    }

    /// The resourceVersion to delete at, or none where there is nothing to delete any more.
    async fn version_to_delete<K: Child>(
        &self,
        name: &str,
        uid: &str,
        guard: &Guard,
        answers: impl Fn(&K) -> bool,
    ) -> Result<Option<String>, ApplyError> {
        let kind = K::kind(&());
        let live = self.means.caller.read(&kind, self.api::<K>().get_opt(name)).await?;
        let Some(live) = live.filter(|live| live.uid().as_deref() == Some(uid) && self.owner.owns(live))
        else {
            return Ok(None);
        };
        if live.meta().deletion_timestamp.is_some() {
            return Ok(None);
        }
        let holds = match guard {
            Guard::SpecOnly => true,
            Guard::ProfileUnchanged(seen) => {
                let profiles: Api<PartialObjectMeta<ResourceProfile>> = Api::all(self.means.client.clone());
                let live = self.means.caller.read("ResourceProfile", profiles.get_opt(&seen.name)).await?;
                live.is_some_and(|live| ProfileSeen::of(&live.metadata) == *seen)
            }
            Guard::NothingReady => !answers(&live),
            Guard::ReplacedBy { name, ready } => {
                let new =
                    self.means.caller.read("Deployment", self.api::<Deployment>().get_opt(name)).await?;
                new.is_some_and(|new| self.owner.owns(&new) && has_ready(&new, *ready))
            }
        };
        if holds {
            Ok(live.resource_version())
        } else {
            Err(ApplyError::GuardBroken { name: name.to_owned() })
        }
    }

    async fn delete<K: Child>(&self, name: &str, parameters: &DeleteParams) -> Result<(), ApplyError> {
        let api = self.api::<K>();
        let deleted = self.means.caller.write("delete", &K::kind(&()), api.delete(name, parameters)).await;
        match deleted {
            Ok(_) => Ok(()),
            Err(error) if error.status().is_some_and(|status| status.code == 404) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// An apiserver that serves no image volumes drops them, and their mounts, without a word: it is asked beforehand what it
    /// would make of them.
    async fn keeps_image_volumes<K: Child>(
        &self,
        api: &Api<K>,
        name: &str,
        wanted: &Value,
    ) -> Result<(), ApplyError> {
        let asked = image_volumes(wanted);
        if asked == 0 {
            return Ok(());
        }
        let parameters = PatchParams { dry_run: true, ..PatchParams::apply(MANAGED_BY) };
        let body = Patch::Apply(wanted);
        let kept = self.means.caller.read(&K::kind(&()), api.patch(name, &parameters, &body)).await?;
        if image_volumes(&value(&kept)) == asked { Ok(()) } else { Err(ApplyError::NoImageVolumes) }
    }

    async fn patch<K: Child>(
        &self,
        api: &Api<K>,
        name: &str,
        body: &Value,
        force: bool,
    ) -> Result<K, ApplyError> {
        let parameters = PatchParams { force, ..PatchParams::apply(MANAGED_BY) };
        let body = Patch::Apply(body);
        Ok(self.means.caller.write("apply", &K::kind(&()), api.patch(name, &parameters, &body)).await?)
    }

    /// The cached parent must be the one on the server: a decision on an old spec is never written, nor one on an old status.
    async fn parent_is_current(&self) -> Result<bool, CallError> {
        if self.confirmed {
            return Ok(true);
        }
        let live = self.means.caller.read(self.owner.kind(), self.parent.get_opt(self.owner.name())).await?;
        Ok(live.is_some_and(|live| {
            let meta = &live.metadata;
            meta.uid.as_deref() == Some(self.owner.uid())
                && meta.generation == Some(self.owner.generation())
                && (!self.exact || meta.resource_version.as_deref() == self.owner.version())
                && meta.deletion_timestamp.is_none()
        }))
    }

    fn confirm(&mut self, current: bool) -> Result<(), ApplyError> {
        self.confirmed = current;
        if current { Ok(()) } else { Err(ApplyError::StaleParent) }
    }

    fn suffices<K: Child>(&self, wanted: &Value, seen: &K) -> bool {
        let seen_value = value(seen);
        seen.meta().deletion_timestamp.is_none()
            && (drift(wanted, &seen_value).is_empty()
                || self.means.settled.knows(seen.uid().as_deref().unwrap_or_default(), wanted, &seen_value))
    }

    /// Ours by owner reference, or ours by label with the owner reference taken off by somebody.
    fn is_ours<K: Resource>(&self, live: &K) -> bool {
        let marked = [labels::MODEL_UID, labels::PROVIDER_UID, labels::CACHE_UID]
            .into_iter()
            .any(|key| live.labels().get(key).is_some_and(|uid| uid == self.owner.uid()));
        self.owner.owns(live) || (controller_uid(live).is_none() && marked)
    }

    fn api<K: Child>(&self) -> Api<K> {
        Api::namespaced(self.means.client.clone(), self.owner.namespace())
    }

    fn note(&mut self, verb: Verb, kind: &str, name: &str, why: &str) {
        let change = Change { verb, child: format!("{kind} {name}"), why: why.to_owned() };
        tracing::info!(parent = %format!("{} {}/{}", self.owner.kind(), self.owner.namespace(), self.owner.name()), %change);
        self.changes.push(change);
    }
}

/// Children are maps with string keys: turning one into a value can't fail.
fn value<K: Serialize>(object: &K) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// `wanted` as it is made where nothing is. What somebody makes in this very moment is a conflict and not ours to take; and a
/// call that arrives when it was given up long ago does nothing to what was made since.
fn anew(wanted: &Value) -> Value {
    let mut body = wanted.clone();
    body["metadata"]["resourceVersion"] = json!(NOT_THERE);
    body
}

/// Image volumes of a pod, or of a pod's template.
fn image_volumes(object: &Value) -> usize {
    let volumes =
        ["/spec/volumes", "/spec/template/spec/volumes"].into_iter().filter_map(|path| object.pointer(path));
    volumes.filter_map(Value::as_array).flatten().filter(|volume| !volume["image"].is_null()).count()
}

fn owner_in_words<K: Resource>(live: &K) -> String {
    let owner = live.meta().owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    owner.map_or_else(|| "nobody we know".to_owned(), |owner| format!("{} {}", owner.kind, owner.name))
}
