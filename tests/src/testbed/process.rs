//! A program of the testbed: its log in a file, and never alive after whoever started it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// How much of a log an error message carries.
const LOG_LINES: usize = 15;

/// One running program, killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output in `folder/name.log`.
    pub fn start(name: &str, program: &Path, arguments: &[String], folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let child = spawn(name, program, arguments, &log)?;
        let (name, program, arguments) = (name.to_owned(), program.to_owned(), arguments.to_vec());
        Ok(Self { name, program, arguments, child, log })
    }

    /// Ends it outright.
    pub fn stop(&mut self) {
        // Everything it kept is thrown away with it, or is made to outlive it, so there is nothing to be gentle about.
        // Both calls fail only when the program is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it as it was started before, where it does not run.
    pub fn start_again(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            self.child = spawn(&self.name, &self.program, &self.arguments, &self.log)?;
        }
        Ok(())
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with the end of its log, when the program is no longer there.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself ({status}); its last words:\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    /// The last lines of the log.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(name: &str, program: &Path, arguments: &[String], log: &Path) -> Result<Child> {
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("create {}", log.display()))?;
    // Drop does not run when the parent is killed outright; the kernel's death signal does.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        // Ctrl-C at a terminal reaches the whole foreground group: the tests must see a living
        // apiserver while they clean up, so the testbed alone decides when its programs end.
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {name} (setpriv {})", program.display()))
}
