//! `up` with weights from a hub: the token of a Secret opens it, and a second start asks for no byte.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::process::{SAMPLE, SAMPLE_DIGEST, Up, err, models, weighbridge};

const TOKEN: &str = "hf_canary_1618";

/// A gated repository with the sample in it.
struct Hub {
    url: String,
    sent: Arc<AtomicU64>,
    tokens: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let content = Arc::new(std::fs::read(models().join(SAMPLE)).unwrap());
        let (sent, tokens): (Arc<AtomicU64>, Arc<Mutex<Vec<String>>>) = (Arc::default(), Arc::default());
        let (count, seen) = (Arc::clone(&sent), Arc::clone(&tokens));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (content, count, seen) = (Arc::clone(&content), Arc::clone(&count), Arc::clone(&seen));
                std::thread::spawn(move || answer(stream, &content, &count, &seen));
            }
        });
        Self { url, sent, tokens }
    }
}

/// One request a connection.
fn answer(mut stream: TcpStream, content: &[u8], sent: &AtomicU64, tokens: &Mutex<Vec<String>>) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        head.iter().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)))
    };
    let token = header("authorization").map(|(_, value)| value.to_owned()).unwrap_or_default();
    tokens.lock().unwrap().push(token.clone());
    let refused = token != format!("Bearer {TOKEN}");
    if refused || head.is_empty() {
        let _ = write!(stream, "HTTP/1.1 401 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        return;
    }
    let total = content.len();
    let etag = SAMPLE_DIGEST.trim_start_matches("sha256:");
    let common = format!(
        "connection: close\r\netag: \"{etag}\"\r\nx-linked-etag: \"{etag}\"\r\nx-linked-size: {total}"
    );
    if head[0].starts_with("HEAD ") {
        let _ = write!(stream, "HTTP/1.1 200 X\r\n{common}\r\ncontent-length: {total}\r\n\r\n");
        return;
    }
    let range = header("range").unwrap().1.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (first, last): (usize, usize) = (range.0.parse().unwrap(), range.1.parse().unwrap());
    let part = &content[first..=last];
    let _ = write!(
        stream,
        "HTTP/1.1 206 X\r\n{common}\r\ncontent-range: bytes {first}-{last}/{total}\r\ncontent-length: {}\r\n\r\n",
        part.len()
    );
    if stream.write_all(part).is_ok() {
        sent.fetch_add(part.len() as u64, Ordering::Relaxed);
    }
}

#[test]
fn weights_come_once_with_the_token_of_a_secret() {
    let hub = Hub::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.yaml");
    let cache = folder.path().join("cache").display().to_string();
    let yaml = format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: m}}\n\
         spec: {{openWeights: {{source: 'hf://org/repo/{SAMPLE}', digest: '{SAMPLE_DIGEST}', \
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
        let up = Up::start(&file, &arguments, &[("RUST_LOG", "debug")]);
        let question = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}"#;
        assert_eq!(up.post("/v1/chat/completions", question).status, 200);
        up.interrupt();
        let (_, said) = up.wait();
        assert!(!said.contains("canary"), "{said}");
        assert_eq!(hub.sent.load(Ordering::Relaxed), size);
    }

    // A file may name any endpoint: the variable's token is for the public hub alone.
    let asked = hub.tokens.lock().unwrap().len();
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
    assert!(hub.tokens.lock().unwrap()[asked..].iter().all(String::is_empty));
}
