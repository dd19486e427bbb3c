//! How a provider's signature travels through a client that speaks another dialect.
//!
//! A client sends back what it knows: Anthropic's clients a thinking block's `signature`, Gemini's a
//! `thoughtSignature`, everyone's a tool call's id. What does not belong there by birth is sealed: base64 of
//! `weighbridge:` and the issuer, so that the reader on the way back knows whose it is. Twelve bytes come to
//! sixteen base64 characters without padding, so the prefix is constant, and no provider's own data begins so.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{Provider, Signature};

const MARK: &str = "weighbridge:";

/// [`MARK`] in base64, of either alphabet.
const SEALED: &str = "d2VpZ2hicmlkZ2U6";

/// Parts a call's id from the signature it carries. Anthropic's ids are letters, digits, `_` and `-` only.
const SEAM: &str = "--weighbridge--";

/// What stands in a signature field of `slot`'s dialect.
pub fn seal_signature(signature: &Signature, slot: Provider) -> String {
    if signature.provider == slot {
        return signature.data.clone();
    }
    STANDARD.encode(format!("{MARK}{}:{}", signature.provider.as_str(), signature.data))
}

/// Reads a signature field of `slot`'s dialect: `slot`'s own, unless it is sealed.
pub fn open_signature(slot: Provider, data: &str) -> Signature {
    let own = || Signature { provider: slot, data: data.to_owned() };
    if !data.starts_with(SEALED) {
        return own();
    }
    // Google's Python client sends bytes back in the URL-safe alphabet.
    let standard = data.replace('-', "+").replace('_', "/");
    STANDARD.decode(standard).ok().and_then(|bytes| unmark(&bytes)).unwrap_or_else(own)
}

/// A tool call's id for a client whose dialect has no place for the call's signature.
pub fn seal_call_id(id: &str, signature: Option<&Signature>) -> String {
    let Some(signature) = signature else { return id.to_owned() };
    let sealed = URL_SAFE_NO_PAD.encode(format!("{MARK}{}:{}", signature.provider.as_str(), signature.data));
    format!("{id}{SEAM}{sealed}")
}

/// The id as its provider knows it, and the signature that it carried. Results name their call by the sealed id
/// too, so both are opened.
pub fn open_call_id(id: &str) -> (String, Option<Signature>) {
    // The last seam: an id may come from a Weighbridge beyond this one, sealed already.
    let opened = id.rsplit_once(SEAM).and_then(|(id, sealed)| {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        Some((id.to_owned(), Some(unmark(&bytes)?)))
    });
    opened.unwrap_or_else(|| (id.to_owned(), None))
}

/// Whether `text` may hold something sealed: a request that does is opened before it goes to an upstream. Both forms begin
/// with the same characters, and no client writes letters as escapes.
pub fn may_be_in(text: &str) -> bool {
    text.contains(SEALED)
}

fn unmark(bytes: &[u8]) -> Option<Signature> {
    let (provider, data) = std::str::from_utf8(bytes).ok()?.strip_prefix(MARK)?.split_once(':')?;
    Some(Signature { provider: Provider::from_word(provider)?, data: data.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_own_signature_is_untouched() {
        let signature = Signature { provider: Provider::Anthropic, data: "EqRkC+/=".into() };
        assert_eq!(seal_signature(&signature, Provider::Anthropic), "EqRkC+/=");
        assert_eq!(open_signature(Provider::Anthropic, "EqRkC+/="), signature);
    }

    #[test]
    fn an_id_that_came_sealed_is_opened_one_seal_at_a_time() {
        let signature = |data: &str| Signature { provider: Provider::Gemini, data: data.into() };
        let inner = seal_call_id("call_1", Some(&signature("far")));
        let outer = seal_call_id(&inner, Some(&signature("near")));
        assert_eq!(open_call_id(&outer), (inner.clone(), Some(signature("near"))));
        assert_eq!(open_call_id(&inner), ("call_1".into(), Some(signature("far"))));
    }

    #[test]
    fn what_only_looks_sealed_is_left_alone() {
        for data in ["d2VpZ2hicmlkZ2U6", "d2VpZ2hicmlkZ2U6!!", "d2VpZ2hicmlkZ2U6bm9ib2R5Og=="] {
            let opened = open_signature(Provider::Gemini, data);
            assert_eq!(opened, Signature { provider: Provider::Gemini, data: data.into() });
        }
        assert_eq!(open_call_id("a--weighbridge--b"), ("a--weighbridge--b".into(), None));
    }

    proptest! {
        #[test]
        fn a_signature_comes_back_byte_for_byte(data in "\\PC{0,40}", issuer in 0usize..3, slot in 0usize..3) {
            let signature = Signature { provider: Provider::ALL[issuer], data };
            let sealed = seal_signature(&signature, Provider::ALL[slot]);
            prop_assert!(issuer == slot || may_be_in(&sealed));
            if issuer != slot {
                let url_safe = sealed.replace('+', "-").replace('/', "_");
                prop_assert_eq!(&open_signature(Provider::ALL[slot], &url_safe), &signature);
            }
            prop_assert_eq!(open_signature(Provider::ALL[slot], &sealed), signature);
        }

        #[test]
        fn an_id_and_its_signature_come_back(id in "[a-zA-Z0-9_-]{1,30}", data in "\\PC{0,40}", issuer in 0usize..3) {
            prop_assume!(!id.contains(SEAM));
            let signature = Signature { provider: Provider::ALL[issuer], data };
            let sealed = seal_call_id(&id, Some(&signature));
            prop_assert!(may_be_in(&sealed));
            prop_assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
            prop_assert_eq!(open_call_id(&sealed), (id, Some(signature)));
        }
    }
}
