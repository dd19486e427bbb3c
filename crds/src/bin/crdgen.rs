//! Writes `crds/manifests/*.yaml`, or with `--check` proves that they are current.

use std::path::PathBuf;
use std::process::ExitCode;

use weighbridge_crds::manifest::generated;

fn main() -> ExitCode {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let check = std::env::args().any(|argument| argument == "--check");
    for (name, text) in generated() {
        let path = folder.join(name);
        if check && std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            return complain(&format!("{} is stale: run `make generate`", path.display()));
        }
        if !check && let Err(error) = std::fs::write(&path, text) {
            return complain(&format!("{}: {error}", path.display()));
        }
    }
    ExitCode::SUCCESS
}

#[allow(clippy::print_stderr, reason = "a command line tool speaks on stderr")]
fn complain(problem: &str) -> ExitCode {
    eprintln!("crdgen: {problem}");
    ExitCode::FAILURE
}
