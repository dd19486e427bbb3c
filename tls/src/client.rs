//! A client's side between our own parts.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;

use crate::pem::{Pair, authorities};
use crate::{Certified, NamedFile, PairFiles, Problem, Reloaded, TlsError};

/// The files of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// What it shows.
    pub pair: PairFiles,
    /// Authorities that sign servers' certificates, in PEM.
    pub ca: NamedFile,
}

/// A client's side of TLS, whose files are read again when they change.
#[derive(Debug)]
pub struct ClientTls(Reloaded<Loaded>);

struct Loaded {
    config: Arc<ClientConfig>,
    ends: i64,
}

impl ClientTls {
    /// Reads `files`.
    ///
    /// # Errors
    /// The first that can't be used.
    pub fn load(files: ClientFiles) -> Result<Self, TlsError> {
        let read = vec![files.pair.cert.clone(), files.pair.key.clone(), files.ca.clone()];
        Ok(Self(Reloaded::new(read, move || load(&files))?))
    }

    /// What the next connection is made with.
    pub fn current(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.current().config)
    }
}

impl Certified for ClientTls {
    fn usage(&self) -> &'static str {
        "client"
    }

    fn look(&self) -> (i64, u64) {
        let (loaded, failures) = self.0.look();
        (loaded.ends, failures)
    }
}

fn load(files: &ClientFiles) -> Result<Loaded, TlsError> {
    let pair = Pair::read(&files.pair)?;
    let ends = pair.ends(&files.pair.cert)?;
    let Pair { chain, key } = pair;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        // Both ends are ours: nothing older is needed.
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| TlsError::of(&files.pair.cert)(Problem::Setup(error)))?
        .with_root_certificates(authorities(&files.ca)?)
        .with_client_auth_cert(chain, key)
        .map_err(|_| TlsError::of(&files.pair.key)(Problem::Mismatch))?;
    // Servers of ours give no tickets: each connection is judged anew.
    config.resumption = Resumption::disabled();
    Ok(Loaded { config: Arc::new(config), ends })
}
