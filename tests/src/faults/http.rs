//! The door of the apiserver: what a `kube::Client` sends, and what becomes of it on the way.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

use super::bug::Bug;
use super::call::{Call, Verb};
use super::fault::{Dice, Fault, Place, Plan, View};
use super::view::Watching;
use super::world::{Shared, World};
use super::write::{Refused, Writer};

/// What an answer's body is.
pub type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// For how long a view stays in the past.
const STALE: Duration = Duration::from_secs(40);
/// Longer than the operator waits for an answer.
const LATE: Duration = Duration::from_secs(6);
/// More writes than this are no way to rest.
const MOST_WRITES: usize = 400;
/// Requests that noise spoils at most.
const NOISE: u32 = 24;

/// A client of an apiserver with nothing in it, of which nothing goes wrong.
pub fn apiserver() -> Client {
    Apiserver::new(&Shared::new(World::default()), &Plan::default(), None, false).client()
}

/// What befalls one process.
pub struct State {
    /// The plan.
    pub plan: Plan,
    /// Whether things go wrong by now.
    pub armed: bool,
    /// What delays are drawn from.
    pub dice: Dice,
    spoiled: u32,
    counts: HashMap<(String, String), u32>,
    /// Every write, in order, but for those of the Lease.
    writes: Vec<Place>,
    /// Those of the Lease.
    leases: Vec<Place>,
    /// Where lists and watches are held, and until when.
    pub past: Option<(u64, Instant)>,
    /// What a planted bug keeps back.
    held: Option<Call>,
    /// Whether it wrote more than any way to rest takes.
    runaway: bool,
    /// Whether the write that is to go wrong was asked for.
    met: bool,
}

/// The apiserver as one process of the operator meets it.
#[derive(Clone)]
pub struct Apiserver {
    /// What it serves.
    pub shared: Shared,
    state: Arc<Mutex<State>>,
    crashed: Arc<Notify>,
    /// A bug of the process.
    pub bug: Option<Bug>,
    again: bool,
}

impl Apiserver {
    /// Over `shared`, for a process that meets `plan` from [`Apiserver::arm`] on.
    pub fn new(shared: &Shared, plan: &Plan, bug: Option<Bug>, again: bool) -> Self {
        let past = match plan.view {
            View::Stale(back) if again => {
                let world = shared.lock();
                Some((world.revision().saturating_sub(back).max(world.oldest()), Instant::now() + STALE))
            }
            View::Stale(_) | View::Fresh | View::Dropped | View::Coalesced | View::Reordered => None,
        };
        let state = State {
            plan: plan.clone(),
            armed: false,
            dice: Dice::new(plan.seed),
            spoiled: 0,
            counts: HashMap::new(),
            writes: Vec::new(),
            leases: Vec::new(),
            past,
            held: None,
            runaway: false,
            met: plan.at.is_none(),
        };
        let state = Arc::new(Mutex::new(state));
        Apiserver { shared: shared.clone(), state, crashed: Arc::new(Notify::new()), bug, again }
    }

    /// A client of it, as kube's own is, which tries again where an apiserver asks for it.
    pub fn client(&self) -> Client {
        let server = self.clone();
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new(RetryPolicy::server_retry()))
            .map_err(BoxError::from)
            .service_fn(move |request: Request<Body>| server.clone().answer(request));
        Client::new(service, "default")
    }

    /// From now on things go wrong.
    pub fn arm(&self) {
        let mut state = self.state();
        state.armed = true;
        (state.writes, state.counts) = (Vec::new(), HashMap::new());
    }

    /// Writes since [`Apiserver::arm`], but for those of the Lease.
    pub fn writes(&self) -> Vec<Place> {
        self.state().writes.clone()
    }

    /// Writes of the Lease.
    pub fn leases(&self) -> Vec<Place> {
        self.state().leases.clone()
    }

    /// Whether what is to go wrong had an occasion.
    pub fn met(&self) -> bool {
        self.state().met
    }

    /// Whether it wrote more than any way to rest takes.
    pub fn runaway(&self) -> bool {
        self.state().runaway
    }

    /// Waits until the process is to end.
    pub async fn crashed(&self) {
        self.crashed.notified().await;
    }

    /// What befalls the process.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers as an apiserver does, or does not.
    pub async fn answer(self, request: Request<Body>) -> Result<Answer, io::Error> {
        let mut call = Call::read(request).await.map_err(|error| io::Error::other(format!("{error:#}")))?;
        if let Some(bug) = self.bug {
            let answer = bug.asks(&mut call, &self.shared.lock(), self.again);
            if let Some(answer) = answer {
                return json_answer(200, &answer);
            }
        }
        if let Some(answer) = self.spoil(&call).await? {
            return Ok(answer);
        }
        match call.verb {
            Verb::Get => self.get(&call),
            Verb::List => self.list(&call),
            Verb::Watch => self.watch(call),
            Verb::Create | Verb::Update | Verb::Merge | Verb::Edit | Verb::Apply | Verb::Delete => {
                self.write(call).await
            }
        }
    }

    /// Noise: a request that is slow, broken or refused for no reason of its own.
    async fn spoil(&self, call: &Call) -> Result<Option<Answer>, io::Error> {
        let roll = {
            let mut state = self.state();
            let noisy = state.armed && state.plan.noise && state.spoiled < NOISE && call.kind.kind != "Lease";
            if !noisy || state.dice.roll(6) != 0 {
                return Ok(None);
            }
            state.spoiled += 1;
            state.dice.roll(8)
        };
        let code = match (roll, call.verb) {
            (0, _) => return Err(reset()),
            (1, _) => {
                sleep(Duration::from_secs(1)).await;
                return Ok(None);
            }
            (2, _) => {
                sleep(LATE).await;
                return Ok(None);
            }
            (3, Verb::List | Verb::Watch) => 410,
            (3, Verb::Get) => 500,
            (3, _) => 409,
            (4, _) => 429,
            (5, _) => 503,
            _ => 500,
        };
        refusal(&Refused::new(code, "refused by the plan")).map(Some)
    }

    fn get(&self, call: &Call) -> Result<Answer, io::Error> {
        let key = call.key();
        let mut world = self.shared.lock();
        let past = self.state().past.filter(|(_, until)| Instant::now() < *until);
        let found = match past {
            Some((revision, _)) if self.bug == Some(Bug::TrustsTheView) => world.get_at(&key, revision),
            Some(_) | None => world.get(&key),
        };
        let mut found = found.map(|stored| stored.object.clone());
        world.watchdog.reads(&key, found.as_ref());
        if let (Some(bug), Some(object)) = (self.bug, &mut found) {
            bug.tells(call.kind.kind, object, &world);
        }
        match found {
            Some(object) => json_answer(200, &object),
            None => refusal(&Refused::new(404, format!("{} {:?} not found", key.kind, key.name))),
        }
    }

    fn list(&self, call: &Call) -> Result<Answer, io::Error> {
        let world = self.shared.lock();
        let past = self.state().past.filter(|(_, until)| Instant::now() < *until);
        let revision = past.map_or(world.revision(), |(revision, _)| revision);
        let found = world.of_at(call.kind.kind, revision);
        let mut items: Vec<_> = found
            .iter()
            .filter(|stored| call.fits(&stored.object))
            .map(|stored| stored.object.clone())
            .collect();
        if let Some(bug) = self.bug {
            items.iter_mut().for_each(|item| bug.tells(call.kind.kind, item, &world));
        }
        let kind = format!("{}List", call.kind.kind);
        let meta = json!({"resourceVersion": revision.to_string()});
        json_answer(
            200,
            &json!({"kind": kind, "apiVersion": call.kind.api_version, "metadata": meta, "items": items}),
        )
    }

    async fn write(&self, call: Call) -> Result<Answer, io::Error> {
        let (place, fault) = self.note(&call);
        if self.runaway() {
            self.crashed.notify_one();
            return std::future::pending().await;
        }
        match fault {
            Some(Fault::Never) => return Err(reset()),
            Some(Fault::Refused(code)) => {
                if self.bug.is_some_and(|bug| bug.takes_for_success(code)) {
                    let live = self.shared.lock().get(&call.key()).map(|stored| stored.object.clone());
                    return json_answer(200, &live.unwrap_or(call.body));
                }
                return refusal(&Refused::new(code, format!("{place} is refused by the plan")));
            }
            Some(Fault::Late) => {
                let (server, late) = (self.clone(), call.clone());
                // It arrives whether or not anybody waits for it.
                let arrives = tokio::spawn(async move {
                    sleep(LATE).await;
                    server.done(&late)
                });
                return arrives.await.map_err(io::Error::other)?;
            }
            Some(Fault::Touched | Fault::Busy) => self.meddle(&call, false),
            Some(Fault::Replaced) => self.meddle(&call, true),
            Some(Fault::Crash | Fault::Lost) | None => {}
        }
        let answer = self.done(&call);
        match fault {
            Some(Fault::Crash) => {
                self.crashed.notify_one();
                std::future::pending().await
            }
            Some(Fault::Lost) => Err(reset()),
            _ => answer,
        }
    }

    /// Writes down that this was asked, and whether something goes wrong with it.
    fn note(&self, call: &Call) -> (Place, Option<Fault>) {
        let (point, object) = call.place(&self.shared.lock());
        let mut state = self.state();
        let nth = state.counts.entry((point.clone(), object.clone())).or_default();
        *nth += 1;
        let place = Place { point, object, nth: *nth };
        if call.kind.kind == "Lease" {
            state.leases.push(place.clone());
        } else {
            state.writes.push(place.clone());
            let most = state.writes.len() > MOST_WRITES;
            state.runaway |= most;
        }
        let armed = state.armed;
        let planned = state.plan.at.clone().filter(|(at, fault)| {
            let alike = at.point == place.point && at.object == place.object && at.nth <= place.nth;
            armed && (*at == place || *fault == Fault::Busy && alike)
        });
        if planned.is_some() {
            state.met = true;
        }
        (place, planned.map(|(_, fault)| fault))
    }

    /// Does it.
    fn done(&self, call: &Call) -> Result<Answer, io::Error> {
        if self.bug == Some(Bug::StatusFirst) {
            if call.kind.kind == "Deployment" && call.verb == Verb::Apply {
                self.state().held = Some(call.clone());
                let mut echo = call.body.clone();
                echo["metadata"]["uid"] = json!("held");
                return json_answer(200, &echo);
            }
            let answer = self.carry_out(call);
            let held = if call.subresource == "status" { self.state().held.take() } else { None };
            if let Some(held) = held {
                self.carry_out(&held)?;
            }
            return answer;
        }
        self.carry_out(call)
    }

    fn carry_out(&self, call: &Call) -> Result<Answer, io::Error> {
        let (result, was_there) = {
            let (mut world, key) = (self.shared.lock(), call.key());
            let before = world.get(&key).map(|stored| stored.object.clone());
            let by = Writer { manager: call.manager(), subresource: &call.subresource };
            let result = match call.verb {
                Verb::Create => world.create(call.kind, &call.namespace, &call.body, by),
                Verb::Update => world.update(call.kind, &key, &call.body, by),
                Verb::Merge => world.merge(call.kind, &key, &call.body, by),
                Verb::Edit => world.edit(call.kind, &key, &call.body, by),
                Verb::Apply => world.apply(call.kind, &key, &call.body, by, call.force),
                Verb::Delete => world.delete(&key, &call.body),
                Verb::Get | Verb::List | Verb::Watch => Err(Refused::new(405, "not a write")),
            };
            match (&result, call.verb) {
                (Ok(gone), Verb::Delete) => world.watch_delete(&key, gone),
                (Ok(after), _) => {
                    let (point, _) = call.place(&world);
                    world.watch_write(&key, before.as_ref(), after, &point);
                    // The answer to a write is a look, too.
                    if call.subresource.is_empty() {
                        world.watchdog.reads(&key, Some(after));
                    }
                }
                (Err(_), _) => {}
            }
            (result, before.is_some())
        };
        if call.kind.kind != "Lease" {
            self.shared.tell();
        }
        match result {
            Ok(_) if call.verb == Verb::Delete => json_answer(
                200,
                &json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 200}),
            ),
            Ok(object) => json_answer(if was_there { 200 } else { 201 }, &object),
            Err(refused) => refusal(&refused),
        }
    }

    /// Somebody else is there just before a write.
    fn meddle(&self, call: &Call, replaces: bool) {
        let key = call.key();
        {
            let mut world = self.shared.lock();
            let by = Writer { manager: "somebody", subresource: "" };
            let touch = json!({"metadata": {"annotations": {"somebody": world.revision().to_string()}}});
            // What can't be done is not done: the write then meets what it expects.
            let _ = match world.get(&key).map(|stored| stored.object.clone()) {
                Some(_) if !replaces => world.merge(call.kind, &key, &touch, by),
                Some(mut object) => {
                    world.put(&key, None);
                    object["metadata"] = json!({"name": key.name, "labels": {"theirs": "1"}});
                    world.create(call.kind, &key.namespace, &object, by)
                }
                None => world.create(call.kind, &key.namespace, &theirs(&call.body, &key.name), by),
            };
        }
        self.shared.tell();
    }

    fn watch(&self, call: Call) -> Result<Answer, io::Error> {
        let watching = Watching::new(self.clone(), call);
        let events = stream::unfold(watching, |mut watching| async move {
            let events = watching.next().await?;
            let text: String = events.iter().map(|event| format!("{event}\n")).collect();
            Some((Ok::<_, io::Error>(Frame::data(Bytes::from(text))), watching))
        });
        Response::builder().body(BodyExt::boxed_unsync(StreamBody::new(events))).map_err(io::Error::other)
    }
}

/// An object under a name that the operator is about to use, otherwise than it would make it.
fn theirs(planned: &Value, name: &str) -> Value {
    let mut object = planned.clone();
    object["metadata"] = json!({"name": name, "labels": {"theirs": "1"}});
    match planned["kind"].as_str() {
        Some("Service") => object["spec"]["selector"] = json!({"their": "own"}),
        Some("Deployment") => object["spec"]["replicas"] = json!(9),
        Some("NetworkPolicy") => object["spec"]["egress"] = json!([{}]),
        Some(_) | None => object["data"] = json!({"tls.crt": "dGhlaXJz"}),
    }
    object
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset, by the plan")
}

fn refusal(refused: &Refused) -> Result<Answer, io::Error> {
    let Refused { code, reason, message, field } = refused;
    let cause = |field| json!({"reason": "FieldValueInvalid", "message": message, "field": field});
    let causes: Vec<_> = field.iter().map(cause).collect();
    json_answer(
        *code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message, "details": {"causes": causes}}),
    )
}

fn json_answer(code: u16, body: &Value) -> Result<Answer, io::Error> {
    let status = StatusCode::from_u16(code).map_err(io::Error::other)?;
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {});
    Response::builder().status(status).body(body.boxed_unsync()).map_err(io::Error::other)
}
