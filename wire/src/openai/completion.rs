//! `POST /v1/completions`: the older form, without a conversation.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{CompletionLogprobs, Extra, FinishReason, StreamOptions, Usage, field};

/// A completions request. Destructure it without `..`, as the chat request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequest {
    /// The model's public name.
    pub model: String,
    /// What to go on from.
    pub prompt: Prompt,
    /// Most tokens to write. At least 1.
    #[serde(default, deserialize_with = "field::positive", skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// 0 (greedy) to 2.
    #[serde(default, deserialize_with = "field::temperature", skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling, 0 to 1.
    #[serde(default, deserialize_with = "field::probability", skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Makes sampling repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// How many answers. At least 1.
    #[serde(default, deserialize_with = "field::positive", skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// Strings that end the answer; a single string or null is accepted too.
    #[serde(default, deserialize_with = "field::stop", skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// -2 to 2.
    #[serde(default, deserialize_with = "field::penalty", skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// -2 to 2.
    #[serde(default, deserialize_with = "field::penalty", skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// How many alternatives to report for each token, 0 to 20.
    #[serde(default, deserialize_with = "field::top_logprobs", skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<u32>,
    /// Put the prompt in front of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<bool>,
    /// Answer as server-sent events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Options of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a completion goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Prompt {
    /// One text.
    Text(String),
    /// Several texts, each its own completion.
    Texts(Vec<String>),
    /// One text as token ids.
    Tokens(Vec<u32>),
    /// Several texts as token ids.
    TokenLists(Vec<Vec<u32>>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PromptVisitor)
    }
}

struct PromptVisitor;

enum PromptItem {
    Text(String),
    Token(u32),
    Tokens(Vec<u32>),
}

/// Written out because `#[serde(untagged)]` loses which item was wrong, and why.
impl<'de> Deserialize<'de> for PromptItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = PromptItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a token id or a list of token ids")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<PromptItem, E> {
        Ok(PromptItem::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<PromptItem, E> {
        Ok(PromptItem::Text(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<PromptItem, E> {
        u32::try_from(value).map(PromptItem::Token).map_err(|_| no_token(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<PromptItem, E> {
        u32::try_from(value).map(PromptItem::Token).map_err(|_| no_token(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<PromptItem, E> {
        Err(no_token(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PromptItem, A::Error> {
        let mut tokens = Vec::new();
        while let Some(TokenId(token)) = seq.next_element()? {
            tokens.push(token);
        }
        Ok(PromptItem::Tokens(tokens))
    }
}

fn no_token<E: Error>(value: impl fmt::Display) -> E {
    E::custom(format!("must be a token id (0 or more) or a string, got {value}"))
}

/// An item of a list in the list.
struct TokenId(u32);

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match PromptItem::deserialize(deserializer)? {
            PromptItem::Token(token) => Ok(Self(token)),
            PromptItem::Text(_) | PromptItem::Tokens(_) => {
                Err(D::Error::custom("must be a token id: a list in the list holds nothing else"))
            }
        }
    }
}

impl<'de> Visitor<'de> for PromptVisitor {
    type Value = Prompt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a list of strings, a list of token ids or a list of such lists")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Prompt, E> {
        Ok(Prompt::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Prompt, E> {
        Ok(Prompt::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Prompt, A::Error> {
        let mixed = || A::Error::custom("must not mix strings and token ids");
        let mut prompt = match seq.next_element::<PromptItem>()? {
            None => return Err(A::Error::custom("must not be an empty list")),
            Some(PromptItem::Text(text)) => Prompt::Texts(vec![text]),
            Some(PromptItem::Token(token)) => Prompt::Tokens(vec![token]),
            Some(PromptItem::Tokens(tokens)) => Prompt::TokenLists(vec![tokens]),
        };
        while let Some(item) = seq.next_element::<PromptItem>()? {
            match (&mut prompt, item) {
                (Prompt::Texts(all), PromptItem::Text(text)) => all.push(text),
                (Prompt::Tokens(all), PromptItem::Token(token)) => all.push(token),
                (Prompt::TokenLists(all), PromptItem::Tokens(tokens)) => all.push(tokens),
                _ => return Err(mixed()),
            }
        }
        Ok(prompt)
    }
}

/// A whole answer, and a chunk of a streamed one: the two have one shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// Unique name of the answer.
    pub id: String,
    /// Always `text_completion`.
    pub object: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// The model that answered.
    pub model: String,
    /// The answers; empty in the usage chunk of a stream.
    pub choices: Vec<CompletionChoice>,
    /// Absent (`None`), null (`Some(None)`, in chunks only) or what it used.
    #[serde(default, deserialize_with = "field::nullable", skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    /// Which build answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Completion {
    /// The value of `object`.
    pub const OBJECT: &'static str = "text_completion";
}

/// One answer, or a piece of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    /// Which answer, from 0.
    pub index: u32,
    /// The text.
    pub text: String,
    /// Log probabilities, where asked for.
    #[serde(default)]
    pub logprobs: Option<CompletionLogprobs>,
    /// Why it ended; null until then.
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn prompt(text: &str) -> Result<Prompt, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_prompt_takes_four_forms() {
        assert_eq!(prompt(r#""a""#).expect("text"), Prompt::Text("a".into()));
        assert_eq!(prompt(r#"["a","b"]"#).expect("texts"), Prompt::Texts(vec!["a".into(), "b".into()]));
        assert_eq!(prompt("[1,2]").expect("tokens"), Prompt::Tokens(vec![1, 2]));
        assert_eq!(prompt("[[1],[2,3]]").expect("lists"), Prompt::TokenLists(vec![vec![1], vec![2, 3]]));
        assert!(prompt(r#"["a",1]"#).is_err());
        assert!(prompt("[]").is_err());
    }

    /// With `#[serde(untagged)]` each of these said "data did not match any variant".
    #[test]
    fn a_wrong_item_is_named_with_what_it_must_be() {
        for (items, param, words) in [
            ("[1,-2]", "prompt[1]", "must be a token id (0 or more) or a string, got -2"),
            ("[1.5]", "prompt[0]", "must be a token id (0 or more) or a string, got 1.5"),
            ("[4294967296]", "prompt[0]", "must be a token id (0 or more) or a string, got 4294967296"),
            ("[[1],[2,-3]]", "prompt[1][1]", "must be a token id (0 or more) or a string, got -3"),
            (r#"[["a"]]"#, "prompt[0][0]", "must be a token id: a list in the list holds nothing else"),
            ("[null]", "prompt[0]", "expected a string, a token id or a list of token ids"),
        ] {
            let body = format!(r#"{{"model":"m","prompt":{items}}}"#);
            let error = parse::<CompletionRequest>(body.as_bytes()).expect_err(items).body.error;
            assert_eq!(error.param.as_deref(), Some(param), "{}", error.message);
            assert!(error.message.contains(words), "{}", error.message);
        }
    }
}
