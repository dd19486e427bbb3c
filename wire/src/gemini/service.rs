//! The two services that speak Gemini's dialect, and what sets them apart.

/// Who is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// The Gemini API (`generativelanguage.googleapis.com`).
    #[default]
    GeminiApi,
    /// Vertex AI (`aiplatform.googleapis.com`).
    Vertex,
}

impl Service {
    /// Whether `functionCall` and `functionResponse` may have an `id`; Vertex refuses it, and matches results to calls
    /// by name and order.
    pub fn takes_call_ids(self) -> bool {
        match self {
            Self::GeminiApi => true,
            Self::Vertex => false,
        }
    }

    /// Whether a medium may have a `displayName`.
    pub fn takes_display_names(self) -> bool {
        match self {
            Self::GeminiApi => false,
            Self::Vertex => true,
        }
    }

    /// Whether a file's media type must be said.
    pub fn needs_media_type(self) -> bool {
        match self {
            Self::GeminiApi => false,
            Self::Vertex => true,
        }
    }
}

/// How JSON schemas are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaForm {
    /// As they are, in `parametersJsonSchema` and `responseJsonSchema`.
    #[default]
    Json,
    /// As the subset of OpenAPI's that `parameters` and `responseSchema` take, for servers that know only those.
    OpenApi,
}

/// An upstream of this dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Who it is.
    pub service: Service,
    /// How it takes schemas.
    pub schemas: SchemaForm,
}

/// What a model's name says about what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// Gemini 1 and 2: thinking is a budget in tokens.
    Budgeted,
    /// Gemini 3 and later: thinking is a level, and calls in the history must be signed.
    Levelled,
    /// The name does not say.
    Unknown,
}

impl Generation {
    /// Reads `gemini-2.5-flash`, `models/gemini-3-pro` and `publishers/google/models/gemini-3-pro`.
    pub(super) fn of(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or_default();
        let digits = name.strip_prefix("gemini-").and_then(|rest| rest.split(['-', '.']).next());
        match digits.and_then(|digits| digits.parse::<u32>().ok()) {
            Some(0..=2) => Self::Budgeted,
            Some(_) => Self::Levelled,
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_says_its_generation() {
        for (model, generation) in [
            ("gemini-2.5-flash", Generation::Budgeted),
            ("models/gemini-1.5-pro-002", Generation::Budgeted),
            ("publishers/google/models/gemini-3-pro-preview", Generation::Levelled),
            ("gemini-3.1-flash-lite", Generation::Levelled),
            ("gemini-flash-latest", Generation::Unknown),
            ("gemma-3", Generation::Unknown),
        ] {
            assert_eq!(Generation::of(model), generation, "{model}");
        }
    }
}
