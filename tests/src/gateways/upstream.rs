//! An upstream that streams, which nginx can't: it finds the end of a request and writes events, in whichever time.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::program::Program;
use crate::door::Client;

/// Chunks of a streamed answer.
pub const CHUNKS: usize = 100;
/// How long a chunk comes after the one before, where the answer is paced.
pub const PACE: Duration = Duration::from_millis(20);
/// Asked for by POST, it ends the answers that were held open.
const FINISH: &str = "/finish";
const START: Duration = Duration::from_secs(10);

/// When the events of an answer come.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Pacing {
    /// All at once.
    Burst,
    /// One every 20 ms, each with the time of its sending in it.
    Paced,
    /// The first at once, and the last when told to.
    Held,
}

impl Pacing {
    fn argument(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Paced => "paced",
            Self::Held => "held",
        }
    }
}

/// The program `gateway-upstream`, running.
pub struct Upstream {
    /// Where it answers.
    pub address: SocketAddr,
    /// The program.
    pub program: Program,
}

impl Upstream {
    /// Starts it.
    ///
    /// # Errors
    /// Where it is not there.
    pub async fn start(pacing: Pacing, folder: &Path) -> Result<Self> {
        let path = std::env::current_exe()?.with_file_name("gateway-upstream");
        let mut program = Program::start("upstream", Command::new(path).arg(pacing.argument()), folder)?;
        let address = program.until(START, async |log: &str| log.trim().parse().ok()).await?;
        Ok(Self { address, program })
    }

    /// Ends what it holds open.
    ///
    /// # Errors
    /// Where it has ended itself.
    pub async fn finish(&self) -> Result<()> {
        Client::connect(self.address).await?.post(FINISH, "").await.map(drop)
    }
}

/// Serves for ever, at the address that it prints.
///
/// # Errors
/// Where no port is free.
pub async fn run(pacing: Pacing) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let finish = watch::Sender::new(false);
    let burst: Arc<[u8]> = burst().into();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let connection =
            Connection { socket, buffer: Vec::new(), finish: finish.clone(), burst: Arc::clone(&burst) };
        // A client that leaves ends its own connection only.
        tokio::spawn(async move { connection.serve(pacing).await.ok() });
    }
}

struct Connection {
    socket: TcpStream,
    /// What was read and belongs to no answered request.
    buffer: Vec<u8>,
    finish: watch::Sender<bool>,
    burst: Arc<[u8]>,
}

impl Connection {
    async fn serve(mut self, pacing: Pacing) -> Result<()> {
        loop {
            let path = self.request().await?;
            if path == FINISH {
                self.finish.send_replace(true);
                self.socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
                continue;
            }
            match pacing {
                Pacing::Burst => self.socket.write_all(&self.burst).await?,
                Pacing::Paced => self.paced().await?,
                Pacing::Held => self.held().await?,
            }
        }
    }

    /// Reads a request and drops it, but for its path.
    async fn request(&mut self) -> Result<String> {
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let text = String::from_utf8_lossy(self.buffer.get(..head).unwrap_or_default()).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let total = head + length.unwrap_or(0);
        let path = text.split_whitespace().nth(1).context("no path")?.to_owned();
        while self.buffer.len() < total {
            self.read().await?;
        }
        self.buffer.drain(..total);
        Ok(path)
    }

    async fn read(&mut self) -> Result<()> {
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => bail!("the client left"),
            _ => Ok(()),
        }
    }

    async fn paced(&mut self) -> Result<()> {
        self.socket.write_all(HEAD).await?;
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..CHUNKS {
            ticks.tick().await;
            self.socket.write_all(&framed(&chunk(&monotonic().as_nanos().to_string()))).await?;
        }
        self.socket.write_all(&end()).await?;
        Ok(())
    }

    async fn held(&mut self) -> Result<()> {
        let opening = [HEAD, &framed(&chunk("held"))].concat();
        self.socket.write_all(&opening).await?;
        let mut finish = self.finish.subscribe();
        // The client may leave before.
        tokio::select! {
            told = finish.wait_for(|told| *told) => { told?; }
            left = self.socket.readable() => left?,
        }
        self.socket.write_all(&end()).await?;
        Ok(())
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// A clock that all processes of the machine share.
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const FIELDS: &str = r#""id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"model":"mock-01-2026-11-28""#;

/// An event of one token.
fn chunk(content: &str) -> String {
    let choice =
        format!(r#"{{"index":0,"delta":{{"content":"{content}"}},"logprobs":null,"finish_reason":null}}"#);
    format!("data: {{{FIELDS},\"choices\":[{choice}],\"usage\":null}}\n\n")
}

/// Each event is a chunk of HTTP's too, as a server that flushes each event sends it.
fn framed(event: &str) -> Vec<u8> {
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

/// The reason, the usage, the end mark, and HTTP's own end.
fn end() -> Vec<u8> {
    let stop = r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}"#;
    let usage = r#"{"prompt_tokens":19,"completion_tokens":100,"total_tokens":119}"#;
    let mut out = framed(&format!("data: {{{FIELDS},\"choices\":[{stop}],\"usage\":null}}\n\n"));
    out.extend(framed(&format!("data: {{{FIELDS},\"choices\":[],\"usage\":{usage}}}\n\n")));
    out.extend(framed("data: [DONE]\n\n"));
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

fn burst() -> Vec<u8> {
    let mut out = HEAD.to_vec();
    for _ in 0..CHUNKS {
        out.extend(framed(&chunk("token")));
    }
    out.extend(end());
    out
}
