//! The dialect keeps the model and the method in the URL's path.

/// A method of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `generateContent`.
    GenerateContent,
    /// `streamGenerateContent`.
    StreamGenerateContent,
    /// `countTokens`.
    CountTokens,
    /// `embedContent`.
    EmbedContent,
    /// `batchEmbedContents`.
    BatchEmbedContents,
    /// `predict`, which only Vertex AI has.
    Predict,
}

impl Method {
    /// The methods that clients ask for; `predict` is how Vertex AI is asked, and no more.
    pub const ALL: [Self; 5] = [
        Self::GenerateContent,
        Self::StreamGenerateContent,
        Self::CountTokens,
        Self::EmbedContent,
        Self::BatchEmbedContents,
    ];

    /// The word in the path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GenerateContent => "generateContent",
            Self::StreamGenerateContent => "streamGenerateContent",
            Self::CountTokens => "countTokens",
            Self::EmbedContent => "embedContent",
            Self::BatchEmbedContents => "batchEmbedContents",
            Self::Predict => "predict",
        }
    }
}

/// How a stream is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events: the query says `alt=sse`.
    Sse,
    /// One JSON array, which the dialect has where the query says nothing.
    #[default]
    Array,
}

impl Framing {
    /// The framing that a URL's query asks for.
    pub fn from_query(query: Option<&str>) -> Self {
        let sse = query
            .unwrap_or_default()
            .split('&')
            .any(|pair| matches!(pair, "alt=sse" | "%24alt=sse" | "$alt=sse"));
        if sse { Self::Sse } else { Self::Array }
    }
}

/// The model and the method of a path such as `/v1beta/models/a:generateContent`. The model's name may have slashes, as
/// `namespace/model` has; what `models/` says before it is cut off, Vertex's projects and publishers too.
pub fn parse_path(path: &str) -> Option<(&str, Method)> {
    let (before, word) = path.rsplit_once(':')?;
    let method = Method::ALL.into_iter().find(|method| method.as_str() == word)?;
    let at = before.find("/models/").map(|at| at + "/models/".len());
    let model = before.get(at?..)?;
    (!model.is_empty()).then_some((model, method))
}

/// A model's name without the `models/` that the dialect's bodies write before it.
pub(super) fn bare_model(name: &str) -> &str {
    name.strip_prefix("models/").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_model_and_method() {
        for (path, expected) in [
            (
                "/v1beta/models/gemini-2.5-pro:generateContent",
                Some(("gemini-2.5-pro", Method::GenerateContent)),
            ),
            (
                "/v1beta/models/team/llama:streamGenerateContent",
                Some(("team/llama", Method::StreamGenerateContent)),
            ),
            ("/v1beta/models/a:b:countTokens", Some(("a:b", Method::CountTokens))),
            (
                "/v1/projects/p/locations/eu/publishers/google/models/m:embedContent",
                Some(("m", Method::EmbedContent)),
            ),
            ("/v1beta/models/a:predict", None),
            ("/v1beta/models/:generateContent", None),
            ("/v1beta/models", None),
        ] {
            assert_eq!(parse_path(path), expected, "{path}");
        }
    }

    #[test]
    fn a_stream_is_an_array_unless_events_are_asked_for() {
        assert_eq!(Framing::from_query(None), Framing::Array);
        assert_eq!(Framing::from_query(Some("key=x&alt=sse")), Framing::Sse);
        assert_eq!(Framing::from_query(Some("alt=json")), Framing::Array);
    }
}
