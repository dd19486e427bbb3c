//! From a specification to files. Threads claim pieces of a megabyte and write each at its place; a piece's numbers
//! come from its own seed, so who writes it changes nothing.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::tensors::{Tensor, tensors};
use super::{Format, SynthError, SynthSpec, config, metadata, names, random, safetensors, tokenizer};
use crate::gguf::write::GgufHeader;

/// Bytes of a piece: small enough to share out, large enough that a write costs nothing. A model's bytes hang on it.
const PIECE: usize = 1 << 20;

/// How to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// Replace what lies there.
    pub force: bool,
    /// Threads; all cores when `None`.
    pub threads: Option<NonZeroUsize>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Length of the file, or of the folder's weights.
    pub bytes: u64,
}

impl SynthSpec {
    /// Writes the model to `path`: a file for GGUF, a folder for safetensors. What is unfinished never has its name.
    ///
    /// # Errors
    /// [`SynthError`]: the specification makes no model, something is there, or the system refused.
    pub fn write(&self, path: &Path, options: WriteOptions) -> Result<Made, SynthError> {
        self.check()?;
        let plan = Plan::new(self)?;
        let made = Made { parameters: plan.parameters(), bytes: plan.length() };
        match self.format {
            Format::Gguf => {
                vacant(path, options)?;
                publish(path, plan.length(), options, |file| plan.write_to(file, self.seed, options))?;
            }
            Format::Safetensors => self.write_folder(path, &plan, options)?,
        }
        Ok(made)
    }

    /// The file's bytes, for models that are small enough.
    ///
    /// # Errors
    /// [`SynthError`] when the specification makes no model.
    pub fn bytes(&self) -> Result<Vec<u8>, SynthError> {
        self.check()?;
        let plan = Plan::new(self)?;
        let bytes = Mutex::new(vec![0; usize::try_from(plan.length()).unwrap_or(usize::MAX)]);
        let put = |at: u64, piece: &[u8]| {
            let mut bytes = bytes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            match bytes.get_mut(at..at + piece.len()) {
                Some(place) => place.copy_from_slice(piece),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            Ok(())
        };
        let io = |source| SynthError::Io { path: PathBuf::from("memory"), source };
        plan.pieces(self.seed).iter().try_for_each(|piece| piece.write(&put)).map_err(io)?;
        put(0, &plan.header).map_err(io)?;
        Ok(bytes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn write_folder(&self, path: &Path, plan: &Plan, options: WriteOptions) -> Result<(), SynthError> {
        let weights = path.join("model.safetensors");
        let mut documents = vec![("config.json", config::config(self))];
        if self.tokenizer {
            let (tokenizer, config) = tokenizer::documents(self.family, self.shape.vocabulary);
            documents.extend([("tokenizer.json", tokenizer), ("tokenizer_config.json", config)]);
        }
        for name in documents.iter().map(|(name, _)| *name).chain(["model.safetensors"]) {
            vacant(&path.join(name), options)?;
        }
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| SynthError::Io { path, source }
        };
        std::fs::create_dir_all(path).map_err(io(path))?;
        // Weights go first and come last: a folder that has them is whole.
        match std::fs::remove_file(&weights) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(&weights)(error)),
            _ => {}
        }
        for (name, document) in documents {
            let text = format!("{document:#}\n");
            let path = path.join(name);
            publish(&path, text.len() as u64, options, |file| {
                file.write_all_at(text.as_bytes(), 0).map_err(io(&path))
            })?;
        }
        publish(&weights, plan.length(), options, |file| plan.write_to(file, self.seed, options))
    }
}

/// A file of tensors, laid out.
struct Plan {
    header: Vec<u8>,
    tensors: Vec<Tensor>,
    /// Of each tensor from the end of the header, and the end of all.
    offsets: Vec<u64>,
}

impl Plan {
    fn new(spec: &SynthSpec) -> Result<Self, SynthError> {
        let tensors = tensors(spec);
        match spec.format {
            Format::Gguf => {
                let mut header = GgufHeader::new();
                for (key, value) in metadata::pairs(spec) {
                    header.pair(&key, value);
                }
                for tensor in &tensors {
                    header.tensor(&tensor.name, &tensor.shape, tensor.kind)?;
                }
                Ok(Self { header: header.bytes(), offsets: header.offsets(), tensors })
            }
            Format::Safetensors => {
                let tensors: Vec<Tensor> =
                    tensors.iter().flat_map(|tensor| names::stored(spec, tensor)).collect();
                let (header, offsets) = safetensors::header(&tensors);
                Ok(Self { header, tensors, offsets })
            }
        }
    }

    fn parameters(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.elements() as u64).sum()
    }

    fn length(&self) -> u64 {
        self.header.len() as u64 + self.offsets.last().copied().unwrap_or_default()
    }

    fn pieces(&self, seed: u64) -> Vec<Piece<'_>> {
        let start = self.header.len() as u64;
        let of_tensor = |(tensor, offset): (_, &u64)| pieces(tensor, start + offset, seed);
        self.tensors.iter().zip(&self.offsets).flat_map(of_tensor).collect()
    }

    fn write_to(&self, file: &Unfinished, seed: u64, options: WriteOptions) -> Result<(), SynthError> {
        let failed = |source| SynthError::Io { path: file.path.clone(), source };
        // Also fills the gaps between tensors, and the end.
        file.set_len(self.length()).map_err(failed)?;
        file.write_all_at(&self.header, 0).map_err(failed)?;
        let pieces = self.pieces(seed);
        let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let put = |at: u64, bytes: &[u8]| file.write_all_at(bytes, at);
        let work = || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                if let Err(error) = piece.write(&put) {
                    stopped.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        let threads = options.threads.or_else(|| std::thread::available_parallelism().ok());
        let threads = threads.map_or(1, NonZeroUsize::get).min(pieces.len().max(1));
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            ends.into_iter().try_for_each(|end| end.map_err(|_| SynthError::Panicked)?.map_err(failed))
        })
    }
}

/// A part of a tensor that one thread makes.
struct Piece<'a> {
    tensor: &'a Tensor,
    blocks: usize,
    at: u64,
    seed: u64,
}

impl Piece<'_> {
    fn write(&self, put: &dyn Fn(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let tensor = self.tensor;
        let columns = tensor.shape.first().copied().unwrap_or(1);
        let mut bytes = Vec::with_capacity(self.blocks * tensor.kind.block_bytes());
        random::fill(tensor.kind, columns, tensor.values, self.blocks, self.seed, &mut bytes);
        put(self.at, &bytes)
    }
}

fn pieces(tensor: &Tensor, offset: u64, seed: u64) -> impl Iterator<Item = Piece<'_>> {
    let size = tensor.kind.block_bytes();
    let (all, most) = (tensor.bytes() / size, PIECE / size);
    (0..all.div_ceil(most)).map(move |index| Piece {
        tensor,
        blocks: most.min(all - index * most),
        at: offset + (index * most * size) as u64,
        seed: random::seed_of(seed, &tensor.name, index as u64),
    })
}

fn vacant(path: &Path, options: WriteOptions) -> Result<(), SynthError> {
    if !options.force && path.symlink_metadata().is_ok() {
        return Err(SynthError::Exists { path: path.to_owned() });
    }
    Ok(())
}

/// A file under another name, removed unless it is published.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl std::ops::Deref for Unfinished {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already when it was published.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Unfinished {
    /// The name is fixed, so that what a killed process left is taken over; the lock tells it from a living one.
    fn open(path: PathBuf) -> Result<Self, SynthError> {
        let io = |source| SynthError::Io { path: path.clone(), source };
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(io)?;
        let locked = file.try_lock().is_ok();
        // Another process may have published it between our opening and our lock.
        let same = |there: std::fs::Metadata| Ok(there.ino() == file.metadata()?.ino());
        if !locked || !std::fs::metadata(&path).and_then(same).unwrap_or(false) {
            return Err(SynthError::Busy { path });
        }
        file.set_len(0).map_err(io)?;
        Ok(Self { path, file })
    }
}

/// Makes the file `path` of `length` bytes by `write`.
fn publish(
    path: &Path,
    length: u64,
    options: WriteOptions,
    write: impl FnOnce(&Unfinished) -> Result<(), SynthError>,
) -> Result<(), SynthError> {
    let io = |source| SynthError::Io { path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| io(io::ErrorKind::InvalidFilename.into()))?;
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(".partial");
    let unfinished = Unfinished::open(path.with_file_name(partial))?;
    if let Ok(disk) = rustix::fs::fstatvfs(&unfinished.file) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < length {
            return Err(SynthError::Space { path: path.to_owned(), needed: length, free });
        }
    }
    write(&unfinished)?;
    if options.force {
        return std::fs::rename(&unfinished.path, path).map_err(io);
    }
    // A link, unlike a rename, never replaces what came there meanwhile.
    match std::fs::hard_link(&unfinished.path, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(SynthError::Exists { path: path.to_owned() })
        }
        other => other.map_err(io),
    }
}
