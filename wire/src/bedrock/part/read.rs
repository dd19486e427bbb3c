//! Reading blocks.

use serde_json::Value;

use super::media;
use crate::bedrock::citation;
use crate::bedrock::content::{
    CachePoint, CitationsBlock, CitedText, ContentBlock, ReasoningBlock, ReasoningText, ToolResultBlock,
    ToolResultContent, ToolUseBlock,
};
use crate::canonical::{
    Audio, CacheMark, CacheTtl, Dialect, Extra, ForeignField, ForeignPart, Image, Part, Provider,
    RedactedThinking, Signature, Text, Thinking, ToolCall, ToolResult, Unreadable, keep_foreign, seal,
};

/// Who sent the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bedrock) enum Sender {
    /// A client: ids and signatures may be sealed ones that it was given.
    Client,
    /// Bedrock: they are its own.
    Upstream,
}

/// Reads blocks, and keeps what they say that nobody else knows.
pub(in crate::bedrock) struct PartReader<'a> {
    pub(in crate::bedrock) sender: Sender,
    pub(in crate::bedrock) foreign: &'a mut Vec<ForeignField>,
}

impl PartReader<'_> {
    /// Reads what a message holds; `path` is its `content`'s. A cache point marks what is before it.
    pub(in crate::bedrock) fn content(
        &mut self,
        blocks: Vec<ContentBlock>,
        path: &str,
    ) -> Result<Vec<Part>, Unreadable> {
        let mut parts: Vec<Part> = Vec::with_capacity(blocks.len());
        for (index, block) in blocks.into_iter().enumerate() {
            match &block.cache_point {
                Some(point) => mark_last(&mut parts, mark(point)),
                None => parts.push(self.block(block, &format!("{path}[{index}]"))?),
            }
        }
        Ok(parts)
    }

    /// Reads one block that is no cache point.
    pub(in crate::bedrock) fn block(&mut self, block: ContentBlock, path: &str) -> Result<Part, Unreadable> {
        let whole = block.clone();
        match block {
            ContentBlock { text: Some(text), .. } => Ok(Part::text(text)),
            ContentBlock { image: Some(image), .. } => match media::image(&image) {
                Some(source) => Ok(Part::Image(Image { source, detail: None, cache: None })),
                None => foreign("image", &whole, path),
            },
            ContentBlock { audio: Some(audio), .. } => match media::audio(&audio) {
                Some(source) => Ok(Part::Audio(Audio { source })),
                None => foreign("audio", &whole, path),
            },
            ContentBlock { document: Some(document), .. } => match media::document(&document) {
                Some(document) => Ok(Part::Document(document)),
                None => foreign("document", &whole, path),
            },
            ContentBlock { tool_use: Some(call), .. } if call.kind.is_some() => {
                foreign("toolUse", &whole, path)
            }
            ContentBlock { tool_use: Some(call), .. } => self.tool_use(call, path),
            ContentBlock { tool_result: Some(result), .. } if result.kind.is_some() => {
                foreign("toolResult", &whole, path)
            }
            ContentBlock { tool_result: Some(result), .. } => self.tool_result(result, path),
            ContentBlock { reasoning_content: Some(reasoning), .. } => {
                self.reasoning(reasoning, &whole, path)
            }
            ContentBlock { citations_content: Some(cited), .. } => Ok(Part::Text(self.cited(cited, path))),
            ContentBlock { extra, .. } => match extra.keys().next() {
                Some(kind) => foreign(kind, &whole, path),
                None => Err(Unreadable::new(path, "a block has one field, such as `text`")),
            },
        }
    }

    fn tool_use(&mut self, call: ToolUseBlock, path: &str) -> Result<Part, Unreadable> {
        let ToolUseBlock { tool_use_id, name, input, kind: _, extra } = call;
        if name.is_empty() {
            return Err(Unreadable::new(format!("{path}.toolUse.name"), "say which tool is called"));
        }
        if !input.get().starts_with('{') {
            return Err(Unreadable::new(format!("{path}.toolUse.input"), "a tool's input is an object"));
        }
        self.keep(&format!("{path}.toolUse"), extra);
        let (id, signature) = self.call_id(tool_use_id, &format!("{path}.toolUse.toolUseId"))?;
        let arguments = input.get().to_owned();
        Ok(Part::ToolCall(ToolCall { id, name, arguments, signature, cache: None }))
    }

    fn tool_result(&mut self, result: ToolResultBlock, path: &str) -> Result<Part, Unreadable> {
        let ToolResultBlock { tool_use_id, content, status, kind: _, extra } = result;
        let path = format!("{path}.toolResult");
        self.keep(&path, extra);
        let mut parts = Vec::with_capacity(content.len());
        for (index, piece) in content.into_iter().enumerate() {
            let path = format!("{path}.content[{index}]");
            let ToolResultContent { text, json, image, document, extra } = piece;
            // What a model reads of JSON is its text.
            let text = text.or_else(|| json.map(|json| json.get().to_owned()));
            parts.push(
                self.block(ContentBlock { text, image, document, extra, ..ContentBlock::default() }, &path)?,
            );
        }
        let is_error = match status.as_deref() {
            None => None,
            Some("success") => Some(false),
            Some("error") => Some(true),
            Some(_) => {
                return Err(Unreadable::new(format!("{path}.status"), "it is `success` or `error`"));
            }
        };
        let (call_id, _) = self.call_id(tool_use_id, &format!("{path}.toolUseId"))?;
        Ok(Part::ToolResult(ToolResult { call_id, name: None, parts, is_error, cache: None }))
    }

    fn reasoning(
        &mut self,
        reasoning: ReasoningBlock,
        whole: &ContentBlock,
        path: &str,
    ) -> Result<Part, Unreadable> {
        let ReasoningBlock { reasoning_text, redacted_content, extra } = reasoning;
        self.keep(&format!("{path}.reasoningContent"), extra);
        match (reasoning_text, redacted_content) {
            (Some(ReasoningText { text, signature, extra }), None) => {
                self.keep(&format!("{path}.reasoningContent.reasoningText"), extra);
                let signature = signature.filter(|data| !data.is_empty()).map(|data| self.signature(&data));
                Ok(Part::Thinking(Thinking { text, signature, id: None }))
            }
            (None, Some(data)) => {
                let Signature { provider, data } = self.signature(&data);
                Ok(Part::RedactedThinking(RedactedThinking { provider, data }))
            }
            (None, None) | (Some(_), Some(_)) => foreign("reasoningContent", whole, path),
        }
    }

    fn cited(&mut self, cited: CitationsBlock, path: &str) -> Text {
        let CitationsBlock { content, citations, extra } = cited;
        self.keep(&format!("{path}.citationsContent"), extra);
        let text = content.into_iter().map(|CitedText { text, extra: _ }| text).collect();
        let citations = citations.into_iter().map(citation::to_canonical).collect();
        Text { text, citations, signature: None, cache: None }
    }

    fn call_id(&self, id: String, path: &str) -> Result<(String, Option<Signature>), Unreadable> {
        let (id, signature) = match self.sender {
            Sender::Client => seal::open_call_id(&id),
            Sender::Upstream => (id, None),
        };
        if id.is_empty() {
            return Err(Unreadable::new(path, "a tool call has an id that is not empty"));
        }
        Ok((id, signature))
    }

    fn signature(&self, data: &str) -> Signature {
        match self.sender {
            Sender::Client => seal::open_signature(Provider::Bedrock, data),
            Sender::Upstream => Signature { provider: Provider::Bedrock, data: data.to_owned() },
        }
    }

    fn keep(&mut self, path: &str, extra: Extra) {
        keep_foreign(path, extra, self.foreign);
    }
}

/// A hint: what it says beyond the two times changes no answer, and is not kept.
pub(in crate::bedrock) fn mark(point: &CachePoint) -> CacheMark {
    let CachePoint { kind: _, ttl, extra: _ } = point;
    let ttl = if ttl.as_deref() == Some("1h") { CacheTtl::OneHour } else { CacheTtl::FiveMinutes };
    CacheMark { ttl }
}

/// Marks the last part that can have a mark.
fn mark_last(parts: &mut [Part], mark: CacheMark) {
    let slot = parts.iter_mut().rev().find_map(|part| match part {
        Part::Text(text) => Some(&mut text.cache),
        Part::Image(image) => Some(&mut image.cache),
        Part::Document(document) => Some(&mut document.cache),
        Part::ToolCall(call) => Some(&mut call.cache),
        Part::ToolResult(result) => Some(&mut result.cache),
        Part::Audio(_)
        | Part::CustomCall(_)
        | Part::Thinking(_)
        | Part::RedactedThinking(_)
        | Part::Refusal(_)
        | Part::Foreign(_) => None,
    });
    if let Some(slot) = slot {
        slot.get_or_insert(mark);
    }
}

/// A block that only this dialect has.
fn foreign(kind: &str, block: &ContentBlock, path: &str) -> Result<Part, Unreadable> {
    // By way of text, since raw JSON goes into no value.
    let value: Result<Value, _> = serde_json::to_string(block).and_then(|text| serde_json::from_str(&text));
    let value = value.map_err(|error| Unreadable::new(path, error.to_string()))?;
    Ok(Part::Foreign(ForeignPart { dialect: Dialect::Converse, kind: kind.to_owned(), value }))
}
