//! A provider's words in a status: which may be told, and how.

use weighbridge_wire::canonical::FailureClass;

use super::{Asker, Redactor};

/// Characters of a message. A status is read on one line.
const LONGEST: usize = 256;
/// Before whatever is not our own.
const LABEL: &str = "the provider said: ";
/// What stands for a key. OpenAI repeats the ends of one that it does not know, with stars between.
const SHOWN: &str = "[key]";
const STARS: &str = "***";

/// Whether an error of this class is told. What the caller did wrong is quoted in the provider's words, and a caller's
/// words do not belong into a status that others read. A probe asks for what many servers do not have, and who shows no
/// key is refused for that.
pub(super) fn may_be_told(class: FailureClass, asker: Asker) -> bool {
    match class {
        FailureClass::NotFound => asker == Asker::Caller,
        FailureClass::Credential | FailureClass::Forbidden => asker != Asker::Stranger,
        FailureClass::QuotaExhausted
        | FailureClass::RateLimited
        | FailureClass::Overloaded
        | FailureClass::Timeout
        | FailureClass::TruncatedStream
        | FailureClass::ResidencyUnsatisfiable
        | FailureClass::Upstream
        | FailureClass::Internal => true,
        FailureClass::BadRequest
        | FailureClass::ContextTooLong
        | FailureClass::TooLarge
        | FailureClass::ContentBlocked => false,
    }
}

/// `message`, said to be the provider's and without any key.
pub(super) fn of_the_provider(message: &str, redactor: &Redactor) -> String {
    let message = redactor.redact_text(message);
    let masked = |word: &str| if word.contains(STARS) { SHOWN.to_owned() } else { word.to_owned() };
    let words: Vec<String> = message.split_whitespace().map(masked).collect();
    format!("{LABEL}{}", words.join(" "))
}

/// `message` on one line, at most [`LONGEST`] characters.
pub(super) fn cut(message: &str) -> String {
    let mut characters = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut cut: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::KeySource;
    use crate::metrics::Registry;
    use crate::proxy::keys::Keys;
    use crate::proxy::metrics::KeyMetrics;

    #[test]
    fn neither_a_key_nor_its_ends_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "sk-canary-5f1d").expect("written");
        let metrics = KeyMetrics::register(&mut Registry::default(), "n", "p");
        let redactor = Keys::new(&[KeySource { path, weight: NonZeroU16::MIN }], metrics).redactor(&[]);
        let said = "Incorrect API key provided: sk-canary-5f1d (sk-ca******5f1d). See\nyour settings.";
        let told = of_the_provider(said, &redactor);
        assert_eq!(told, "the provider said: Incorrect API key provided: [key] [key] See your settings.");
    }

    #[test]
    fn a_message_is_cut_and_on_one_line() {
        let cut = cut(&"é\u{7}".repeat(400));
        assert_eq!((cut.chars().count(), cut.contains('\u{7}')), (LONGEST + 1, false));
        assert_eq!(super::cut("short"), "short");
    }

    #[test]
    fn what_a_caller_did_wrong_is_not_told() {
        for class in FailureClass::ALL {
            let told = may_be_told(class, Asker::Caller);
            let callers = matches!(
                class,
                FailureClass::BadRequest
                    | FailureClass::ContextTooLong
                    | FailureClass::TooLarge
                    | FailureClass::ContentBlocked
            );
            assert_eq!(told, !callers, "{class:?}");
        }
        assert!(!may_be_told(FailureClass::NotFound, Asker::Probe));
        assert!(!may_be_told(FailureClass::Credential, Asker::Stranger));
        assert!(may_be_told(FailureClass::Credential, Asker::Probe));
    }
}
