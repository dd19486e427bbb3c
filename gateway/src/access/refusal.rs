//! Why a caller is turned away, in words that hold no key.

use k8s_openapi::jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use weighbridge_wire::canonical::{Failure, FailureClass};

use crate::label;

/// `Retry-After` until the cluster's keys are listed, which takes a moment at the start of a gateway.
const RETRY_AFTER_SECONDS: u32 = 1;

/// How to send a key.
const SEND: &str = "Send one as `Authorization: Bearer KEY`, `x-api-key`, `x-goog-api-key` or `api-key`. A key in the URL \
                    is not read: URLs are written into logs.";

/// Why a caller is turned away.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The cluster has not said yet which keys there are.
    NotListed,
    /// There is no ModelAccess.
    NoAccess,
    NoKey,
    KeysDiffer,
    UnknownKey,
    Expired {
        key: String,
        at: Timestamp,
    },
    /// The key is good, and not for this model.
    Model {
        key: String,
        name: String,
    },
}

/// No key, and nobody's name: a caller must not be able to make labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusalLabels {
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the derive takes label values from the variants' names")]
pub(super) enum Reason {
    not_listed,
    no_access,
    no_key,
    keys_differ,
    unknown_key,
    expired,
    forbidden_model,
}

impl Refusal {
    pub(super) fn labels(&self) -> RefusalLabels {
        let reason = match self {
            Self::NotListed => Reason::not_listed,
            Self::NoAccess => Reason::no_access,
            Self::NoKey => Reason::no_key,
            Self::KeysDiffer => Reason::keys_differ,
            Self::UnknownKey => Reason::unknown_key,
            Self::Expired { .. } => Reason::expired,
            Self::Model { .. } => Reason::forbidden_model,
        };
        RefusalLabels { reason }
    }

    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::NotListed => {
                let message = "This gateway has just begun and does not know the cluster's keys yet. Try again shortly.";
                let mut failure = Failure::new(FailureClass::Overloaded, message);
                failure.retry_after_seconds = Some(RETRY_AFTER_SECONDS);
                failure
            }
            Self::NoAccess => credential(
                "There is no ModelAccess yet, so nobody may call. Make a first key, and apply what goes with it: \
                 `weighbridge key create --name me --namespace NAMESPACE | kubectl apply -f -`, where NAMESPACE has the \
                 models. Then send the key as `Authorization: Bearer KEY`."
                    .to_owned(),
            ),
            Self::NoKey => credential(format!("No API key came with the request. {SEND}")),
            Self::KeysDiffer => credential(format!("Two different API keys came with the request. {SEND}")),
            Self::UnknownKey => credential(
                "The API key is not one of this server's. It may be cut short, of another server, or revoked; \
                 `weighbridge key create` makes a new one."
                    .to_owned(),
            ),
            Self::Expired { key, at } => credential(format!(
                "{key} expired at {at:.0}: make a new one with `weighbridge key create`, or move its expiresAt."
            )),
            Self::Model { key, name } => Failure::new(
                FailureClass::Forbidden,
                format!(
                    "{key} may not call the model `{}`, if there is one. GET /v1/models lists what it may call; \
                     `spec.models` of the ModelAccess decides.",
                    label::name(&name)
                ),
            ),
        }
    }
}

fn credential(message: String) -> Failure {
    Failure::new(FailureClass::Credential, message)
}
