//! NVRTC: the kernels' sources to code for one architecture. It needs its library and no card, no driver, no headers.
#![allow(unsafe_code)] // NVRTC's interface is C's.

mod architecture;
mod usage;

use std::ffi::{CString, c_char, c_int};

use cudarc::nvrtc::{result, sys};

use crate::sources::{HEADERS, Source};
pub use architecture::{Architecture, Kind};
pub use usage::Usage;

/// The version whose code drivers for CUDA 13.0 load.
const NVRTC_VERSION: (i32, i32) = (13, 0);

/// What could not be compiled, and why.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// No library.
    #[error(
        "NVRTC was not found: libnvrtc.so.13 (the Python package nvidia-cuda-nvrtc 13.0 has it; LD_LIBRARY_PATH names its folder)"
    )]
    NoLibrary,
    /// A library of another version, whose code the driver may refuse.
    #[error("NVRTC is of version {}.{}, and {}.{} is needed", found.0, found.1, NVRTC_VERSION.0, NVRTC_VERSION.1)]
    Version {
        /// Its version.
        found: (i32, i32),
    },
    /// The compiler's word on a module.
    #[error("{module} for {architecture}: {log}")]
    Refused {
        /// The file.
        module: &'static str,
        /// What for.
        architecture: Architecture,
        /// What the compiler said.
        log: String,
    },
    /// NVRTC itself failed.
    #[error("NVRTC: {0}")]
    Failed(String),
}

/// One module, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The file it is of.
    pub module: &'static str,
    /// Machine code, or PTX.
    pub image: Vec<u8>,
    /// What each kernel takes; empty of PTX, which the driver turns into code.
    pub usage: Vec<Usage>,
}

/// The compiler, found and of the right version.
#[derive(Clone, Copy, Debug)]
pub struct Compiler(());

impl Compiler {
    /// Looks for NVRTC.
    ///
    /// # Errors
    /// [`CompileError::NoLibrary`] or [`CompileError::Version`].
    pub fn find() -> Result<Self, CompileError> {
        // SAFETY: loading the library runs its own code, as for every program that uses it.
        if !unsafe { sys::is_culib_present() } {
            return Err(CompileError::NoLibrary);
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: writes two numbers; every version has it.
        unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) }.result().map_err(failed)?;
        if (major, minor) != NVRTC_VERSION {
            return Err(CompileError::Version { found: (major, minor) });
        }
        Ok(Self(()))
    }

    /// Compiles one module.
    ///
    /// # Errors
    /// [`CompileError::Refused`] with the compiler's words, or [`CompileError::Failed`].
    pub fn compile(self, source: &Source, architecture: Architecture) -> Result<Compiled, CompileError> {
        let program = Program::new(source)?;
        let options = [
            format!("--gpu-architecture={architecture}"),
            "--std=c++17".to_owned(),
            "--ptxas-options=-v".to_owned(),
        ];
        // SAFETY: the program is alive.
        let compiled = unsafe { result::compile_program(program.0, &options) };
        let log = program.log()?;
        if compiled.is_err() {
            return Err(CompileError::Refused { module: source.name, architecture, log });
        }
        let image = match architecture.kind() {
            Kind::Cubin => program.cubin()?,
            // SAFETY: the program is alive, and compiled.
            Kind::Ptx => bytemuck::cast_vec(unsafe { result::get_ptx(program.0) }.map_err(failed)?),
        };
        let mut usage = usage::parse(&log);
        if architecture.kind() == Kind::Cubin {
            let unread = |error| CompileError::Failed(format!("{}: {error}", source.name));
            usage::count_instructions(&mut usage, &image).map_err(unread)?;
        }
        Ok(Compiled { module: source.name, image, usage })
    }
}

/// A program of NVRTC's, destroyed when it is dropped.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(source: &Source) -> Result<Self, CompileError> {
        let text = |text: &str| CString::new(text).map_err(|error| CompileError::Failed(error.to_string()));
        let (body, name) = (text(source.text)?, text(source.name)?);
        let headers = HEADERS.iter().map(|header| text(header.text)).collect::<Result<Vec<_>, _>>()?;
        let names = HEADERS.iter().map(|header| text(header.name)).collect::<Result<Vec<_>, _>>()?;
        let headers: Vec<*const c_char> = headers.iter().map(|text| text.as_ptr()).collect();
        let names: Vec<*const c_char> = names.iter().map(|text| text.as_ptr()).collect();
        let mut program = std::ptr::null_mut();
        // SAFETY: all texts end with a zero and outlive the call, which copies them.
        unsafe {
            sys::nvrtcCreateProgram(
                &raw mut program,
                body.as_ptr(),
                name.as_ptr(),
                headers.len() as c_int,
                headers.as_ptr(),
                names.as_ptr(),
            )
        }
        .result()
        .map_err(failed)?;
        Ok(Self(program))
    }

    fn log(&self) -> Result<String, CompileError> {
        // SAFETY: the program is alive.
        let log: Vec<u8> = bytemuck::cast_vec(unsafe { result::get_program_log(self.0) }.map_err(failed)?);
        Ok(String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned())
    }

    fn cubin(&self) -> Result<Vec<u8>, CompileError> {
        let mut size = 0;
        // SAFETY: the program is alive; the second call writes as many bytes as the first said.
        unsafe {
            sys::nvrtcGetCUBINSize(self.0, &raw mut size).result().map_err(failed)?;
            let mut image = vec![0u8; size];
            sys::nvrtcGetCUBIN(self.0, image.as_mut_ptr().cast()).result().map_err(failed)?;
            Ok(image)
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

fn failed(error: result::NvrtcError) -> CompileError {
    CompileError::Failed(error.to_string())
}
