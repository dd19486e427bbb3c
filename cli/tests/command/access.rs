//! Keys: how they are made, and what `up` asks for where its file has a ModelAccess.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use sha2::{Digest as _, Sha256};
use weighbridge_crds::ModelAccess;
use weighbridge_crds::manifest::{Manifest, parse};

use crate::process::{SAMPLE, Up, err, examples, models, out, run, weighbridge};

/// The only ModelAccess of a text.
fn read(yaml: &str) -> ModelAccess {
    let mut found = parse(yaml).unwrap();
    match (found.pop(), found.is_empty()) {
        (Some(Manifest::ModelAccess(access)), true) => *access,
        other => panic!("{other:?}"),
    }
}

/// The key in what was said.
fn key_in(text: &str) -> String {
    text.split_whitespace()
        .find(|word| word.starts_with("wb-"))
        .unwrap_or_else(|| panic!("no key: {text}"))
        .to_owned()
}

fn sha256(key: &str) -> String {
    let digits: String = Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

#[test]
fn a_new_key_is_shown_once_and_only_its_hash_is_what_goes_down_the_pipe() {
    let made = run(&["key", "create", "--name", "ci"]);
    assert!(made.status.success(), "{}", err(&made));
    let (yaml, said) = (out(&made), err(&made));
    let key = key_in(&said);
    assert_eq!((key.len(), said.matches(&key).count(), yaml.contains("wb-")), (46, 1, false), "{said}");
    let access = read(&yaml);
    assert_eq!((access.metadata.name.as_deref(), access.metadata.namespace.as_deref()), (Some("ci"), None));
    assert_eq!(
        (access.spec.keys[0].name.as_str(), access.spec.keys[0].sha256.as_str()),
        ("ci", sha256(&key).as_str())
    );
    assert_eq!((&access.spec.models[..], &access.spec.keys[0].expires_at), (&["*".to_owned()][..], &None));
    assert_ne!(key_in(&err(&run(&["key", "create", "--name", "ci"]))), key, "each is another");
}

#[test]
fn every_flag_is_in_the_access_and_a_key_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let file = path.to_str().unwrap();
    let arguments = [
        "key",
        "create",
        "--name",
        "ci",
        "--namespace",
        "team",
        "--access",
        "apps",
        "--model",
        "m",
        "--model",
        "n:tone",
        "--expires",
        "2099-01-31",
        "--key-file",
        file,
    ];
    let made = run(&arguments);
    assert!(made.status.success() && !err(&made).contains("wb-"), "{}", err(&made));
    assert!(err(&made).contains("--server-side --field-manager key-ci"), "{}", err(&made));
    let key = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let access = read(&out(&made));
    let named = (access.metadata.namespace.as_deref(), access.metadata.name.as_deref());
    assert_eq!(
        (named, &access.spec.models[..]),
        ((Some("team"), Some("apps")), &["m".to_owned(), "n:tone".to_owned()][..])
    );
    assert_eq!(access.spec.keys[0].sha256, sha256(key.trim_end()));
    assert!(
        out(&made).contains("expiresAt: 2099-01-31T00:00:00Z")
            || out(&made).contains("\"2099-01-31T00:00:00Z\"")
    );
    // A second key does not take the first one's place, and its YAML is not handed on.
    let again = run(&arguments);
    assert_eq!((again.status.code(), out(&again).as_str()), (Some(1), ""));
    assert!(err(&again).contains("not there yet"), "{}", err(&again));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), key);
}

#[test]
fn what_the_apiserver_would_refuse_is_refused_before_there_is_a_key() {
    for (more, words) in [
        (&["--name", "CI"][..], "spec.keys[0].name"),
        (&["--name", "ci", "--model", "other/m"], "spec.models[0]"),
        (&["--name", "ci", "--model", "*", "--model", "m"], "keep '*' alone"),
        (&["--name", "ci", "--expires", "soon"], "write 90d, 12h, 2027-01-31"),
        (&["--name", "ci", "--expires", "-1d"], "is past"),
        (&[], "--name"),
    ] {
        let made = run(&[&["key", "create"], more].concat());
        assert!(!made.status.success() && out(&made).is_empty(), "{more:?}");
        assert!(err(&made).contains(words) && !err(&made).contains("wb-"), "{more:?}: {}", err(&made));
    }
}

#[test]
fn a_key_made_elsewhere_is_hashed_from_stdin() {
    let hash = |input: &str| {
        let mut child = weighbridge();
        let child =
            child.args(["key", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let key = "sk-canary-of-another-kind";
    assert_eq!(out(&hash(&format!("{key}\n"))), format!("{}\n", sha256(key)));
    let refused = hash("canary\n");
    assert_eq!((refused.status.code(), out(&refused).as_str()), (Some(1), ""));
    assert!(err(&refused).contains("by trying") && !err(&refused).contains("canary"), "{}", err(&refused));
}

/// The sample as `team/mine`, and whom `access` lets in.
fn file(folder: &tempfile::TempDir, access: &str) -> std::path::PathBuf {
    let path = folder.path().join("guarded.yaml");
    let model = format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: mine, namespace: team}}\n\
         spec: {{openWeights: {{source: 'file://{}', engine: {{contextLength: 64}}}}}}\n",
        models().join(SAMPLE).display()
    );
    std::fs::write(&path, format!("{model}---\n{access}")).unwrap();
    path
}

#[test]
fn up_asks_for_a_key_where_the_file_has_an_access_and_may_then_let_other_machines_in() {
    let made = run(&[
        "key",
        "create",
        "--name",
        "me",
        "--namespace",
        "team",
        "--model",
        "mine",
        "--model",
        "absent",
    ]);
    let key = key_in(&err(&made));
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, &out(&made));
    let mut up = Up::start(&path, &["--listen", "0.0.0.0:0"], &[]);
    up.hear("the file has no model \"absent\" in its namespace");
    assert!(up.banner.contains("team/mine") && up.banner.contains("WEIGHBRIDGE_API_KEY"), "{}", up.banner);

    let question = r#"{"model":"mine","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}"#;
    let path_ = "/v1/chat/completions";
    let refused = up.post(path_, question);
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("No API key came"));
    let answered = up.with_key(&key, &format!("POST {path_}"), question);
    assert_eq!(answered.status, 200, "a bare name is one of the key's namespace");
    let list = up.with_key(&key, "GET /v1/models", "").text();
    assert!(list.contains("team/mine"), "{list}");
    assert_eq!(up.with_key(&key, &format!("POST {path_}"), &question.replace("mine", "other/m")).status, 403);

    let url = up.url();
    for (variable, code) in [(key.as_str(), Some(0)), ("wb-wrong", Some(1)), ("", Some(1))] {
        let mut chat = weighbridge();
        let chat = chat
            .args(["chat", "mine", "--max-tokens", "1", "--url", &url])
            .env("WEIGHBRIDGE_API_KEY", variable);
        let mut chat =
            chat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        chat.stdin.take().unwrap().write_all(b"Hi\n").unwrap();
        let chat = chat.wait_with_output().unwrap();
        assert_eq!(chat.status.code(), code, "{}", err(&chat));
        assert_eq!(err(&chat).contains("HTTP 401"), code == Some(1), "{}", err(&chat));
    }
    up.interrupt();
    let (_, said) = up.wait();
    assert!(!said.contains(&key[3..]), "{said}");
}

#[test]
fn an_access_opens_the_door_and_not_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let access = std::fs::read_to_string(examples().join("access.yaml")).unwrap();
    let path = file(&folder, &access);
    let ended = run(&[
        "up",
        "-f",
        path.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "0.0.0.0:0",
    ]);
    assert!(!ended.status.success());
    assert!(err(&ended).contains("--metrics-listen 0.0.0.0:0 lets other machines read"), "{}", err(&ended));
}
