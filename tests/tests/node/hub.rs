//! A hub with one file, of which it sends no more than half until it is told to.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A running hub; it ends when dropped.
pub struct Hub {
    /// Its base URL.
    pub url: String,
    released: watch::Sender<bool>,
    _task: AbortOnDropHandle<()>,
}

impl Hub {
    /// Starts on a free port; every path is the file's.
    pub async fn start(address: Ipv4Addr, content: Vec<u8>) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (released, waits) = watch::channel(false);
        let content = Arc::new(content);
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (content, waits) = (Arc::clone(&content), waits.clone());
                // A client that leaves in the midst comes again.
                tokio::spawn(async move { answer(stream, &content, waits).await.ok() });
            }
        };
        Ok(Self { url, released, _task: AbortOnDropHandle::new(tokio::spawn(accept)) })
    }

    /// Has it send all of it.
    pub fn release(&self) {
        self.released.send_replace(true);
    }
}

async fn answer(mut stream: TcpStream, content: &[u8], mut released: watch::Receiver<bool>) -> Result<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let asked = lines.next_line().await?.context("no request")?;
    let mut range = 0..content.len();
    while let Some(line) = lines.next_line().await?.filter(|line| !line.is_empty()) {
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (first, last) = bytes.split_once('-').context("a range")?;
            range = first.parse()?..last.parse::<usize>()? + 1;
        }
    }
    let total = content.len();
    let common = format!("etag: \"it\"\r\nx-repo-commit: {}\r\nconnection: close\r\n", "c".repeat(40));
    if asked.starts_with("HEAD ") {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {total}\r\n{common}\r\n");
        return Ok(stream.write_all(head.as_bytes()).await?);
    }
    let (first, last) = (range.start, range.end - 1);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{last}/{total}\r\n{common}\r\n",
        range.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let half = range.end.min(range.start.max(total / 2));
    stream.write_all(content.get(range.start..half).context("a range within the file")?).await?;
    released.wait_for(|released| *released).await?;
    stream.write_all(content.get(half..range.end).context("a range within the file")?).await?;
    Ok(stream.shutdown().await?)
}
