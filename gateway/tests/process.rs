//! The program itself: flags, signals and exit codes. The proxy role stands for both; it needs no cluster.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const REQUEST: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
const EVENT: &str = "6\r\ndata:\n\r\n";

struct Proxy {
    child: Child,
    public: String,
    admin: String,
    provider: TcpListener,
    _folder: TempDir,
}

fn program(arguments: &[&str]) -> Command {
    started_by(Command::new(env!("CARGO_BIN_EXE_weighbridge-gateway")), arguments)
}

fn started_by(mut command: Command, arguments: &[&str]) -> Command {
    command
        .args(arguments)
        .env("RUST_LOG", "info")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Proxy {
    async fn start() -> Self {
        Self::start_with(Command::new(env!("CARGO_BIN_EXE_weighbridge-gateway"))).await
    }

    async fn start_with(command: Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key");
        std::fs::write(&key, "k").expect("written");
        let provider = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}/v1", provider.local_addr().expect("its address"));
        let flags = ["proxy", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--allow-private"];
        let mut child = started_by(command, &flags)
            .args(["--kind=OpenAICompatible", "--provider=acme", "--namespace=team", "--drain-delay=0"])
            .arg(format!("--base-url={base}"))
            .arg(format!("--key-file={}", key.display()))
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (public, admin) = loop {
            let line = lines.next_line().await.expect("readable").expect("it says where it listens");
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            let fields = &line["fields"];
            if fields["message"] == "listening" {
                let address = |name: &str| fields[name].as_str().expect("an address").to_owned();
                break (address("public"), address("admin"));
            }
        };
        // The pipe must not fill up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, public, admin, provider, _folder: folder }
    }

    /// A stream of which one event has arrived: the client's end and the provider's.
    async fn open_stream(&self) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(&self.public).await.expect("connected");
        client.write_all(REQUEST.as_bytes()).await.expect("written");
        let mut provider = self.asked().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        provider.write_all(format!("{head}{EVENT}").as_bytes()).await.expect("written");
        let mut text = String::new();
        while !text.contains("data:") {
            let mut piece = [0; 1024];
            let read = client.read(&mut piece).await.expect("readable");
            text += &String::from_utf8_lossy(&piece[..read]);
        }
        (client, provider)
    }

    /// The provider's end of the next request. The proxy's own probes get no answer.
    async fn asked(&self) -> TcpStream {
        loop {
            let (mut provider, _) = self.provider.accept().await.expect("asked");
            let (mut asked, mut read) = (vec![0; 4096], 0);
            while !asked[..read].ends_with(b"\r\n\r\n{}") && !asked[..read].starts_with(b"GET ") {
                match provider.read(&mut asked[read..]).await.expect("readable") {
                    0 => break,
                    more => read += more,
                }
            }
            if asked.starts_with(b"POST ") {
                return provider;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().expect("running")).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("sent");
    }

    async fn ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(&self.admin).await else { return false };
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .expect("written");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("readable");
        text.starts_with("HTTP/1.1 200")
    }
}

#[tokio::test]
async fn sigterm_finishes_32_streams_and_then_ends() {
    let mut proxy = Proxy::start().await;
    assert!(proxy.ready().await);
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(proxy.open_stream().await);
    }
    proxy.signal(Signal::TERM);
    while proxy.ready().await {
        tokio::task::yield_now().await;
    }
    for (mut client, mut provider) in streams {
        assert!(proxy.child.try_wait().expect("a child").is_none(), "a stream is open");
        provider.write_all(format!("{EVENT}0\r\n\r\n").as_bytes()).await.expect("written");
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.expect("readable");
        assert!(rest.contains("data:") && rest.ends_with("0\r\n\r\n"), "{rest:?}");
    }
    assert!(proxy.child.wait().await.expect("ended").success());
}

/// A connection is a file, and 1,024 of them are the usual limit of programs that do not ask for more.
#[tokio::test]
async fn as_many_files_may_be_open_as_the_system_allows() {
    let lowered = r#"ulimit -Sn 256; exec "$0" "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", lowered, env!("CARGO_BIN_EXE_weighbridge-gateway")]);
    let proxy = Proxy::start_with(command).await;
    let limits = format!("/proc/{}/limits", proxy.child.id().expect("running"));
    let limits = std::fs::read_to_string(limits).expect("readable");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    let [soft, hard] = std::array::from_fn(|nth| files.split_whitespace().nth(nth));
    assert!(soft == hard && soft != Some("256"), "{files}");
}

#[tokio::test]
async fn a_second_sigterm_ends_at_once() {
    let mut proxy = Proxy::start().await;
    let (mut client, _provider) = proxy.open_stream().await;
    proxy.signal(Signal::TERM);
    while proxy.ready().await {
        tokio::task::yield_now().await;
    }
    proxy.signal(Signal::TERM);
    proxy.child.wait().await.expect("ended");
    let mut rest = String::new();
    // Cut or reset: the stream has no proper end.
    let _ = client.read_to_string(&mut rest).await;
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest:?}");
}

#[tokio::test]
async fn a_refused_configuration_says_which_flag() {
    for (base_url, reason) in [
        ("http://api.example.com/v1", "--base-url is plain http"),
        ("https://10.0.0.1/v1", "--base-url names 10.0.0.1"),
        ("nonsense", "--base-url"),
        ("https://api.example.com/v1 --memory-limit=1000000", "--max-buffered-bytes"),
    ] {
        let (base_url, more) =
            base_url.split_once(' ').map_or((base_url, None), |(url, flag)| (url, Some(flag)));
        let output = program(&["proxy", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"])
            .args(more)
            .args(["--kind=OpenAICompatible", "--provider=acme", "--namespace=team", "--key-file=key"])
            .args(["--base-url", base_url])
            .output()
            .await
            .expect("ran");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{base_url}: {said}");
    }
}
