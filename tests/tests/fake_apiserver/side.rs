//! One of the two apiservers: what is sent to it, and what it makes of that.

use std::fmt;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
    WatchEvent, WatchParams,
};
use kube::client::Body;
use kube::core::Request;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;
use weighbridge_tests::testbed::wait;

use super::draw::{OWNERS, Subject, Uid, Verb, Version, Write};

/// What is written to.
const NAME: &str = "drawn";
/// What is made when all is written, so that a watch ends.
const LAST: &str = "last";
/// Who writes whole.
const WRITER: &str = "writer";
/// A UID that no object has.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// One apiserver.
pub struct Side {
    client: Client,
    subject: &'static Subject,
    request: Request,
    api: Api<DynamicObject>,
    owners: Vec<String>,
    /// The revision at which its sequence began.
    began: String,
    /// The object as it was last, if it was ever there.
    last: Option<Value>,
    uids: Vec<String>,
    versions: Vec<String>,
}

/// What became of a write.
#[derive(Debug)]
pub struct Outcome {
    /// The HTTP status.
    pub code: u16,
    reason: String,
    /// Fields that are refused, of those that this apiserver names.
    refused: Vec<String>,
    answer: Value,
    state: Option<State>,
}

/// An object as it is now.
#[derive(Debug)]
struct State {
    object: Value,
    generation: Option<i64>,
    /// Which of the objects of this name it is, and how often those were written.
    uid: usize,
    version: usize,
}

impl Outcome {
    /// Whether the same became of it.
    pub fn is_like(&self, other: &Outcome) -> bool {
        let Outcome { code, reason, refused, answer, state } = self;
        let states = match (state, &other.state) {
            (Some(state), Some(other)) => state.is_like(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        states
            && (*code, reason, refused, answer) == (other.code, &other.reason, &other.refused, &other.answer)
    }
}

impl State {
    fn is_like(&self, other: &State) -> bool {
        let State { object, generation, uid, version } = self;
        // Not every kind has generations on the real one.
        let generations =
            generation.is_none() || other.generation.is_none() || *generation == other.generation;
        generations && (object, uid, version) == (&other.object, &other.uid, &other.version)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { code, reason, refused, answer, state } = self;
        write!(f, "{code} {reason} {refused:?} {answer}; then ")?;
        match state {
            Some(State { object, generation, uid, version }) => {
                write!(f, "object {uid}, version {version}, generation {generation:?}: {object}")
            }
            None => write!(f, "nothing"),
        }
    }
}

impl Side {
    /// Of `subject` in `namespace`, where nothing of it is.
    pub async fn new(
        client: Client,
        subject: &'static Subject,
        namespace: &str,
        owners: &[String],
    ) -> Result<Self> {
        let resource = ApiResource {
            group: subject.group.to_owned(),
            version: subject.version.to_owned(),
            api_version: subject.api_version(),
            kind: subject.kind.to_owned(),
            plural: subject.plural.to_owned(),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let request = Request::new(api.resource_url());
        let (owners, began, last, uids, versions) =
            (owners.to_vec(), String::new(), None, Vec::new(), Vec::new());
        let mut side = Side { client, subject, request, api, owners, began, last, uids, versions };
        // One that failed has left something.
        side.clear().await?;
        (side.last, side.uids, side.versions) = (None, Vec::new(), Vec::new());
        let listed = side.api.list(&ListParams::default()).await?;
        side.began = listed.metadata.resource_version.context("a list has a revision")?;
        Ok(side)
    }

    /// Sends `write`.
    pub async fn send(&mut self, write: &Write) -> Result<Outcome> {
        let (code, answer) = self.answer(self.asked(write)?).await?;
        let refusal = code >= 400;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let causes = answer["details"]["causes"].as_array().into_iter().flatten();
        let mut refused: Vec<_> =
            causes.map(|cause| text(&cause["field"])).filter(|field| field == "metadata.uid").collect();
        // The real one says some of it twice.
        refused.dedup();
        let told = !refusal && write.verb != Verb::Delete;
        Ok(Outcome {
            code,
            reason: if refusal { text(&answer["reason"]) } else { String::new() },
            refused,
            answer: if told { self.reduced(&answer) } else { Value::Null },
            state: self.look().await?,
        })
    }

    /// Takes away what is left, and returns every event since the beginning.
    pub async fn end(mut self) -> Result<Vec<(&'static str, Value)>> {
        self.clear().await?;
        let last = self.whole(self.subject.least(), LAST);
        let made = self.request.create(&PostParams::default(), last.to_string().into_bytes())?;
        let (code, answer) = self.answer(made).await?;
        ensure!(code == 201, "{answer}");
        let watched = timeout(wait::DEADLINE, self.watch()).await.context("the last event does not come")?;
        let deleted = self.request.delete(LAST, &DeleteParams::default())?;
        let (code, answer) = self.answer(deleted).await?;
        ensure!(code == 200, "{answer}");
        watched
    }

    async fn watch(&self) -> Result<Vec<(&'static str, Value)>> {
        let mut events = self.api.watch(&WatchParams::default(), &self.began).await?.boxed();
        let mut told = Vec::new();
        while let Some(event) = events.try_next().await? {
            let (type_, object) = match event {
                WatchEvent::Added(object) => ("ADDED", object),
                WatchEvent::Modified(object) => ("MODIFIED", object),
                WatchEvent::Deleted(object) => ("DELETED", object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(error) => return Err(kube::Error::Api(error).into()),
            };
            if object.metadata.name.as_deref() == Some(LAST) {
                return Ok(told);
            }
            told.push((type_, self.reduced(&serde_json::to_value(object)?)));
        }
        anyhow::bail!("the watch ended before the last event")
    }

    /// Deletes both objects, whatever holds them.
    async fn clear(&mut self) -> Result<()> {
        for name in [NAME, LAST] {
            let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            let freed = self.request.patch(name, &PatchParams::default(), &free)?;
            self.answer(freed).await?;
            let deleted = self.request.delete(name, &DeleteParams::default())?;
            self.answer(deleted).await?;
        }
        self.look().await?;
        Ok(())
    }

    fn asked(&self, write: &Write) -> Result<http::Request<Vec<u8>>> {
        let Write { verb, status, body, uid, version } = write;
        let known = |name: &str| self.last.as_ref().and_then(|last| last["metadata"][name].as_str());
        let uid = match uid {
            Uid::Absent => None,
            Uid::Right => known("uid").map(str::to_owned),
            Uid::Wrong => Some(NOBODY.to_owned()),
        };
        let version = match version {
            Version::Absent => None,
            Version::Right => known("resourceVersion").map(str::to_owned),
            Version::Stale => {
                self.versions.first().filter(|first| known("resourceVersion") != Some(*first)).cloned()
            }
            Version::Never => Some("1".to_owned()),
        };
        if *verb == Verb::Delete {
            let preconditions = Some(Preconditions { uid, resource_version: version });
            let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
            return Ok(self.request.delete(NAME, &parameters)?);
        }
        let mut body = body.clone();
        if let (Verb::Update, true, Some(last)) = (verb, status, &self.last) {
            // As clients do: what was read, with another status.
            body = json!({"metadata": last["metadata"], "spec": last["spec"], "status": body["status"]});
            for name in ["uid", "resourceVersion", "managedFields"] {
                body["metadata"][name] = Value::Null;
            }
        }
        if let Some(uid) = uid {
            body["metadata"]["uid"] = json!(uid);
        }
        if let Some(version) = version {
            body["metadata"]["resourceVersion"] = json!(version);
        }
        let writer = PostParams { field_manager: Some(WRITER.to_owned()), ..PostParams::default() };
        let patcher = PatchParams { field_manager: Some(WRITER.to_owned()), ..PatchParams::default() };
        let whole = self.whole(body.clone(), NAME);
        let bytes = whole.to_string().into_bytes();
        Ok(match verb {
            Verb::Create => self.request.create(&writer, bytes)?,
            Verb::Update if *status => self.request.replace_subresource("status", NAME, &writer, bytes)?,
            Verb::Update => self.request.replace(NAME, &writer, bytes)?,
            Verb::Merge => self.patch(*status, &patcher, &Patch::Merge(body))?,
            Verb::Edit => {
                let demanded = ["uid", "resourceVersion"].into_iter().filter_map(|name| {
                    let value = body["metadata"].get(name)?;
                    Some(json!({"op": "test", "path": format!("/metadata/{name}"), "value": value}))
                });
                let put = json!({"op": "add", "path": "/status", "value": body["status"]});
                let edits: Vec<_> = demanded.chain([put]).collect();
                self.patch(*status, &patcher, &Patch::Json(serde_json::from_value(json!(edits))?))?
            }
            Verb::Apply { by, force } => {
                let parameters = PatchParams { force: *force, ..PatchParams::apply(by) };
                self.patch(*status, &parameters, &Patch::Apply(whole))?
            }
            Verb::Delete => self.request.delete(NAME, &DeleteParams::default())?,
        })
    }

    fn patch(
        &self,
        status: bool,
        parameters: &PatchParams,
        patch: &Patch<Value>,
    ) -> Result<http::Request<Vec<u8>>> {
        Ok(match status {
            true => self.request.patch_subresource("status", NAME, parameters, patch)?,
            false => self.request.patch(NAME, parameters, patch)?,
        })
    }

    /// `body` with what names an object.
    fn whole(&self, mut body: Value, name: &str) -> Value {
        body["apiVersion"] = json!(self.subject.api_version());
        body["kind"] = json!(self.subject.kind);
        body["metadata"]["name"] = json!(name);
        body
    }

    async fn answer(&self, request: http::Request<Vec<u8>>) -> Result<(u16, Value)> {
        let request = request.map(|bytes| {
            let mut text = String::from_utf8_lossy(&bytes).into_owned();
            for (name, uid) in OWNERS.iter().zip(&self.owners) {
                text = text.replace(&format!(r#""uid":"{name}""#), &format!(r#""uid":"{uid}""#));
            }
            Body::from(text.into_bytes())
        });
        let (parts, body) = self.client.send(request).await?.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let answer = serde_json::from_slice(&bytes)
            .with_context(|| format!("{}: {}", parts.status, String::from_utf8_lossy(&bytes)))?;
        Ok((parts.status.as_u16(), answer))
    }

    /// The object as it is listed.
    async fn look(&mut self) -> Result<Option<State>> {
        let (code, listed) = self.answer(self.request.list(&ListParams::default())?).await?;
        ensure!(code == 200, "{listed}");
        let items = listed["items"].as_array().context("a list has items")?;
        let Some(object) = items.iter().find(|item| item["metadata"]["name"] == NAME).cloned() else {
            return Ok(None);
        };
        let meta = &object["metadata"];
        let state = State {
            generation: meta["generation"].as_i64(),
            uid: place(&mut self.uids, &meta["uid"]),
            version: place(&mut self.versions, &meta["resourceVersion"]),
            object: self.reduced(&object),
        };
        self.last = Some(object);
        Ok(Some(state))
    }

    /// What people wrote of an object, and whether it is being deleted.
    fn reduced(&self, object: &Value) -> Value {
        let meta = &object["metadata"];
        let mut kept = json!({"status": object["status"], "deleted": meta["deletionTimestamp"].is_string()});
        for name in ["labels", "annotations", "finalizers", "ownerReferences"] {
            kept[name] = meta[name].clone();
        }
        for name in self.subject.in_spec() {
            kept["spec"][name] = object["spec"][name].clone();
        }
        for port in kept["spec"]["ports"].as_array_mut().into_iter().flatten() {
            *port = json!([port["port"], port["protocol"], port["name"]]);
        }
        without_nothing(&mut kept);
        kept
    }
}

/// Which of the values that were met so far this one is, counted from 1.
fn place(known: &mut Vec<String>, value: &Value) -> usize {
    let value = value.as_str().unwrap_or_default();
    match known.iter().position(|known| known == value) {
        Some(place) => place + 1,
        None => {
            known.push(value.to_owned());
            known.len()
        }
    }
}

/// Empty maps and lists are as good as none.
fn without_nothing(value: &mut Value) {
    if let Value::Object(parts) = value {
        parts.values_mut().for_each(without_nothing);
        parts.retain(|_, part| match part {
            Value::Null => false,
            Value::Object(parts) => !parts.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        });
    }
}
