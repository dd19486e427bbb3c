//! From a path to the list, or the model, that is asked for.

use std::borrow::Cow;

use crate::canonical::Dialect;
use crate::percent;

/// What a path under `models` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Whose clients ask.
    pub dialect: Dialect,
    /// The model's name; none for the list.
    pub model: Option<Cow<'a, str>>,
}

/// Headers of one dialect's clients alone: three share `/v1/models`. Google's newer clients ask for `v1`, not `v1beta`.
const TELLING: [(&str, Dialect); 3] = [
    ("anthropic-version", Dialect::Anthropic),
    ("x-goog-api-client", Dialect::Gemini),
    ("x-goog-api-key", Dialect::Gemini),
];

/// What `path` asks for; none where it is no path of a models list. `has` says whether the request has a header, by its
/// name in lower case.
pub fn asked(path: &str, has: impl Fn(&str) -> bool) -> Option<Asked<'_>> {
    let (dialect, rest) = match (path.strip_prefix("/v1/models"), path.strip_prefix("/v1beta/models")) {
        (Some(rest), _) => {
            let told = TELLING.iter().find(|(name, _)| has(name));
            (told.map_or(Dialect::OpenAiChat, |(_, dialect)| *dialect), rest)
        }
        (None, Some(rest)) => (Dialect::Gemini, rest),
        (None, None) => return None,
    };
    match rest.strip_prefix('/') {
        None if rest.is_empty() => Some(Asked { dialect, model: None }),
        None => None,
        Some("") => Some(Asked { dialect, model: None }),
        // Clients differ in whether they escape the slash inside a name.
        Some(name) => Some(Asked { dialect, model: Some(percent::decode(name)?) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_asks_for_a_list_or_a_model() {
        let named = |path, header: &str| {
            asked(path, |name| name == header).map(|asked| (asked.dialect, asked.model.map(Cow::into_owned)))
        };
        assert_eq!(named("/v1/models", ""), Some((Dialect::OpenAiChat, None)));
        assert_eq!(named("/v1/models", "x-api-key"), Some((Dialect::OpenAiChat, None)));
        assert_eq!(named("/v1/models", "anthropic-version"), Some((Dialect::Anthropic, None)));
        assert_eq!(named("/v1/models", "x-goog-api-key"), Some((Dialect::Gemini, None)));
        assert_eq!(named("/v1/models/m", "x-goog-api-client"), Some((Dialect::Gemini, Some("m".to_owned()))));
        assert_eq!(named("/v1beta/models", "anthropic-version"), Some((Dialect::Gemini, None)));
        for path in ["/v1/models/n/m", "/v1/models/n%2Fm", "/v1/models/n%2fm"] {
            assert_eq!(named(path, ""), Some((Dialect::OpenAiChat, Some("n/m".to_owned()))));
        }
        for none in ["/v1/modelsx", "/v1", "/v2/models", "/v1/models/%zz"] {
            assert_eq!(named(none, ""), None, "{none}");
        }
    }
}
