//! Watching an answer go by for the provider's keys.

use memchr::memmem;
use secrecy::{ExposeSecret, SecretString};

use super::redact::SHORT;

/// Looks for what must not be in an answer, as it was sent: an answer is not read, so that other ways of writing it are
/// not told from chance. `Debug` shows nothing.
#[derive(Debug)]
pub(in super::super) struct Guard {
    secrets: Vec<SecretString>,
    /// Bytes that may be the beginning of one.
    seam: usize,
    tail: Vec<u8>,
}

impl Guard {
    pub(super) fn new(secrets: impl Iterator<Item = SecretString>) -> Self {
        let secrets: Vec<_> = secrets.filter(|secret| secret.expose_secret().len() >= SHORT).collect();
        let longest = secrets.iter().map(|secret| secret.expose_secret().len()).max().unwrap_or_default();
        Self { secrets, seam: longest.saturating_sub(1), tail: Vec::new() }
    }

    /// Whether a key is in what went by so far, `data` included.
    pub(in super::super) fn sees(&mut self, data: &[u8]) -> bool {
        if self.seam == 0 {
            return false;
        }
        let across = data.get(..self.seam).unwrap_or(data);
        self.tail.extend_from_slice(across);
        let seen = self.finds(&self.tail) || self.finds(data);
        if data.len() >= self.seam {
            self.tail.clear();
            self.tail.extend_from_slice(data.get(data.len() - self.seam..).unwrap_or(data));
        } else {
            let over = self.tail.len().saturating_sub(self.seam);
            self.tail.drain(..over);
        }
        seen
    }

    /// Whether a key is in `text`.
    pub(in super::super) fn finds(&self, text: &[u8]) -> bool {
        self.secrets.iter().any(|secret| memmem::find(text, secret.expose_secret().as_bytes()).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-canary-5f1d";

    fn guard() -> Guard {
        Guard::new([SecretString::from(KEY), SecretString::from("none")].into_iter())
    }

    #[test]
    fn a_key_is_seen_however_it_is_cut() {
        let text = format!("data: {{\"error\":\"{KEY}\"}}\n\n");
        for size in 1..text.len() {
            let mut guard = guard();
            let seen = text.as_bytes().chunks(size).any(|piece| guard.sees(piece));
            assert!(seen, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_key_passes() {
        let mut guard = guard();
        for piece in ["sk-canary-5f1", "x none", "sk-canary", "-5f1", ""] {
            assert!(!guard.sees(piece.as_bytes()), "{piece}");
        }
        assert!(!format!("{guard:?}").contains("canary"));
    }
}
