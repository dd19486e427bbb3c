//! What can be wrong with a specification or its place, each naming the field and the fix.

use std::path::PathBuf;

use crate::gguf::GgufError;

/// A model that is not made.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// A dimension that makes no model, alone or with the others.
    #[error("{field} {value}: {problem}")]
    Field {
        /// The field, named as the command's flag.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// Something lies there already.
    #[error("{path} is there already: choose another path, or replace it with --force")]
    Exists {
        /// What lies there.
        path: PathBuf,
    },
    /// Another process makes the same file.
    #[error("{path} is being written by another process: wait for it, or choose another path")]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// No room.
    #[error("{path} needs {needed} bytes, and {free} are free there: make room, or choose a smaller model")]
    Space {
        /// The file.
        path: PathBuf,
        /// Its length.
        needed: u64,
        /// What the file system has left.
        free: u64,
    },
    /// The system refused.
    #[error("{path}: {source}; check the path, its permissions and the room on its disk")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// A tensor that no file can hold.
    #[error(transparent)]
    Tensor(#[from] GgufError),
    /// A thread of ours died.
    #[error("a writing thread panicked; nothing was left at the path")]
    Panicked,
}
