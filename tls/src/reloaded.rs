//! Something that is made of files, and made anew when they change.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{FileVersion, NamedFile, TlsError};

/// Looks again where the files changed while they were read: a pair half of the old and half of the new is none. Twice
/// in a row is more than any rotation; the next look tells the rest.
const LOOKS: usize = 3;

type Make<T> = Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// What `files` hold, as of now. A change is seen when somebody asks, which costs one `stat` a file: there is no task, no
/// clock, and nothing to wait for. Files that can't be used leave the last good content in place.
pub struct Reloaded<T> {
    files: Vec<NamedFile>,
    make: Make<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    versions: Vec<Option<FileVersion>>,
    value: Arc<T>,
    failures: u64,
}

impl<T> Reloaded<T> {
    /// Makes it once of `files`, by `make`.
    ///
    /// # Errors
    /// Where they can't be used.
    pub fn new(
        files: Vec<NamedFile>,
        make: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let (versions, made) = settled(&files, &make);
        let state = State { versions, value: Arc::new(made?), failures: 0 };
        Ok(Self { files, make: Box::new(make), state: Mutex::new(state) })
    }

    /// As the files are now.
    pub fn current(&self) -> Arc<T> {
        self.look().0
    }

    /// As the files are now, and how often they could not be used so far.
    pub(crate) fn look(&self) -> (Arc<T>, u64) {
        // A panic elsewhere leaves the state whole: every change of it is an assignment.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if versions(&self.files) != state.versions {
            let (versions, made) = settled(&self.files, &*self.make);
            state.versions = versions;
            match made {
                Ok(value) => {
                    state.value = Arc::new(value);
                    tracing::info!(files = %Listed(&self.files), "certificates were read again");
                }
                Err(error) => {
                    state.failures += 1;
                    let problem = &error.problem;
                    tracing::error!(file = %error.file, %problem, "a changed certificate can't be used: the last one stays");
                }
            }
        }
        (Arc::clone(&state.value), state.failures)
    }
}

fn versions(files: &[NamedFile]) -> Vec<Option<FileVersion>> {
    files.iter().map(NamedFile::version).collect()
}

/// What the files make, and the versions that it is of.
fn settled<T>(
    files: &[NamedFile],
    make: &dyn Fn() -> Result<T, TlsError>,
) -> (Vec<Option<FileVersion>>, Result<T, TlsError>) {
    let mut before = versions(files);
    let mut made = make();
    for _ in 1..LOOKS {
        let after = versions(files);
        if after == before {
            break;
        }
        before = after;
        made = make();
    }
    (before, made)
}

struct Listed<'a>(&'a [NamedFile]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, file) in self.0.iter().enumerate() {
            write!(f, "{}{file}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never what was made: it holds a private key.
        f.debug_struct("Reloaded").field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Problem;

    /// The text of `file`, but for "bad", and how often it was made.
    fn text(file: &NamedFile) -> (Reloaded<String>, Arc<AtomicUsize>) {
        let made = Arc::new(AtomicUsize::new(0));
        let (counted, of) = (Arc::clone(&made), file.clone());
        let reloaded = Reloaded::new(vec![file.clone()], move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let text = String::from_utf8(of.read().map_err(TlsError::of(&of))?).unwrap_or_default();
            if text == "bad" { Err(TlsError::of(&of)(Problem::NoKey)) } else { Ok(text) }
        });
        (reloaded.expect("made"), made)
    }

    #[test]
    fn a_change_is_seen_and_a_bad_one_is_counted_once_and_leaves_the_last_good_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = NamedFile::new("--x", &folder.path().join("x"));
        fs::write(&file.path, "one").expect("written");
        let (reloaded, made) = text(&file);
        // As Kubernetes does it: a new file takes the name.
        let replace = |content: &str| {
            let next = folder.path().join("next");
            fs::write(&next, content).expect("written");
            fs::rename(&next, &file.path).expect("renamed");
        };
        for _ in 0..3 {
            assert_eq!(*reloaded.current(), "one");
        }
        assert_eq!(made.load(Ordering::Relaxed), 1, "nothing is read where nothing changed");
        replace("two");
        assert_eq!(*reloaded.current(), "two");
        for change in [Some("bad"), None] {
            match change {
                Some(content) => replace(content),
                None => fs::remove_file(&file.path).expect("removed"),
            }
            for _ in 0..3 {
                assert_eq!(*reloaded.current(), "two");
            }
        }
        assert_eq!(reloaded.look().1, 2);
        replace("three");
        assert_eq!(*reloaded.current(), "three");
        assert_eq!(reloaded.look().1, 2);
    }

    #[test]
    fn files_that_change_while_they_are_read_are_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = NamedFile::new("--x", &folder.path().join("x"));
        fs::write(&file.path, "half").expect("written");
        let path = file.path.clone();
        let reloaded = Reloaded::new(vec![file], move || {
            let read = fs::read_to_string(&path).expect("readable");
            if read == "half" {
                fs::write(&path, "the other half").expect("written");
            }
            Ok(read)
        });
        assert_eq!(*reloaded.expect("made").current(), "the other half");
    }
}
