//! Who keeps the node: noted in its folder, so that two programs never share it and none is mistaken.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::Pid;

const FILE: &str = "owner";

/// The living program that keeps the node in a folder.
#[derive(Debug)]
pub struct Owner {
    /// Its process.
    pub process: Pid,
    /// Its command line.
    pub command: String,
}

/// Notes this process as the owner of `folder`.
pub fn claim(folder: &Path) -> Result<()> {
    let id = std::process::id();
    let since = started(id).context("read this process's own start")?;
    fs::write(folder.join(FILE), format!("{id} {since}"))?;
    Ok(())
}

/// Whoever keeps the node in `folder` and still lives.
pub fn find(folder: &Path) -> Option<Owner> {
    let note = fs::read_to_string(folder.join(FILE)).ok()?;
    let (id, since) = note.split_once(' ')?;
    let id: u32 = id.parse().ok()?;
    // The number may be another program's by now; its time of start is not.
    if started(id)? != since {
        return None;
    }
    let command = fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?.replace('\0', " ");
    Some(Owner { process: Pid::from_raw(id.cast_signed())?, command: command.trim().to_owned() })
}

/// When a process started, in ticks since the machine did; nothing for one that has ended.
fn started(id: u32) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold spaces: the fields that matter come after it.
    let (_, fields) = line.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_known_by_its_start_as_well_as_its_number() {
        let folder = tempfile::tempdir().unwrap();
        assert!(find(folder.path()).is_none());
        claim(folder.path()).unwrap();
        assert_eq!(find(folder.path()).unwrap().process, rustix::process::getpid());
        fs::write(folder.path().join(FILE), format!("{} 1", std::process::id())).unwrap();
        assert!(find(folder.path()).is_none());
    }
}
