//! How a reasoning item carries what other providers want back: its `encrypted_content` is opaque to a client, and is
//! sent back as it came. OpenAI's own stands there bare; another provider's is sealed ([`seal`]), with a word in front
//! for what is no signature of thinking.

use crate::canonical::{Part, Provider, RedactedThinking, Signature, Text, Thinking, seal};

const SLOT: Provider = Provider::OpenAi;
const REDACTED: &str = "redacted:";
const TEXT: &str = "text:";
const THINKING: &str = "thinking:";

/// What an `encrypted_content` is.
pub(super) enum Carried {
    /// The signature of the item's thinking.
    Thinking(Signature),
    /// Thinking that was encrypted whole.
    Redacted(RedactedThinking),
    /// The signature of the text before it.
    Text(Signature),
}

/// Reads an `encrypted_content`.
pub(super) fn open(data: &str) -> Carried {
    let signature = seal::open_signature(SLOT, data);
    if signature.provider == SLOT {
        return Carried::Thinking(signature);
    }
    let Signature { provider, data } = signature;
    if let Some(data) = data.strip_prefix(REDACTED) {
        return Carried::Redacted(RedactedThinking { provider, data: data.to_owned() });
    }
    if let Some(data) = data.strip_prefix(TEXT) {
        return Carried::Text(Signature { provider, data: data.to_owned() });
    }
    let data = data.strip_prefix(THINKING).unwrap_or(&data).to_owned();
    Carried::Thinking(Signature { provider, data })
}

/// The `encrypted_content` for a thinking block's signature.
pub(super) fn seal_thinking(signature: &Signature) -> String {
    seal_as(THINKING, signature.provider, &signature.data)
}

/// The `encrypted_content` for encrypted thinking.
pub(super) fn seal_redacted(provider: Provider, data: &str) -> String {
    seal_as(REDACTED, provider, data)
}

/// The `encrypted_content` for a text's signature.
pub(super) fn seal_text(signature: &Signature) -> String {
    seal_as(TEXT, signature.provider, &signature.data)
}

fn seal_as(word: &str, provider: Provider, data: &str) -> String {
    if provider == SLOT {
        return data.to_owned();
    }
    seal::seal_signature(&Signature { provider, data: format!("{word}{data}") }, SLOT)
}

/// Puts what a reasoning item carries among `parts`, which it follows. An item that says nothing is nothing.
pub(super) fn place(parts: &mut Vec<Part>, text: String, carried: Option<Carried>, id: Option<String>) {
    match carried {
        None if text.is_empty() => {}
        None => parts.push(Part::Thinking(Thinking { text, signature: None, id })),
        Some(Carried::Thinking(signature)) => {
            parts.push(Part::Thinking(Thinking { text, signature: Some(signature), id }));
        }
        Some(Carried::Redacted(thinking)) => parts.push(Part::RedactedThinking(thinking)),
        Some(Carried::Text(signature)) => {
            parts.push(Part::Text(Text { signature: Some(signature), ..Text::default() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_apart_and_openais_own_is_bare() {
        let own = Signature { provider: Provider::OpenAi, data: "text:gAAA".into() };
        assert_eq!(seal_thinking(&own), "text:gAAA");
        assert!(matches!(open("text:gAAA"), Carried::Thinking(signature) if signature == own));
        let other = Signature { provider: Provider::Gemini, data: "redacted:x".into() };
        assert!(matches!(open(&seal_thinking(&other)), Carried::Thinking(signature) if signature == other));
        assert!(matches!(open(&seal_text(&other)), Carried::Text(signature) if signature == other));
        let redacted = open(&seal_redacted(Provider::Anthropic, "d=="));
        assert!(matches!(redacted, Carried::Redacted(thinking) if thinking.data == "d=="));
    }
}
