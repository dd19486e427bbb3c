//! `testbed run -- COMMAND`, `testbed up`, `testbed down`, `testbed env`.

use std::process::ExitCode;

use weighbridge_tests::testbed::cli;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::main().await {
        Ok(code) => code,
        #[allow(clippy::print_stderr, reason = "a program's last word on failing")]
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
