//! Reading blocks.

use super::media;
use crate::anthropic::block::{
    Block, CitationsConfig, Content, DocumentBlock, ImageBlock, OtherBlock, PlainBlock,
    RedactedThinkingBlock, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock,
};
use crate::anthropic::{CacheControl, citation};
use crate::canonical::{
    CacheMark, Dialect, Document, Extra, ForeignField, ForeignPart, Image, Part, Provider, RedactedThinking,
    Signature, Text, Thinking, ToolCall, ToolResult, Unreadable, keep_foreign, seal,
};

/// Who sent the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::anthropic) enum Sender {
    /// A client: ids and signatures may be sealed ones that it was given.
    Client,
    /// Anthropic: they are its own.
    Upstream,
}

/// Reads blocks, and keeps what they say that nobody else knows.
pub(in crate::anthropic) struct PartReader<'a> {
    pub(in crate::anthropic) sender: Sender,
    pub(in crate::anthropic) foreign: &'a mut Vec<ForeignField>,
}

impl PartReader<'_> {
    /// Reads what a message holds; `path` is its `content`'s.
    pub(in crate::anthropic) fn content(
        &mut self,
        content: Content<Block>,
        path: &str,
    ) -> Result<Vec<Part>, Unreadable> {
        match content {
            Content::Text(text) => Ok(vec![Part::text(text)]),
            Content::Blocks(blocks) => {
                let blocks = blocks.into_iter().enumerate();
                blocks.map(|(index, block)| self.block(block, &format!("{path}[{index}]"))).collect()
            }
        }
    }

    /// Reads one block.
    pub(in crate::anthropic) fn block(&mut self, block: Block, path: &str) -> Result<Part, Unreadable> {
        match block {
            Block::Plain(block) => self.plain(block, path),
            Block::ToolUse(block) => self.tool_use(block, path),
            Block::ToolResult(block) => self.tool_result(block, path),
            Block::Thinking(ThinkingBlock { thinking, signature, extra }) => {
                self.keep(path, extra);
                let signature = (!signature.is_empty()).then(|| self.signature(&signature));
                Ok(Part::Thinking(Thinking { text: thinking, signature, id: None }))
            }
            Block::RedactedThinking(RedactedThinkingBlock { data, extra }) => {
                self.keep(path, extra);
                let Signature { provider, data } = self.signature(&data);
                Ok(Part::RedactedThinking(RedactedThinking { provider, data }))
            }
        }
    }

    /// Reads a text, of a message or of instructions.
    pub(in crate::anthropic) fn text(&mut self, block: TextBlock, path: &str) -> Text {
        let TextBlock { text, citations, cache_control, extra } = block;
        self.keep(path, extra);
        let citations = citations.unwrap_or_default().into_iter().map(citation::to_canonical).collect();
        Text { text, citations, signature: None, cache: mark(cache_control) }
    }

    fn plain(&mut self, block: PlainBlock, path: &str) -> Result<Part, Unreadable> {
        match block {
            PlainBlock::Text(block) => Ok(Part::Text(self.text(block, path))),
            PlainBlock::Image(block) => self.image(block, path),
            PlainBlock::Document(block) => self.document(block, path),
            PlainBlock::Other(OtherBlock { kind, value }) => {
                Ok(Part::Foreign(ForeignPart { dialect: Dialect::Anthropic, kind, value }))
            }
        }
    }

    fn image(&mut self, block: Box<ImageBlock>, path: &str) -> Result<Part, Unreadable> {
        let Some(source) = media::to_canonical(&block.source, path)? else {
            return foreign("image", PlainBlock::Image(block), path);
        };
        let ImageBlock { source: wire, cache_control, extra } = *block;
        self.keep(&format!("{path}.source"), wire.extra);
        self.keep(path, extra);
        Ok(Part::Image(Image { source, detail: None, cache: mark(cache_control) }))
    }

    fn document(&mut self, block: Box<DocumentBlock>, path: &str) -> Result<Part, Unreadable> {
        let Some(source) = media::to_canonical(&block.source, path)? else {
            return foreign("document", PlainBlock::Document(block), path);
        };
        let DocumentBlock { source: wire, title, context, citations, cache_control, extra } = *block;
        self.keep(&format!("{path}.source"), wire.extra);
        let citations = citations.and_then(|CitationsConfig { enabled, extra }| {
            self.keep(&format!("{path}.citations"), extra);
            enabled
        });
        self.keep(path, extra);
        Ok(Part::Document(Document { source, title, context, citations, cache: mark(cache_control) }))
    }

    fn tool_use(&mut self, block: ToolUseBlock, path: &str) -> Result<Part, Unreadable> {
        let ToolUseBlock { id, name, input, cache_control, mut extra } = block;
        if name.is_empty() {
            return Err(Unreadable::new(format!("{path}.name"), "say which tool is called"));
        }
        if !input.get().starts_with('{') {
            return Err(Unreadable::new(format!("{path}.input"), "a tool's input is an object"));
        }
        // The model itself is the caller where nothing is said, so this says nothing.
        if extra.get("caller").and_then(|caller| caller.get("type")).is_some_and(|kind| kind == "direct") {
            extra.shift_remove("caller");
        }
        self.keep(path, extra);
        let (id, signature) = self.call_id(id, &format!("{path}.id"))?;
        let arguments = input.get().to_owned();
        Ok(Part::ToolCall(ToolCall { id, name, arguments, signature, cache: mark(cache_control) }))
    }

    fn tool_result(&mut self, block: ToolResultBlock, path: &str) -> Result<Part, Unreadable> {
        let ToolResultBlock { tool_use_id, content, is_error, cache_control, extra } = block;
        self.keep(path, extra);
        let parts = match content {
            None => Vec::new(),
            Some(Content::Text(text)) => vec![Part::text(text)],
            Some(Content::Blocks(blocks)) => {
                let blocks = blocks.into_iter().enumerate();
                let part = |(index, block)| self.plain(block, &format!("{path}.content[{index}]"));
                blocks.map(part).collect::<Result<_, _>>()?
            }
        };
        let (call_id, _) = self.call_id(tool_use_id, &format!("{path}.tool_use_id"))?;
        Ok(Part::ToolResult(ToolResult { call_id, name: None, parts, is_error, cache: mark(cache_control) }))
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
            Sender::Client => seal::open_signature(Provider::Anthropic, data),
            Sender::Upstream => Signature { provider: Provider::Anthropic, data: data.to_owned() },
        }
    }

    fn keep(&mut self, path: &str, extra: Extra) {
        keep_foreign(path, extra, self.foreign);
    }
}

fn mark(cache_control: Option<CacheControl>) -> Option<CacheMark> {
    cache_control.as_ref().map(CacheControl::to_mark)
}

/// A block whose source only Anthropic has.
fn foreign(kind: &str, block: PlainBlock, path: &str) -> Result<Part, Unreadable> {
    let value = serde_json::to_value(block).map_err(|error| Unreadable::new(path, error.to_string()))?;
    Ok(Part::Foreign(ForeignPart { dialect: Dialect::Anthropic, kind: kind.to_owned(), value }))
}
