use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::de::DeserializeOwned;
use weighbridge_crds::labels;
use weighbridge_tls::Identity;

use super::{Context, ReconcileError};
use crate::apply::{ApplyError, Pass};
use crate::certificates::leaf_secret;
use crate::dereference::Certificate;
use crate::owner::Owner;
use crate::plan::certificate::{self, CertificatePlan};
use crate::plan::names::{Labels, child, model_labels, provider_labels};
use crate::validate::Refusal;

/// Whose certificate is seen to, and where it is.
pub struct Wanted {
    /// Whom it names.
    pub identity: Identity,
    /// Name of its Secret.
    pub secret: String,
    /// Labels of its Secret.
    pub labels: Labels,
}

impl Wanted {
    /// Of a ModelDeployment's engines.
    pub fn engines(owner: &Owner) -> Self {
        let (namespace, name) = (owner.namespace().to_owned(), owner.name().to_owned());
        let secret = labels::engine_certificate(&name);
        Self { identity: Identity::Engine { namespace, name }, secret, labels: model_labels(owner) }
    }

    /// Of an ExternalProvider's proxy.
    pub fn proxy(owner: &Owner) -> Self {
        let (namespace, name) = (owner.namespace().to_owned(), owner.name().to_owned());
        let secret = labels::proxy_certificate(&name);
        Self { identity: Identity::Proxy { namespace, name }, secret, labels: provider_labels(owner) }
    }
}

/// Sees to the certificate of a parent's pods: as with the other children, a plan without a clock or a client, and then
/// what it says, in the `pass` of the other children. Returns when to look again at the latest.
///
/// While no authority is known, as when a process has just begun to lead, a certificate that is there serves on; whoever
/// brings the authority has every parent looked at again. Without one no pod is made, which could only wait for it.
///
/// # Errors
/// The Secret is somebody else's, or could not be written, or there is no authority.
pub async fn see_to<P>(
    context: &Context,
    owner: &Owner,
    found: &Certificate,
    wanted: Wanted,
    pass: &mut Pass<'_, P>,
) -> Result<Option<Timestamp>, ApplyError>
where
    P: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let found = match found {
        Certificate::NotNeeded => return Ok(None),
        Certificate::Forbidden => return Err(ApplyError::SecretsForbidden),
        Certificate::Needed(found) => found,
    };
    let issuer = match context.issuer() {
        Some(issuer) => issuer,
        None if found.as_ref().is_some_and(|found| found.certificate.is_some()) => return Ok(None),
        None => context.issuer_soon().await.ok_or(ApplyError::NoAuthority)?,
    };
    let Wanted { identity, secret, labels } = wanted;
    let now = Timestamp::now();
    let why = match certificate::judge(found.as_ref(), &identity, issuer.trust(), now) {
        CertificatePlan::Keep { due } => return Ok(Some(due)),
        CertificatePlan::Issue { why } => why,
    };
    let leaf = issuer.issue(&identity, now)?;
    let due = Timestamp::from_second(certificate::due(&leaf.facts)).ok();
    let secret = leaf_secret(child(owner, secret, labels), &leaf, issuer.trust());
    // Boxed: a large future, seldom needed.
    Box::pin(pass.replace(&secret, found.is_none(), &why)).await?;
    context.secrets.forget(owner.uid());
    context.metrics.certificate_issued(identity.role());
    Ok(due)
}

/// When to look again, and what people can mend, which is told as the refusal of a spec is.
///
/// # Errors
/// What passes by itself.
pub fn told(
    seen_to: Result<Option<Timestamp>, ApplyError>,
) -> Result<(Option<Timestamp>, Option<Refusal>), ReconcileError> {
    match seen_to {
        Ok(due) => Ok((due, None)),
        Err(error) => match error.refusal() {
            Some(refusal) => Ok((None, Some(refusal))),
            None => Err(ReconcileError::Apply(error)),
        },
    }
}
