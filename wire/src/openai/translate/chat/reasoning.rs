//! Thinking in chat completions. OpenAI's own dialect has no place for it. `reasoning_content` (DeepSeek's, vLLM's)
//! carries the words; `reasoning_details` (OpenRouter's) carries what has to come back byte for byte.

use super::super::super::Extra;
use super::super::super::chat::ReasoningDetail;
use super::super::view::take;
use crate::canonical::{Part, Provider, RedactedThinking, Signature, Text, Thinking, Unreadable};

/// What a message says of its thinking.
#[derive(Debug, Default)]
pub(super) struct Reasoning {
    /// Each block, with its place among the message's parts where that is known.
    blocks: Vec<(Option<usize>, Part)>,
    /// The signature of the message's text.
    text_signature: Option<Signature>,
}

/// Takes the thinking out of a message's `extra`.
pub(super) fn take_reasoning(extra: &mut Extra, path: &str) -> Result<Reasoning, Unreadable> {
    let details: Option<Vec<ReasoningDetail>> = take(extra, path, "reasoning_details")?;
    let content: Option<String> = take(extra, path, "reasoning_content")?;
    // vLLM's newer name; servers that send both mean one text.
    let content = content.or(take(extra, path, "reasoning")?).filter(|text| !text.is_empty());
    let details = details.unwrap_or_default();
    if details.is_empty() {
        let thinking = content.map(|text| Part::Thinking(Thinking { text, ..Thinking::default() }));
        return Ok(Reasoning {
            blocks: thinking.map(|part| (None, part)).into_iter().collect(),
            ..Reasoning::default()
        });
    }
    let mut reasoning = Reasoning::default();
    for detail in details {
        reasoning.add(detail);
    }
    Ok(reasoning)
}

/// One entry of `reasoning_details`, of a whole message or of a stream.
pub(super) enum Piece {
    /// Words, and what signs them.
    Thinking { text: Option<String>, signature: Option<Signature>, id: Option<String> },
    /// Encrypted thinking.
    Redacted { provider: Provider, data: String },
    /// The signature of the message's text.
    TextSignature(Signature),
    /// What nobody can be sent, since nobody knows whose it is.
    Nothing,
}

/// Reads one entry.
pub(super) fn piece(detail: ReasoningDetail) -> Piece {
    // What else an entry holds comes from its server and means nothing to another.
    let ReasoningDetail { kind, text, summary, signature, data, id, format, index: _, extra: _ } = detail;
    let provider = format.as_deref().and_then(provider_of);
    let signed = |data: Option<String>| Some(Signature { provider: provider?, data: data? });
    match kind.as_str() {
        "reasoning.text" | "reasoning.summary" => {
            Piece::Thinking { text: text.or(summary), signature: signed(signature), id }
        }
        "reasoning.encrypted" => match signed(data) {
            Some(Signature { provider, data }) => Piece::Redacted { provider, data },
            None => Piece::Nothing,
        },
        ReasoningDetail::TEXT_SIGNATURE => signed(data).map_or(Piece::Nothing, Piece::TextSignature),
        _ => Piece::Nothing,
    }
}

impl Reasoning {
    fn add(&mut self, detail: ReasoningDetail) {
        let index = detail.index;
        let part = match piece(detail) {
            Piece::Thinking { text, signature, id } => {
                Part::Thinking(Thinking { text: text.unwrap_or_default(), signature, id })
            }
            Piece::Redacted { provider, data } => Part::RedactedThinking(RedactedThinking { provider, data }),
            Piece::TextSignature(signature) => {
                self.text_signature = Some(signature);
                return;
            }
            Piece::Nothing => return,
        };
        self.blocks.push((index, part));
    }

    /// Puts the thinking among `parts`, the rest of the message: at its place, or in front.
    pub(super) fn place(self, parts: &mut Vec<Part>) {
        let mut front = 0;
        for (index, part) in self.blocks {
            let at = index.unwrap_or(front).min(parts.len());
            parts.insert(at, part);
            front = at + 1;
        }
        let Some(signature) = self.text_signature else { return };
        let last = parts.iter_mut().rev().find_map(|part| match part {
            Part::Text(text) => Some(text),
            _ => None,
        });
        match last {
            Some(text) => text.signature = Some(signature),
            None => parts.push(Part::Text(Text { signature: Some(signature), ..Text::default() })),
        }
    }
}

/// The entry for a thinking block that stood at `index`; `None` where its words are all there is.
pub(super) fn detail(part: &Part, index: usize) -> Option<ReasoningDetail> {
    let base = |kind: &str, provider: Option<Provider>| ReasoningDetail {
        kind: kind.to_owned(),
        format: provider.map(|provider| format_of(provider).to_owned()),
        index: Some(index),
        ..ReasoningDetail::default()
    };
    match part {
        // An id alone names nothing where nothing is stored.
        Part::Thinking(Thinking { signature: None, .. }) => None,
        Part::Thinking(Thinking { text, signature, id }) => Some(ReasoningDetail {
            text: Some(text.clone()),
            signature: signature.as_ref().map(|signature| signature.data.clone()),
            id: id.clone(),
            ..base("reasoning.text", signature.as_ref().map(|signature| signature.provider))
        }),
        Part::RedactedThinking(RedactedThinking { provider, data }) => {
            Some(ReasoningDetail { data: Some(data.clone()), ..base("reasoning.encrypted", Some(*provider)) })
        }
        Part::Text(Text { signature: Some(Signature { provider, data }), .. }) => Some(ReasoningDetail {
            data: Some(data.clone()),
            ..base(ReasoningDetail::TEXT_SIGNATURE, Some(*provider))
        }),
        Part::Text(_)
        | Part::Image(_)
        | Part::Audio(_)
        | Part::Document(_)
        | Part::ToolCall(_)
        | Part::CustomCall(_)
        | Part::ToolResult(_)
        | Part::Refusal(_)
        | Part::Foreign(_) => None,
    }
}

fn format_of(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenAi => "openai-responses-v1",
        Provider::Anthropic => "anthropic-claude-v1",
        Provider::Gemini => "google-gemini-v1",
        Provider::Bedrock => "bedrock-converse-v1",
    }
}

fn provider_of(format: &str) -> Option<Provider> {
    Provider::ALL.into_iter().find(|provider| format_of(*provider) == format)
}
