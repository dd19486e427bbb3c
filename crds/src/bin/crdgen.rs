//! Writes `crds/manifests/*.yaml` and the tables of `docs/operator.md`, or with `--check` proves that they are current.

use std::path::PathBuf;
use std::process::ExitCode;

use weighbridge_crds::condition;
use weighbridge_crds::manifest::generated;

/// What stands around the tables in the page.
const MARKS: [&str; 2] = ["<!-- made by crdgen from crds/src/condition -->\n", "<!-- end -->"];

fn main() -> ExitCode {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let check = std::env::args().any(|argument| argument == "--check");
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/operator.md");
    let Some(with_tables) = std::fs::read_to_string(&page).ok().and_then(|text| with_tables(&text)) else {
        return complain(&format!("{} is missing, or has no place for the tables", page.display()));
    };
    let manifests = generated().into_iter().map(|(name, text)| (folder.join(name), text));
    for (path, text) in manifests.chain([(page, with_tables)]) {
        if check && std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            return complain(&format!("{} is stale: run `make generate`", path.display()));
        }
        if !check && let Err(error) = std::fs::write(&path, text) {
            return complain(&format!("{}: {error}", path.display()));
        }
    }
    ExitCode::SUCCESS
}

fn with_tables(page: &str) -> Option<String> {
    let [begin, end] = MARKS;
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{}{end}{after}", condition::page()))
}

#[allow(clippy::print_stderr, reason = "a command line tool speaks on stderr")]
fn complain(problem: &str) -> ExitCode {
    eprintln!("crdgen: {problem}");
    ExitCode::FAILURE
}
