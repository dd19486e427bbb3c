//! A model source, parsed once from `openWeights.source`.

use std::fmt;
use std::str::FromStr;

/// Where weights are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `hf://org/repo/file`: a file in a repository of a hub.
    Hub {
        /// `org/repo`.
        repository: String,
        /// Path inside the repository.
        file: String,
    },
    /// `https://host/path/file`: a file that a web server has.
    Web {
        /// Host, with its port where one is written.
        host: String,
        /// Path on it, as written: what has to be escaped is.
        path: String,
    },
    /// `s3://bucket/key`: an object in a bucket of S3, or of what speaks its protocol.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// Key of the object.
        key: String,
    },
    /// `gs://bucket/object`: an object in a bucket of Google Cloud Storage.
    Gcs {
        /// Name of the bucket.
        bucket: String,
        /// Name of the object.
        object: String,
    },
    /// `oci://registry/repository:tag/file` or `oci://registry/repository@sha256:…/file`: a file of an artefact in a registry. A
    /// tag or digest ends the repository's name, so that what follows is the file's.
    Registry {
        /// Host, with its port where one is written.
        registry: String,
        /// Name of the repository.
        repository: String,
        /// A tag, or `sha256:…` of the manifest.
        reference: String,
        /// Name of the file in the artefact; may be left out where it holds one alone.
        file: Option<String>,
    },
    /// `pvc://claim/file`: a file on a PersistentVolumeClaim in the same namespace.
    Claim {
        /// Name of the claim.
        claim: String,
        /// Path inside the volume.
        file: String,
    },
    /// `file:///path`: a file on this machine.
    File {
        /// Absolute path.
        path: String,
    },
}

/// Every form that is served, for whoever wrote none of them.
const FORMS: &str = "hf://org/repo/file.gguf, s3://bucket/key, gs://bucket/object, oci://registry/repository:tag/file.gguf, \
                     https://host/path/file.gguf, pvc://claim/file.gguf or file:///folder/file.gguf";

/// A source that says nothing we can fetch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No scheme, or one that is not served.
    #[error("source {0:?} has no known scheme: write {FORMS}")]
    UnknownScheme(String),
    /// A part is missing.
    #[error("source {given:?} is incomplete: write {wanted}")]
    Incomplete {
        /// What was written.
        given: String,
        /// The form to write instead.
        wanted: &'static str,
    },
    /// The path would leave its folder.
    #[error("source {0:?} contains an empty, '.' or '..' segment or a backslash: name the file itself")]
    UnsafePath(String),
    /// A web address that says more than where a file is. What was written may be a secret, and is not repeated.
    #[error(
        "source is an address with a user, a query or a fragment, which may hold a secret that everybody could read here: write \
         host and path alone, such as https://host/path/file.gguf, and what gives access into storage.credentialsSecret"
    )]
    NotPlain,
}

impl Source {
    /// The file's path where its kind keeps files; empty for the only one of an artefact.
    pub fn file(&self) -> &str {
        match self {
            Source::Hub { repository: _, file } | Source::Claim { claim: _, file } => file,
            Source::Web { host: _, path } | Source::File { path } => path,
            Source::S3 { bucket: _, key: object } | Source::Gcs { bucket: _, object } => object,
            Source::Registry { registry: _, repository: _, reference: _, file } => {
                file.as_deref().unwrap_or_default()
            }
        }
    }

    /// The same place, and `file` of it.
    #[must_use]
    pub fn with_file(&self, file: &str) -> Self {
        let (mut source, named) = (self.clone(), file.to_owned());
        match &mut source {
            Source::Hub { repository: _, file } | Source::Claim { claim: _, file } => *file = named,
            Source::Web { host: _, path } | Source::File { path } => *path = named,
            Source::S3 { bucket: _, key: object } | Source::Gcs { bucket: _, object } => *object = named,
            Source::Registry { registry: _, repository: _, reference: _, file } => *file = Some(named),
        }
        source
    }

    /// Whether it comes over a network, into a cache.
    pub fn is_fetched(&self) -> bool {
        match self {
            Source::Hub { .. }
            | Source::Web { .. }
            | Source::S3 { .. }
            | Source::Gcs { .. }
            | Source::Registry { .. } => true,
            Source::Claim { .. } | Source::File { .. } => false,
        }
    }
}

const ARTEFACT: &str = "oci://registry/repository:tag/file.gguf or oci://registry/repository@sha256:DIGEST/file.gguf, in small letters";

/// Repository, tag or digest, and file of `artefact`.
fn named(artefact: &str) -> Option<(String, String, Option<String>)> {
    let at = artefact.find([':', '@'])?;
    let (repository, rest) = artefact.split_at(at);
    let (reference, file) = match rest.split_once('/') {
        Some((reference, file)) => (reference, Some(file.to_owned()).filter(|file| !file.is_empty())),
        None => (rest, None),
    };
    if rest.ends_with('/') {
        return None;
    }
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._/".contains(&byte);
    let begins = repository.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let reference = match reference.strip_prefix('@') {
        Some(digest) => {
            let hex = digest.strip_prefix("sha256:")?;
            let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            Some(digest).filter(|_| hex.len() == 64 && hex.bytes().all(is_hex))
        }
        None => reference.strip_prefix(':').filter(|tag| {
            let is_tag = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            (1..=128).contains(&tag.len()) && tag.bytes().all(is_tag)
        }),
    }?;
    (begins && repository.bytes().all(is_name)).then(|| (repository.to_owned(), reference.to_owned(), file))
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(given: &str) -> Result<Self, SourceError> {
        let (scheme, rest) =
            given.split_once("://").ok_or_else(|| SourceError::UnknownScheme(given.to_owned()))?;
        let incomplete = |wanted| SourceError::Incomplete { given: given.to_owned(), wanted };
        let two = |wanted| match rest.split_once('/') {
            Some((first, file)) if !first.is_empty() && !file.is_empty() => {
                Ok((first.to_owned(), file.to_owned()))
            }
            _ => Err(incomplete(wanted)),
        };
        let source = match scheme {
            "hf" => {
                let mut parts = rest.splitn(3, '/');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(organisation), Some(repository), Some(file))
                        if !organisation.is_empty() && !repository.is_empty() && !file.is_empty() =>
                    {
                        Source::Hub {
                            repository: format!("{organisation}/{repository}"),
                            file: file.to_owned(),
                        }
                    }
                    _ => return Err(incomplete("hf://org/repo/file.gguf")),
                }
            }
            "https" => {
                let host = rest.split('/').next().unwrap_or_default();
                if rest.contains(['?', '#']) || host.contains('@') {
                    return Err(SourceError::NotPlain);
                }
                let (host, path) = two("https://host/path/file.gguf")?;
                Source::Web { host, path }
            }
            "s3" => {
                let (bucket, key) = two("s3://bucket/key")?;
                Source::S3 { bucket, key }
            }
            "gs" => {
                let (bucket, object) = two("gs://bucket/object")?;
                Source::Gcs { bucket, object }
            }
            "oci" => {
                let (registry, artefact) = two(ARTEFACT)?;
                if registry.contains('@') {
                    return Err(SourceError::NotPlain);
                }
                let (repository, reference, file) = named(&artefact).ok_or_else(|| incomplete(ARTEFACT))?;
                Source::Registry { registry, repository, reference, file }
            }
            "pvc" => {
                let (claim, file) = two("pvc://claim/file.gguf")?;
                Source::Claim { claim, file }
            }
            "file" => match rest.strip_prefix('/') {
                Some(path) if !path.is_empty() => Source::File { path: rest.to_owned() },
                _ => return Err(incomplete("file:///folder/file.gguf")),
            },
            _ => return Err(SourceError::UnknownScheme(given.to_owned())),
        };
        let segments = rest.strip_prefix('/').unwrap_or(rest).split('/');
        if rest.contains('\\') || segments.into_iter().any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(SourceError::UnsafePath(given.to_owned()));
        }
        Ok(source)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Hub { repository, file } => write!(f, "hf://{repository}/{file}"),
            Source::Web { host, path } => write!(f, "https://{host}/{path}"),
            Source::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Source::Gcs { bucket, object } => write!(f, "gs://{bucket}/{object}"),
            Source::Registry { registry, repository, reference, file } => {
                // A digest has a colon, and no tag has.
                let mark = if reference.contains(':') { '@' } else { ':' };
                write!(f, "oci://{registry}/{repository}{mark}{reference}")?;
                file.iter().try_for_each(|file| write!(f, "/{file}"))
            }
            Source::Claim { claim, file } => write!(f, "pvc://{claim}/{file}"),
            Source::File { path } => write!(f, "file://{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_each_scheme_and_prints_it_back() {
        for text in [
            "hf://org/repo/folder/file.gguf",
            "https://files.example.com:8443/models/a%20b.gguf",
            "s3://models/folder/m.gguf",
            "gs://models_1/folder/m.gguf",
            "oci://registry.svc:5000/team/models/small:v1.0_a",
            "oci://registry.svc:5000/team/models/small:v1.0_a/folder/m.gguf",
            &format!("oci://ghcr.io/o/m@sha256:{}/m.gguf", "0a".repeat(32)),
            "pvc://models/a/b.gguf",
            "file:///srv/models/m.gguf",
        ] {
            let source = text.parse::<Source>().unwrap();
            assert_eq!(source.to_string(), text);
            assert!(text.ends_with(source.file()));
            if !source.file().is_empty() {
                assert_eq!(source.with_file(source.file()), source);
            }
        }
        let part = "https://h/m/a-00001-of-00002.gguf".parse::<Source>().unwrap();
        assert_eq!(part.with_file("m/b.gguf").to_string(), "https://h/m/b.gguf");
    }

    #[test]
    fn refuses_what_would_leave_its_folder_or_names_nothing() {
        for text in
            ["pvc://claim/../secret", "file:///a/./b", "hf://o/r//x", "pvc://claim/a\\b", "https://h/a/../b"]
        {
            assert!(matches!(text.parse::<Source>(), Err(SourceError::UnsafePath(_))), "{text}");
        }
        for text in [
            "hf://org/repo",
            "pvc://claim",
            "file://relative",
            "pvc:///x",
            "https://host",
            "https:///f",
            "s3://bucket",
            "gs:///object",
            "oci://registry",
            "oci://registry/repo",
            "oci://registry/repo/file",
            "oci://registry/repo:/f",
            "oci://registry/Repo:v1",
            "oci://registry/repo:v1/",
            "oci://registry/repo@sha256:00",
            "oci://registry/:v1",
            "oci://registry/repo@md5:00",
            "oci://registry/repo:v1@sha256:00",
        ] {
            assert!(matches!(text.parse::<Source>(), Err(SourceError::Incomplete { .. })), "{text}");
        }
        for text in ["http://host/file.gguf", "ftp://host/file", "model.gguf", ""] {
            assert!(matches!(text.parse::<Source>(), Err(SourceError::UnknownScheme(_))), "{text}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_no_part_of_an_address_nor_of_what_is_said_of_it() {
        for text in [
            "https://canary@h/f@1",
            "https://u:canary@h/f",
            "https://h/f?token=canary",
            "https://h/f#canary",
            "oci://u:canary@h/r:v1",
        ] {
            let error = text.parse::<Source>().unwrap_err();
            assert_eq!(error, SourceError::NotPlain, "{text}");
            assert!(!error.to_string().contains("canary"));
        }
    }
}
