//! Ids of calls as Bedrock takes them.

use std::borrow::Cow;

use crate::canonical::Mint;

/// The longest that Bedrock takes.
const MOST: usize = 64;

/// The id for Bedrock: letters, digits, `_`, `.`, `:` and `-`, up to 64 of them. Another one gives way to one that is made of it, the
/// same in calls and results and each time the conversation is sent.
pub(super) fn upstream(id: &str) -> Cow<'_, str> {
    let takes = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    if id.len() <= MOST && id.bytes().all(takes) {
        return Cow::Borrowed(id);
    }
    Cow::Owned(Mint::new(id).call_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_bedrock_refuses_gives_way_to_the_same_one_each_time() {
        for id in ["tooluse_x", "functions.f:0", &"x".repeat(64)] {
            assert_eq!(upstream(id), id);
        }
        for id in ["a b", "é", &"x".repeat(65)] {
            assert_ne!(upstream(id), id);
            assert_eq!(upstream(id), upstream(id));
            assert_eq!(upstream(&upstream(id)), upstream(id));
        }
        assert_ne!(upstream("a b"), upstream("a  b"));
    }
}
