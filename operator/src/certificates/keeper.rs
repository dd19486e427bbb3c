use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use weighbridge_crds::labels::MANAGED_BY;
use weighbridge_tls::Identity;

use super::secret::{LeafData, authorities, authority_secret};
use super::{Authority, IssueError, Issuer, Lifetimes, leaf_secret};
use crate::apply::{CallError, Caller};
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::plan::MANAGED_BY_KEY;
use crate::plan::certificate::{self, AuthorityPlan, CertificatePlan};
use crate::plan::names::COMPONENT_KEY;

/// Time between two looks. Nobody watches Secrets, so that one that somebody deletes is missed for as long.
const LOOK: Duration = Duration::from_secs(60);
/// Time until a look that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Where the two Secrets are that belong to no resource.
#[derive(Clone, Debug)]
pub struct Places {
    /// Namespace of the operator.
    pub namespace: String,
    /// Secret there, with the authorities and their keys.
    pub authority: String,
    /// Namespace of the gateways.
    pub gateway_namespace: String,
    /// Secret there, with their certificate.
    pub gateway: String,
}

/// Why the certificates of the installation are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A Secret of that name belongs to somebody else.
    #[error("Secret {0} exists and is not ours: delete it, or have the operator use another name")]
    NotOurs(String),
    /// What is in the authorities' Secret is none, and it is not thrown away: people may have put it there.
    #[error(
        "Secret {0} holds something that is no authority: put back what was there, or delete it, and a new one is made"
    )]
    Unreadable(String),
    /// A certificate could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The apiserver did not do it.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Which states of a Secret a write may find.
#[derive(Clone, Copy)]
enum Over {
    /// The one that was read: authorities that somebody else has put there are kept, and of two who write at once one is refused.
    AsRead,
    /// Any: a certificate is worth no more than the next one, and who writes to it all the time does not keep it from being renewed.
    Any,
}

/// Keeps the authority and the gateways' certificate while this process leads, and tells the others of the authority.
pub struct Keeper {
    client: Client,
    caller: Caller,
    places: Places,
    lifetimes: Lifetimes,
    metrics: Metrics,
    issuer: watch::Sender<Option<Arc<Issuer>>>,
}

impl Keeper {
    /// A keeper that knows of nothing yet.
    pub fn new(
        client: Client,
        caller: Caller,
        places: Places,
        lifetimes: Lifetimes,
        metrics: Metrics,
    ) -> Self {
        let issuer = watch::Sender::new(None);
        Keeper { client, caller, places, lifetimes, metrics, issuer }
    }

    /// What signs certificates, as soon as it is known.
    pub fn issuer(&self) -> watch::Receiver<Option<Arc<Issuer>>> {
        self.issuer.subscribe()
    }

    /// Looks and acts for ever. What can't be done is said, and tried again.
    pub async fn run(self, leadership: Leadership) {
        loop {
            leadership.gained().await;
            let wait = match self.look(Timestamp::now()).await {
                Ok(due) => until(due).min(LOOK),
                Err(KeeperError::Call(CallError::NotLeading)) => RETRY,
                Err(error) => {
                    tracing::error!(%error, "the installation's certificates are not as they should be");
                    RETRY
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// One look, and what it asks for, at the time `now`. A crash after any write leaves what the next look goes on from.
    /// Returns when something is due.
    ///
    /// # Errors
    /// Something could not be read, made or written.
    pub async fn look(&self, now: Timestamp) -> Result<Timestamp, KeeperError> {
        let issuer = self.authority(now).await?;
        self.gateway(&issuer, now).await
    }

    async fn authority(&self, now: Timestamp) -> Result<Arc<Issuer>, KeeperError> {
        let Places { namespace, authority: name, gateway_namespace: _, gateway: _ } = &self.places;
        let live = self.get(namespace, name).await?;
        let mut known = match &live {
            None => Vec::new(),
            Some(secret) => {
                authorities(secret).ok_or_else(|| KeeperError::Unreadable(format!("{namespace}/{name}")))?
            }
        };
        let facts: Vec<_> = known.iter().map(|authority| authority.facts.clone()).collect();
        let AuthorityPlan { keep, issue } = certificate::authorities(&facts, now);
        if issue.is_some() || keep.len() < known.len() {
            let mut place = 0..;
            known.retain(|_| place.next().is_some_and(|place| keep.contains(&place)));
            if let Some(why) = issue {
                tracing::info!(secret = %format!("{namespace}/{name}"), why, "a new authority is made");
                known.insert(0, Authority::create(&self.lifetimes, now)?);
                self.metrics.certificate_issued("authority");
            }
            let secret = authority_secret(metadata(namespace, name, "operator"), &known);
            self.put(&secret, live.as_ref(), Over::AsRead).await?;
        }
        if let Some(newest) = known.first() {
            self.metrics.certificate_expiry("authority", newest.facts.not_after);
        }
        let fresh = Arc::new(Issuer::new(known, self.lifetimes));
        // Only a change wakes those who wait for one.
        self.issuer.send_if_modified(|current| {
            let same = current.as_ref().is_some_and(|current| current.trust() == fresh.trust());
            if !same {
                *current = Some(Arc::clone(&fresh));
            }
            !same
        });
        Ok(fresh)
    }

    async fn gateway(&self, issuer: &Issuer, now: Timestamp) -> Result<Timestamp, KeeperError> {
        let Places { namespace: _, authority: _, gateway_namespace: namespace, gateway: name } = &self.places;
        let live = self.get(namespace, name).await?;
        let found = live.as_ref().map(|secret| LeafData::of(secret).facts());
        let judged = certificate::judge(found.as_ref(), &Identity::Gateway, issuer.trust(), now);
        let (due, ends) = match judged {
            CertificatePlan::Keep { due } => {
                (due, found.and_then(|found| Some(found.certificate?.not_after)))
            }
            CertificatePlan::Issue { why } => {
                tracing::info!(secret = %format!("{namespace}/{name}"), why, "a certificate for gateways is made");
                let leaf = issuer.issue(&Identity::Gateway, now)?;
                let secret = leaf_secret(metadata(namespace, name, "gateway"), &leaf, issuer.trust());
                self.put(&secret, live.as_ref(), Over::Any).await?;
                self.metrics.certificate_issued(Identity::Gateway.role());
                (
                    Timestamp::from_second(certificate::due(&leaf.facts)).unwrap_or(now),
                    Some(leaf.facts.not_after),
                )
            }
        };
        if let Some(ends) = ends {
            self.metrics.certificate_expiry(Identity::Gateway.role(), ends);
        }
        Ok(due)
    }

    async fn get(&self, namespace: &str, name: &str) -> Result<Option<Secret>, KeeperError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let live = self.caller.read("Secret", api.get_opt(name)).await?;
        let ours =
            |secret: &Secret| secret.labels().get(MANAGED_BY_KEY).is_some_and(|value| value == MANAGED_BY);
        match live {
            Some(live) if !ours(&live) => Err(KeeperError::NotOurs(format!("{namespace}/{name}"))),
            live => Ok(live),
        }
    }

    /// Writes over the Secret that was read, as far as `over` says, or where none was.
    async fn put(&self, secret: &Secret, live: Option<&Secret>, over: Over) -> Result<(), KeeperError> {
        // Maps with string keys: turning it into a value can't fail.
        let mut body = serde_json::to_value(secret).unwrap_or_default();
        if let Some(live) = live {
            body["metadata"]["uid"] = json!(live.uid());
            match over {
                Over::AsRead => body["metadata"]["resourceVersion"] = json!(live.resource_version()),
                Over::Any => {}
            }
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &secret.namespace().unwrap_or_default());
        let parameters = PatchParams { force: live.is_some(), ..PatchParams::apply(MANAGED_BY) };
        let (name, body) = (secret.name_any(), Patch::Apply(&body));
        self.caller.write("apply", "Secret", api.patch(&name, &parameters, &body)).await?;
        Ok(())
    }
}

/// As everything of ours looks.
fn metadata(namespace: &str, name: &str, component: &str) -> ObjectMeta {
    let labels =
        [("app.kubernetes.io/name", "weighbridge"), (COMPONENT_KEY, component), (MANAGED_BY_KEY, MANAGED_BY)];
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(
            labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        ),
        ..ObjectMeta::default()
    }
}

/// How long it is until `due`; at least a second, so that a clock that is set back makes no storm.
fn until(due: Timestamp) -> Duration {
    let left = due.duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or_default().max(Duration::from_secs(1))
}
