//! Which HTTP a connection speaks. Where that is HTTP/1 it is better known before the connection is served: to tell it from HTTP/2
//! hyper-util reads the first bytes apart, and hyper's buffer, which grows by doubling, is then twice as large for as long
//! as the connection.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// What a client of HTTP/2 that was told nothing begins with (RFC 9113, section 3.4). No method of HTTP/1 begins like it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is known before the first request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// HTTP/2, or not known yet.
    Either,
}

impl Protocol {
    /// What a TLS handshake agreed on (RFC 7301).
    pub(super) fn negotiated(alpn: Option<&[u8]>) -> Self {
        if alpn == Some(b"http/1.1") { Self::Http1 } else { Self::Either }
    }
}

/// What the client speaks, once it says something; `None` where it does not in `time`, or before `closing`.
///
/// # Errors
/// Where the connection breaks.
pub(super) async fn first_word(
    stream: &TcpStream,
    time: Duration,
    closing: &CancellationToken,
) -> io::Result<Option<Protocol>> {
    tokio::select! {
        biased;
        spoken = spoken(stream) => spoken.map(Some),
        () = closing.cancelled() => Ok(None),
        () = tokio::time::sleep(time) => Ok(None),
    }
}

async fn spoken(stream: &TcpStream) -> io::Result<Protocol> {
    let mut first = [0; PREFACE.len()];
    let seen = stream.peek(&mut first).await?;
    let begins_like_http2 = first.get(..seen).is_none_or(|first| PREFACE.starts_with(first));
    Ok(if begins_like_http2 { Protocol::Either } else { Protocol::Http1 })
}
