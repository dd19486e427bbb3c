//! An authority, and certificates of it as files.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use weighbridge_tls::{ClientFiles, Clients, Identity, NamedFile, PairFiles, ServerFiles};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key for `name`, good for both sides.
    pub fn pair(&self, name: &str) -> (String, String) {
        self.pair_until(name, (2100, 1, 1))
    }

    pub fn pair_until(&self, name: &str, (year, month, day): (i32, u8, u8)) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, month, day);
        // Both, so that it is the name alone that keeps somebody out.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

/// As Kubernetes does it: a new file takes the name.
pub fn replace(path: &Path, content: &str) {
    let next = path.with_extension("next");
    fs::write(&next, content).expect("written");
    fs::rename(&next, path).expect("renamed");
}

/// Writes `pair` into `folder`, under `name`.
pub fn pair_files(folder: &Path, name: &str, (certificate, key): &(String, String)) -> PairFiles {
    let files = PairFiles {
        cert: NamedFile::new("--tls-cert-file", &folder.join(format!("{name}.crt"))),
        key: NamedFile::new("--tls-key-file", &folder.join(format!("{name}.key"))),
    };
    replace(&files.key.path, key);
    replace(&files.cert.path, certificate);
    files
}

fn ca_file(flag: &'static str, folder: &Path, name: &str, authority: &str) -> NamedFile {
    let file = NamedFile::new(flag, &folder.join(format!("{name}.ca")));
    replace(&file.path, authority);
    file
}

/// A server that shows `pair` and lets in the gateways of `authority`.
pub fn server_files(folder: &Path, pair: &(String, String), authority: &str) -> ServerFiles {
    let ca = ca_file("--client-ca-file", folder, "server", authority);
    let clients = Some(Clients { ca, identity: Identity::Gateway });
    ServerFiles { pair: pair_files(folder, "server", pair), clients }
}

/// A client that shows `pair` and trusts servers of `authority`.
pub fn client_files(folder: &Path, pair: &(String, String), authority: &str) -> ClientFiles {
    let ca = ca_file("--upstream-ca-file", folder, "client", authority);
    ClientFiles { pair: pair_files(folder, "client", pair), ca }
}
