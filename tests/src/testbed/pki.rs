//! The certificates and keys of one cluster, made anew at each start.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// A certificate authority whose files lie in one folder.
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority and writes its certificate to `folder/ca.crt`.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "weighbridge-testbed");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = Self { folder: folder.to_owned(), issuer };
        fs::write(authority.certificate(), authority.issuer.pem())?;
        fs::write(authority.key(), authority.issuer.key().serialize_pem())?;
        Ok(authority)
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The authority's own key: the controller-manager signs certificate requests with it.
    pub fn key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// A certificate for a server that is called by `names` (host names or addresses).
    pub fn server(&self, file: &str, names: &[String]) -> Result<Pair> {
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(file, params)
    }

    /// A certificate for the Kubernetes user `user` in `group`.
    pub fn client(&self, file: &str, user: &str, group: &str) -> Result<Pair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, params)
    }

    fn issue(&self, file: &str, mut params: CertificateParams) -> Result<Pair> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let pair = Pair {
            certificate: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        };
        fs::write(&pair.certificate, certificate.pem())?;
        fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }

    /// A bare key pair that signs and checks service account tokens: `file.key` and `file.pub`.
    pub fn signing_key(&self, file: &str) -> Result<()> {
        let key = KeyPair::generate()?;
        fs::write(self.folder.join(format!("{file}.key")), key.serialize_pem())?;
        fs::write(self.folder.join(format!("{file}.pub")), key.public_key_pem())?;
        Ok(())
    }

    /// Writes a kubeconfig that reaches `server` as the holder of `client`.
    ///
    /// The certificates are inlined, so that the file can be copied anywhere, and it is JSON, which
    /// every reader of YAML reads.
    pub fn kubeconfig(&self, path: &Path, server: &str, client: &Pair) -> Result<()> {
        let inline = |file: &Path| -> Result<String> {
            let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
            Ok(BASE64.encode(bytes))
        };
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "testbed",
            "clusters": [{"name": "testbed", "cluster": {
                "server": server, "certificate-authority-data": inline(&self.certificate())?,
            }}],
            "users": [{"name": "testbed", "user": {
                "client-certificate-data": inline(&client.certificate)?,
                "client-key-data": inline(&client.key)?,
            }}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
        });
        fs::write(path, serde_json::to_vec_pretty(&config)?)
            .with_context(|| format!("write {}", path.display()))
    }
}
