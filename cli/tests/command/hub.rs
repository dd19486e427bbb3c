//! `up` with weights from a hub: the token of a Secret opens it, and a second start asks for no byte. And the hub.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockWriteGuard};

use sha2::Digest as _;

use crate::process::{SAMPLE, SAMPLE_DIGEST, Up, err, models, weighbridge};

const TOKEN: &str = "hf_canary_1618";

/// A hub with one file in it.
pub struct Hub {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// `/org/repo/resolve/REVISION/FILE`.
    path: String,
    content: Vec<u8>,
    etag: String,
    /// Empty where the file is anybody's.
    token: &'static str,
    sent: AtomicU64,
    tokens: Mutex<Vec<String>>,
    gate: RwLock<()>,
}

impl Hub {
    pub fn start(path: &str, content: Vec<u8>, token: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let digest = sha2::Sha256::digest(&content);
        let etag = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let (sent, tokens) = (AtomicU64::new(0), Mutex::default());
        let gate = RwLock::default();
        let shared = Arc::new(Shared { path: path.to_owned(), content, etag, token, sent, tokens, gate });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&own);
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { url, shared }
    }

    /// It answers nobody until this is dropped.
    pub fn shut(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.gate.write().unwrap()
    }
}

/// One request a connection.
fn answer(mut stream: TcpStream, hub: &Shared) {
    let _open = hub.gate.read().unwrap();
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        head.iter().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)))
    };
    let token = header("authorization").map(|(_, value)| value.to_owned()).unwrap_or_default();
    hub.tokens.lock().unwrap().push(token.clone());
    let refused = !hub.token.is_empty() && token != format!("Bearer {}", hub.token);
    if refused || head.is_empty() {
        let _ = write!(stream, "HTTP/1.1 401 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        return;
    }
    if head[0].split(' ').nth(1) != Some(&hub.path) {
        let _ = write!(stream, "HTTP/1.1 404 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        return;
    }
    let (total, etag) = (hub.content.len(), &hub.etag);
    let common = format!(
        "connection: close\r\netag: \"{etag}\"\r\nx-linked-etag: \"{etag}\"\r\nx-linked-size: {total}"
    );
    if head[0].starts_with("HEAD ") {
        let _ = write!(stream, "HTTP/1.1 200 X\r\n{common}\r\ncontent-length: {total}\r\n\r\n");
        return;
    }
    let range = header("range").unwrap().1.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (first, last): (usize, usize) = (range.0.parse().unwrap(), range.1.parse().unwrap());
    let part = &hub.content[first..=last];
    let _ = write!(
        stream,
        "HTTP/1.1 206 X\r\n{common}\r\ncontent-range: bytes {first}-{last}/{total}\r\ncontent-length: {}\r\n\r\n",
        part.len()
    );
    if stream.write_all(part).is_ok() {
        hub.sent.fetch_add(part.len() as u64, Ordering::Relaxed);
    }
}

#[test]
fn weights_come_once_with_the_token_of_a_secret() {
    let content = std::fs::read(models().join(SAMPLE)).unwrap();
    let hub = Hub::start(&format!("/org/repo/resolve/main/{SAMPLE}"), content, TOKEN);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.yaml");
    let cache = folder.path().join("cache").display().to_string();
    let yaml = format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelCache\nmetadata: {{name: store}}\n\
         spec: {{claim: {{name: weights}}}}\n---\n\
         apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: m}}\n\
         spec: {{openWeights: {{source: 'hf://org/repo/{SAMPLE}', digest: '{SAMPLE_DIGEST}', cache: store, \
         hub: {{endpoint: '{}', tokenSecret: {{name: hub, key: token}}}}}}}}\n",
        hub.url
    );
    std::fs::write(&file, &yaml).unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let secret = format!("hub/token=file:{}", token.display());
    let arguments = ["--cache-folder", &cache, "--secret", &secret];

    let size = std::fs::metadata(models().join(SAMPLE)).unwrap().len();
    for _ in 0..2 {
        let mut up = Up::start(&file, &arguments, &[("RUST_LOG", "debug")]);
        // A claim of a cluster is none here, and that is said.
        up.hear("ModelCache \"store\" is a claim of a cluster; here one folder keeps what is fetched");
        up.hear("m: openWeights.cache names ModelCache \"store\"; here one folder keeps what is fetched");
        let question = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}"#;
        assert_eq!(up.post("/v1/chat/completions", question).status, 200);
        up.interrupt();
        let (_, said) = up.wait();
        assert!(!said.contains("canary"), "{said}");
        assert_eq!(hub.shared.sent.load(Ordering::Relaxed), size);
    }

    // A file may name any endpoint: the variable's token is for the public hub alone.
    let asked = hub.shared.tokens.lock().unwrap().len();
    std::fs::write(&file, yaml.replace(", tokenSecret: {name: hub, key: token}", "")).unwrap();
    let other = folder.path().join("other").display().to_string();
    let refused = weighbridge()
        .args(["up", "--listen", "127.0.0.1:0", "--cache-folder", &other, "-f"])
        .arg(&file)
        .env("HF_TOKEN", TOKEN)
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(err(&refused).contains("HF_TOKEN goes to the public hub only"), "{}", err(&refused));
    assert!(hub.shared.tokens.lock().unwrap()[asked..].iter().all(String::is_empty));
}

#[test]
fn weights_of_a_bucket_come_with_the_keys_of_a_secret() {
    let content = std::fs::read(models().join(SAMPLE)).unwrap();
    let hub = Hub::start(&format!("/models/{SAMPLE}"), content, "");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bucket.yaml");
    let cache = folder.path().join("cache").display().to_string();
    let yaml = format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: m}}\n\
         spec: {{openWeights: {{source: 's3://models/{SAMPLE}', digest: '{SAMPLE_DIGEST}', \
         storage: {{endpoint: '{}', region: eu-west-1, credentialsSecret: {{name: keys}}}}}}}}\n",
        hub.url
    );
    std::fs::write(&file, &yaml).unwrap();
    let (id, secret) =
        ("keys/AWS_ACCESS_KEY_ID=env:BUCKET_KEY", "keys/AWS_SECRET_ACCESS_KEY=env:BUCKET_SECRET");
    let arguments = ["--cache-folder", &cache, "--secret", id, "--secret", secret];
    let up = Up::start(&file, &arguments, &[("BUCKET_KEY", "AKIA1"), ("BUCKET_SECRET", "canary")]);
    let question = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}"#;
    assert_eq!(up.post("/v1/chat/completions", question).status, 200);
    up.interrupt();
    let (_, said) = up.wait();
    assert!(!said.contains("canary"), "{said}");
    let shown = hub.shared.tokens.lock().unwrap().clone();
    let signed = |shown: &String| {
        shown.starts_with("AWS4-HMAC-SHA256 Credential=AKIA1/")
            && shown.contains("/eu-west-1/s3/aws4_request")
    };
    assert!(shown.iter().all(signed), "{shown:?}");
}
