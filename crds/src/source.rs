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
const FORMS: &str =
    "hf://org/repo/file.gguf, https://host/path/file.gguf, pvc://claim/file.gguf or file:///folder/file.gguf";

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
        "source is an https address with a user, a query or a fragment, which may hold a secret that everybody could read here: \
         write https://host/path/file.gguf, and a token into storage.credentialsSecret"
    )]
    NotPlain,
}

impl Source {
    /// The file's path where its kind keeps files.
    pub fn file(&self) -> &str {
        match self {
            Source::Hub { repository: _, file } | Source::Claim { claim: _, file } => file,
            Source::Web { host: _, path } | Source::File { path } => path,
        }
    }

    /// The same place, and `file` of it.
    #[must_use]
    pub fn with_file(&self, file: &str) -> Self {
        let (mut source, named) = (self.clone(), file.to_owned());
        match &mut source {
            Source::Hub { repository: _, file } | Source::Claim { claim: _, file } => *file = named,
            Source::Web { host: _, path } | Source::File { path } => *path = named,
        }
        source
    }

    /// Whether it comes over a network, into a cache.
    pub fn is_fetched(&self) -> bool {
        match self {
            Source::Hub { .. } | Source::Web { .. } => true,
            Source::Claim { .. } | Source::File { .. } => false,
        }
    }
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
            "pvc://models/a/b.gguf",
            "file:///srv/models/m.gguf",
        ] {
            let source = text.parse::<Source>().unwrap();
            assert_eq!(source.to_string(), text);
            assert!(text.ends_with(source.file()));
            assert_eq!(source.with_file(source.file()), source);
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
        for text in
            ["hf://org/repo", "pvc://claim", "file://relative", "pvc:///x", "https://host", "https:///f"]
        {
            assert!(matches!(text.parse::<Source>(), Err(SourceError::Incomplete { .. })), "{text}");
        }
        for text in ["http://host/file.gguf", "ftp://host/file", "model.gguf", ""] {
            assert!(matches!(text.parse::<Source>(), Err(SourceError::UnknownScheme(_))), "{text}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_no_part_of_an_address_nor_of_what_is_said_of_it() {
        for text in
            ["https://canary@h/f@1", "https://u:canary@h/f", "https://h/f?token=canary", "https://h/f#canary"]
        {
            let error = text.parse::<Source>().unwrap_err();
            assert_eq!(error, SourceError::NotPlain, "{text}");
            assert!(!error.to_string().contains("canary"));
        }
    }
}
