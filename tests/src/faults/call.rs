//! What a client asks, as its address and body say it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use super::kinds::Kind;
use super::world::{Key, World};

/// What is asked of the apiserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// All of a kind.
    List,
    /// What becomes of a kind.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH by merging.
    Merge,
    /// PATCH by edits, as RFC 6902 has them.
    Edit,
    /// PATCH by server-side apply.
    Apply,
    /// DELETE.
    Delete,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is asked.
    pub verb: Verb,
    /// Of which kind.
    pub kind: &'static Kind,
    /// In which namespace, or nothing.
    pub namespace: String,
    /// Of which object, or nothing.
    pub name: String,
    /// Of what of it, or nothing.
    pub subresource: String,
    /// What the address asks for besides.
    pub query: BTreeMap<String, String>,
    /// Whether fields of others are taken.
    pub force: bool,
    /// What was sent.
    pub body: Value,
}

impl Call {
    /// What a client sends.
    ///
    /// # Errors
    /// Nothing that this apiserver knows.
    pub async fn read(request: Request<Body>) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.context("a body")?.to_bytes();
        let path: Vec<_> = parts.uri.path().trim_matches('/').split('/').collect();
        let (api_version, rest) = match path.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => bail!("{} is no path of an apiserver", parts.uri),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => bail!("{} is no path of an apiserver", parts.uri),
        };
        let kind = Kind::at(&api_version, plural)
            .with_context(|| format!("{api_version} {plural} is not served"))?;
        let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let query: BTreeMap<String, String> = pairs.into_owned().collect();
        let watches = query.get("watch").is_some_and(|watch| watch == "true" || watch == "1");
        let patch = parts.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let verb = match (&parts.method, patch) {
            (&Method::GET, _) if watches => Verb::Watch,
            (&Method::GET, _) if name.is_empty() => Verb::List,
            (&Method::GET, _) => Verb::Get,
            (&Method::POST, _) => Verb::Create,
            (&Method::PUT, _) => Verb::Update,
            (&Method::PATCH, Some("application/apply-patch+yaml")) => Verb::Apply,
            (&Method::PATCH, Some("application/merge-patch+json")) => Verb::Merge,
            (&Method::PATCH, Some("application/json-patch+json")) => Verb::Edit,
            (&Method::DELETE, _) => Verb::Delete,
            (method, kind) => bail!("{method} with {kind:?} is not served"),
        };
        let body =
            if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).context("JSON")? };
        let force = query.get("force").is_some_and(|force| force == "true");
        let name = if verb == Verb::Create {
            body["metadata"]["name"].as_str().unwrap_or_default().to_owned()
        } else {
            name.to_owned()
        };
        let (namespace, subresource) = (namespace.to_owned(), subresource.to_owned());
        Ok(Call { verb, kind, namespace, name, subresource, query, force, body })
    }

    /// The status that is written, where one is by an edit.
    pub fn status_mut(&mut self) -> Option<&mut Value> {
        let edits = self.body.as_array_mut()?.iter_mut();
        edits.filter(|edit| edit["path"] == "/status").map(|edit| &mut edit["value"]).next()
    }

    /// The object that it is about.
    pub fn key(&self) -> Key {
        Key::new(self.kind, &self.namespace, &self.name)
    }

    /// Who writes.
    pub fn manager(&self) -> &str {
        self.query.get("fieldManager").map_or("unnamed", String::as_str)
    }

    /// Whether `object` is asked for.
    pub fn fits(&self, object: &Value) -> bool {
        let selector = self.query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let labels = &object["metadata"]["labels"];
        let mut wanted = selector.split(',').filter_map(|pair| pair.split_once('='));
        wanted.all(|(name, value)| labels[name] == value)
            && (self.namespace.is_empty() || object["metadata"]["namespace"] == self.namespace.as_str())
    }

    /// Verb, kind and subresource of a write, and what it is about.
    pub fn place(&self, world: &World) -> (String, String) {
        let verb = match self.verb {
            Verb::Apply if world.get(&self.key()).is_none() => "apply-new",
            Verb::Apply => "apply-over",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Merge | Verb::Edit => "patch",
            Verb::Delete => "delete",
            Verb::Get | Verb::List | Verb::Watch => "read",
        };
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let point = format!("{verb} {}{slash}{}", self.kind.kind, self.subresource);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = if self.kind.kind == "Event" {
            format!("{}:{}", text(&self.body["regarding"]["name"]), text(&self.body["reason"]))
        } else {
            self.name.clone()
        };
        (point, format!("{}/{name}", self.namespace))
    }
}
