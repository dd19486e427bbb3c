//! Which tests really ran against a control plane: counted, so that a run that tested nothing fails.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};

/// Names the file to which each test that obtains a client appends one line.
pub const FILE: &str = "WEIGHBRIDGE_TEST_RECORD";

/// Notes that the calling test uses the control plane.
pub fn note() -> Result<()> {
    let Some(path) = env::var_os(FILE) else { return Ok(()) };
    let binary = env::args().next().unwrap_or_default();
    let binary = Path::new(&binary).file_name().unwrap_or_default().to_string_lossy();
    // The test harness names a test's thread after the test. A lone test may run on the main
    // thread, and a process is then as good a name.
    let test = match thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => format!("process {}", std::process::id()),
    };
    let mut file =
        File::options().append(true).create(true).open(&path).context("open the record of tests")?;
    // One short write in append mode: lines of parallel tests do not mix.
    file.write_all(format!("{binary} {test}\n").as_bytes())?;
    Ok(())
}

/// How many different tests were noted in `path`.
pub fn count(path: &Path) -> Result<usize> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().collect::<BTreeSet<_>>().len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}
