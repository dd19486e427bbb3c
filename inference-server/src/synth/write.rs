//! From a specification to files. Threads claim pieces of a megabyte and write each at its place; a piece's numbers
//! come from its own seed, so who writes it changes nothing.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value as Json;

use super::plan::{self, Plan};
use super::{Format, SynthError, SynthSpec, config, tokenizer};
use crate::gguf::PartName;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// How to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// Replace what lies there.
    pub force: bool,
    /// Threads; all cores when `None`.
    pub threads: Option<NonZeroUsize>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What to open: the file, its first part, or the folder.
    pub path: PathBuf,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Length of all weights' files.
    pub bytes: u64,
}

impl SynthSpec {
    /// Writes the model to `path`: a file for GGUF, or its parts, named after it; a folder for safetensors. What is
    /// unfinished never has its name.
    ///
    /// # Errors
    /// [`SynthError`]: the specification makes no model, something is there, or the system refused.
    pub fn write(&self, path: &Path, options: WriteOptions) -> Result<Made, SynthError> {
        self.check()?;
        let plans = Plan::shards(self)?;
        let path = match self.format {
            Format::Gguf => self.write_files(path, &plans, options)?,
            Format::Safetensors => self.write_folder(path, &plans, options)?,
        };
        let parameters = plans.iter().map(Plan::parameters).sum();
        Ok(Made { path, parameters, bytes: plans.iter().map(Plan::length).sum() })
    }

    /// The bytes of the model in one file, where it is small enough.
    ///
    /// # Errors
    /// [`SynthError`] when the specification makes no model.
    pub fn bytes(&self) -> Result<Vec<u8>, SynthError> {
        self.check()?;
        let plan = Plan::whole(self)?;
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

    fn write_files(&self, path: &Path, plans: &[Plan], options: WriteOptions) -> Result<PathBuf, SynthError> {
        let paths: Vec<PathBuf> = match (u32::try_from(plans.len()), path.file_stem()) {
            (Ok(count @ 2..), Some(stem)) => PartName::new(&stem.to_string_lossy(), count)
                .all()
                .map(|name| path.with_file_name(name))
                .collect(),
            _ => vec![path.to_owned()],
        };
        paths.iter().try_for_each(|path| vacant(path, options))?;
        let first = paths.first().cloned().unwrap_or_default();
        if paths.len() > 1 {
            // As with a folder's weights: parts whose first is there are whole.
            remove(&first)?;
        }
        self.write_plans(paths.iter().zip(plans).rev(), options)?;
        Ok(first)
    }

    /// Writes each plan to its path. There must be room for all of them before the first is begun.
    fn write_plans<'a>(
        &self,
        files: impl Iterator<Item = (&'a PathBuf, &'a Plan)> + Clone,
        options: WriteOptions,
    ) -> Result<(), SynthError> {
        let mut needed: u64 = files.clone().map(|(_, plan)| plan.length()).sum();
        for (path, plan) in files {
            publish(path, needed, options, |file| write_to(plan, file, self.seed, options))?;
            needed -= plan.length();
        }
        Ok(())
    }

    fn write_folder(
        &self,
        path: &Path,
        plans: &[Plan],
        options: WriteOptions,
    ) -> Result<PathBuf, SynthError> {
        let names: Vec<String> = match plans.len() {
            1 => vec![WEIGHTS.to_owned()],
            count => (1..=count).map(|n| format!("model-{n:05}-of-{count:05}.safetensors")).collect(),
        };
        let mut documents = vec![("config.json", config::config(self))];
        if self.tokenizer {
            let (tokenizer, config) = tokenizer::documents(self.family, self.shape.vocabulary);
            documents.extend([("tokenizer.json", tokenizer), ("tokenizer_config.json", config)]);
        }
        let files = documents.iter().map(|(name, _)| *name).chain(names.iter().map(String::as_str));
        // Either of these two decides which weights are the folder's.
        for name in files.chain([WEIGHTS, INDEX]) {
            vacant(&path.join(name), options)?;
        }
        std::fs::create_dir_all(path).map_err(io_at(path))?;
        // Weights go first and come last: a folder that has them, or their index, is whole.
        remove(&path.join(INDEX))?;
        remove(&path.join(WEIGHTS))?;
        let document = |name: &str, document: &Json| {
            let text = format!("{document:#}\n");
            let path = path.join(name);
            publish(&path, text.len() as u64, options, |file| {
                file.write_all_at(text.as_bytes(), 0).map_err(io_at(&path))
            })
        };
        documents.iter().try_for_each(|(name, content)| document(name, content))?;
        let paths: Vec<PathBuf> = names.iter().map(|name| path.join(name)).collect();
        self.write_plans(paths.iter().zip(plans), options)?;
        if names.len() > 1 {
            document(INDEX, &plan::index(&names, plans))?;
        }
        Ok(path.to_owned())
    }
}

/// Has threads write `plan`, which is `file`.
fn write_to(plan: &Plan, file: &Unfinished, seed: u64, options: WriteOptions) -> Result<(), SynthError> {
    let failed = |source| SynthError::Io { path: file.path.clone(), source };
    // Also fills the gaps between tensors, and the end.
    file.set_len(plan.length()).map_err(failed)?;
    file.write_all_at(&plan.header, 0).map_err(failed)?;
    let pieces = plan.pieces(seed);
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

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> SynthError {
    let path = path.to_owned();
    move |source| SynthError::Io { path, source }
}

/// Removes the file at `path`, if there is one.
fn remove(path: &Path) -> Result<(), SynthError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at(path)(error)),
        _ => Ok(()),
    }
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

/// Makes the file `path` by `write`, where there is room for the `needed` bytes that it and what follows take.
fn publish(
    path: &Path,
    needed: u64,
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
        if free < needed {
            return Err(SynthError::Space { path: path.to_owned(), needed, free });
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
