//! An upstream that costs next to nothing, as nginx with a fixed answer: it finds the end of a request and
//! writes the same bytes.

use std::io::Write;

use anyhow::bail;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Chunks of a streamed answer, all written at once.
pub const CHUNKS: usize = 100;

pub async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let (whole, stream) = (whole(), stream());
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (whole, stream) = (whole.clone(), stream.clone());
        // A client that leaves ends its own connection only.
        tokio::spawn(async move { serve(socket, &whole, &stream).await.ok() });
    }
}

async fn serve(mut socket: TcpStream, whole: &[u8], stream: &[u8]) -> anyhow::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut filled = 0;
    loop {
        let head = loop {
            if let Some(end) = find(buffer.get(..filled).unwrap_or_default(), b"\r\n\r\n") {
                break end + 4;
            }
            filled += read(&mut socket, &mut buffer, filled).await?;
        };
        let text = String::from_utf8_lossy(buffer.get(..head).unwrap_or_default()).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let total = head + length.unwrap_or(0);
        if buffer.len() < total {
            buffer.resize(total, 0);
        }
        while filled < total {
            filled += read(&mut socket, &mut buffer, filled).await?;
        }
        let body = buffer.get(head..total).unwrap_or_default();
        let streams = find(body.get(..body.len().min(256)).unwrap_or_default(), b"\"stream\":true").is_some();
        socket.write_all(if streams { stream } else { whole }).await?;
        buffer.copy_within(total..filled, 0);
        filled -= total;
    }
}

async fn read(socket: &mut TcpStream, buffer: &mut [u8], from: usize) -> anyhow::Result<usize> {
    let Some(space) = buffer.get_mut(from..).filter(|space| !space.is_empty()) else {
        bail!("a head too large")
    };
    match socket.read(space).await? {
        0 => bail!("the client left"),
        read => Ok(read),
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn whole() -> Vec<u8> {
    let body = r#"{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion","created":1741569952,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I assist you today?","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0}},"service_tier":"default"}"#;
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Each event is a chunk of HTTP's too, as a server that flushes each event sends it.
fn stream() -> Vec<u8> {
    let head = r#""id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"model":"mock""#;
    let mut out =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let mut push = |event: String| out.extend(format!("{:x}\r\n{event}\r\n", event.len()).into_bytes());
    for _ in 0..CHUNKS {
        let choice = r#"{"index":0,"delta":{"content":"token"},"logprobs":null,"finish_reason":null}"#;
        push(format!("data: {{{head},\"choices\":[{choice}],\"usage\":null}}\n\n"));
    }
    let usage = r#"{"prompt_tokens":19,"completion_tokens":100,"total_tokens":119}"#;
    push(format!("data: {{{head},\"choices\":[],\"usage\":{usage}}}\n\n"));
    push("data: [DONE]\n\n".to_owned());
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
