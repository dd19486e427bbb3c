//! `chat` against a running `up`, with questions from a pipe.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::process::{Up, claim, err, examples, out, weighbridge};

pub fn chat(arguments: &[&str], input: &str) -> Output {
    let mut child = weighbridge()
        .arg("chat")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn each_line_is_a_question_and_errors_are_told() {
    let up = Up::start(&examples().join("smollm2.yaml"), &["--claim", &claim()], &[]);
    let url = up.url();
    let greedy = ["smollm2", "--url", &url, "--max-tokens", "3", "--temperature", "0"];
    let talked = chat(&greedy, "Hello\n\nAgain\n");
    assert!(talked.status.success(), "{}", err(&talked));
    // An answer may end with a line break of its own.
    let answers = out(&talked).lines().filter(|line| !line.trim().is_empty()).count();
    assert_eq!(answers, 2, "{}", out(&talked));
    assert!(err(&talked).contains("reached its longest length"));

    let with_version = format!("{url}/v1/");
    let system = [
        "smollm2",
        "--url",
        &with_version,
        "--system",
        "Be brief.",
        "--max-tokens",
        "2",
        "--temperature",
        "0",
    ];
    assert!(chat(&system, "Hi").status.success());

    let unknown = chat(&["nobody", "--url", &url], "Hi\n");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(err(&unknown).contains("nobody") && err(&unknown).contains("404"), "{}", err(&unknown));
}

#[test]
fn nobody_at_home_is_said_with_the_flag_to_change() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let talked = chat(&["m", "--url", &url], "Hi\n");
    assert_eq!(talked.status.code(), Some(1));
    let said = err(&talked);
    assert!(said.contains("weighbridge up") && said.contains("--url") && said.contains("refused"), "{said}");
    let odd = chat(&["m", "--url", "ftp://x"], "Hi\n");
    assert!(err(&odd).contains("http://HOST:PORT"), "{}", err(&odd));
}
