//! What stands behind the gateway.

use weighbridge_wire::provider::Kind;

/// The name of the model of open weights.
pub const OPEN: &str = "smollm2";

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Our engine on the sample model: one hop, chat completions.
    Open,
    /// OpenAI: two hops, as all providers, the second is its proxy.
    OpenAi,
    /// A server that imitates OpenAI's older endpoints.
    Compatible,
    /// Anthropic.
    Anthropic,
    /// Google.
    Gemini,
}

impl Column {
    /// One of each dialect.
    pub const ALL: [Self; 5] = [Self::Open, Self::OpenAi, Self::Compatible, Self::Anthropic, Self::Gemini];

    /// The provider's kind; none for open weights.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Open => None,
            Self::OpenAi => Some(Kind::OpenAi),
            Self::Compatible => Some(Kind::OpenAiCompatible),
            Self::Anthropic => Some(Kind::Anthropic),
            Self::Gemini => Some(Kind::Gemini),
        }
    }

    /// What the table calls it.
    pub fn name(self) -> &'static str {
        self.kind().map_or("open weights", Kind::as_str)
    }

    /// What its models' names begin with. Google's client knows some of Google's models by their names, and asks them
    /// otherwise.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Open => OPEN,
            Self::OpenAi => "openai",
            Self::Compatible => "compatible",
            Self::Anthropic => "anthropic",
            Self::Gemini => "google",
        }
    }

    /// What stands before every path of the provider's.
    pub fn base_path(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Compatible => "/v1",
            Self::Open | Self::Anthropic | Self::Gemini => "",
        }
    }

    /// The simulator's behaviour when all is well.
    pub fn faithful(self) -> &'static str {
        match self {
            Self::Compatible => "compatible",
            Self::Open | Self::OpenAi | Self::Anthropic | Self::Gemini => "faithful",
        }
    }
}
