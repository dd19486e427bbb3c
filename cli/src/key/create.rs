//! A new key on stderr or in a file, and its ModelAccess on stdout: what is piped into kubectl holds no key.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use weighbridge_crds::manifest::{self, ManifestError};
use weighbridge_crds::{AccessKey, EVERY_MODEL, ModelAccess, ModelAccessSpec};
use weighbridge_gateway::access::Digest;

use super::expiry::{ExpiryError, expiry};
use crate::args::KeyCreateArgs;
use crate::terminal::Terminal;

/// What every key begins with, so that people and scanners of secrets know one when they see it.
const PREFIX: &str = "wb-";

/// Random bytes of a key: nobody finds one by trying.
const BYTES: usize = 32;

/// A key that was not made. No message holds one.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// `--expires` is no time to come.
    #[error("--expires")]
    Expiry(#[source] ExpiryError),
    /// A flag that the apiserver would refuse.
    #[error("the ModelAccess would be refused")]
    Refused(#[source] Box<ManifestError>),
    /// A defect of ours.
    #[error("the ModelAccess can't be written as YAML: {0}")]
    Yaml(String),
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
    /// The key's file is there, or can't be.
    #[error("--key-file {}: the key can't be written there; name a file that is not there yet", path.display())]
    KeyFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// stdout is gone.
    #[error("can't write the ModelAccess")]
    Write(#[source] io::Error),
}

/// Makes a key.
///
/// # Errors
/// A flag that can't be used, or a key or its ModelAccess that can't be handed over.
pub fn create(args: &KeyCreateArgs, terminal: &Terminal) -> Result<(), CreateError> {
    let expires_at = args.expires.as_deref().map(|text| expiry(text, Timestamp::now())).transpose();
    let expires_at = expires_at.map_err(CreateError::Expiry)?;
    let key = random_key()?;
    let yaml = yaml(args, Digest::of(key.expose_secret().as_bytes()), expires_at)?;
    if let Some(path) = &args.key_file {
        keep(path, &key).map_err(|source| CreateError::KeyFile { path: path.clone(), source })?;
    }
    terminal.print(&yaml).map_err(CreateError::Write)?;
    terminal.note(&handed_over(args, &key));
    Ok(())
}

fn random_key() -> Result<SecretString, CreateError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(CreateError::Random)?;
    Ok(SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
}

/// The ModelAccess with one key, held against the rules that the apiserver will hold it against.
fn yaml(args: &KeyCreateArgs, digest: Digest, expires_at: Option<Timestamp>) -> Result<String, CreateError> {
    let KeyCreateArgs { name, namespace, access, model, expires: _, key_file: _ } = args;
    let every = || vec![EVERY_MODEL.to_owned()];
    let spec = ModelAccessSpec {
        keys: vec![AccessKey {
            name: name.clone(),
            sha256: digest.to_string(),
            expires_at: expires_at.map(Time),
        }],
        models: if model.is_empty() { every() } else { model.clone() },
    };
    let mut object = ModelAccess::new(access.as_deref().unwrap_or(name), spec);
    object.metadata.namespace.clone_from(namespace);
    let text = serde_saphyr::to_string(&object).map_err(|error| CreateError::Yaml(error.to_string()))?;
    manifest::parse(&text).map_err(|error| CreateError::Refused(Box::new(error)))?;
    Ok(format!(
        "# Made by `weighbridge key create`. The key itself is not here and can't be got from its hash.\n{text}"
    ))
}

/// A file that only its owner reads, and that was not there before.
fn keep(path: &Path, key: &SecretString) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", key.expose_secret())
}

fn handed_over(args: &KeyCreateArgs, key: &SecretString) -> String {
    let name = &args.name;
    let mut text = match &args.key_file {
        Some(path) => format!("The key `{name}` is in {}.", path.display()),
        None => format!("The key `{name}`, shown this once and kept nowhere:\n\n  {}\n", key.expose_secret()),
    };
    if io::stdout().is_terminal() {
        text += "\nWhat a cluster needs of it is above: pipe this command into `kubectl apply -f -`, or put the YAML into \
                 the file of `weighbridge up`.";
    }
    if let Some(access) = &args.access {
        text += &format!(
            "\nThis YAML alone makes it the only key of ModelAccess `{access}`. To add it to those that are there: \
             `kubectl apply --server-side --field-manager key-{name} -f -`."
        );
    }
    text
}
