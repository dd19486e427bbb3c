//! Names of LoRA adapters: what `MODEL:ADAPTER` in a request may say.

use std::collections::BTreeSet;

/// Between a model's name and its adapter's. No resource's name may hold it, so that nothing else can be named so.
pub const ADAPTER_SEPARATOR: char = ':';

/// What a request calls `model` with `adapter` on it.
pub fn adapted_name(model: &str, adapter: &str) -> String {
    format!("{model}{ADAPTER_SEPARATOR}{adapter}")
}

/// Longest name, as of a DNS label.
const LONGEST: usize = 63;

/// A name that no adapter may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdapterNameError {
    /// No DNS label.
    #[error(
        "name {0:?} must be 1 to 63 lower-case letters, digits and '-', with a letter or digit at both ends"
    )]
    NoLabel(String),
    /// Another has it.
    #[error("name {0:?} is there twice: give each adapter its own")]
    Twice(String),
}

/// Checks the names of one model's adapters.
///
/// # Errors
/// [`AdapterNameError`] of the first that will not do.
pub fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), AdapterNameError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = name.as_bytes();
        let ends = bytes.first().zip(bytes.last()).is_some_and(|(first, last)| plain(*first) && plain(*last));
        if !ends || name.len() > LONGEST || !bytes.iter().all(|&byte| plain(byte) || byte == b'-') {
            return Err(AdapterNameError::NoLabel(name.to_owned()));
        }
        if !seen.insert(name) {
            return Err(AdapterNameError::Twice(name.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_and_unique() {
        check_names(["a", "tone-2", "0"]).unwrap();
        for bad in ["", "-a", "a-", "A", "a:b", "a/b", "a.b", "ä", &"a".repeat(64)] {
            assert_eq!(check_names([bad]), Err(AdapterNameError::NoLabel(bad.to_owned())), "{bad:?}");
        }
        assert_eq!(check_names(["a", "b", "a"]), Err(AdapterNameError::Twice("a".to_owned())));
    }
}
