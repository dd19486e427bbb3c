//! One key.

use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use weighbridge_wire::provider::KeyHeader;

use super::file::{KeyError, MAX_BYTES};

/// A key. `Debug` shows nothing of it.
#[derive(Clone, Debug)]
pub(in super::super) struct Key(SecretString);

impl Key {
    pub(super) fn new(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() as u64 >= MAX_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Malformed);
        }
        Ok(Self(SecretString::from(text)))
    }

    /// The key as `how` says, marked so that HTTP/2 keeps it out of its tables and `Debug` hides it.
    pub(in super::super) fn header(&self, how: KeyHeader) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::from_str(&format!("{}{}", how.prefix, self.text())).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_static(how.name), value))
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.text() == other.text()
    }

    pub(super) fn text(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_wire::provider::Kind;

    use super::*;

    #[test]
    fn what_no_header_takes_is_no_key() {
        for text in ["a b", "a\nb", "ключ", "a\0"] {
            assert_eq!(Key::new(text).expect_err(text), KeyError::Malformed);
        }
    }

    #[test]
    fn a_key_goes_as_its_kind_has_it_and_is_never_printed() {
        let key = Key::new("sk-canary-5f1d").expect("a key");
        for kind in Kind::ALL {
            let (name, value) = key.header(kind.profile().key).expect("a header");
            let expected = match kind {
                Kind::OpenAi | Kind::OpenAiCompatible => ("authorization", "Bearer sk-canary-5f1d"),
                Kind::AzureOpenAi => ("api-key", "sk-canary-5f1d"),
                Kind::Anthropic | Kind::AnthropicCompatible => ("x-api-key", "sk-canary-5f1d"),
                Kind::Gemini => ("x-goog-api-key", "sk-canary-5f1d"),
            };
            assert_eq!((name.as_str(), value.to_str().expect("text")), expected);
            let printed = format!("{key:?} {value:?} {:?}", key.clone());
            assert!(!printed.contains("canary"), "{printed}");
        }
    }
}
