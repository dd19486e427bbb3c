//! How many files, and so connections, the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises what the process may have open to what the system lets it ask for: many start programs with 1,024, for the sake
/// of `select`, which nothing here calls. Call it once, at the start.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(from = current, to = maximum, "more files may be open"),
        Err(error) => tracing::warn!(%error, allowed = current, "no more files may be open"),
    }
}
