//! Writing blocks.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::media::{document_source, image_source};
use crate::anthropic::block::{
    Block, CitationsConfig, Content, DocumentBlock, ImageBlock, OtherBlock, PlainBlock,
    RedactedThinkingBlock, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock,
};
use crate::anthropic::{CacheControl, citation};
use crate::canonical::{
    CacheMark, Citation, CitationSource, Dialect, Document, Extra, ForeignPart, Image, Inexpressible, Losses,
    Part, Provider, RedactedThinking, Role, Signature, Text, Thinking, ToolCall, ToolResult, seal,
};

/// Why a tool that takes free text can't be said.
pub(in crate::anthropic) const NO_CUSTOM_TOOLS: &str =
    "its tools take an object and no free text: give a function with one string";

/// Whom the blocks are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::anthropic) enum Receiver {
    /// Anthropic, in a message of this role: it takes back its own signatures and no others.
    Upstream(Role),
    /// A client: what is not Anthropic's is sealed for the way back.
    Client,
}

/// Writes blocks.
pub(in crate::anthropic) struct PartWriter<'a> {
    pub(in crate::anthropic) receiver: Receiver,
    pub(in crate::anthropic) losses: &'a mut Losses,
}

impl PartWriter<'_> {
    /// Writes one part, known to its sender by `path`; `None` where there is nothing left to say.
    pub(in crate::anthropic) fn block(
        &mut self,
        part: &Part,
        path: &str,
    ) -> Result<Option<Block>, Inexpressible> {
        match part {
            Part::Text(text) => Ok(self.text(text, path)?.map(PlainBlock::Text).map(Block::Plain)),
            // Anthropic has no part for it; its words are what the model said.
            Part::Refusal(words) => {
                let block = TextBlock { text: words.clone(), ..TextBlock::default() };
                Ok((!words.is_empty()).then_some(Block::Plain(PlainBlock::Text(block))))
            }
            Part::Image(_) | Part::Audio(_) | Part::Document(_) => {
                Ok(self.medium(part, path)?.map(Block::Plain))
            }
            Part::ToolCall(call) => self.tool_use(call, path),
            Part::CustomCall(_) => self.lose(path, NO_CUSTOM_TOOLS),
            Part::ToolResult(result) => self.tool_result(result, path),
            Part::Thinking(thinking) => self.thinking(thinking, path),
            Part::RedactedThinking(thinking) => self.redacted_thinking(thinking, path),
            Part::Foreign(ForeignPart { dialect: Dialect::Anthropic, kind, value }) => {
                Ok(Some(Block::Plain(PlainBlock::Other(OtherBlock {
                    kind: kind.clone(),
                    value: value.clone(),
                }))))
            }
            Part::Foreign(part) => {
                self.losses.lose_foreign_part(path, part, "only its own dialect has it: leave it out")?;
                Ok(None)
            }
        }
    }

    /// Writes a text; `None` for an empty one, which Anthropic refuses.
    pub(in crate::anthropic) fn text(
        &mut self,
        text: &Text,
        path: &str,
    ) -> Result<Option<TextBlock>, Inexpressible> {
        let Text { text, citations, signature, cache } = text;
        if let Some(signature) = signature {
            self.foreign_signature(signature, path);
        }
        if text.is_empty() && (citations.is_empty() || self.is_upstream()) {
            return Ok(None);
        }
        let citations = self.citations(citations, path);
        let cache_control = self.cache_control(*cache);
        Ok(Some(TextBlock { text: text.clone(), citations, cache_control, extra: Extra::new() }))
    }

    /// What rests on nothing Anthropic knows goes without being refused: the text says the same without it.
    fn citations(&mut self, citations: &[Citation], path: &str) -> Option<Vec<Extra>> {
        let takes = |citation: &&Citation| match self.receiver {
            Receiver::Client => true,
            // An index that Anthropic did not make would be refused, and a user's text has no citations.
            Receiver::Upstream(Role::Assistant) => match &citation.source {
                CitationSource::Web { url: _, title: _ } => citation.foreign.is_some(),
                CitationSource::Document { .. } | CitationSource::Foreign { kind: _ } => true,
            },
            Receiver::Upstream(Role::User | Role::System | Role::Developer) => false,
        };
        let written: Vec<Extra> =
            citations.iter().filter(takes).filter_map(citation::from_canonical).collect();
        if written.len() < citations.len() {
            self.losses.waive(format!("{path}.citations"));
        }
        (!written.is_empty()).then_some(written)
    }

    fn medium(&mut self, part: &Part, path: &str) -> Result<Option<PlainBlock>, Inexpressible> {
        let Receiver::Upstream(role) = self.receiver else {
            return self.lose(path, "Anthropic's answers hold text, thinking and tool calls");
        };
        match part {
            Part::Image(Image { source, detail, cache }) => {
                if detail.is_some() {
                    self.losses.waive(format!("{path}.detail"));
                }
                let source = match image_source(source) {
                    Ok(source) => source,
                    Err(fix) => return self.lose(path, fix),
                };
                let cache_control = self.cache_control(*cache);
                let image = ImageBlock { source, cache_control, extra: Extra::new() };
                Ok(Some(PlainBlock::Image(Box::new(image))))
            }
            Part::Document(_) if role != Role::User => {
                self.lose(path, "only a user's message holds documents")
            }
            Part::Document(Document { source, title, context, citations, cache }) => {
                let source = match document_source(source) {
                    Ok(source) => source,
                    Err(fix) => return self.lose(path, fix),
                };
                let citations =
                    citations.map(|enabled| CitationsConfig { enabled: Some(enabled), extra: Extra::new() });
                Ok(Some(PlainBlock::Document(Box::new(DocumentBlock {
                    source,
                    title: title.clone(),
                    context: context.clone(),
                    citations,
                    cache_control: self.cache_control(*cache),
                    extra: Extra::new(),
                }))))
            }
            Part::Audio(_) => self.lose(path, "Anthropic takes no sound: send its words"),
            Part::Text(_)
            | Part::ToolCall(_)
            | Part::CustomCall(_)
            | Part::ToolResult(_)
            | Part::Thinking(_)
            | Part::RedactedThinking(_)
            | Part::Refusal(_)
            | Part::Foreign(_) => Ok(None),
        }
    }

    fn tool_use(&mut self, call: &ToolCall, path: &str) -> Result<Option<Block>, Inexpressible> {
        let input = call.arguments_object().map_err(|why| {
            let why = format!("{why}; Anthropic takes the call of a tool with an object only");
            match self.receiver {
                Receiver::Upstream(_) => self.losses.refuse(path, why),
                // A client would call its tool with something else.
                Receiver::Client => self.losses.unusable(path, why),
            }
        })?;
        let ToolCall { id, name, arguments: _, signature, cache } = call;
        let id = match (self.receiver, signature) {
            (Receiver::Client, signature) => seal::seal_call_id(id, signature.as_ref()),
            (Receiver::Upstream(_), None) => upstream_call_id(id).into_owned(),
            (Receiver::Upstream(_), Some(signature)) => {
                self.foreign_signature(signature, path);
                upstream_call_id(id).into_owned()
            }
        };
        let cache_control = self.cache_control(*cache);
        let block = ToolUseBlock { id, name: name.clone(), input, cache_control, extra: Extra::new() };
        Ok(Some(Block::ToolUse(block)))
    }

    fn tool_result(&mut self, result: &ToolResult, path: &str) -> Result<Option<Block>, Inexpressible> {
        if !self.is_upstream() {
            return self.lose(path, "Anthropic's answers hold no tool results");
        }
        let ToolResult { call_id, name: _, parts, is_error, cache } = result;
        let mut blocks = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let path = format!("{path}.content[{index}]");
            match self.block(part, &path)? {
                Some(Block::Plain(block)) => blocks.push(block),
                None => {}
                Some(
                    Block::ToolUse(_)
                    | Block::ToolResult(_)
                    | Block::Thinking(_)
                    | Block::RedactedThinking(_),
                ) => {
                    self.losses.lose(path, "a tool's result holds text, images and documents")?;
                }
            }
        }
        let content = match blocks.as_slice() {
            [] => None,
            [PlainBlock::Text(TextBlock { text, citations: None, cache_control: None, extra: _ })] => {
                Some(Content::Text(text.clone()))
            }
            _ => Some(Content::Blocks(blocks)),
        };
        Ok(Some(Block::ToolResult(ToolResultBlock {
            tool_use_id: upstream_call_id(call_id).into_owned(),
            content,
            is_error: *is_error,
            cache_control: self.cache_control(*cache),
            extra: Extra::new(),
        })))
    }

    /// Anthropic takes thinking back with its own signature only, and then even without a word. Another provider's
    /// led to what follows it, and is left out.
    fn thinking(&mut self, thinking: &Thinking, path: &str) -> Result<Option<Block>, Inexpressible> {
        let Thinking { text, signature, id: _ } = thinking;
        let signature = match (self.receiver, signature) {
            (Receiver::Client, Some(signature)) => seal::seal_signature(signature, Provider::Anthropic),
            (Receiver::Client, None) => String::new(),
            (Receiver::Upstream(_), Some(Signature { provider: Provider::Anthropic, data })) => data.clone(),
            (Receiver::Upstream(_), Some(_) | None) => {
                self.losses.waive(path);
                return Ok(None);
            }
        };
        Ok(Some(Block::Thinking(ThinkingBlock { thinking: text.clone(), signature, extra: Extra::new() })))
    }

    fn redacted_thinking(
        &mut self,
        thinking: &RedactedThinking,
        path: &str,
    ) -> Result<Option<Block>, Inexpressible> {
        let RedactedThinking { provider, data } = thinking;
        let data = match self.receiver {
            Receiver::Client => {
                let signature = Signature { provider: *provider, data: data.clone() };
                seal::seal_signature(&signature, Provider::Anthropic)
            }
            Receiver::Upstream(_) if *provider == Provider::Anthropic => data.clone(),
            Receiver::Upstream(_) => {
                self.losses.waive(path);
                return Ok(None);
            }
        };
        Ok(Some(Block::RedactedThinking(RedactedThinkingBlock { data, extra: Extra::new() })))
    }

    /// A signature on a part that has no place for one. It goes without being refused: a conversation goes on at
    /// another provider, and what was asked is the same without.
    fn foreign_signature(&mut self, signature: &Signature, path: &str) {
        if signature.provider != Provider::Anthropic {
            self.losses.waive(format!("{path}.signature"));
        }
    }

    fn cache_control(&self, cache: Option<CacheMark>) -> Option<CacheControl> {
        cache.filter(|_| self.is_upstream()).map(CacheControl::from_mark)
    }

    fn is_upstream(&self) -> bool {
        matches!(self.receiver, Receiver::Upstream(_))
    }

    fn lose<T>(&mut self, path: &str, fix: &'static str) -> Result<Option<T>, Inexpressible> {
        self.losses.lose(path.to_owned(), fix)?;
        Ok(None)
    }
}

/// The id as Anthropic takes it: letters, digits, `_` and `-`. Other characters, which some servers' ids have
/// (`functions.f:0`), are written as `_` and their two hexadecimal digits, in calls and results alike.
fn upstream_call_id(id: &str) -> Cow<'_, str> {
    let takes = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if id.bytes().all(takes) {
        return Cow::Borrowed(id);
    }
    let mut written = String::with_capacity(id.len() + 8);
    for byte in id.bytes() {
        if takes(byte) {
            written.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(written, "_{byte:02x}");
        }
    }
    Cow::Owned(written)
}
