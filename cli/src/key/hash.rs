//! The hash of a key that was made elsewhere.

use std::io::{self, Read as _};

use secrecy::{ExposeSecret as _, SecretString};
use weighbridge_gateway::access::Digest;

use crate::terminal::Terminal;

/// Characters below which a key could be found from its hash by trying.
const SHORTEST: usize = 20;

/// Far above any key: what is longer is another file.
const LONGEST: u64 = 4096;

/// Something on stdin that is no key. No message repeats it.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// stdin failed, or holds no text.
    #[error("can't read the key from stdin")]
    Read(#[source] io::Error),
    /// Too short.
    #[error(
        "the key on stdin has {0} characters: below {SHORTEST} it could be found from its hash by trying"
    )]
    Short(usize),
    /// No header can carry it.
    #[error(
        "the key on stdin has spaces, line ends or characters beyond ASCII in it: no header can carry that"
    )]
    Characters,
    /// Too long.
    #[error("what is on stdin is longer than {LONGEST} bytes: that is no key")]
    Long,
    /// stdout is gone.
    #[error("can't write the hash")]
    Write(#[source] io::Error),
}

/// Prints the hash of the key on stdin, as a ModelAccess has it.
///
/// # Errors
/// What is there is no key.
pub fn hash(terminal: &Terminal) -> Result<(), HashError> {
    let mut text = String::new();
    io::stdin().take(LONGEST + 1).read_to_string(&mut text).map_err(HashError::Read)?;
    let digest = digest(&SecretString::from(text))?;
    terminal.print(&format!("{digest}\n")).map_err(HashError::Write)
}

/// A line end after the key is an editor's, and not the key's.
fn digest(text: &SecretString) -> Result<Digest, HashError> {
    let text = text.expose_secret();
    let key = text.trim_end_matches(['\r', '\n']);
    match key.len() {
        _ if text.len() as u64 > LONGEST => Err(HashError::Long),
        _ if !key.bytes().all(|byte| byte.is_ascii_graphic()) => Err(HashError::Characters),
        length if length < SHORTEST => Err(HashError::Short(length)),
        _ => Ok(Digest::of(key.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_not_the_keys_and_what_no_header_carries_is_refused() {
        let of = |text: &str| digest(&SecretString::from(text)).map(|digest| digest.to_string());
        let key = "a".repeat(SHORTEST);
        let expected = of(&key).unwrap();
        assert!(expected.starts_with("sha256:"));
        for text in [format!("{key}\n"), format!("{key}\r\n")] {
            assert_eq!(of(&text).unwrap(), expected);
        }
        for (text, words) in [
            (String::new(), "0 characters"),
            (key[1..].to_owned(), "by trying"),
            (format!("{key} {key}"), "no header"),
            (format!("{key}\n{key}"), "no header"),
            (format!("ä{key}"), "no header"),
            ("a".repeat(5000), "that is no key"),
        ] {
            let said = of(&text).unwrap_err().to_string();
            assert!(said.contains(words) && !said.contains("aaa"), "{said}");
        }
    }
}
