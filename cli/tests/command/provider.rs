//! A closed model through `up`: the key reaches the provider and nobody else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use crate::process::Up;

const CANARY: &str = "sk-canary-2718";
const COMPLETION: &str = r#"{"id":"x","object":"chat.completion","created":1,"model":"theirs","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;

/// Answers every call with the same completion and hands out the heads of the calls that it got. Its list of models is
/// for those with a key that begins as [`CANARY`] does, and so are calls.
fn provider() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (seen, heads) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap() == 0 {
                    break;
                }
            }
            let length = head
                .to_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            let list = head.starts_with("GET");
            if !list {
                // A test that is over looks at no more calls.
                let _ = seen.send(format!("{head}{}", String::from_utf8(body).unwrap()));
            }
            let (status, answer) = if !head.contains("Bearer sk-canary") {
                ("401 Unauthorized", r#"{"error":{"message":"wrong key","code":"invalid_api_key"}}"#)
            } else if list {
                ("200 OK", r#"{"object":"list","data":[{"id":"theirs"}]}"#)
            } else {
                ("200 OK", COMPLETION)
            };
            let mut stream = stream;
            write!(
                stream,
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            )
            .unwrap();
        }
    });
    (address, heads)
}

/// A file with a provider at `address` and a model of it, `model` by the provider's name.
fn manifest(folder: &Path, address: &str, model: &str) -> PathBuf {
    let file = folder.join("external.yaml");
    std::fs::write(
        &file,
        format!(
            "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ExternalProvider\nmetadata: {{name: acme}}\n\
             spec: {{kind: OpenAICompatible, baseURL: 'http://{address}/v1', allowPrivate: true, \
             apiKeys: [{{name: acme, key: api-key}}]}}\n---\n\
             apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: fast}}\n\
             spec: {{external: {{provider: acme, model: {model}}}}}\n"
        ),
    )
    .unwrap();
    file
}

/// The same as the conditions of an ExternalProvider in a cluster, without a call.
#[test]
fn what_is_wrong_with_a_provider_is_told_as_in_a_cluster() {
    let (address, _heads) = provider();
    let folder = tempfile::tempdir().unwrap();
    let from = ["--secret", "acme/api-key=env:ACME_KEY"];
    for (key, model, words) in [
        (
            "sk-wrong",
            "theirs",
            "ExternalProvider default/acme: CredentialsValid is False (CredentialsInvalid): the provider refuses apiKeys[0] (key \"api-key\" of Secret \"acme\")",
        ),
        (
            CANARY,
            "gone",
            "ExternalProvider default/acme: ModelsCurrent is False (ModelNotFound): not in the provider's list of models: gone of ModelDeployment fast",
        ),
    ] {
        let file = manifest(folder.path(), &address, model);
        let mut up = Up::start(&file, &from, &[("ACME_KEY", key)]);
        up.hear(words);
        up.interrupt();
        assert_eq!(up.wait().0, Some(0));
    }
}

#[test]
fn the_key_comes_from_a_variable_and_goes_to_the_provider_alone() {
    let (address, heads) = provider();
    let folder = tempfile::tempdir().unwrap();
    let file = manifest(folder.path(), &address, "theirs");
    let from = ["--secret", "acme/api-key=env:ACME_KEY"];
    let up = Up::start(&file, &from, &[("ACME_KEY", CANARY), ("RUST_LOG", "trace")]);
    assert!(up.banner.contains("closed") && up.banner.contains("theirs at acme"), "{}", up.banner);
    let reply =
        up.post("/v1/chat/completions", r#"{"model":"fast","messages":[{"role":"user","content":"Hi"}]}"#);
    assert_eq!(reply.status, 200);
    let answer = reply.text();
    assert!(answer.contains("Hello") && !answer.contains("canary"), "{answer}");
    let asked = heads.recv().unwrap();
    assert!(asked.contains(&format!("Bearer {CANARY}")) && asked.contains("\"model\":\"theirs\""), "{asked}");
    up.interrupt();
    let (code, said) = up.wait();
    assert_eq!(code, Some(0));
    let leaks: Vec<_> = said.lines().filter(|line| line.contains("canary")).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(said.contains("TRACE") && !said.contains('\x1b'), "a pipe gets no colours");
}
