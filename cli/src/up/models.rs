//! The models of this process and what the door is told of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use weighbridge_crds::{Hold, OutOfService};
use weighbridge_gateway::directory::{Absence, ENGINE, Entry, EntryEndpoint, Seen, World};
use weighbridge_inference_server::http::Task;
use weighbridge_wire::lane::Speaks;
use weighbridge_wire::provider::{DataPolicy, Kind};

use super::local::{Asleep, Engine, External, Name};

/// How far a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not there yet; why, in words.
    Waiting(String),
    /// Not to be there; why, in words.
    Asleep(String),
    /// Answers there.
    Ready(SocketAddr),
    /// Will not be there; why, in words.
    Failed(String),
}

/// One model, as callers know it.
#[derive(Clone, Debug)]
pub struct Model {
    /// `namespace/name`.
    pub name: Name,
    /// Who answers.
    pub world: World,
    /// Where it comes from, for people.
    pub origin: String,
    /// How far it is.
    pub state: State,
    /// What it is for; known once it is ready.
    pub task: Task,
    /// Of the adapters that can be asked for with it.
    pub adapters: Vec<String>,
    suspended: bool,
    hold: Hold,
    provider: Option<String>,
    upstream_model: String,
    vendor: &'static str,
    speaks: Speaks,
    data_policy: Option<Arc<DataPolicy>>,
    created: i64,
}

impl Model {
    /// A model whose engine is yet to load.
    pub fn open(engine: &Engine) -> Self {
        let waiting = State::Waiting("loading".to_owned());
        let adapters = engine.adapters.iter().map(|adapter| adapter.name.clone()).collect();
        let hold = engine.hold;
        Self { adapters, hold, ..Self::new(engine.name.clone(), World::Open, engine.source.clone(), waiting) }
    }

    /// A model with `replicas: 0` or `suspend: true`, in either world.
    pub fn asleep(asleep: Asleep) -> Self {
        let Asleep { name, why, provider } = asleep;
        let (world, origin) = match &provider {
            None => (World::Open, "not started".to_owned()),
            Some(provider) => (World::Closed, format!("not called at {provider}")),
        };
        let state = State::Asleep(why.field().to_owned());
        let suspended = why == OutOfService::Suspended;
        Self { provider, suspended, ..Self::new(name, world, origin, state) }
    }

    /// A model that its provider's proxy answers.
    pub fn closed(
        external: &External,
        proxy: SocketAddr,
        kind: Kind,
        data_policy: Option<Arc<DataPolicy>>,
    ) -> Self {
        let External { name, provider, model } = external;
        let origin = format!("{model} at {}", provider.name);
        let mut closed = Self::new(name.clone(), World::Closed, origin, State::Ready(proxy));
        closed.provider = Some(provider.name.clone());
        closed.upstream_model.clone_from(model);
        (closed.vendor, closed.speaks) = (kind.vendor(), kind.speaks(model));
        closed.data_policy = data_policy;
        closed
    }

    fn new(name: Name, world: World, origin: String, state: State) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created = i64::try_from(created.as_secs()).unwrap_or(i64::MAX);
        // An engine is told its canonical name and no other.
        let upstream_model = name.to_string();
        let (task, provider, adapters) = (Task::Generation, None, Vec::new());
        let (vendor, speaks, data_policy) = (ENGINE, Speaks::engine(), None);
        Self {
            name,
            world,
            origin,
            state,
            task,
            // Of whom nothing else is said: a provider's proxy answers before the door opens.
            hold: Hold::default(),
            provider,
            upstream_model,
            vendor,
            speaks,
            data_policy,
            adapters,
            suspended: false,
            created,
        }
    }

    /// What the door is told of it now.
    pub fn entry(&self) -> Entry {
        let absence = match &self.state {
            State::Waiting(why) => Absence::Expected(why.clone()),
            State::Asleep(_) if self.suspended => Absence::Suspended,
            State::Asleep(why) => Absence::lasting("model_out_of_service", why.clone()),
            State::Failed(why) => Absence::lasting("model_failed", why.clone()),
            State::Ready(_) => Absence::expected(),
        };
        let endpoints = match &self.state {
            State::Ready(address) => {
                vec![EntryEndpoint { address: *address, name: self.name.to_string(), identity: None }]
            }
            State::Waiting(_) | State::Asleep(_) | State::Failed(_) => Vec::new(),
        };
        Entry {
            namespace: self.name.namespace.clone(),
            name: self.name.name.clone(),
            world: self.world,
            provider: self.provider.clone(),
            vendor: self.vendor,
            upstream_model: self.upstream_model.clone(),
            speaks: self.speaks,
            created: self.created,
            seen: Seen::default(),
            endpoints,
            absence,
            hold: self.hold,
            data_policy: self.data_policy.clone(),
            adapters: self.adapters.clone(),
            split: None,
        }
    }
}
