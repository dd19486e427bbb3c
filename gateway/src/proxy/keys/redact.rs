//! Taking keys out of what a provider says, however it writes them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use secrecy::{ExposeSecret, SecretString};

use super::Key;

const SHOWN: &[u8] = b"[key]";
/// A shorter key guards nothing (`none`, `EMPTY`) and may be part of any word: it is taken out where it stands alone.
pub(super) const SHORT: usize = 8;

/// Before a signature in what AWS's keys show. Each is another one, and lets nobody do but what was asked with it.
const SIGNATURE: &[u8] = b"Signature=";

/// Finds keys in text, and signatures that were made with them: as they are, in base64 at any offset, and with any of their characters percent-encoded or
/// escaped as in JSON.
pub(in super::super) struct Redactor {
    needles: Vec<Needle>,
}

struct Needle {
    text: SecretString,
    /// Whether it must stand alone.
    word: bool,
}

impl Redactor {
    pub(super) fn new<'a>(keys: impl Iterator<Item = &'a Key>) -> Self {
        let secrets = keys.flat_map(Key::secrets);
        let needles = secrets.flat_map(|secret| needles(secret.expose_secret())).collect();
        Self { needles }
    }

    /// `text` without any key.
    pub(in super::super) fn redact(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            match self.end(text, at) {
                Some(end) => {
                    out.extend_from_slice(SHOWN);
                    at = end;
                }
                None => {
                    out.push(*byte);
                    at += 1;
                }
            }
        }
        out
    }

    /// As [`Self::redact`], for text that stays text.
    pub(in super::super) fn redact_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.redact(text.as_bytes())).into_owned()
    }

    /// Whether a key is in `text`.
    pub(in super::super) fn finds(&self, text: &[u8]) -> bool {
        (0..text.len()).any(|at| self.end(text, at).is_some())
    }

    /// Where ends what must not be told and begins at `at`.
    fn end(&self, text: &[u8], at: usize) -> Option<usize> {
        let key = self.needles.iter().filter_map(|needle| needle.end(text, at)).max();
        key.or_else(|| signature(text, at))
    }
}

fn signature(text: &[u8], at: usize) -> Option<usize> {
    let digits = text.get(at..)?.strip_prefix(SIGNATURE)?;
    let length = digits.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    (length > 0).then_some(at + SIGNATURE.len() + length)
}

fn needles(key: &str) -> Vec<Needle> {
    let word = key.len() < SHORT;
    let mut all = vec![Needle { text: SecretString::from(key), word }];
    if word {
        return all;
    }
    for offset in 0..3 {
        for engine in [STANDARD, URL_SAFE] {
            let padded: Vec<u8> = std::iter::repeat_n(0, offset).chain(key.bytes()).collect();
            let encoded = engine.encode(&padded);
            // Only the digits that the key alone decides: each holds 6 bits.
            let (first, end) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
            let core = encoded.get(first..end).unwrap_or_default();
            all.push(Needle { text: SecretString::from(core), word });
        }
    }
    all
}

impl Needle {
    /// Where the needle ends that begins at `at`.
    fn end(&self, text: &[u8], at: usize) -> Option<usize> {
        let needle = self.text.expose_secret().as_bytes();
        // Most positions end here, without an allocation.
        let mut ends: Vec<usize> = forms(text, at, *needle.first()?).collect();
        for byte in needle.get(1..)? {
            if ends.is_empty() {
                return None;
            }
            ends = ends.iter().flat_map(|end| forms(text, *end, *byte)).collect();
        }
        let end = ends.into_iter().max()?;
        let joins = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(|byte| is_word(*byte));
        let alone = !joins(at.checked_sub(1)) && !joins(Some(end));
        (alone || !self.word).then_some(end)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Where `byte` ends that is written at `at`, for each way of writing it that fits.
fn forms(text: &[u8], at: usize, byte: u8) -> impl Iterator<Item = usize> {
    let rest = text.get(at..).unwrap_or_default();
    let hex = |digits: Option<&[u8]>| {
        let digits = std::str::from_utf8(digits?).ok()?;
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let literal = (rest.first() == Some(&byte)).then_some(at + 1);
    let percent = (rest.first() == Some(&b'%') && hex(rest.get(1..3)) == Some(byte.into())).then_some(at + 3);
    let unicode = (rest.starts_with(b"\\u") && hex(rest.get(2..6)) == Some(byte.into())).then_some(at + 6);
    let escaped = (b"\"\\/".contains(&byte) && rest.starts_with(&[b'\\', byte])).then_some(at + 2);
    [literal, percent, unicode, escaped].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use weighbridge_wire::provider::KeyHeader;

    use super::super::Usage;
    use super::*;

    const KEY: &str = "sk-canary/5f1d+9=\"x%\\z";

    fn key(text: &str) -> Key {
        Key::new(text, &Usage::Header(KeyHeader::BEARER)).expect("a key")
    }

    fn redacted(keys: &[&str], text: &str) -> String {
        let keys: Vec<Key> = keys.iter().map(|text| key(text)).collect();
        Redactor::new(keys.iter()).redact_text(text)
    }

    #[test]
    fn a_key_is_taken_out_however_it_is_written() {
        let every: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let reserved: String = KEY
            .bytes()
            .map(|byte| match byte {
                byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            })
            .collect();
        let unicode: String = KEY.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
        let json = serde_json::to_string(KEY).expect("JSON");
        let json = json.trim_matches('"').replace('/', "\\/");
        for written in [KEY, &every, &reserved, &unicode, json.trim_matches('"')] {
            assert_eq!(redacted(&[KEY], &format!("wrong: {written}!")), "wrong: [key]!", "{written}");
        }
    }

    #[test]
    fn a_key_inside_base64_is_taken_out_at_every_offset() {
        for before in ["", "a", "ab", "Bearer ", "user:"] {
            for after in ["", "z", "zz", " and more"] {
                for engine in [STANDARD, URL_SAFE] {
                    let written = engine.encode(format!("{before}{KEY}{after}"));
                    let shown = redacted(&[KEY], &format!("<{written}>"));
                    assert!(shown.contains("[key]"), "{before}{after}: {shown}");
                    // What is left are the digits at either end that the key only shares.
                    let left = shown.replace("[key]", "").len() - 2;
                    assert!(left <= engine.encode(format!("{before}{after}")).len() + 4, "{shown}");
                }
            }
        }
    }

    #[test]
    fn a_signature_is_taken_out_whoever_made_it() {
        let text = "SignedHeaders=host, Signature=1ccfb11f34b99f59; Signature= is none";
        assert_eq!(redacted(&[], text), "SignedHeaders=host, [key]; Signature= is none");
    }

    #[test]
    fn every_key_is_taken_out_and_the_longest_first() {
        let keys = ["sk-first-key", "sk-first-key-2", "other-key"];
        let shown = redacted(&keys, "sk-first-key-2, sk-first-key, other-key, sk-first");
        assert_eq!(shown, "[key], [key], [key], sk-first");
    }

    #[test]
    fn a_key_that_is_a_word_spoils_no_other_word() {
        let body = r#"{"error":{"code":"none","message":"nonexistent: \"none\""}}"#;
        let shown = r#"{"error":{"code":"[key]","message":"nonexistent: \"[key]\""}}"#;
        assert_eq!(redacted(&["none"], body), shown);
        assert_eq!(redacted(&[], body), body);
    }

    #[test]
    fn a_key_in_a_header_is_found() {
        let key = key("sk-canary-5f1d");
        let redactor = Redactor::new([&key].into_iter());
        assert!(redactor.finds(b"id-sk-canary-5f1d") && !redactor.finds(b"id-sk-canary-5f1"));
    }
}
