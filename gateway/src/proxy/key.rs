//! The provider's key: read from a file, again whenever the file changes, and never printed.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// Bytes of a key file that are read; keys are shorter than 1 KB, and a wrong mount may be anything.
const MAX_BYTES: u64 = 16 << 10;

/// Why there is no key. Says nothing of the file's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("the key file is missing: the Secret, or the key in it, does not exist")]
    Missing,
    #[error("the key file can't be read")]
    Unreadable,
    #[error("the key file is empty")]
    Empty,
    #[error("the key file holds something that is no key: more than one line, or characters no header takes")]
    Malformed,
}

/// A key. `Debug` shows nothing of it.
#[derive(Clone, Debug)]
pub(super) struct Key(SecretString);

impl Key {
    fn new(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() as u64 >= MAX_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Malformed);
        }
        Ok(Self(SecretString::from(text)))
    }

    /// The value of `authorization`, marked so that HTTP/2 keeps it out of its tables and `Debug` hides it.
    pub(super) fn bearer(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// `text` without the key, in case a provider repeats it.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(self.0.expose_secret(), "[key]")
    }
}

/// The file, and what it held when it last changed.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    last: ArcSwapOption<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    version: Version,
    key: Result<Key, KeyError>,
}

/// Tells one content of the file from another without reading it. Kubernetes swaps a symbolic link, which
/// changes device and inode; an editor changes time or length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
    length: u64,
}

impl From<&Metadata> for Version {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
            length: metadata.len(),
        }
    }
}

impl KeyFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, last: ArcSwapOption::empty() }
    }

    /// The key as it is in the file now. Costs one `stat` (a Secret's volume is in memory) unless the file
    /// has changed.
    pub(super) fn current(&self) -> Result<Key, KeyError> {
        let metadata = fs::metadata(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => KeyError::Missing,
            _ => KeyError::Unreadable,
        })?;
        let version = Version::from(&metadata);
        if let Some(loaded) = self.last.load().as_ref().filter(|loaded| loaded.version == version) {
            return loaded.key.clone();
        }
        let key = self.read();
        tracing::info!(readable = key.is_ok(), "the key file was read");
        self.last.store(Some(Arc::new(Loaded { version, key: key.clone() })));
        key
    }

    fn read(&self) -> Result<Key, KeyError> {
        let file = fs::File::open(&self.path).map_err(|_| KeyError::Unreadable)?;
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => KeyError::Malformed,
            _ => KeyError::Unreadable,
        })?;
        Key::new(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "sk-canary-5f1d";

    fn bearer(file: &KeyFile) -> Option<String> {
        let value = file.current().ok()?.bearer()?;
        value.to_str().ok().map(str::to_owned)
    }

    #[test]
    fn a_change_of_the_file_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let file = KeyFile::new(path.clone());
        assert_eq!(file.current().expect_err("no file"), KeyError::Missing);
        fs::write(&path, "").expect("written");
        assert_eq!(file.current().expect_err("empty"), KeyError::Empty);
        fs::write(&path, " first\n").expect("written");
        assert_eq!(bearer(&file).as_deref(), Some("Bearer first"));
        // As Kubernetes does it: a new file takes the name.
        let next = folder.path().join("next");
        fs::write(&next, "again").expect("written");
        fs::rename(&next, &path).expect("renamed");
        assert_eq!(bearer(&file).as_deref(), Some("Bearer again"));
        fs::remove_file(&path).expect("removed");
        assert_eq!(file.current().expect_err("no file"), KeyError::Missing);
    }

    #[test]
    fn what_no_header_takes_is_no_key() {
        for text in ["a b", "a\nb", "ключ", "a\0"] {
            assert_eq!(Key::new(text).expect_err(text), KeyError::Malformed);
        }
    }

    #[test]
    fn the_key_is_never_printed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        fs::write(&path, CANARY).expect("written");
        let file = KeyFile::new(path);
        let key = file.current().expect("a key");
        let bearer = key.bearer().expect("a header");
        let printed = format!("{file:?} {key:?} {bearer:?} {:?}", key.clone());
        assert!(!printed.contains("canary"), "{printed}");
        assert_eq!(key.redact(&format!("wrong key: {CANARY}!")), "wrong key: [key]!");
    }
}
