use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::apply::{Caller, Means, Settled};
use crate::certificates::{Issuer, Keeper, Lifetimes};
use crate::clock::Clock;
use crate::controller::{self, Backoff, Context};
use crate::dereference::Secrets;
use crate::dial::Dial;
use crate::engines::Engines;
use crate::events::Events;
use crate::gateways::Gateways;
use crate::leader::{Candidate, Leadership};
use crate::metrics::Metrics;
use crate::peers::{Callers, Shown};
use crate::proxies::Proxies;
use crate::settings::Settings;
use crate::status::Paces;
use crate::watch::{Queues, Scope, Stores, Triggers, Unreadable};

/// Longest wait for running reconciles at the end; the Lease is to be given back within a second of SIGTERM.
const LAST_CALLS: Duration = Duration::from_millis(400);

/// Everything of an operator but its process: no port, no signal and no log of its own.
///
/// [`run`](crate::run) gives it those, and tests an apiserver of theirs, so that both run the same.
pub struct Assembly {
    stores: Arc<Stores>,
    triggers: Triggers,
    queues: Queues,
    candidate: Candidate,
    keeper: Keeper,
    context: Arc<Context>,
    tasks: JoinSet<()>,
}

impl Assembly {
    /// Puts it together, and begins to watch; pods are called by `dial`, and the time of trials and statuses is `clock`'s.
    /// Nothing is written before [`Assembly::run`].
    pub fn new(
        client: &Client,
        dial: Arc<dyn Dial>,
        settings: &Settings,
        lifetimes: Lifetimes,
        metrics: &Metrics,
        clock: Clock,
    ) -> Self {
        let scope = settings.watch_namespace.clone().map_or(Scope::Cluster, Scope::Namespace);
        let candidate = Candidate::new(
            client.clone(),
            &settings.namespace,
            &settings.lease_name,
            settings.identity.clone(),
            metrics.clone(),
        );
        let leadership = candidate.leadership();
        let (triggers, queues) = Triggers::new(leadership.clone(), metrics.clone());
        let mut tasks = JoinSet::new();
        let unreadable = Unreadable::default();
        let stores = Stores::watch(client, &scope, &triggers, metrics, &unreadable, &mut tasks);
        let caller = Caller::new(leadership.clone(), metrics.clone());
        let events = Events::new(client.clone(), caller.clone(), settings.identity.clone());
        tasks.spawn(unreadable.told(events.clone(), leadership.clone()));
        let keeper =
            Keeper::new(client.clone(), caller.clone(), settings.places(), lifetimes, metrics.clone());
        let issuer = keeper.issuer();
        let callers = Callers::new(Arc::clone(&dial), Shown::new(issuer.clone()));
        let gateways = Gateways::new(
            settings.gateways(),
            callers.clone(),
            Arc::clone(&stores),
            triggers.clone(),
            leadership.clone(),
        );
        tasks.spawn(gateways.clone().run(client.clone(), metrics.clone()));
        let context = Arc::new(Context {
            client: client.clone(),
            stores: Arc::clone(&stores),
            means: Means {
                client: client.clone(),
                caller: caller.clone(),
                settled: Settled::default(),
                events,
            },
            secrets: Secrets::new(client.clone(), caller),
            engines: Engines::new(dial, triggers.clone(), leadership.clone()),
            proxies: Proxies::new(callers.clone(), Arc::clone(&stores), triggers.clone(), leadership.clone()),
            gateways: gateways.clone(),
            leadership,
            metrics: metrics.clone(),
            images: settings.images(),
            backoff: Backoff::default(),
            paces: Paces::default(),
            clock,
            issuer,
        });
        Assembly { stores, triggers, queues, candidate, keeper, context, tasks }
    }

    /// What it knows of the cluster.
    pub fn stores(&self) -> Arc<Stores> {
        Arc::clone(&self.stores)
    }

    /// Where it is told what to look at again.
    pub fn triggers(&self) -> Triggers {
        self.triggers.clone()
    }

    /// Has `task` run beside it, and end with it.
    pub fn beside(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Leads where it may, and does its work until `stop`; then ends what runs and gives the Lease back.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Assembly { stores, triggers, queues, candidate, keeper, context, mut tasks } = self;
        let leadership = candidate.leadership();
        tasks.spawn(keeper.run(leadership.clone()));
        tasks.spawn(look_at_everything(stores, triggers, leadership, context.issuer.clone()));
        let (resign, resigned) = watch::channel(false);
        let lease = tokio::spawn(candidate.run(until(resigned)));
        let controllers = controller::run(context, queues);
        tokio::pin!(controllers);
        tokio::select! {
            () = &mut controllers => tracing::error!("the controllers ended by themselves"),
            () = stop => tracing::info!("stopping"),
        }
        // No watch, no queue: running reconciles end and none begins.
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        if tokio::time::timeout(LAST_CALLS, controllers).await.is_err() {
            tracing::warn!("a reconcile was cut off; whoever leads next carries on from what is there");
        }
        resign.send_replace(true);
        if let Err(error) = lease.await {
            tracing::error!(%error, "the Lease was not given back");
        }
    }
}

/// Who begins to lead looks at everything once, with every kind listed, and once more whenever other authorities are to be
/// trusted.
async fn look_at_everything(
    stores: Arc<Stores>,
    triggers: Triggers,
    leadership: Leadership,
    mut issuer: watch::Receiver<Option<Arc<Issuer>>>,
) {
    stores.synced().await;
    loop {
        leadership.gained().await;
        let lost = leadership.lost();
        tokio::pin!(lost);
        loop {
            issuer.mark_unchanged();
            stores.trigger_all(&triggers).await;
            tokio::select! {
                () = &mut lost => break,
                Ok(()) = issuer.changed() => tracing::info!("other authorities are to be trusted"),
            }
        }
        tracing::warn!("not leading any more: nothing is written");
    }
}

/// Waits until `flag` is set, or nobody can set it any more.
pub(crate) async fn until(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}
