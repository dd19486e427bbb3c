//! The `thoughtSignature` slot: Gemini's own data, or another provider's sealed for the way through this dialect.

use crate::canonical::seal::{open_signature, seal_signature};
use crate::canonical::{Part, Provider, RedactedThinking, Signature, Thinking};

/// Marks, inside a sealed signature, thinking that only its provider can read. No provider's own data has a colon.
const REDACTED: &str = "redacted:";

/// What a client's or an upstream's `thoughtSignature` says.
pub(super) fn open(data: &str) -> Signature {
    open_signature(Provider::Gemini, data)
}

/// What stands in `thoughtSignature` for a client.
pub(super) fn seal(signature: &Signature) -> String {
    seal_signature(signature, Provider::Gemini)
}

/// Encrypted thinking as a `thoughtSignature`, for a client.
pub(super) fn seal_redacted(thinking: &RedactedThinking) -> String {
    let data = format!("{REDACTED}{}", thinking.data);
    seal_signature(&Signature { provider: thinking.provider, data }, Provider::Gemini)
}

/// The thinking of a `thought` part.
pub(super) fn open_thinking(text: String, signature: Option<&str>) -> Part {
    let signature = signature.map(open);
    if text.is_empty()
        && let Some(Signature { provider, data }) = &signature
        && *provider != Provider::Gemini
        && let Some(data) = data.strip_prefix(REDACTED)
    {
        return Part::RedactedThinking(RedactedThinking { provider: *provider, data: data.to_owned() });
    }
    Part::Thinking(Thinking { text, signature, id: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacted_thinking_comes_back_as_it_was() {
        let redacted = RedactedThinking { provider: Provider::Anthropic, data: "Eo+/=".into() };
        let sealed = seal_redacted(&redacted);
        assert_eq!(open_thinking(String::new(), Some(&sealed)), Part::RedactedThinking(redacted));
    }

    #[test]
    fn an_own_signature_keeps_its_bytes() {
        let Part::Thinking(thinking) = open_thinking("t".into(), Some("CiQB+/w=")) else {
            panic!("thinking")
        };
        assert_eq!(thinking.signature.as_ref().map(seal).as_deref(), Some("CiQB+/w="));
    }
}
