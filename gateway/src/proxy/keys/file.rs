//! A file that holds a key: read again whenever it changes.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use weighbridge_tls::FileVersion;

use super::Key;
use super::ring::Generation;

/// Bytes of a key file that are read; keys are shorter than 1 KB, and a wrong mount may be anything.
pub(super) const MAX_BYTES: u64 = 16 << 10;

/// Why there is no key. Says nothing of the file's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum KeyError {
    #[error("the key file is missing: the Secret, or the key in it, does not exist")]
    Missing,
    #[error("the key file can't be read")]
    Unreadable,
    #[error("the key file is empty")]
    Empty,
    #[error("the key file holds something that is no key: more than one line, or characters no header takes")]
    Malformed,
}

/// The file, and what it held when it last changed.
#[derive(Debug)]
pub(super) struct KeyFile {
    /// Its place among the keys, for the log.
    index: usize,
    path: PathBuf,
    last: Option<(FileVersion, Result<Key, KeyError>)>,
    /// The last key that was in it, kept while it holds none: the same key again is no new one.
    newest: Option<Key>,
    generation: u64,
}

impl KeyFile {
    pub(super) fn new(index: usize, path: PathBuf) -> Self {
        Self { index, path, last: None, newest: None, generation: 0 }
    }

    /// The key as it is in the file now. Costs one `stat` (a Secret's volume is in memory) unless the file
    /// has changed.
    pub(super) fn current(&mut self) -> Result<(Key, Generation), KeyError> {
        let metadata = fs::metadata(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => KeyError::Missing,
            _ => KeyError::Unreadable,
        })?;
        let version = FileVersion::from(&metadata);
        let key = match &self.last {
            Some((last, key)) if *last == version => key.clone(),
            Some(_) | None => self.load(version),
        };
        Ok((key?, Generation(self.generation)))
    }

    fn load(&mut self, version: FileVersion) -> Result<Key, KeyError> {
        let key = self.read();
        tracing::info!(key = self.index, readable = key.is_ok(), "the key file was read");
        if let Ok(key) = &key
            && !self.newest.as_ref().is_some_and(|newest| newest.is(key))
        {
            self.generation += 1;
            self.newest = Some(key.clone());
        }
        self.last = Some((version, key.clone()));
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

    fn text(file: &mut KeyFile) -> Option<String> {
        Some(file.current().ok()?.0.text().to_owned())
    }

    #[test]
    fn a_change_of_the_file_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let mut file = KeyFile::new(0, path.clone());
        assert_eq!(file.current().expect_err("no file"), KeyError::Missing);
        fs::write(&path, "").expect("written");
        assert_eq!(file.current().expect_err("empty"), KeyError::Empty);
        fs::write(&path, " first\n").expect("written");
        assert_eq!(text(&mut file).as_deref(), Some("first"));
        // As Kubernetes does it: a new file takes the name.
        let next = folder.path().join("next");
        fs::write(&next, "again").expect("written");
        fs::rename(&next, &path).expect("renamed");
        assert_eq!(text(&mut file).as_deref(), Some("again"));
        fs::remove_file(&path).expect("removed");
        assert_eq!(file.current().expect_err("no file"), KeyError::Missing);
    }

    #[test]
    fn only_another_key_is_another_generation() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let mut file = KeyFile::new(0, path.clone());
        let mut generation = |content: Option<&str>| {
            let next = folder.path().join("next");
            match content {
                Some(content) => {
                    fs::write(&next, content).expect("written");
                    fs::rename(&next, &path).expect("renamed");
                }
                None => fs::remove_file(&path).expect("removed"),
            }
            file.current().ok().map(|(_, generation)| generation)
        };
        let first = generation(Some("first"));
        assert!(first.is_some());
        assert_eq!(generation(Some(" first\n")), first, "written anew, the same key");
        assert_eq!(generation(None), None);
        assert_eq!(generation(Some("")), None);
        assert_eq!(generation(Some("first")), first, "gone for a while, the same key");
        let second = generation(Some("second"));
        assert!(second.is_some() && second != first);
        assert_ne!(generation(Some("first")), second);
    }

    #[test]
    fn the_key_is_never_printed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        fs::write(&path, CANARY).expect("written");
        let mut file = KeyFile::new(0, path);
        let key = file.current().expect("a key");
        let printed = format!("{file:?} {key:?}");
        assert!(!printed.contains("canary"), "{printed}");
    }
}
