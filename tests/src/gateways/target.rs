//! Where a request goes, and in whose words.

use std::net::SocketAddr;

use super::apiserver::{KEY, OPEN};

const CHAT: &str = "/v1/chat/completions";

/// A way to the upstream: straight, or through a gateway.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in tables.
    pub name: &'static str,
    /// Where it answers.
    pub address: SocketAddr,
    /// The path of chat completions, or of what is asked in its place.
    pub path: &'static str,
    /// What the model is called there.
    pub model: &'static str,
    /// What is sent beside the content type.
    pub headers: Vec<(&'static str, String)>,
}

impl Target {
    /// OpenAI's path at `address`, with a key.
    pub fn openai(name: &'static str, address: SocketAddr) -> Self {
        let headers = vec![("authorization", format!("Bearer {KEY}"))];
        Self { name, address, path: CHAT, model: OPEN, headers }
    }

    /// The same door, asked for another model.
    pub fn for_model(&self, name: &'static str, model: &'static str) -> Self {
        Self { name, model, ..self.clone() }
    }

    /// The same model, asked for in Anthropic's words.
    pub fn as_anthropic(&self, name: &'static str) -> Self {
        let mut target = Self { name, path: "/v1/messages", ..self.clone() };
        target.headers.push(("anthropic-version", "2023-06-01".to_owned()));
        target
    }
}
