//! A neighbour that takes all it can of one core.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Burns a core until it is dropped.
pub struct Hog(Child);

impl Hog {
    /// Starts it.
    ///
    /// # Errors
    /// Where there is no shell.
    pub fn start() -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
        command.spawn().map(Self).context("can't start a shell that burns a core")
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
