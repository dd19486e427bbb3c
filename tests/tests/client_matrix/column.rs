//! What stands behind the gateway.

use weighbridge_wire::provider::Kind;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Our engine on the sample model: one hop, chat completions.
    Open,
    /// A provider of this kind: two hops, the second is its proxy.
    Provider(Kind),
}

impl Column {
    /// One of each dialect.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Provider(Kind::OpenAi),
        Self::Provider(Kind::OpenAiCompatible),
        Self::Provider(Kind::Anthropic),
        Self::Provider(Kind::Gemini),
    ];

    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open weights",
            Self::Provider(kind) => kind.as_str(),
        }
    }

    /// The simulator's behaviour when all is well.
    pub fn faithful(self) -> &'static str {
        match self {
            Self::Provider(Kind::OpenAiCompatible) => "compatible",
            Self::Open | Self::Provider(_) => "faithful",
        }
    }
}
