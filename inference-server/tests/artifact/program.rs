//! The program's own flags and variables: what they say reaches the fetch. Whatever is fetched here is no model, and is said so.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rcgen::KeyPair;

use crate::hub::{Hub, HubFile};
use crate::web::proxy;
use crate::world::content;

/// What `arguments` end with, in a folder of their own.
fn last_words(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let cache = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge-inference-server"));
    for name in [
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "https_proxy",
        "http_proxy",
        "no_proxy",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    let command = command.args(arguments).env("WEIGHBRIDGE_CACHE", cache.path());
    let ended = command.envs(variables.iter().copied()).output().unwrap();
    assert!(!ended.status.success());
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

#[test]
fn authorities_credentials_and_proxies_are_those_of_flags_and_variables() {
    let hub = Hub::secure(HubFile { large: false, ..HubFile::large(b"no model") }, |_, _, reply| reply);
    let source = format!("--source=https://{}/m.gguf", hub.host());
    let given = folder(&[("token", "canary\n"), ("ca.crt", &hub.authority_pem())]);
    let trusted = flag("ca-file", &given.path().join("ca.crt"));
    let token = flag("credentials-folder", given.path());

    let said = last_words(&["inspect", &source, &trusted, &token], &[]);
    assert!(said.contains("the model file: "), "{said}");
    assert!(!hub.asked().is_empty());
    assert!(hub.asked().iter().all(|asked| asked.header("authorization") == Some("Bearer canary")));
    assert!(
        last_words(&["inspect", &source, &token], &[]).contains("caCertificates: localhost is not trusted")
    );
    let empty = folder(&[]);
    let said = last_words(&["inspect", &source, &flag("credentials-folder", empty.path())], &[]);
    assert!(said.contains("the Secret has no key token"), "{said}");
    assert!(
        last_words(&["inspect", &source, &flag("ca-file", &given.path().join("token"))], &[])
            .contains("--ca-file")
    );

    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let through = format!("http://{}", proxy(&heads));
    let all = ["inspect", source.as_str(), trusted.as_str()];
    last_words(&all, &[("HTTPS_PROXY", &through), ("NO_PROXY", "example.com")]);
    assert!(heads.lock().unwrap()[0].starts_with("CONNECT localhost:"));
    heads.lock().unwrap().clear();
    last_words(&all, &[("https_proxy", &through), ("NO_PROXY", "localhost")]);
    assert!(heads.lock().unwrap().is_empty());
    let said = last_words(&all, &[("HTTPS_PROXY", "socks5://u:canary@proxy")]);
    assert!(said.contains("HTTPS_PROXY is no proxy that is served") && !said.contains("canary"), "{said}");
}

#[test]
fn an_endpoint_and_a_region_are_those_of_flags() {
    let hub = Hub::start(HubFile { large: false, ..HubFile::large(b"no model") });
    let given = folder(&[("AWS_ACCESS_KEY_ID", "AKIA1"), ("AWS_SECRET_ACCESS_KEY", "canary")]);
    let endpoint = format!("--storage-endpoint={}", hub.url());
    let keys = flag("credentials-folder", given.path());
    last_words(&["inspect", "--source=s3://b1/m.gguf", &endpoint, "--storage-region=eu-west-1", &keys], &[]);
    let asked = hub.asked();
    let shown = asked[0].header("authorization").unwrap();
    assert!(shown.contains("Credential=AKIA1/") && shown.contains("/eu-west-1/s3/"), "{shown}");
}

#[test]
fn who_has_to_have_signed_is_said_by_flags() {
    let model = folder(&[("m.gguf", "no model"), ("m.sig", "{}")]);
    let source = format!("--source=file://{}", model.path().join("m.gguf").display());
    let key = format!("--signature-key={}", KeyPair::generate().unwrap().public_key_pem());
    let serve =
        ["serve", "--model-name=m", "--listen=127.0.0.1:0", source.as_str(), "--signature-bundle=m.sig"];
    let said = last_words(&[&serve[..], &[key.as_str()]].concat(), &[]);
    assert!(said.contains("Error: signature: of file://"), "{said}");
    let said = last_words(&[&serve[..], &["--signature-key=none"]].concat(), &[]);
    assert!(said.contains("signature.publicKey is no public key"), "{said}");
    assert!(last_words(&serve, &[]).contains("--signature-key"));
}

/// SIGKILL: nothing of it runs any more, and its lock goes with it.
#[test]
fn a_program_that_was_killed_goes_on_where_it_was() {
    let file = HubFile { large: false, ..HubFile::large(&content(20 << 20, 1)) };
    let (reached, stuck) = std::sync::mpsc::channel();
    let is_stuck = Arc::new(Mutex::new(true));
    let switch = Arc::clone(&is_stuck);
    let hub = Hub::with(file, move |asked, _, mut reply| {
        // Whoever asks for the second range has written down the first.
        let far = asked.header("range").is_some_and(|range| !range.starts_with("bytes=0-"));
        if far && *switch.lock().unwrap() {
            reply.silent = true;
            let _ = reached.send(());
        }
        reply
    });
    let cache = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--model-name=m", "--listen=127.0.0.1:0", "--source=s3://b1/m.gguf"];
    let endpoint = format!("--storage-endpoint={}", hub.url());
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge-inference-server"));
        command.args(arguments).arg(&endpoint).env("WEIGHBRIDGE_CACHE", cache.path());
        command.env("NO_PROXY", "*").stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let mut killed = command().spawn().unwrap();
    stuck.recv().unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    *is_stuck.lock().unwrap() = false;
    let before = hub.asked().len();
    let ended = command().output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("the model file: ") && said.contains("\"fetched\":12582912"), "{said}");
    let again = hub.asked()[before..]
        .iter()
        .any(|asked| asked.header("range").is_some_and(|range| range.starts_with("bytes=0-")));
    assert!(!again, "no byte comes twice");
}
