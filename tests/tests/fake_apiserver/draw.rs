//! What is written: fields with a few values each, so that writers meet.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// Most writes of one sequence; the least is one.
const WRITES: usize = 10;

/// Objects that are there to own others.
pub const OWNERS: [&str; 3] = ["owner-a", "owner-b", "owner-c"];

/// A kind that is written to.
#[derive(Debug)]
pub struct Subject {
    /// Its name.
    pub kind: &'static str,
    /// Its group, or nothing.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// As paths name it.
    pub plural: &'static str,
    /// Whether its status is written too.
    pub status: bool,
    /// What is in `spec`.
    fields: fn() -> Vec<Field>,
}

pub const SERVICE: Subject =
    Subject { kind: "Service", group: "", version: "v1", plural: "services", status: false, fields: service };

pub const POLICY: Subject = Subject {
    kind: "NetworkPolicy",
    group: "networking.k8s.io",
    version: "v1",
    plural: "networkpolicies",
    status: false,
    fields: policy,
};

pub const MODEL: Subject = Subject {
    kind: "ModelDeployment",
    group: "serving.weighbridge.dev",
    version: "v1alpha1",
    plural: "modeldeployments",
    status: true,
    fields: model,
};

/// One field, the values that it may have, and whether the kind must have it.
#[derive(Clone)]
struct Field {
    path: &'static [&'static str],
    values: Vec<Value>,
    required: bool,
}

fn field(path: &'static [&'static str], values: impl Into<Vec<Value>>) -> Field {
    Field { path, values: values.into(), required: false }
}

fn required(path: &'static [&'static str], values: impl Into<Vec<Value>>) -> Field {
    Field { path, values: values.into(), required: true }
}

impl Subject {
    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Nothing but what the kind must have.
    pub fn least(&self) -> Value {
        let mut body = json!({"metadata": {}});
        for field in (self.fields)().iter().filter(|field| field.required) {
            place(&mut body, field.path, field.values.first().cloned().unwrap_or_default());
        }
        body
    }

    /// Names in `spec` that are written: what the apiserver adds is not compared.
    pub fn in_spec(&self) -> Vec<&'static str> {
        let fields = (self.fields)();
        fields.iter().filter_map(|field| field.path.strip_prefix(&["spec"])?.first().copied()).collect()
    }
}

/// What every kind has. Of the owners two say that they control it, of which it may have one.
fn metadata() -> Vec<Field> {
    let owner = |name: &str, controller: bool| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": name, "controller": controller});
    let [a, b, c] = [owner("owner-a", true), owner("owner-b", true), owner("owner-c", false)];
    let (one, other) = ("example.dev/one", "example.dev/other");
    vec![
        field(&["metadata", "labels", "a"], [json!("1"), json!("2")]),
        field(&["metadata", "labels", "b"], [json!("1"), json!("2")]),
        field(&["metadata", "annotations", "example.dev/note"], [json!("1"), json!("2")]),
        field(
            &["metadata", "finalizers"],
            [json!([one]), json!([other]), json!([one, other]), json!([other, one])],
        ),
        field(
            &["metadata", "ownerReferences"],
            [json!([a]), json!([c]), json!([b]), json!([a, c]), json!([c, a]), json!([a, b])],
        ),
    ]
}

fn service() -> Vec<Field> {
    let port = |port: u16, name: &str| json!({"port": port, "protocol": "TCP", "name": name});
    let (http, metrics) = (port(80, "http"), port(81, "metrics"));
    vec![
        required(
            &["spec", "ports"],
            [json!([http]), json!([http, metrics]), json!([metrics, http]), json!([metrics])],
        ),
        field(
            &["spec", "selector"],
            [json!({"app": "a"}), json!({"app": "b"}), json!({"app": "a", "tier": "b"})],
        ),
        field(&["spec", "publishNotReadyAddresses"], [json!(true)]),
    ]
}

fn policy() -> Vec<Field> {
    let rule = |port: u16| json!([{"ports": [{"port": port, "protocol": "TCP"}]}]);
    vec![
        field(
            &["spec", "podSelector"],
            [json!({"matchLabels": {"app": "a"}}), json!({"matchLabels": {"app": "b"}})],
        ),
        field(
            &["spec", "policyTypes"],
            [json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])],
        ),
        field(&["spec", "ingress"], [rule(80), rule(81)]),
        field(&["spec", "egress"], [rule(80), rule(81)]),
    ]
}

fn model() -> Vec<Field> {
    vec![
        required(&["spec", "external", "provider"], [json!("acme")]),
        required(&["spec", "external", "model"], [json!("large"), json!("small")]),
        field(&["spec", "replicas"], [json!(0), json!(1)]),
        field(&["spec", "serve"], [json!("External")]),
        // Written beside the spec, and dropped.
        field(&["status"], [json!({"replicas": 7, "readyReplicas": 7})]),
    ]
}

fn status() -> Vec<Field> {
    let condition = |type_: &str| json!({"type": type_, "status": "True", "reason": "Drawn", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let (accepted, ready) = (condition("Accepted"), condition("Ready"));
    vec![
        required(&["status", "replicas"], [json!(0), json!(1), json!(2)]),
        required(&["status", "readyReplicas"], [json!(0), json!(1)]),
        field(&["status", "revision"], [json!("a"), json!("b")]),
        field(
            &["status", "conditions"],
            [json!([accepted]), json!([ready]), json!([accepted, ready]), json!([ready, accepted])],
        ),
    ]
}

/// How something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH by merging.
    Merge,
    /// PATCH by edits, of which the first hold the object against what is demanded.
    Edit,
    /// PATCH by server-side apply.
    Apply {
        /// The field manager.
        by: &'static str,
        /// Whether it takes fields of others.
        force: bool,
    },
    /// DELETE.
    Delete,
}

/// Which UID is demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uid {
    /// None.
    Absent,
    /// That of the object, or of the last one that was there.
    Right,
    /// That of no object.
    Wrong,
}

/// Which version is demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// None.
    Absent,
    /// That of the object, or the last one that was there.
    Right,
    /// An earlier one, if there was one.
    Stale,
    /// That of no object, ever.
    Never,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    /// How.
    pub verb: Verb,
    /// Whether to the status.
    pub status: bool,
    /// What, but for what names the object.
    pub body: Value,
    /// The UID that it demands.
    pub uid: Uid,
    /// The version that it demands.
    pub version: Version,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Write { verb, status, body, uid, version } = self;
        let status = if *status { " status" } else { "" };
        write!(f, "{verb:?}{status} with {uid:?} UID and {version:?} version: {body}")
    }
}

/// Writes to one object, which is not there at first.
pub fn sequence(subject: &'static Subject) -> impl Strategy<Value = Vec<Write>> {
    let all: Vec<Field> = metadata().into_iter().chain((subject.fields)()).collect();
    let mut writes = vec![
        (2, write(Just(Verb::Create), false, whole(&all))),
        (4, write(Just(Verb::Update), false, whole(&all))),
        (4, write(Just(Verb::Merge), false, patch(&all))),
        (9, write(apply(), false, whole(&all))),
        (2, write(Just(Verb::Delete), false, Just(Value::Null))),
    ];
    if subject.status {
        writes.push((1, write(Just(Verb::Update), true, whole(&status()))));
        writes.push((1, write(Just(Verb::Merge), true, patch(&status()))));
        writes.push((3, write(Just(Verb::Edit), true, whole(&status()))));
        writes.push((3, write(apply(), true, whole(&status()))));
    }
    vec(proptest::strategy::Union::new_weighted(writes), 1..=WRITES)
}

fn apply() -> impl Strategy<Value = Verb> {
    (select(vec!["one", "two"]), any::<bool>()).prop_map(|(by, force)| Verb::Apply { by, force })
}

fn write(
    verb: impl Strategy<Value = Verb> + 'static,
    status: bool,
    body: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<Write> {
    let uid = prop_oneof![6 => Just(Uid::Absent), 3 => Just(Uid::Right), 1 => Just(Uid::Wrong)];
    let version = prop_oneof![
        6 => Just(Version::Absent),
        3 => Just(Version::Right),
        1 => Just(Version::Stale),
        1 => Just(Version::Never),
    ];
    let parts = (verb, body, uid, version);
    parts.prop_map(move |(verb, body, uid, version)| Write { verb, status, body, uid, version }).boxed()
}

/// What a kind must have, and some of the rest.
fn whole(fields: &[Field]) -> impl Strategy<Value = Value> + use<> {
    drawn(fields, |field| {
        let value = select(field.values);
        if field.required { value.prop_map(Some).boxed() } else { proptest::option::of(value).boxed() }
    })
}

/// Some of all, or a null where the kind may lack it.
fn patch(fields: &[Field]) -> impl Strategy<Value = Value> + use<> {
    drawn(fields, |field| {
        let value = select(field.values);
        if field.required {
            return proptest::option::of(value).boxed();
        }
        prop_oneof![4 => Just(None), 3 => value.prop_map(Some), 1 => Just(Some(Value::Null))].boxed()
    })
}

fn drawn(
    fields: &[Field],
    choose: fn(Field) -> BoxedStrategy<Option<Value>>,
) -> impl Strategy<Value = Value> + use<> {
    let paths: Vec<_> = fields.iter().map(|field| field.path).collect();
    let choices: Vec<_> = fields.iter().cloned().map(choose).collect();
    choices.prop_map(move |values| {
        let mut body = json!({"metadata": {}});
        for (path, value) in paths.iter().zip(values) {
            if let Some(value) = value {
                place(&mut body, path, value);
            }
        }
        body
    })
}

fn place(body: &mut Value, path: &[&str], value: Value) {
    *path.iter().fold(body, |at, name| &mut at[*name]) = value;
}
