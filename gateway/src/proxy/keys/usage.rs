//! What the keys of a provider are, and how a request shows one.

use weighbridge_wire::provider::{Credential, KeyHeader, Place, Region};

use super::super::{ProxyConfig, ProxyConfigError};

/// How a provider's keys are read and shown.
#[derive(Clone, Debug)]
pub(in super::super) enum Usage {
    /// A text in a header.
    Header(KeyHeader),
    /// The key file of a Google service account.
    ServiceAccount {
        /// Whether its token may come from another host than Google's.
        allow_private: bool,
    },
    /// An access key of AWS, or an API key.
    Aws {
        /// What is signed for.
        service: &'static str,
        /// Where that is.
        region: Region,
    },
}

impl Usage {
    pub(in super::super) fn new(config: &ProxyConfig) -> Result<Self, ProxyConfigError> {
        Ok(match (config.kind.profile().credential, &config.place) {
            (Credential::Header(header), _) => Self::Header(header),
            (Credential::ServiceAccount, _) => Self::ServiceAccount { allow_private: config.allow_private },
            (Credential::Aws { service }, Some(Place::Bedrock { region })) => {
                Self::Aws { service, region: region.clone() }
            }
            (Credential::Aws { .. }, Some(Place::Vertex { .. }) | None) => {
                return Err(ProxyConfigError::NoPlace(config.kind));
            }
        })
    }
}
