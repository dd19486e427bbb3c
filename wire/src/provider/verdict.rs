//! What an error answer says of the key that was sent.

use super::{Forbidden, Kind};
use crate::bedrock;

/// What an error answer says of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider does not take it.
    Refused,
    /// The provider does not let it do this; it may do other things.
    Denied,
    /// The provider does not take it now.
    Limited,
    /// Nothing: the error is another's.
    Nothing,
}

/// Errors of AWS that are about who signed, whatever their status.
const OF_THE_SIGNER: [&str; 6] = [
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "IncompleteSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationTokenException",
    "ExpiredTokenException",
];

impl Kind {
    /// What an answer of `status` with `header`s says of the key.
    pub fn verdict<'a>(self, status: u16, header: impl Fn(&str) -> Option<&'a str>) -> Verdict {
        let of_the_signer = |kind: &str| OF_THE_SIGNER.contains(&bedrock::error::bare(kind).as_str());
        match (status, self.profile().forbidden) {
            (400 | 403, Forbidden::ByModel { error_type: Some(name) })
                if header(name).is_some_and(of_the_signer) =>
            {
                Verdict::Refused
            }
            (403, Forbidden::ByModel { .. }) => Verdict::Denied,
            (401..=403, _) => Verdict::Refused,
            (429, _) => Verdict::Limited,
            _ => Verdict::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_may_not_ask_one_model_is_not_refused() {
        for kind in Kind::ALL {
            let cloud = matches!(kind, Kind::Vertex | Kind::Bedrock);
            let forbidden = if cloud { Verdict::Denied } else { Verdict::Refused };
            assert_eq!(kind.verdict(403, |_| None), forbidden, "{kind}");
            assert_eq!(kind.verdict(401, |_| None), Verdict::Refused, "{kind}");
            assert_eq!(kind.verdict(402, |_| None), Verdict::Refused, "{kind}");
            assert_eq!(kind.verdict(429, |_| Some("ThrottlingException")), Verdict::Limited, "{kind}");
            for status in [400, 404, 408, 424, 500, 529] {
                assert_eq!(kind.verdict(status, |_| None), Verdict::Nothing, "{kind} {status}");
            }
        }
    }

    #[test]
    fn what_aws_says_of_the_signer_is_of_the_key() {
        let said =
            |status, kind| Kind::Bedrock.verdict(status, |name| (name == "x-amzn-errortype").then_some(kind));
        assert_eq!(said(403, "UnrecognizedClientException:http://internal.amazon.com/"), Verdict::Refused);
        assert_eq!(said(400, "com.amazon.coral.service#ExpiredTokenException"), Verdict::Refused);
        assert_eq!(said(403, "AccessDeniedException"), Verdict::Denied);
        assert_eq!(said(400, "ValidationException"), Verdict::Nothing);
    }
}
