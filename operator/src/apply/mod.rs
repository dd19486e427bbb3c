//! The fourth step of reconcile: makes the plan so. Decides nothing.
//!
//! Server-side apply with one field manager; nothing is written where the observed children already say what
//! the plan says; objects of others are never taken; deletions carry UID and resourceVersion.

mod added;
mod caller;
mod compare;
mod pass;
mod settled;

use std::fmt;
use std::marker::PhantomData;

use kube::ResourceExt;
use weighbridge_crds::condition::Reason;
use weighbridge_crds::{ExternalProvider, ModelCache, ModelDeployment};

pub use caller::{CALL_TIMEOUT, CallError, Caller};
pub use pass::{Means, Pass};
pub use settled::Settled;

use crate::certificates::IssueError;
use crate::plan::{
    Applied, CacheChildren, CachePlan, ModelChildren, ModelPlan, ObservedCache, ObservedModel,
    ObservedProvider, ProviderChildren, ProviderPlan,
};
use crate::validate::Refusal;

/// Why a plan was not carried out whole.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The parent on the server is not the one that was planned for. The watch brings the new one.
    #[error("the cached spec is not the one on the server: nothing was written")]
    StaleParent,
    /// An object with a child's name belongs to somebody else.
    #[error("{kind} {name} exists and is owned by {owner}: delete or rename it")]
    NotOwned {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Its owner, in words.
        owner: String,
    },
    /// A child is being deleted, and is made anew when it is gone.
    #[error("{kind} {name} is being deleted: it is made anew when it is gone")]
    Terminating {
        /// Kind of the child.
        kind: String,
        /// Its name.
        name: String,
    },
    /// What a deletion leans on does not hold on the server.
    #[error("{name} was not deleted: what the plan saw does not hold any more")]
    GuardBroken {
        /// Name of the child.
        name: String,
    },
    /// The apiserver drops what the pods are to read the weights from.
    #[error(
        "openWeights.storage.imageVolume: this cluster serves no image volumes, whose apiserver drops them: have the feature gate \
         ImageVolume turned on, or write the file into the registry as an artefact and remove imageVolume"
    )]
    NoImageVolumes,
    /// The apiserver knows no claims of devices.
    #[error(
        "the ResourceProfile's gpu.deviceClass needs dynamic resource allocation, and this cluster does not serve resource.k8s.io/v1: \
         run Kubernetes 1.34 or later with that API turned on, or name gpu.resource, such as nvidia.com/gpu of a device plugin, \
         in place of gpu.deviceClass"
    )]
    NoClaims,
    /// The certificate of its pods can't be kept.
    #[error(
        "the certificate of its pods is a Secret, and the operator may read none in this namespace: \
         add the namespace to the chart's operator.secretNamespaces"
    )]
    SecretsForbidden,
    /// Nothing can sign a certificate.
    #[error("there is no authority to sign the certificate of its pods: the operator's log says why")]
    NoAuthority,
    /// A certificate could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The apiserver did not do it.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl ApplyError {
    /// What people can mend, in a condition's terms; none for what passes by itself.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            ApplyError::NotOwned { .. } => Some(Refusal::new(Reason::ChildNotOwned, self.to_string())),
            ApplyError::NoAuthority | ApplyError::NoImageVolumes | ApplyError::NoClaims => {
                Some(Refusal::new(Reason::ChildRefused, self.to_string()))
            }
            ApplyError::SecretsForbidden => Some(Refusal::new(Reason::SecretsForbidden, self.to_string())),
            ApplyError::Call(error) if error.is_conflict() => None,
            ApplyError::Call(error) => {
                let status = error.status().filter(|status| matches!(status.code, 400 | 403 | 422))?;
                Some(Refusal::new(
                    Reason::ChildRefused,
                    format!("the apiserver refused a child: {}", status.message),
                ))
            }
            ApplyError::StaleParent
            | ApplyError::Terminating { .. }
            | ApplyError::GuardBroken { .. }
            | ApplyError::Issue(_) => None,
        }
    }
}

/// What was done to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It was not there.
    Created,
    /// It was not as planned.
    Updated,
    /// It is not planned any more.
    Deleted,
}

impl Verb {
    /// The word for Events.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Created => "Created",
            Verb::Updated => "Updated",
            Verb::Deleted => "Deleted",
        }
    }
}

/// One write to a child, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was done.
    pub verb: Verb,
    /// Kind and name of the child.
    pub child: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.verb.as_str(), self.child, self.why)
    }
}

/// Carries out a ModelDeployment's plan.
///
/// # Errors
/// The first thing that could not be done; what comes after it is left undone.
pub async fn model(
    pass: &mut Pass<'_, ModelDeployment>,
    plan: &ModelPlan,
    observed: &ObservedModel,
) -> Result<ModelChildren<Applied>, ApplyError> {
    // Which revision is on trial, and how far, is in the status.
    pass.lean_on_status(plan.rollout.is_some() || observed.rollout.is_some());
    let ModelPlan {
        children,
        claim_templates,
        records,
        removals,
        revision: _,
        waiting: _,
        inspection,
        waits: _,
        missing: _,
        rollout: _,
        due: _,
        decisions,
    } = plan;
    let ModelChildren { deployment, stable, service, state: _ } = children;
    let why = decisions.first().map(|decision| decision.why.as_str()).unwrap_or_default();
    // The address first: a pod that is ready early is then found at once.
    let service = match service {
        Some(wanted) => {
            Some(pass.ensure(wanted, &observed.services, "gateways find the engine's pods through it").await?)
        }
        None => None,
    };
    for wanted in claim_templates {
        // Boxed, as it is seldom needed.
        let made =
            Box::pin(pass.ensure(wanted, &observed.claim_templates, "pods get claims of GPUs by it")).await;
        made.map_err(|error| if not_served(&error) { ApplyError::NoClaims } else { error })?;
    }
    let deployment = match deployment {
        Some(wanted) => Some(pass.ensure(wanted, &observed.deployments, why).await?),
        None => None,
    };
    let stable = match stable {
        Some(wanted) => {
            let why = "it runs while another revision is on trial";
            // Boxed, as it is seldom needed.
            Some(Box::new(Box::pin(pass.ensure(&**wanted, &observed.deployments, why)).await?))
        }
        None => None,
    };
    for record in records {
        Box::pin(pass.once(record, "another revision is asked for")).await?;
    }
    if let Some(pod) = inspection
        && !observed.inspections.iter().any(|seen| seen.name == pod.name_any())
    {
        Box::pin(pass.once(pod, why)).await?;
    }
    for removal in removals {
        // Boxed like the slow half of `ensure`: a large future, seldom needed.
        Box::pin(pass.remove(removal)).await?;
    }
    Ok(ModelChildren { deployment, stable, service, state: PhantomData })
}

/// Whether the apiserver knows no such kind: where it does, what it has not found has a name.
fn not_served(error: &ApplyError) -> bool {
    let ApplyError::Call(error) = error else { return false };
    let status = error.status().filter(|status| status.code == 404);
    status.is_some_and(|status| status.details.as_ref().is_none_or(|found| found.name.is_empty()))
}

/// Carries out an ExternalProvider's plan.
///
/// # Errors
/// The first thing that could not be done; what comes after it is left undone.
pub async fn provider(
    pass: &mut Pass<'_, ExternalProvider>,
    plan: &ProviderPlan,
    observed: &ObservedProvider,
) -> Result<ProviderChildren<Applied>, ApplyError> {
    let ProviderPlan { children, revision: _, decisions } = plan;
    let ProviderChildren { network_policy, service, deployment, state: _ } = children;
    let why = decisions.first().map(|decision| decision.why.as_str()).unwrap_or_default();
    // The policy first: the key is never in a pod that may call anywhere.
    let why_policy = "the proxy may be called by gateways only";
    let network_policy = pass.ensure(network_policy, &observed.network_policies, why_policy).await?;
    let service = pass.ensure(service, &observed.services, "gateways find the proxy through it").await?;
    let deployment = pass.ensure(deployment, &observed.deployments, why).await?;
    Ok(ProviderChildren { network_policy, service, deployment, state: PhantomData })
}

/// Carries out a ModelCache's plan.
///
/// # Errors
/// The first thing that could not be done; what comes after it is left undone.
pub async fn cache(
    pass: &mut Pass<'_, ModelCache>,
    plan: &CachePlan,
    observed: &ObservedCache,
) -> Result<CacheChildren<Applied>, ApplyError> {
    let CachePlan {
        children,
        jobs,
        removals,
        entries: _,
        wanted: _,
        trouble: _,
        look_again: _,
        decisions: _,
    } = plan;
    let CacheChildren { claim, network_policy, state: _ } = children;
    // The policy first: a token is never in a pod that may call anywhere.
    let why = "its Jobs may call hubs, and nobody but those who ask how far they are may call them";
    let network_policy = pass.ensure(network_policy, &observed.network_policies, why).await?;
    let claim = match claim {
        Some(wanted) => Some(pass.ensure(wanted, &observed.claims, "weights are kept on it").await?),
        None => None,
    };
    for job in jobs {
        let made = observed.jobs.iter().any(|seen| seen.name == job.name_any());
        if !made {
            Box::pin(pass.once(job, "it fetches weights, or takes out what nobody needs")).await?;
        }
    }
    for removal in removals {
        Box::pin(pass.remove(removal)).await?;
    }
    Ok(CacheChildren { claim, network_policy, state: PhantomData })
}
