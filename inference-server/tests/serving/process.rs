//! The binary as a pod runs it: flags, signals, exit codes.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{family, sample};

/// Streams that are open when the signal comes.
const STREAMS: usize = 32;

struct Process {
    child: Child,
    port: u16,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge-inference-server"));
    command.args(["serve", "--model-name=m", "--cache-folder=unused"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A server of the sample that has said that it is ready, and that serves on for so many seconds once it is to go.
async fn start(delay: &str) -> Process {
    start_with(&[&format!("--source=file://{}", sample().display()), delay]).await.0
}

/// A server that has said that it is ready, and on which port it listens; and all that it said until then.
async fn start_with(arguments: &[&str]) -> (Process, Vec<Value>) {
    let mut child = command(arguments).arg("--listen=127.0.0.1:0").spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut port, mut said) = (None, Vec::new());
    while let Some(line) = lines.next_line().await.unwrap() {
        let line: Value = serde_json::from_str(&line).unwrap();
        said.push(line["fields"].clone());
        let fields = &line["fields"];
        if let Some(address) =
            fields["address"].as_str().and_then(|text| text.parse::<std::net::SocketAddr>().ok())
        {
            port = Some(address.port());
        }
        if fields["message"] == "ready" {
            break;
        }
    }
    // The rest of the log has to go somewhere, or the server would block on a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (Process { child, port: port.unwrap() }, said)
}

impl Process {
    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
    }

    async fn exit(&mut self) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(120), self.child.wait()).await.unwrap().unwrap()
    }

    /// Waits until it says so when asked whether it is ready.
    async fn until(&self, phase: &str) {
        let mut answer = String::new();
        while !answer.ends_with(phase) {
            let mut probe = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            let request = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            probe.write_all(request).await.unwrap();
            answer.clear();
            probe.read_to_string(&mut answer).await.unwrap();
        }
    }

    /// A socket on which a stream of `tokens` tokens has begun, and what was read of it.
    async fn open_stream(&self, tokens: usize) -> (TcpStream, Vec<u8>) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let body = serde_json::json!({"model": "m", "prompt": "Once upon a time", "max_tokens": tokens,
                                      "temperature": 0, "ignore_eos": true, "stream": true})
        .to_string();
        let head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.windows(6).any(|window| window == b"data: ") {
            assert!(socket.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
        }
        (socket, read)
    }
}

/// The tokenizer is built beside the weights: its line may come before any other of the load.
#[tokio::test]
async fn every_phase_of_a_start_has_a_line_in_the_log_in_order() {
    let url = |folder: PathBuf| format!("file://{}", folder.canonicalize().unwrap().display());
    let source = format!("--source={}", url(family("llama2")));
    let adapter = format!("--adapter=tone={}", url(family("").join("../adapters/llama2-all")));
    for (arguments, adapters) in [(&[&*source][..], &[][..]), (&[&*source, &*adapter], &["adapters"])] {
        let (_server, said) = start_with(arguments).await;
        let phases = said.iter().filter(|fields| fields["message"] == "start").map(|fields| {
            assert!(fields["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{fields}");
            fields["phase"].as_str().unwrap()
        });
        let (beside, phases): (Vec<_>, Vec<_>) = phases.partition(|phase| *phase == "tokenizer");
        let expected =
            [&["fetch", "open"], adapters, &["map", "repack", "reserve", "load", "warm", "total"]].concat();
        assert_eq!((phases, beside), (expected, vec!["tokenizer"]));
    }
}

#[tokio::test]
async fn sigterm_cuts_none_of_32_open_streams() {
    let mut server = start("--drain-delay=1").await;
    let opening = (0..STREAMS).map(|_| server.open_stream(24));
    let streams = futures::future::join_all(opening).await;
    server.signal("TERM").await;
    for (mut socket, mut read) in streams {
        socket.read_to_end(&mut read).await.unwrap();
        let text = String::from_utf8(read).unwrap();
        assert!(text.contains("data: [DONE]"), "{text}");
        assert_eq!(text.matches("\"finish_reason\":\"length\"").count(), 1, "{text}");
    }
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once() {
    let mut server = start("--drain-delay=0").await;
    // Minutes of work, on a stream that nobody finishes.
    let (_socket, _) = server.open_stream(8000).await;
    server.signal("TERM").await;
    server.until("draining").await;
    server.signal("TERM").await;
    assert_eq!(server.exit().await.code(), Some(1));
}

#[tokio::test]
async fn what_comes_between_the_signal_and_the_drain_is_answered() {
    // An hour, which nothing here waits for.
    let mut server = start("--drain-delay=3600").await;
    server.signal("TERM").await;
    server.until("leaving").await;
    let (mut socket, mut read) = server.open_stream(8).await;
    socket.read_to_end(&mut read).await.unwrap();
    assert!(String::from_utf8(read).unwrap().contains("data: [DONE]"));
    server.signal("TERM").await;
    assert_eq!(server.exit().await.code(), Some(1));
}

#[tokio::test]
async fn what_cannot_be_served_is_said_in_a_line_and_an_exit_code() {
    for (arguments, words) in [
        (&["--source=file:///nowhere/model.gguf"][..], "/nowhere/model.gguf"),
        (&["--source=nowhere"], "hf://"),
        (&["--source=file:///x.gguf", "--digest=sha256:12"], "digest"),
        (&["--source=file:///x.gguf", "--kv-cache-type=fp4"], "none of auto, f32, f16, q8_0"),
        (&["--source=file:///x.gguf", "--quantize=Q5_K"], "none of Q8_0, Q4_K"),
        (&["--source=file:///x.gguf", "--colour=red"], "--colour"),
    ] {
        let output = command(arguments).arg("--listen=127.0.0.1:0").output().await.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && errors.contains(words), "{errors}");
    }
}
