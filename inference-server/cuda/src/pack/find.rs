//! The kernels for a card, from wherever there are any.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Code, PackError, at, read, write};
use crate::compile::{Architecture, CompileError, Compiled, Compiler};
use crate::sources::{KERNELS, digest};

/// Where kernels are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The pack.
    pub pack: PathBuf,
    /// Where what was compiled here is kept.
    pub cache: PathBuf,
}

/// Where kernels came from; for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The pack.
    Pack,
    /// Compiled at an earlier start.
    Cache,
    /// Compiled now.
    Compiled,
}

/// Kernels for a card of compute capability `card`: the pack's, else what NVRTC made at an earlier start, else what it
/// makes now.
///
/// # Errors
/// [`PackError`]: a pack that is there and of no use is said, not passed over.
pub fn find(places: &Places, card: (u32, u32)) -> Result<(Code, Found), PackError> {
    let architecture = Architecture::of(card).ok_or(PackError::OldCard { card })?;
    if places.pack.exists() {
        return Ok((read(&places.pack, architecture)?, Found::Pack));
    }
    let kept = places.cache.join(format!("{}-{architecture}", &digest()[..16]));
    match read(&kept, architecture) {
        Ok(code) => return Ok((code, Found::Cache)),
        // Not there yet, or cut off, or damaged: it is made anew.
        Err(error) => tracing::debug!(%error, "no kernels kept from an earlier start"),
    }
    let missing = |source| PackError::NoKernels { pack: places.pack.clone(), source };
    let compiled = compile_all(Compiler::find().map_err(missing)?, architecture)?;
    if let Err(error) = keep(&kept, architecture, &compiled) {
        tracing::warn!(%error, "compiled kernels could not be kept for the next start");
    }
    let modules = compiled
        .into_iter()
        .map(|module| super::Module { name: module.module.to_owned(), image: module.image });
    Ok((Code { architecture, modules: modules.collect() }, Found::Compiled))
}

/// Compiles every module, on as many threads as there are cores.
fn compile_all(compiler: Compiler, architecture: Architecture) -> Result<Vec<Compiled>, CompileError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(KERNELS.len());
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(source) = KERNELS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let compiled = compiler.compile(source, architecture);
                    if let Ok(mut done) = done.lock() {
                        done.push(compiled);
                    }
                }
            });
        }
    });
    let mut compiled = done.into_inner().unwrap_or_default().into_iter().collect::<Result<Vec<_>, _>>()?;
    compiled.sort_by_key(|module| module.module);
    Ok(compiled)
}

/// Writes what was compiled beside its place, then moves it there: a reader finds all of it or nothing.
fn keep(place: &Path, architecture: Architecture, compiled: &[Compiled]) -> Result<(), PackError> {
    let beside = place.with_extension(format!("{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&beside);
    std::fs::create_dir_all(&beside).map_err(at(&beside))?;
    write(&beside, &[(architecture, compiled.to_vec())])?;
    let _ = std::fs::remove_dir_all(place);
    std::fs::rename(&beside, place).map_err(at(place))
}
