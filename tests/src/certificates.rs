//! Certificates as the operator makes them, as files as the kubelet mounts them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use weighbridge_operator::certificates::{Authority, Issuer, Leaf, Lifetimes, lifetime};
use weighbridge_tls::{
    ClientFiles, ClientTls, Clients, Handshakes, Identity, NamedFile, PairFiles, ServerFiles, ServerTls,
};

/// What one installation trusts, and the files of its pods.
pub struct Installation {
    /// What signs.
    pub issuer: Issuer,
    folder: TempDir,
}

/// Lifetimes as they are where nobody says otherwise.
///
/// # Errors
/// Never: they fit each other.
pub fn lifetimes() -> Result<Lifetimes> {
    let of = |text| lifetime(text).map_err(anyhow::Error::msg);
    Ok(Lifetimes::new(of("1825d")?, of("7d")?)?)
}

impl Installation {
    /// With one new authority.
    ///
    /// # Errors
    /// Where the libraries or the file system refuse.
    pub fn new() -> Result<Self> {
        let authority = Authority::create(&lifetimes()?, Timestamp::now())?;
        Ok(Self { issuer: Issuer::new(vec![authority], lifetimes()?), folder: tempfile::tempdir()? })
    }

    /// Where files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of `pod`, where `leaf`, and whom to trust, are mounted from now on.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn mount(&self, pod: &str, leaf: &Leaf, trusted: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(pod);
        let files = [("ca.crt", trusted), ("tls.key", &leaf.key), ("tls.crt", &leaf.certificate)];
        mount(&folder, &files)?;
        Ok(folder)
    }

    /// The folder of `pod`, with a new certificate of `identity` and whom to trust.
    ///
    /// # Errors
    /// Where the libraries or the file system refuse.
    pub fn pod(&self, pod: &str, identity: &Identity) -> Result<PathBuf> {
        let leaf = self.issuer.issue(identity, Timestamp::now())?;
        self.mount(pod, &leaf, &self.issuer.trust().bundle)
    }

    /// What a pod shows that is to be `identity`, and lets in: gateways of this installation, and a proxy its operator too; a
    /// gateway, who asks where calls go, the operator alone.
    ///
    /// # Errors
    /// Where the libraries or the file system refuse.
    pub fn server_files(&self, pod: &str, identity: &Identity) -> Result<ServerFiles> {
        let folder = self.pod(pod, identity)?;
        let ca = NamedFile::new("--client-ca-file", &folder.join("ca.crt"));
        let identities = match identity {
            Identity::Proxy { .. } => vec![Identity::Gateway, Identity::Operator],
            Identity::Gateway => vec![Identity::Operator],
            Identity::Engine { .. } | Identity::Operator => vec![Identity::Gateway],
        };
        let clients = Some(Clients { ca, identities });
        Ok(ServerFiles { pair: pair(&folder, "--tls-cert-file", "--tls-key-file"), clients })
    }

    /// As [`Installation::server_files`], read.
    ///
    /// # Errors
    /// Where something refuses.
    pub fn server(&self, pod: &str, identity: &Identity) -> Result<Arc<ServerTls>> {
        let files = self.server_files(pod, identity)?;
        Ok(Arc::new(ServerTls::load(files, Handshakes::default())?))
    }

    /// What a pod shows to servers that is to be `identity`, and whom it trusts: those of this installation.
    ///
    /// # Errors
    /// Where something refuses.
    pub fn client(&self, pod: &str, identity: &Identity) -> Result<Arc<ClientTls>> {
        self.client_trusting(pod, identity, &self.issuer.trust().bundle)
    }

    /// As [`Installation::client`], with servers that others vouch for.
    ///
    /// # Errors
    /// Where something refuses.
    pub fn client_trusting(&self, pod: &str, identity: &Identity, trusted: &str) -> Result<Arc<ClientTls>> {
        let leaf = self.issuer.issue(identity, Timestamp::now())?;
        let folder = self.mount(pod, &leaf, trusted)?;
        let pair = pair(&folder, "--upstream-cert-file", "--upstream-key-file");
        let ca = NamedFile::new("--upstream-ca-file", &folder.join("ca.crt"));
        Ok(Arc::new(ClientTls::load(ClientFiles { pair, ca })?))
    }
}

/// Puts `files` into `folder` as a kubelet does: each is a link by way of `..data`, which is swapped for all of them at once.
fn mount(folder: &Path, files: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(folder)?;
    let content = tempfile::Builder::new().prefix("..").tempdir_in(folder)?.keep();
    for (name, text) in files {
        fs::write(content.join(name), text)?;
        let link = folder.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link)?;
        }
    }
    let next = folder.join("..data_tmp");
    symlink(content.file_name().context("a name")?, &next)?;
    fs::rename(next, folder.join("..data"))?;
    Ok(())
}

fn pair(folder: &Path, cert: &'static str, key: &'static str) -> PairFiles {
    PairFiles {
        cert: NamedFile::new(cert, &folder.join("tls.crt")),
        key: NamedFile::new(key, &folder.join("tls.key")),
    }
}

/// A client that shows nothing and trusts `authorities`, in PEM.
///
/// # Errors
/// Where they are none.
pub fn anonymous(folder: &Path, authorities: &str, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>> {
    let file = NamedFile::new("authorities", &folder.join("trusted.crt"));
    fs::write(&file.path, authorities)?;
    let roots: RootCertStore = weighbridge_tls::authorities(&file)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The certificate of a front door called `name`, which vouches for itself, with its files in `folder`.
///
/// # Errors
/// Where the libraries or the file system refuse.
pub fn front_door(folder: &Path, name: &str) -> Result<(ServerFiles, String)> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()])?;
    mount(folder, &[("tls.key", &made.signing_key.serialize_pem()), ("tls.crt", &made.cert.pem())])?;
    let files = ServerFiles { pair: pair(folder, "--tls-cert-file", "--tls-key-file"), clients: None };
    Ok((files, made.cert.pem()))
}
