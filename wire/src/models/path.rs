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

/// What `path` asks for; none where it is no path of a models list. OpenAI and Anthropic share theirs: `anthropic` says
/// that the request has a header which only Anthropic's clients send.
pub fn asked(path: &str, anthropic: bool) -> Option<Asked<'_>> {
    let openai = if anthropic { Dialect::Anthropic } else { Dialect::OpenAiChat };
    let lists = [
        ("/v1/models", openai),
        ("/v1beta/models", Dialect::Gemini),
        ("/foundation-models", Dialect::Converse),
    ];
    let (dialect, rest) =
        lists.into_iter().find_map(|(list, dialect)| Some((dialect, path.strip_prefix(list)?)))?;
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
        let named = |path, anthropic| {
            asked(path, anthropic).map(|asked| (asked.dialect, asked.model.map(Cow::into_owned)))
        };
        assert_eq!(named("/v1/models", false), Some((Dialect::OpenAiChat, None)));
        assert_eq!(named("/v1/models", true), Some((Dialect::Anthropic, None)));
        assert_eq!(named("/v1beta/models", true), Some((Dialect::Gemini, None)));
        for path in ["/v1/models/n/m", "/v1/models/n%2Fm", "/v1/models/n%2fm"] {
            assert_eq!(named(path, false), Some((Dialect::OpenAiChat, Some("n/m".to_owned()))));
        }
        for none in ["/v1/modelsx", "/v1", "/v2/models", "/v1/models/%zz"] {
            assert_eq!(named(none, false), None, "{none}");
        }
    }
}
