//! Kernels ready to load: a folder with code for every architecture and a manifest that has each file's hash.
//!
//! Beside the program such a folder is the pack that a GPU image carries. Where there is none, NVRTC makes the code of
//! one architecture, and a folder of the same kind keeps it for the next start.

mod find;
mod manifest;

pub use find::{Found, Places, find};
pub use manifest::{File, MANIFEST, Manifest};

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::compile::{Architecture, CompileError, Compiled, Kind};
use crate::sources::{KERNELS, digest, hex};

/// Code for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// What it is for.
    pub architecture: Architecture,
    /// Its modules.
    pub modules: Vec<Module>,
}

/// One loadable module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The file of kernels it is of.
    pub name: String,
    /// Machine code or PTX.
    pub image: Vec<u8>,
}

/// Why there is no code to load.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A manifest that is none.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Made of other sources, or of another format.
    #[error("{} is the kernel pack of another version of this program: take the one that came with it", path.display())]
    OtherVersion {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing for this card.
    #[error("{} has no kernels for {architecture}", path.display())]
    NoArchitecture {
        /// The folder.
        path: PathBuf,
        /// What was wanted.
        architecture: Architecture,
    },
    /// A file that is not what was packed.
    #[error("{} is damaged: its SHA-256 is {found}, the manifest has {expected}; fetch the pack again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The manifest's.
        expected: String,
    },
    /// A card of an age that nothing is made for.
    #[error("kernels need compute capability 8.0 or later, and the card has {}.{}", card.0, card.1)]
    OldCard {
        /// Its capability.
        card: (u32, u32),
    },
    /// No pack, and nothing to make one with.
    #[error("no kernels: {} is not there, and {source}", pack.display())]
    NoKernels {
        /// Where the pack was looked for.
        pack: PathBuf,
        /// Why none could be compiled.
        source: CompileError,
    },
    /// The kernels did not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Writes `compiled`, all modules of some architectures, as a pack into the empty folder `folder`.
///
/// # Errors
/// [`PackError::Io`].
pub fn write(folder: &Path, compiled: &[(Architecture, Vec<Compiled>)]) -> Result<Manifest, PackError> {
    let mut manifest = Manifest { format: manifest::FORMAT, sources: digest(), files: Vec::new() };
    for (architecture, modules) in compiled {
        let within = folder.join(architecture.name());
        std::fs::create_dir_all(&within).map_err(at(&within))?;
        for module in modules {
            let end = match architecture.kind() {
                Kind::Cubin => "cubin",
                Kind::Ptx => "ptx",
            };
            let name = format!("{}/{}.{end}", architecture.name(), module.module.trim_end_matches(".cu"));
            let path = folder.join(&name);
            std::fs::write(&path, &module.image).map_err(at(&path))?;
            manifest.files.push(File {
                architecture: *architecture,
                module: module.module.to_owned(),
                path: name,
                sha256: hex(&Sha256::digest(&module.image)),
                kernels: module.usage.clone(),
            });
        }
    }
    manifest.write(folder)?;
    Ok(manifest)
}

/// Reads the code for `architecture` from the pack in `folder`, every byte of it hashed.
///
/// # Errors
/// [`PackError`]: no pack, another version's, nothing for the architecture, or damage.
pub fn read(folder: &Path, architecture: Architecture) -> Result<Code, PackError> {
    let manifest = Manifest::read(folder)?;
    if !manifest.is_ours() {
        return Err(PackError::OtherVersion { path: folder.to_owned() });
    }
    let mut modules = Vec::new();
    for file in manifest.files.iter().filter(|file| file.architecture == architecture) {
        let path = folder.join(&file.path);
        let image = std::fs::read(&path).map_err(at(&path))?;
        let found = hex(&Sha256::digest(&image));
        if found != file.sha256 {
            return Err(PackError::Damaged { path, found, expected: file.sha256.clone() });
        }
        modules.push(Module { name: file.module.clone(), image });
    }
    if modules.len() != KERNELS.len() {
        return Err(PackError::NoArchitecture { path: folder.to_owned(), architecture });
    }
    Ok(Code { architecture, modules })
}

/// An error of the system's with the file it is about.
fn at(path: &Path) -> impl Fn(std::io::Error) -> PackError {
    move |source| PackError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
