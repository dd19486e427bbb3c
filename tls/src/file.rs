//! Files, and how a change of one is seen.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Problem;

/// Bytes of a file that are read; a bundle of all public authorities has 250 KB, and a wrong path may be anything.
const MAX_BYTES: u64 = 1 << 20;

/// Tells one content of a file from another without reading it. Kubernetes swaps a symbolic link, which
/// changes device and inode; an editor changes time or length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    device: u64,
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
    length: u64,
}

impl From<&Metadata> for FileVersion {
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

/// A file, and the flag that names it: what is wrong with the one is mended at the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The flag, such as `--tls-cert-file`.
    pub flag: &'static str,
    /// The file.
    pub path: PathBuf,
}

impl NamedFile {
    /// The file at `path`, which `flag` names.
    pub fn new(flag: &'static str, path: &Path) -> Self {
        Self { flag, path: path.to_owned() }
    }

    /// Which content it has now; none where there is no file to be seen.
    pub(crate) fn version(&self) -> Option<FileVersion> {
        fs::metadata(&self.path).ok().as_ref().map(FileVersion::from)
    }

    /// All of it.
    ///
    /// # Errors
    /// Where it can't be read, or is larger than any certificate.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Problem> {
        let file = File::open(&self.path).map_err(Problem::Unreadable)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Problem::Unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Problem::Unreadable(io::Error::other("it is larger than 1 MiB")));
        }
        Ok(bytes)
    }
}

impl fmt::Display for NamedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.flag, self.path.display())
    }
}
