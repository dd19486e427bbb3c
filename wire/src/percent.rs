//! Percent-encoding of one segment of a path (RFC 3986).

use std::borrow::Cow;

/// Escapes everything but unreserved characters, so that no name can leave its segment.
pub(crate) fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The text that was escaped; `None` where an escape is broken, or it is not UTF-8.
pub(crate) fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn broken_escapes_are_no_names() {
        for bad in ["%", "a%2", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode("a%2fb").as_deref(), Some("a/b"));
    }

    proptest! {
        #[test]
        fn a_name_comes_back(name in "\\PC{0,20}") {
            let encoded = encode(&name);
            prop_assert!(!encoded.contains(['/', ':', '?', '#', ' ']));
            let back = decode(&encoded);
            prop_assert_eq!(back.as_deref(), Some(name.as_str()));
        }
    }
}
