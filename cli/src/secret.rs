//! Keys of Secrets with no cluster: from the file itself, or from where `--secret` points.
//!
//! A key is never on the command line, never on a disk that it was not on before, and never printed.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use kube::ResourceExt as _;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use weighbridge_crds::SecretKey;
use weighbridge_crds::manifest::Manifest;

/// A key that can't be had. No message holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Not of the flag's form.
    #[error(
        "--secret {name}: write [NAMESPACE/]NAME/KEY=env:VARIABLE or =file:PATH; a key itself may not stand on \
         the command line, where every process of the machine can read it"
    )]
    Form { name: String },
    /// The variable has no text.
    #[error("--secret {name}: the environment variable {variable} is not set or not text")]
    Variable { name: String, variable: String },
    /// The file can't be read.
    #[error("--secret {name}: {} can't be read", path.display())]
    File {
        name: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Neither the file nor a flag has it.
    #[error(
        "{field} names key {key:?} of Secret {name:?}, which is not in the file: add --secret {name}/{key}=env:VARIABLE"
    )]
    Missing { field: String, name: String, key: String },
    /// A key is text.
    #[error("Secret {name:?}: its key {key:?} is not text")]
    NotText { name: String, key: String },
    /// No memory for a key.
    #[error("a key can't be handed to the proxy in this process")]
    Memory(#[source] io::Error),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    namespace: String,
    name: String,
    key: String,
}

#[derive(Debug)]
enum Origin {
    Inline(SecretSlice<u8>),
    Variable(String),
    File(PathBuf),
}

/// Every key that can be had.
#[derive(Debug)]
pub struct Secrets {
    keys: BTreeMap<Place, Origin>,
    /// Where a `--secret` that names no namespace is put; an error names the flag that would be found.
    default_namespace: String,
}

/// A key as a path: it lives while this does.
#[derive(Debug)]
pub struct KeyPath {
    /// Where it is read.
    pub path: PathBuf,
    _memory: Option<OwnedFd>,
}

impl Secrets {
    /// The Secrets of a file, and over them those of the command line.
    pub fn new(
        manifests: &[Manifest],
        arguments: &[String],
        default_namespace: &str,
    ) -> Result<Self, SecretError> {
        let mut keys = BTreeMap::new();
        for manifest in manifests {
            let Manifest::Secret(secret) = manifest else { continue };
            let namespace = secret.namespace().unwrap_or_else(|| "default".to_owned());
            let mut add = |key: &String, value: &[u8]| {
                let place = Place { namespace: namespace.clone(), name: secret.name_any(), key: key.clone() };
                keys.insert(place, Origin::Inline(SecretSlice::from(value.to_vec())));
            };
            // The apiserver lets stringData win where both are given.
            secret.data.iter().flatten().for_each(|(key, value)| add(key, &value.0));
            secret.string_data.iter().flatten().for_each(|(key, value)| add(key, value.as_bytes()));
        }
        for argument in arguments {
            let (place, origin) = parse(argument, default_namespace)?;
            keys.insert(place, origin);
        }
        Ok(Self { keys, default_namespace: default_namespace.to_owned() })
    }

    /// The value of one key, named by `field`.
    pub fn read(&self, namespace: &str, key: &SecretKey, field: &str) -> Result<SecretString, SecretError> {
        let (place, origin) = self.find(namespace, key, field)?;
        let text = match origin {
            Origin::Inline(value) => String::from_utf8(value.expose_secret().to_vec())
                .map_err(|_| SecretError::NotText { name: key.name.clone(), key: key.key.clone() })?,
            Origin::Variable(variable) => std::env::var(variable)
                .map_err(|_| SecretError::Variable { name: place.said(), variable: variable.clone() })?,
            Origin::File(path) => std::fs::read_to_string(path).map_err(|source| SecretError::File {
                name: place.said(),
                path: path.clone(),
                source,
            })?,
        };
        Ok(SecretString::from(text))
    }

    /// One key as a path, for the proxy. A file stays the file, so that a new key in it is seen; anything
    /// else is put into memory that has no name on any disk.
    pub fn path(&self, namespace: &str, key: &SecretKey, field: &str) -> Result<KeyPath, SecretError> {
        let value = self.read(namespace, key, field)?;
        if let (_, Origin::File(path)) = self.find(namespace, key, field)? {
            return Ok(KeyPath { path: path.clone(), _memory: None });
        }
        let written = || {
            let memory = rustix::fs::memfd_create("weighbridge-key", rustix::fs::MemfdFlags::CLOEXEC)?;
            let mut file = std::fs::File::from(memory);
            file.write_all(value.expose_secret().as_bytes())?;
            Ok(OwnedFd::from(file))
        };
        let memory = written().map_err(SecretError::Memory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
        Ok(KeyPath { path, _memory: Some(memory) })
    }

    fn find(&self, namespace: &str, key: &SecretKey, field: &str) -> Result<(&Place, &Origin), SecretError> {
        let SecretKey { name, key } = key;
        let place = Place { namespace: namespace.to_owned(), name: name.clone(), key: key.clone() };
        self.keys.get_key_value(&place).ok_or_else(|| SecretError::Missing {
            field: field.to_owned(),
            name: if namespace == self.default_namespace {
                name.clone()
            } else {
                format!("{namespace}/{name}")
            },
            key: key.clone(),
        })
    }
}

impl Place {
    fn said(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.name, self.key)
    }
}

fn parse(argument: &str, default_namespace: &str) -> Result<(Place, Origin), SecretError> {
    let (name, origin) = argument.split_once('=').unwrap_or((argument, ""));
    // What follows the equals sign may be a key given by mistake: only what precedes it is repeated.
    let wrong = || SecretError::Form {
        name: if argument.contains('=') { name.to_owned() } else { "…".to_owned() },
    };
    let parts: Vec<&str> = name.split('/').collect();
    let (namespace, secret, key) = match parts.as_slice() {
        [secret, key] => (default_namespace, *secret, *key),
        [namespace, secret, key] => (*namespace, *secret, *key),
        _ => return Err(wrong()),
    };
    let origin = match origin.split_once(':') {
        Some(("env", variable)) if !variable.is_empty() => Origin::Variable(variable.to_owned()),
        Some(("file", path)) if !path.is_empty() => Origin::File(PathBuf::from(path)),
        _ => return Err(wrong()),
    };
    if [namespace, secret, key].contains(&"") {
        return Err(wrong());
    }
    Ok((Place { namespace: namespace.to_owned(), name: secret.to_owned(), key: key.to_owned() }, origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "sk-canary-0815";

    fn key() -> SecretKey {
        SecretKey { name: "acme".to_owned(), key: "api-key".to_owned() }
    }

    fn with(arguments: &[&str]) -> Result<Secrets, SecretError> {
        let file = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: acme, namespace: team}}\nstringData: {{api-key: {CANARY}}}"
        );
        let manifests = weighbridge_crds::manifest::parse(&file).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Secrets::new(&manifests, &arguments, "default")
    }

    /// Whoever does what the message says has the key: a bare name goes where --default-namespace says.
    #[test]
    fn the_flag_that_is_asked_for_is_the_one_that_is_found() {
        for (default_namespace, asked, flag) in [
            ("team", "default", "--secret default/acme/api-key="),
            ("team", "team", "--secret acme/api-key="),
            ("default", "default", "--secret acme/api-key="),
            ("default", "team", "--secret team/acme/api-key="),
        ] {
            let secrets = Secrets::new(&[], &[], default_namespace).unwrap();
            let error = secrets.read(asked, &key(), "apiKeys[0]").unwrap_err().to_string();
            assert!(error.contains(flag), "{default_namespace}: {error}");
            let given = format!("{}file:/dev/null", flag.trim_start_matches("--secret "));
            let secrets = Secrets::new(&[], &[given], default_namespace).unwrap();
            assert!(secrets.read(asked, &key(), "apiKeys[0]").is_ok(), "{default_namespace}");
        }
    }

    #[test]
    fn a_key_comes_from_the_file_or_from_where_the_flag_points() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "from a file").unwrap();
        let secrets = with(&[&format!("acme/api-key=file:{}", path.display())]).unwrap();
        assert_eq!(secrets.read("team", &key(), "f").unwrap().expose_secret(), CANARY);
        assert_eq!(secrets.read("default", &key(), "f").unwrap().expose_secret(), "from a file");
        assert_eq!(secrets.path("default", &key(), "f").unwrap().path, path);
        let error = secrets.read("other", &key(), "apiKeys[0]").unwrap_err().to_string();
        assert!(error.contains("apiKeys[0]") && error.contains("--secret other/acme/api-key="), "{error}");
    }

    #[test]
    fn a_key_in_memory_is_read_again_and_again() {
        let secrets = with(&[]).unwrap();
        let held = secrets.path("team", &key(), "f").unwrap();
        for _ in 0..2 {
            assert_eq!(std::fs::read_to_string(&held.path).unwrap(), CANARY);
        }
        let real = std::fs::read_link(&held.path).unwrap();
        assert!(real.display().to_string().starts_with("/memfd:"), "{}", real.display());
    }

    #[test]
    fn a_key_on_the_command_line_is_refused_and_not_repeated() {
        for bad in [
            &format!("acme/api-key={CANARY}"),
            &format!("acme/api-key=text:{CANARY}"),
            CANARY,
            &format!("acme={CANARY}"),
            "acme/api-key=env:",
            "/k=env:V",
            "a/b/c/d=env:V",
        ] {
            let error = with(&[bad]).unwrap_err().to_string();
            assert!(error.contains("env:VARIABLE") && !error.contains("canary"), "{error}");
        }
        assert!(!format!("{:?}", with(&[]).unwrap()).contains("canary"));
    }
}
