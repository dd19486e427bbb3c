//! `weighbridge up`: the parts of a cluster in one process, over the same file.
//!
//! `local` decides what is served (`reach`: where from), `parts` runs engines and proxies on loopback ports, and the gateway's own
//! crate is the door in front. Lives here: putting the parts together. May not live here: anything that a
//! cluster would do differently because of it.

mod banner;
mod error;
mod local;
mod models;
mod parts;
mod progress;
mod providers;
mod reach;

pub use error::UpError;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;
use weighbridge_gateway::access::Access;
use weighbridge_gateway::directory::Directory;
use weighbridge_gateway::{Drain, GatewayConfig, Listeners, Shutdown};
use weighbridge_inference_server::http::Task;
use weighbridge_operator::status::NamedModel;

use crate::args::UpArgs;
use crate::terminal::{Terminal, in_words};
use banner::Addresses;
use local::{Local, Name};
use models::{Model, State};
use parts::{Ended, Parts};

/// Serves the models of a file until Ctrl-C or SIGTERM.
///
/// # Errors
/// Where nothing can be served, or nothing is left to serve.
pub async fn up(args: UpArgs, terminal: &Terminal) -> Result<(), UpError> {
    log_to(terminal);
    weighbridge_gateway::raise_open_files();
    let local = Local::read(&args)?;
    let access = match local.accesses.as_slice() {
        [] => Access::open(&args.default_namespace),
        accesses => Access::from_resources(accesses),
    };
    let listeners = bind(&args, &access).await?;
    let secure = listeners.tls.is_some();
    let address = listeners.public.local_addr().map_err(listen("--listen", args.listen))?;
    let metrics = listeners.admin.as_ref().and_then(|listener| listener.local_addr().ok());
    let shutdown = Shutdown::on_signals().map_err(UpError::Signals)?;
    for notice in &local.notices {
        terminal.note(notice);
    }
    let drain = Drain { delay: Duration::ZERO, timeout: Duration::from_secs(args.drain_timeout) };
    // Each engine becomes ready once in its life, so that there is room for whatever can be said.
    let (ready, becomes_ready) = mpsc::channel(local.engines.len().max(1));
    let config = GatewayConfig {
        limits: args.limits.limits().map_err(UpError::Limits)?,
        timeouts: args.total.within(args.timeouts.timeouts()),
        drain,
        telemetry: args.telemetry.config(),
        upstream: None,
        waker: None,
    };
    let (parts, models, addresses) = start(local, &config, terminal, ready).await?;
    let directory = Directory::from_entries(models.iter().map(Model::entry).collect());
    let door =
        weighbridge_gateway::serve(config, listeners, directory.clone(), access.clone(), shutdown.clone());
    let serving = Serving {
        terminal: terminal.clone(),
        announced: false,
        // With keys, a bare name is one in the namespace of whoever asks: only the whole name is everybody's.
        default_namespace: (!access.is_enforced()).then_some(args.default_namespace),
        address,
        secure,
        metrics,
        directory,
        models,
        addresses,
        parts,
    };
    serving.run(door, becomes_ready, shutdown).await
}

/// Everything that runs, and what is known of it.
struct Serving {
    terminal: Terminal,
    announced: bool,
    /// Where the door looks bare names up for every caller, if it asks nobody for a key.
    default_namespace: Option<String>,
    address: SocketAddr,
    /// Whether it speaks https.
    secure: bool,
    metrics: Option<SocketAddr>,
    directory: Directory,
    models: Vec<Model>,
    /// Where each engine will answer.
    addresses: BTreeMap<Name, SocketAddr>,
    parts: Parts,
}

impl Serving {
    async fn run(
        mut self,
        door: impl Future<Output = Result<(), weighbridge_gateway::ServeError>>,
        mut becomes_ready: mpsc::Receiver<(Name, Task)>,
        shutdown: Shutdown,
    ) -> Result<(), UpError> {
        let mut door = Box::pin(door);
        let mut told_of_drain = false;
        loop {
            self.announce()?;
            tokio::select! {
                Some((name, task)) = becomes_ready.recv() => {
                    if let Some(address) = self.addresses.get(&name).copied() {
                        self.is_for(&name, task);
                        self.becomes(&name, State::Ready(address));
                    }
                }
                Some(ended) = self.parts.running.join_next() => self.ended(ended.map_err(|_| UpError::Panicked)?)?,
                () = shutdown.draining(), if !told_of_drain => {
                    self.terminal.note("finishing open streams; Ctrl-C again ends at once");
                    told_of_drain = true;
                }
                () = shutdown.aborted() => return Err(UpError::Interrupted),
                ended = &mut door => {
                    ended.map_err(|error| UpError::Door(Box::new(error)))?;
                    break;
                }
            }
        }
        // The door first, then what is behind it: nothing can be asked of an engine that is going.
        tokio::select! {
            () = self.parts.stop() => Ok(()),
            () = shutdown.aborted() => Err(UpError::Interrupted),
        }
    }

    /// A part that ended by itself takes its models with it, and nothing else.
    fn ended(&mut self, (name, result): Ended) -> Result<(), UpError> {
        let Err(error) = result else { return Ok(()) };
        if matches!(error, UpError::Proxy { .. }) {
            return Err(error);
        }
        self.becomes(&name, State::Failed(in_words(&error)));
        let left =
            self.models.iter().any(|model| !matches!(model.state, State::Failed(_) | State::Asleep(_)));
        if !left {
            return Err(error);
        }
        self.terminal.note(&format!("weighbridge: {}", in_words(&error)));
        Ok(())
    }

    fn is_for(&mut self, name: &Name, task: Task) {
        if let Some(model) = self.models.iter_mut().find(|model| model.name == *name) {
            model.task = task;
        }
    }

    fn becomes(&mut self, name: &Name, state: State) {
        if let Some(model) = self.models.iter_mut().find(|model| model.name == *name) {
            model.state = state;
        }
        self.directory.replace(self.models.iter().map(Model::entry).collect());
    }

    /// Prints the address once every model is ready or will never be.
    fn announce(&mut self) -> Result<(), UpError> {
        let settled = self.models.iter().all(|model| !matches!(model.state, State::Waiting(_)));
        if self.announced || !settled {
            return Ok(());
        }
        self.announced = true;
        let program = std::env::args().next().unwrap_or_else(|| "weighbridge".to_owned());
        let at =
            Addresses { door: self.address, secure: self.secure, metrics: self.metrics, program: &program };
        let text = banner::banner(&at, self.default_namespace.as_deref(), &self.models);
        self.terminal.print(&text).map_err(UpError::Write)
    }
}

/// Starts every engine and proxy; the engines load from here on.
async fn start(
    local: Local,
    config: &GatewayConfig,
    terminal: &Terminal,
    ready: mpsc::Sender<(Name, Task)>,
) -> Result<(Parts, Vec<Model>, BTreeMap<Name, SocketAddr>), UpError> {
    let Local { engines, asleep, externals, proxies, accesses: _, notices: _ } = local;
    let (mut parts, mut models, mut addresses) = (Parts::new(config), Vec::new(), BTreeMap::new());
    for engine in engines {
        models.push(Model::open(&engine));
        let name = engine.name.clone();
        addresses.insert(name, parts.start_engine(engine, terminal, ready.clone()).await?);
    }
    models.extend(asleep.into_iter().map(Model::asleep));
    let mut proxy_addresses = BTreeMap::new();
    for proxy in proxies {
        let (name, kind, policy) = (proxy.name.clone(), proxy.kind, proxy.data_policy.clone());
        let models = externals.iter().filter(|external| external.provider == name);
        let models = models.map(|external| NamedModel {
            deployment: external.name.name.clone(),
            model: external.model.clone(),
        });
        let models = models.collect();
        proxy_addresses.insert(name, (kind, policy, parts.start_proxy(proxy, models, terminal).await?));
    }
    for external in &externals {
        // Validation found the provider in the file, so it has a proxy.
        if let Some((kind, policy, address)) = proxy_addresses.get(&external.provider) {
            models.push(Model::closed(external, *address, *kind, policy.clone()));
        }
    }
    Ok((parts, models, addresses))
}

async fn bind(args: &UpArgs, access: &Access) -> Result<Listeners, UpError> {
    let remote = |address: SocketAddr| !address.ip().is_loopback() && !args.allow_remote;
    if remote(args.listen) && !access.is_enforced() {
        return Err(UpError::Remote(args.listen));
    }
    // Nobody is asked for a key there.
    if let Some(address) = args.metrics_listen.filter(|address| remote(*address)) {
        return Err(UpError::RemoteMetrics(address));
    }
    let tls = args.tls.load().map_err(|error| UpError::Tls(Box::new(error)))?;
    let public = TcpListener::bind(args.listen).await.map_err(listen("--listen", args.listen))?;
    let admin = match args.metrics_listen {
        Some(address) => Some(TcpListener::bind(address).await.map_err(listen("--metrics-listen", address))?),
        None => None,
    };
    Ok(Listeners { public, tls: tls.map(Arc::new), admin })
}

fn listen(flag: &'static str, address: SocketAddr) -> impl FnOnce(std::io::Error) -> UpError {
    move |source| match source.kind() {
        std::io::ErrorKind::AddrInUse => UpError::PortInUse { flag, address },
        _ => UpError::Listen { flag, address, source },
    }
}

/// What goes wrong is said between the bars; RUST_LOG asks for more.
fn log_to(terminal: &Terminal) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // Colours are for eyes that want them: in a file or a pipe they are noise.
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = terminal.is_watched() && !unwanted;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    let terminal = terminal.clone();
    // For a person who has just typed the command: neither the time nor the module it came from.
    lines.without_time().with_target(false).with_writer(move || terminal.clone()).init();
}
