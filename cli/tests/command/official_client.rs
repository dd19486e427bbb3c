//! The official OpenAI client against `up`: it checks every answer against its own schema.

use std::path::Path;
use std::process::Command;

use crate::process::{Up, claim, examples};

#[test]
fn the_official_openai_client_finds_every_promise_kept() {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    let installed = Command::new(clients.join("install.sh")).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let python = String::from_utf8(installed.stdout).unwrap();

    let up = Up::start(&examples().join("smollm2.yaml"), &["--claim", &claim()], &[]);
    let run = Command::new(python.trim())
        .arg(clients.join("openai_client.py"))
        .args(["--base-url", &format!("http://{}/v1", up.door)])
        .args(["--model", "default/smollm2", "--bare-model", "smollm2"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    println!("{said}");
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
}
