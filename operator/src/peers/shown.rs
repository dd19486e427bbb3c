//! What the operator shows to our own pods: a certificate of the installation's authority, made here and kept in memory.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustls::ClientConfig;
use tokio::sync::watch;
use weighbridge_tls::{Identity, Problem, client_of_pem};

use crate::certificates::{IssueError, Issuer, Trust};
use crate::plan::certificate::due;

/// Why the operator can't say who it is.
#[derive(Debug, thiserror::Error)]
pub enum ShownError {
    /// The authority is not known yet.
    #[error("there is no authority yet")]
    NoAuthority,
    /// No certificate could be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The certificate that was made can't be used.
    #[error("the certificate that was made can't be used")]
    Unusable(#[from] Problem),
}

/// Makes it, and makes it anew before it ends and whenever other authorities are to be trusted.
pub struct Shown(Way);

enum Way {
    Certified {
        issuer: watch::Receiver<Option<Arc<Issuer>>>,
        made: Mutex<Option<Made>>,
    },
    #[cfg(test)]
    Plain,
}

struct Made {
    config: Arc<ClientConfig>,
    trust: Trust,
    due: i64,
}

impl Shown {
    /// What `issuer` signs.
    pub fn new(issuer: watch::Receiver<Option<Arc<Issuer>>>) -> Arc<Self> {
        Arc::new(Self(Way::Certified { issuer, made: Mutex::default() }))
    }

    /// Nothing: pods of tests speak plain HTTP.
    #[cfg(test)]
    pub(crate) fn plain() -> Arc<Self> {
        Arc::new(Self(Way::Plain))
    }

    /// What the next connection is made with.
    pub(super) fn current(&self) -> Result<Option<Arc<ClientConfig>>, ShownError> {
        let (issuer, made) = match &self.0 {
            Way::Certified { issuer, made } => (issuer, made),
            #[cfg(test)]
            Way::Plain => return Ok(None),
        };
        let issuer = issuer.borrow().clone().ok_or(ShownError::NoAuthority)?;
        let now = Timestamp::now();
        // A panic elsewhere leaves it whole: it is replaced by one assignment.
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = made.as_ref().filter(|made| made.trust == *issuer.trust() && now.as_second() < made.due);
        if let Some(kept) = kept {
            return Ok(Some(Arc::clone(&kept.config)));
        }
        let leaf = issuer.issue(&Identity::Operator, now)?;
        let config = Arc::new(client_of_pem(&leaf.certificate, &leaf.key, &issuer.trust().bundle)?);
        let fresh =
            Made { config: Arc::clone(&config), trust: issuer.trust().clone(), due: due(&leaf.facts) };
        *made = Some(fresh);
        Ok(Some(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{Authority, Lifetimes, lifetime};

    fn issuer() -> Arc<Issuer> {
        let lifetimes = Lifetimes::new(lifetime("1825d").unwrap(), lifetime("7d").unwrap()).unwrap();
        let authority = Authority::create(&lifetimes, Timestamp::now()).unwrap();
        Arc::new(Issuer::new(vec![authority], lifetimes))
    }

    #[test]
    fn one_certificate_serves_until_others_are_to_be_trusted() {
        let (sender, receiver) = watch::channel(None);
        let shown = Shown::new(receiver);
        assert!(matches!(shown.current(), Err(ShownError::NoAuthority)));
        sender.send_replace(Some(issuer()));
        let first = shown.current().unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &shown.current().unwrap().unwrap()));
        sender.send_replace(Some(issuer()));
        assert!(!Arc::ptr_eq(&first, &shown.current().unwrap().unwrap()));
    }
}
