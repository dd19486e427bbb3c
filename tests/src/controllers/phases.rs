use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::model::{Which, of_child};
use super::subject::{Spent, Subject};
use crate::figures::{Figures, quantile};

/// Models that are made at once in a burst: what one client keeps in flight.
const AT_ONCE: usize = 64;
/// No write for so long is rest.
const QUIET: Duration = Duration::from_secs(5);
/// No phase takes longer, whoever is measured.
const LIMIT: Duration = Duration::from_secs(900);

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Models.
    pub models: usize,
    /// Models applied each second.
    pub rate: u32,
    /// How long nothing is done at all.
    pub idle: Duration,
}

/// What the comparison needs of one side.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// CPU seconds from the first apply until all is at rest.
    pub own: f64,
    /// What Kubernetes' own controllers spent meanwhile, beyond what they spend at rest.
    pub controller_manager: f64,
    /// Most resident memory that was seen.
    pub rss_mb: f64,
    /// Writes a model.
    pub writes: f64,
}

/// Does with one controller all that is measured, and adds its figures, `prefix` before each name.
///
/// # Errors
/// Where the control plane or the controller fails, or a phase does not end within [`LIMIT`].
pub async fn measure(
    client: &Client,
    which: Which,
    program: &Path,
    plan: Plan,
    figures: &mut Figures,
) -> Result<Outcome> {
    let mut subject = Subject::start(client, which, program).await?;
    let prefix = match which {
        Which::Weighbridge => "",
        Which::KubeAi => "kubeai_",
    };
    quiet(&subject).await?;
    let resting = resting(&mut subject).await?;

    let before = subject.spent()?;
    let mut latencies = steadily(client, &subject, plan).await?;
    until_ready(client, &subject, plan.models).await?;
    quiet(&subject).await?;
    let after = subject.spent()?;
    let writes = (after.writes - before.writes) as f64 / plan.models as f64;
    let (own, managed) = (seconds(&before, &after), managed(&before, &after, resting));
    for (what, times) in &mut latencies {
        figures.add(&format!("{prefix}apply_to_{what}_p50_ms"), quantile(times, 0.5), "ms")?;
        figures.add(&format!("{prefix}apply_to_{what}_p99_ms"), quantile(times, 0.99), "ms")?;
    }
    let full = subject.rss_mb()?;
    for (what, count) in subject.writes_by_kind()? {
        writeln!(std::io::stdout(), "{}: {what}, {count} times", which.name())?;
    }
    figures.add(&format!("{prefix}writes_per_model"), writes, "writes")?;
    figures.add(&format!("{prefix}cpu_seconds"), own, "s")?;
    figures.add(&format!("{prefix}controller_manager_cpu_seconds"), managed, "s")?;
    figures.add(&format!("{prefix}operator_rss_mb"), full, "MB")?;

    let before = subject.spent()?;
    tokio::time::sleep(plan.idle).await;
    let after = subject.spent()?;
    let share = seconds(&before, &after) / after.at.duration_since(before.at).as_secs_f64();
    figures.add(&format!("{prefix}idle_seconds"), plan.idle.as_secs_f64(), "s")?;
    figures.add(&format!("{prefix}idle_writes"), (after.writes - before.writes) as f64, "writes")?;
    figures.add(&format!("{prefix}idle_cpu_percent"), share * 100.0, "%")?;

    restart(&mut subject, plan, prefix, figures).await?;
    let again = subject.rss_mb()?;
    burst(client, &subject, plan, prefix, figures).await?;
    let rss_mb = full.max(again).max(subject.rss_mb()?);
    subject.end().await?;
    delete_all(client, &subject).await?;
    Ok(Outcome { own, controller_manager: managed, rss_mb, writes })
}

/// CPU that Kubernetes' own controllers take a second where nothing is done.
async fn resting(subject: &mut Subject) -> Result<f64> {
    let before = subject.spent()?;
    tokio::time::sleep(QUIET * 2).await;
    let after = subject.spent()?;
    let spent = after.controller_manager.saturating_sub(before.controller_manager);
    Ok(spent.as_secs_f64() / after.at.duration_since(before.at).as_secs_f64())
}

fn seconds(before: &Spent, after: &Spent) -> f64 {
    after.own.saturating_sub(before.own).as_secs_f64()
}

fn managed(before: &Spent, after: &Spent, resting: f64) -> f64 {
    let spent = after.controller_manager.saturating_sub(before.controller_manager).as_secs_f64();
    (spent - resting * after.at.duration_since(before.at).as_secs_f64()).max(0.0)
}

/// Applies models at a steady rate. Returns the milliseconds from each apply to its children, by what child: ours makes the
/// Secret with the certificate first, then the Service.
async fn steadily(client: &Client, subject: &Subject, plan: Plan) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let which = subject.which;
    let mut watched = vec![("pod", arrivals(subject.namespace.api::<Pod>(), move |pod| which.of_pod(pod)))];
    if subject.which == Which::Weighbridge {
        watched.insert(0, ("child", arrivals(subject.namespace.api::<Secret>(), of_child)));
        watched.insert(1, ("service", arrivals(subject.namespace.api::<Service>(), of_child)));
    }
    let models = subject.which.models(client, subject.namespace.name());
    let mut tick = tokio::time::interval(Duration::from_secs(1) / plan.rate.max(1));
    let mut begun = HashMap::new();
    for number in 0..plan.models {
        tick.tick().await;
        let (name, object) = subject.which.model(number);
        begun.insert(name.clone(), Instant::now());
        models.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(object)).await?;
    }
    let mut latencies = Vec::new();
    for (what, mut arrivals) in watched {
        let came = all(&mut arrivals, &begun.keys().cloned().collect())
            .await
            .with_context(|| format!("each {what}"))?;
        let taken = came.iter().filter_map(|(name, at)| Some(at.duration_since(*begun.get(name)?)));
        latencies.push((what, taken.map(|taken| taken.as_secs_f64() * 1000.0).collect()));
    }
    Ok(latencies)
}

/// When each object of a kind was seen first, by the model that it is of.
fn arrivals<K>(
    api: Api<K>,
    of: impl Fn(&K) -> Option<String> + Send + 'static,
) -> mpsc::UnboundedReceiver<(String, Instant)>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let (seen, arrivals) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let objects = watcher(api, watcher::Config::default()).default_backoff().touched_objects();
        tokio::pin!(objects);
        while let Some(object) = objects.next().await {
            if let Ok(object) = object
                && let Some(model) = of(&object)
                && seen.send((model, Instant::now())).is_err()
            {
                return;
            }
        }
    });
    arrivals
}

/// Waits until each of `wanted` has come; the first time of each counts.
async fn all(
    arrivals: &mut mpsc::UnboundedReceiver<(String, Instant)>,
    wanted: &HashSet<String>,
) -> Result<HashMap<String, Instant>> {
    let mut came = HashMap::new();
    let collecting = async {
        while came.len() < wanted.len() {
            let (name, at) = arrivals.recv().await.context("the watch ended")?;
            if wanted.contains(&name) {
                came.entry(name).or_insert(at);
            }
        }
        anyhow::Ok(())
    };
    let ended = tokio::time::timeout(LIMIT, collecting).await;
    ended.with_context(|| format!("not of every model within {} s", LIMIT.as_secs()))??;
    Ok(came)
}

async fn until_ready(client: &Client, subject: &Subject, models: usize) -> Result<()> {
    let api = subject.which.models(client, subject.namespace.name());
    let began = Instant::now();
    loop {
        let all = api.list(&ListParams::default()).await?;
        let ready = all.iter().filter(|model| subject.which.is_ready(model)).count();
        if ready == models {
            return Ok(());
        }
        ensure!(began.elapsed() < LIMIT, "{ready} of {models} models are ready");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits until nothing was written for [`QUIET`], or as long as [`LIMIT`]: one may never come to rest.
async fn quiet(subject: &Subject) -> Result<()> {
    let began = Instant::now();
    let (mut last, mut since) = (usize::MAX, Instant::now());
    while since.elapsed() < QUIET && began.elapsed() < LIMIT / 10 {
        let now = subject.writes()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Ends it and starts it again, with nothing changed.
async fn restart(subject: &mut Subject, plan: Plan, prefix: &str, figures: &mut Figures) -> Result<()> {
    let before = subject.writes()?;
    let ending = subject.end().await?;
    subject.begin()?;
    if subject.which == Which::Weighbridge {
        let synced = subject.looked_at(plan.models, LIMIT).await?;
        figures.add("restart_sync_seconds", synced.as_secs_f64(), "s")?;
    }
    // Who waits for an old Lease to run out takes up its work only then.
    tokio::time::sleep(Duration::from_secs(30)).await;
    quiet(subject).await?;
    let spent = subject.spent()?;
    figures.add(&format!("{prefix}exit_seconds"), ending.as_secs_f64(), "s")?;
    figures.add(&format!("{prefix}restart_writes"), (spent.writes - before) as f64, "writes")?;
    figures.add(&format!("{prefix}restart_cpu_seconds"), spent.own.as_secs_f64(), "s")?;
    Ok(())
}

/// Deletes every model, and makes as many at once.
async fn burst(
    client: &Client,
    subject: &Subject,
    plan: Plan,
    prefix: &str,
    figures: &mut Figures,
) -> Result<()> {
    delete_all(client, subject).await?;
    quiet(subject).await?;
    let mut watched = match subject.which {
        Which::Weighbridge => vec![
            arrivals(subject.namespace.api::<Secret>(), of_child),
            arrivals(subject.namespace.api::<Service>(), of_child),
            arrivals(subject.namespace.api::<Deployment>(), of_child),
        ],
        Which::KubeAi => vec![arrivals(subject.namespace.api::<Pod>(), |pod| Which::KubeAi.of_pod(pod))],
    };
    let models = subject.which.models(client, subject.namespace.name());
    let began = Instant::now();
    let made: Vec<String> = stream::iter(0..plan.models)
        .map(|number| {
            let (name, object) = subject.which.model(number);
            let models = models.clone();
            async move {
                models.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(object)).await.map(|_| name)
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    figures.add(&format!("{prefix}burst_client_seconds"), began.elapsed().as_secs_f64(), "s")?;
    let made = made.into_iter().collect();
    let mut last = began;
    for arrivals in &mut watched {
        last = all(arrivals, &made).await?.into_values().fold(last, Instant::max);
    }
    figures.add(&format!("{prefix}burst_apply_seconds"), last.duration_since(began).as_secs_f64(), "s")?;
    Ok(())
}

async fn delete_all(client: &Client, subject: &Subject) -> Result<()> {
    let models: Api<DynamicObject> = subject.which.models(client, subject.namespace.name());
    let names = models.list_metadata(&ListParams::default()).await?.into_iter().map(|model| model.name_any());
    // One by one: the apiserver gives a request a minute, in which a slow one does not delete a thousand.
    stream::iter(names)
        .map(|name| {
            let models = models.clone();
            async move { models.delete(&name, &DeleteParams::background()).await }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let began = Instant::now();
    // Whose controller is gone keeps its finalizers; a namespace's end does not wait here for it.
    while !subject.namespace.api::<Pod>().list(&ListParams::default()).await?.items.is_empty() {
        ensure!(began.elapsed() < LIMIT, "the pods of deleted models stay");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
