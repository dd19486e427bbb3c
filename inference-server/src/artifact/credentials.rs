//! What a source's server is shown, read from the keys of a Secret. Nothing here prints a value.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use weighbridge_crds::source::Source;
use weighbridge_crds::{
    ACCESS_KEY_ID, CredentialKey, DOCKER_CONFIG_KEY, SECRET_ACCESS_KEY, SERVICE_ACCOUNT_KEY, SESSION_TOKEN,
    TOKEN_KEY,
};

use super::{InvalidToken, Token};

/// What gives access to a server that is no hub.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Of an `https` source.
    Token(Token),
    /// Of an `s3` source.
    AccessKey(AccessKey),
    /// Of a `gs` source.
    ServiceAccount(ServiceAccount),
    /// Of an `oci` source.
    Login(Login),
}

/// An access key of S3.
#[derive(Clone, Debug)]
pub struct AccessKey {
    pub(super) id: String,
    pub(super) secret: SecretString,
    pub(super) session: Option<SecretString>,
}

/// A service account of Google's, and the key that it signs with.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    pub(super) email: String,
    pub(super) key_id: Option<String>,
    pub(super) key: Arc<dyn SigningKey>,
}

/// A user of a registry.
#[derive(Clone, Debug)]
pub struct Login {
    pub(super) user: String,
    pub(super) password: SecretString,
}

/// A Secret that gives no access. The message never holds what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// A key is not there, or empty.
    #[error("storage.credentialsSecret: the Secret has no key {0}, or has it empty: add it")]
    Missing(&'static str),
    /// A value that can't be what its key says.
    #[error("storage.credentialsSecret: key {0} of the Secret is no {1}: replace it")]
    Malformed(&'static str, &'static str),
    /// Logins to other registries alone.
    #[error(
        "storage.credentialsSecret: key .dockerconfigjson has no login for {0}: add one, or correct source"
    )]
    NoLogin(String),
    /// A token that can't be sent.
    #[error(transparent)]
    Token(InvalidToken),
}

impl Credentials {
    /// What `read` has of the keys that `source` needs; `None` where its kind takes none.
    ///
    /// # Errors
    /// Whatever keeps `read` from reading; inside, a value that is none.
    pub fn read<E>(
        source: &Source,
        mut read: impl FnMut(&str) -> Result<Option<String>, E>,
    ) -> Result<Result<Option<Self>, InvalidCredentials>, E> {
        let mut values = BTreeMap::new();
        for CredentialKey { name, is_needed } in source.credential_keys() {
            match read(name)?.filter(|value| !value.trim().is_empty()) {
                Some(value) => {
                    values.insert(*name, value);
                }
                None if *is_needed => return Ok(Err(InvalidCredentials::Missing(name))),
                None => {}
            }
        }
        Ok(Self::of(source, |key| values.get(key).map(|value| value.trim())))
    }

    fn of<'a>(
        source: &Source,
        value: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Result<Option<Self>, InvalidCredentials> {
        let needed = |key| value(key).ok_or(InvalidCredentials::Missing(key));
        let credentials = match source {
            Source::Web { .. } => {
                Credentials::Token(Token::new(needed(TOKEN_KEY)?).map_err(InvalidCredentials::Token)?)
            }
            Source::S3 { .. } => {
                let plain = |key| -> Result<String, InvalidCredentials> {
                    let text = needed(key)?;
                    let is_text = text.bytes().all(|byte| byte.is_ascii_graphic());
                    is_text
                        .then(|| text.to_owned())
                        .ok_or(InvalidCredentials::Malformed(key, "part of an access key"))
                };
                let session = value(SESSION_TOKEN).map(|_| plain(SESSION_TOKEN)).transpose()?;
                Credentials::AccessKey(AccessKey {
                    id: plain(ACCESS_KEY_ID)?,
                    secret: plain(SECRET_ACCESS_KEY)?.into(),
                    session: session.map(Into::into),
                })
            }
            Source::Gcs { .. } => Credentials::ServiceAccount(service_account(needed(SERVICE_ACCOUNT_KEY)?)?),
            Source::Registry { registry, .. } => {
                Credentials::Login(login(needed(DOCKER_CONFIG_KEY)?, registry)?)
            }
            Source::Hub { .. } | Source::Claim { .. } | Source::File { .. } => return Ok(None),
        };
        Ok(Some(credentials))
    }
}

fn service_account(text: &str) -> Result<ServiceAccount, InvalidCredentials> {
    #[derive(Deserialize)]
    struct Written {
        client_email: String,
        private_key: SecretString,
        private_key_id: Option<String>,
    }
    let refused = || InvalidCredentials::Malformed(SERVICE_ACCOUNT_KEY, "key file of a service account");
    let Written { client_email: email, private_key, private_key_id: key_id } =
        serde_json::from_str(text).map_err(|_| refused())?;
    let key = PrivateKeyDer::from_pem_slice(private_key.expose_secret().as_bytes()).map_err(|_| refused())?;
    let key = any_supported_type(&key).map_err(|_| refused())?;
    key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or_else(refused)?;
    Ok(ServiceAccount { email, key_id, key })
}

/// The login for `registry` among those of `text`.
fn login(text: &str, registry: &str) -> Result<Login, InvalidCredentials> {
    #[derive(Deserialize)]
    struct Written {
        #[serde(default)]
        auths: BTreeMap<String, Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        auth: Option<SecretString>,
        username: Option<String>,
        password: Option<SecretString>,
    }
    let refused = || InvalidCredentials::Malformed(DOCKER_CONFIG_KEY, "list of logins to registries");
    let Written { mut auths } = serde_json::from_str(text).map_err(|_| refused())?;
    // Docker's own registry goes by the name that its first version had.
    let names: &[&str] = match registry {
        "docker.io" => &["docker.io", "index.docker.io", "registry-1.docker.io"],
        other => &[other],
    };
    let is_meant = |written: &str| {
        let host = written.split_once("://").map_or(written, |(_, rest)| rest);
        names.contains(&host.split('/').next().unwrap_or(host))
    };
    let found = auths.keys().find(|written| is_meant(written)).cloned();
    let entry = found.and_then(|written| auths.remove(&written));
    let Entry { auth, username, password } =
        entry.ok_or_else(|| InvalidCredentials::NoLogin(registry.to_owned()))?;
    if let (Some(user), Some(password)) = (username, password) {
        return Ok(Login { user, password });
    }
    let bytes = STANDARD.decode(auth.ok_or_else(refused)?.expose_secret()).map_err(|_| refused())?;
    let text = String::from_utf8(bytes).map_err(|_| refused())?;
    let (user, password) = text.split_once(':').ok_or_else(refused)?;
    Ok(Login { user: user.to_owned(), password: password.to_owned().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str, keys: &[(&str, &str)]) -> Result<Option<Credentials>, InvalidCredentials> {
        let value =
            |key: &str| keys.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        Credentials::read(&source.parse().unwrap(), |key| Ok::<_, ()>(value(key))).unwrap()
    }

    #[test]
    fn each_kind_reads_its_own_keys_and_prints_none() {
        let key = [
            ("AWS_ACCESS_KEY_ID", "AKIA1\n"),
            ("AWS_SECRET_ACCESS_KEY", "canary"),
            ("AWS_SESSION_TOKEN", "canary"),
        ];
        let Some(Credentials::AccessKey(read_key)) = read("s3://b/k", &key).unwrap() else {
            panic!("no key")
        };
        assert_eq!((read_key.id.as_str(), read_key.secret.expose_secret()), ("AKIA1", "canary"));
        assert!(!format!("{read_key:?}").contains("canary"));
        assert!(read("s3://b/k", &key[..2]).is_ok());
        assert_eq!(
            read("s3://b/k", &key[..1]).unwrap_err(),
            InvalidCredentials::Missing("AWS_SECRET_ACCESS_KEY")
        );
        assert!(read("s3://b/k", &[key[1], ("AWS_ACCESS_KEY_ID", "a b")]).is_err());
        assert!(read("hf://o/r/f", &[]).unwrap().is_none());
        for bad in ["{}", "canary", r#"{"client_email":"a","private_key":"canary"}"#] {
            let error = read("gs://b/o", &[("service-account.json", bad)]).unwrap_err();
            assert!(
                matches!(error, InvalidCredentials::Malformed(..)) && !error.to_string().contains("canary")
            );
        }
    }

    #[test]
    fn a_login_is_that_of_the_sources_registry() {
        let encoded = STANDARD.encode("user:pass:word");
        let config = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{encoded}"}},"r.svc:5000":{{"username":"u","password":"canary"}}}}}}"#
        );
        let login = |source: &str| read(source, &[(".dockerconfigjson", &config)]);
        let Some(Credentials::Login(docker)) = login("oci://docker.io/o/m:v1").unwrap() else {
            panic!("none")
        };
        assert_eq!((docker.user.as_str(), docker.password.expose_secret()), ("user", "pass:word"));
        let Some(Credentials::Login(own)) = login("oci://r.svc:5000/m:v1").unwrap() else { panic!("none") };
        assert_eq!(own.user, "u");
        assert!(!format!("{own:?}").contains("canary"));
        let error = login("oci://r.svc/m:v1").unwrap_err();
        assert!(matches!(&error, InvalidCredentials::NoLogin(registry) if registry == "r.svc"), "{error}");
    }
}
