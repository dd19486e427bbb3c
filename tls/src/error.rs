//! What can be wrong with files, and with those who come.

use std::io;

use crate::NamedFile;

/// A file that can't be used. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
#[error("{file}")]
pub struct TlsError {
    /// The file, and the flag that names it.
    pub file: NamedFile,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

impl TlsError {
    pub(crate) fn of(file: &NamedFile) -> impl FnOnce(Problem) -> Self {
        let file = file.clone();
        move |problem| Self { file, problem }
    }
}

/// What is wrong with a file. No variant keeps what a library said of a private key's file: it may repeat its lines.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No file, or one that may not be read.
    #[error("it can't be read")]
    Unreadable(#[source] io::Error),
    /// Not what was asked for.
    #[error("it holds no certificate in PEM: it must begin with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// Not what was asked for.
    #[error("it holds no private key in PEM: it must begin with -----BEGIN PRIVATE KEY-----, unencrypted")]
    NoKey,
    /// A section that is no certificate.
    #[error("one of its certificates can't be read")]
    Malformed,
    /// The two files are not of one pair.
    #[error("its private key does not belong to the certificate, or is of a kind that is not served")]
    Mismatch,
    /// The library's judgement of the authorities.
    #[error("its certificates can't be used as authorities")]
    Authorities(#[source] rustls::server::VerifierBuilderError),
    /// The TLS library refuses its own defaults.
    #[error("TLS can't be set up")]
    Setup(#[source] rustls::Error),
}

/// A connection that did not get as far as a request.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client left, or the connection broke.
    #[error("the client left before its handshake was done")]
    Left(#[source] io::Error),
    /// Not TLS.
    #[error("the client speaks plain text")]
    PlainText,
    /// The handshake took too long.
    #[error("the handshake was not done in time")]
    Slow,
    /// The client is not let in, or does not take our certificate, or speaks no TLS that we do.
    #[error("the handshake failed")]
    Refused(#[source] io::Error),
}

impl HandshakeError {
    /// The word for it in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Left(_) => "left",
            Self::PlainText => "plain_text",
            Self::Slow => "slow",
            Self::Refused(_) => "refused",
        }
    }
}
