//! A request as far as an answer depends on it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What was asked.
#[derive(Clone, Debug, Default)]
pub(in crate::simulator) struct Prompt {
    pub(in crate::simulator) tools: Vec<Tool>,
    pub(in crate::simulator) choice: Choice,
    /// Whether more than one call may be made at once.
    pub(in crate::simulator) parallel: bool,
    pub(in crate::simulator) last: Last,
    /// What the user shows, oldest first.
    pub(in crate::simulator) images: Vec<Image>,
    /// The JSON schema that the answer must be an instance of.
    pub(in crate::simulator) schema: Option<Value>,
    /// Whether the model is to think, and so whether thoughts are counted and signed.
    pub(in crate::simulator) thinking: bool,
    /// Tokens that the answer may have, thoughts included.
    pub(in crate::simulator) limit: Option<u64>,
    pub(in crate::simulator) stops: Vec<String>,
    /// Tokens of all of it, those that a cache holds included.
    pub(in crate::simulator) tokens: u64,
    pub(in crate::simulator) cache: Option<Cache>,
}

/// A picture that came within the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::simulator) struct Image {
    pub(in crate::simulator) media_type: String,
    /// In base64, as it came.
    pub(in crate::simulator) data: String,
}

impl Image {
    /// `None` where `data` is not in the usual base64.
    pub(in crate::simulator) fn new(media_type: &str, data: &str) -> Option<Self> {
        let plain = STANDARD.decode(data).is_ok();
        plain.then(|| Self { media_type: media_type.to_owned(), data: data.to_owned() })
    }

    /// Of a `data:` URL.
    pub(in crate::simulator) fn of_url(url: &str) -> Option<Self> {
        let (media_type, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
        Self::new(media_type, data)
    }
}

/// A tool that may be called.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct Tool {
    pub(in crate::simulator) name: String,
    pub(in crate::simulator) schema: Value,
}

/// Which tools may be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::simulator) enum Choice {
    #[default]
    Auto,
    None,
    Any,
    Named(String),
}

/// What the answer goes on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::simulator) enum Last {
    #[default]
    Question,
    /// What the tools said, in the order in which they were called.
    Results(Vec<String>),
}

/// A part of the prompt that the caller wants cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::simulator) struct Cache {
    /// The same prefix has the same key.
    pub(in crate::simulator) key: String,
    pub(in crate::simulator) an_hour: bool,
}

/// Tokens of a text, as simple as it can be: four bytes are one.
pub(in crate::simulator) fn count_tokens(text: &str) -> u64 {
    u64::try_from(text.len().div_ceil(4)).unwrap_or(u64::MAX)
}
