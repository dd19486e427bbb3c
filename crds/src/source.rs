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

/// A source that says nothing we can fetch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No scheme, or one that is not served.
    #[error(
        "source {0:?} has no known scheme: write hf://org/repo/file.gguf, pvc://claim/file.gguf or file:///folder/file.gguf"
    )]
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
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(given: &str) -> Result<Self, SourceError> {
        let (scheme, rest) =
            given.split_once("://").ok_or_else(|| SourceError::UnknownScheme(given.to_owned()))?;
        let incomplete = |wanted| SourceError::Incomplete { given: given.to_owned(), wanted };
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
            "pvc" => match rest.split_once('/') {
                Some((claim, file)) if !claim.is_empty() && !file.is_empty() => {
                    Source::Claim { claim: claim.to_owned(), file: file.to_owned() }
                }
                _ => return Err(incomplete("pvc://claim/file.gguf")),
            },
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
        for text in ["hf://org/repo/folder/file.gguf", "pvc://models/a/b.gguf", "file:///srv/models/m.gguf"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_would_leave_its_folder_or_names_nothing() {
        for text in ["pvc://claim/../secret", "file:///a/./b", "hf://o/r//x", "pvc://claim/a\\b"] {
            assert!(matches!(text.parse::<Source>(), Err(SourceError::UnsafePath(_))), "{text}");
        }
        for text in ["hf://org/repo", "pvc://claim", "file://relative", "pvc:///x"] {
            assert!(matches!(text.parse::<Source>(), Err(SourceError::Incomplete { .. })), "{text}");
        }
        for text in ["s3://bucket/key", "model.gguf", ""] {
            assert!(matches!(text.parse::<Source>(), Err(SourceError::UnknownScheme(_))), "{text}");
        }
    }
}
