//! Flags, the same wherever they are.

use std::path::PathBuf;

use clap::Args;

use crate::{
    ClientFiles, ClientTls, Clients, Handshakes, Identity, NamedFile, PairFiles, ServerFiles, ServerTls,
    TlsError,
};

/// The certificate that a server shows.
#[derive(Clone, Debug, Default, Args)]
pub struct ServerArgs {
    /// Certificate to serve with, and those between it and its authority, in PEM; read again, with its key, when it
    /// changes [default: plain http].
    #[arg(long, value_name = "FILE", requires = "tls_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_key_file: Option<PathBuf>,
}

impl ServerArgs {
    fn pair(&self) -> Option<PairFiles> {
        let (cert, key) = self.tls_cert_file.as_ref().zip(self.tls_key_file.as_ref())?;
        Some(PairFiles {
            cert: NamedFile::new("--tls-cert-file", cert),
            key: NamedFile::new("--tls-key-file", key),
        })
    }

    /// What the files hold; none where plain http is served.
    ///
    /// # Errors
    /// The first file that can't be used.
    pub fn load(&self) -> Result<Option<ServerTls>, TlsError> {
        let files = self.pair().map(|pair| ServerFiles { pair, clients: None });
        files.map(|files| ServerTls::load(files, Handshakes::default())).transpose()
    }
}

/// What an engine or a proxy shows, and whom it lets in.
#[derive(Clone, Debug, Default, Args)]
pub struct PodArgs {
    /// What it shows.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Authorities, in PEM, one of which must have signed a caller's certificate, and it must name a gateway of ours,
    /// or the operator where it asks how things stand; everybody else is refused. Read again when it changes [default: callers need no certificate].
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub client_ca_file: Option<PathBuf>,
}

impl PodArgs {
    /// The files of a server that lets `callers` in; none where plain http is served.
    pub fn files(&self, callers: &[Identity]) -> Option<ServerFiles> {
        let named = |ca| NamedFile::new("--client-ca-file", ca);
        let ca = self.client_ca_file.as_deref().map(named);
        let clients = ca.map(|ca| Clients { ca, identities: callers.to_vec() });
        Some(ServerFiles { pair: self.server.pair()?, clients })
    }

    /// What the files hold; none where plain http is served.
    ///
    /// # Errors
    /// The first file that can't be used.
    pub fn load(&self, callers: &[Identity]) -> Result<Option<ServerTls>, TlsError> {
        self.files(callers).map(|files| ServerTls::load(files, Handshakes::default())).transpose()
    }
}

/// How a gateway calls engines and proxies.
#[derive(Clone, Debug, Default, Args)]
pub struct UpstreamArgs {
    /// Certificate to show to engines and proxies, in PEM; read again, with the next two, when it changes
    /// [default: they are called by plain http, which those of a cluster refuse].
    #[arg(long, value_name = "FILE", requires_all = ["upstream_key_file", "upstream_ca_file"])]
    pub upstream_cert_file: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "upstream_cert_file")]
    pub upstream_key_file: Option<PathBuf>,
    /// Authorities that sign the certificates of engines and proxies, in PEM.
    #[arg(long, value_name = "FILE", requires = "upstream_cert_file")]
    pub upstream_ca_file: Option<PathBuf>,
}

impl UpstreamArgs {
    /// What the files hold; none where pods are called by plain http.
    ///
    /// # Errors
    /// The first file that can't be used.
    pub fn load(&self) -> Result<Option<ClientTls>, TlsError> {
        self.files().map(ClientTls::load).transpose()
    }

    /// A server that shows the same certificate, and lets in `callers` whom the same authorities vouch for; none where pods are
    /// called by plain http.
    ///
    /// # Errors
    /// The first file that can't be used.
    pub fn serving(&self, callers: &[Identity]) -> Result<Option<ServerTls>, TlsError> {
        let files = self.files().map(|ClientFiles { pair, ca }| ServerFiles {
            pair,
            clients: Some(Clients { ca, identities: callers.to_vec() }),
        });
        files.map(|files| ServerTls::load(files, Handshakes::default())).transpose()
    }

    fn files(&self) -> Option<ClientFiles> {
        let cert = self.upstream_cert_file.as_ref()?;
        let (key, ca) = self.upstream_key_file.as_ref().zip(self.upstream_ca_file.as_ref())?;
        let pair = PairFiles {
            cert: NamedFile::new("--upstream-cert-file", cert),
            key: NamedFile::new("--upstream-key-file", key),
        };
        Some(ClientFiles { pair, ca: NamedFile::new("--upstream-ca-file", ca) })
    }
}
