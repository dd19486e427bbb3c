//! What a model's id says of it. Which models there are is AWS's affair.

/// How to ask this model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelProfile {
    /// What becomes of a wish to cache the prompt: a model that has no cache refuses one.
    pub cache: Cache,
}

/// How a model caches prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Not where it is asked to.
    None,
    /// For five minutes.
    FiveMinutes,
    /// For five minutes or for an hour.
    Timed,
}

impl ModelProfile {
    /// What an id says: `us.amazon.nova-pro-v1:0`, an inference profile, or the ARN of either.
    pub fn of(model: &str) -> Self {
        let cache = if model.contains("anthropic.claude") {
            Cache::Timed
        } else if model.contains("amazon.nova") {
            Cache::FiveMinutes
        } else {
            Cache::None
        };
        Self { cache }
    }
}
