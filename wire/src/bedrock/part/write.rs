//! Writing blocks.

use super::media;
use crate::bedrock::content::{
    CachePoint, CitationsBlock, CitedText, ContentBlock, ReasoningBlock, ReasoningText, ToolResultBlock,
    ToolResultContent, ToolUseBlock,
};
use crate::bedrock::profile::Cache;
use crate::bedrock::{ModelProfile, call_id, citation};
use crate::canonical::{
    Audio, CacheMark, CacheTtl, Dialect, Document, Extra, ForeignPart, Image, Inexpressible, Losses, Part,
    Provider, RedactedThinking, Role, Signature, Text, Thinking, ToolCall, ToolResult, seal,
};

/// Why a tool that takes free text can't be said.
pub(in crate::bedrock) const NO_CUSTOM_TOOLS: &str =
    "its tools take an object and no free text: give a function with one string";

/// Whom the blocks are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bedrock) enum Receiver {
    /// Bedrock, in a message of this role, for this model: it takes back its own signatures and no others.
    Upstream(Role, ModelProfile),
    /// A client: what is not Bedrock's is sealed for the way back.
    Client,
}

/// Writes blocks.
pub(in crate::bedrock) struct PartWriter<'a> {
    pub(in crate::bedrock) receiver: Receiver,
    pub(in crate::bedrock) losses: &'a mut Losses,
}

impl PartWriter<'_> {
    /// Writes one part, known to its sender by `path`, with the cache point behind it; nothing where there is nothing left to
    /// say.
    pub(in crate::bedrock) fn blocks(
        &mut self,
        part: &Part,
        path: &str,
    ) -> Result<Vec<ContentBlock>, Inexpressible> {
        let Some(block) = self.block(part, path)? else { return Ok(Vec::new()) };
        let cache = match part {
            Part::Text(text) => text.cache,
            Part::Image(image) => image.cache,
            Part::Document(document) => document.cache,
            Part::ToolCall(call) => call.cache,
            Part::ToolResult(result) => result.cache,
            Part::Audio(_)
            | Part::CustomCall(_)
            | Part::Thinking(_)
            | Part::RedactedThinking(_)
            | Part::Refusal(_)
            | Part::Foreign(_) => None,
        };
        let point = match self.receiver {
            Receiver::Upstream(_, profile) => cache_point(cache, profile, path, self.losses),
            Receiver::Client => None,
        };
        Ok([Some(block), point.map(ContentBlock::cache_point)].into_iter().flatten().collect())
    }

    fn block(&mut self, part: &Part, path: &str) -> Result<Option<ContentBlock>, Inexpressible> {
        match part {
            Part::Text(text) => Ok(self.text(text, path)),
            // It has no part for it; its words are what the model said.
            Part::Refusal(words) => Ok((!words.is_empty()).then(|| ContentBlock::text(words))),
            Part::Image(_) | Part::Audio(_) | Part::Document(_) => self.medium(part, path),
            Part::ToolCall(call) => self.tool_use(call, path).map(Some),
            Part::CustomCall(_) => self.lose(path, NO_CUSTOM_TOOLS),
            Part::ToolResult(result) => self.tool_result(result, path),
            Part::Thinking(thinking) => Ok(self.thinking(thinking, path)),
            Part::RedactedThinking(thinking) => Ok(self.redacted_thinking(thinking, path)),
            Part::Foreign(ForeignPart { dialect: Dialect::Converse, kind, value }) => {
                // By way of text, since raw JSON can't be read out of a value.
                let block = serde_json::from_str(&value.to_string());
                block.map(Some).map_err(|_| self.losses.refuse(path, format!("the `{kind}` block is broken")))
            }
            Part::Foreign(part) => {
                self.losses.lose_foreign_part(path, part, "only its own dialect has it: leave it out")?;
                Ok(None)
            }
        }
    }

    /// Bedrock refuses a blank text, which says nothing; a client gets what was said.
    fn text(&mut self, text: &Text, path: &str) -> Option<ContentBlock> {
        let Text { text, citations, signature, cache: _ } = text;
        if signature.is_some() {
            self.losses.waive(format!("{path}.signature"));
        }
        match self.receiver {
            Receiver::Upstream(..) => {
                if !citations.is_empty() {
                    self.losses.waive(format!("{path}.citations"));
                }
                (!text.trim().is_empty()).then(|| ContentBlock::text(text))
            }
            Receiver::Client => {
                let written: Vec<Extra> = citations.iter().filter_map(citation::from_canonical).collect();
                if written.len() < citations.len() {
                    self.losses.waive(format!("{path}.citations"));
                }
                if written.is_empty() {
                    return (!text.is_empty()).then(|| ContentBlock::text(text));
                }
                let content = vec![CitedText { text: text.clone(), extra: Extra::new() }];
                let cited = CitationsBlock { content, citations: written, extra: Extra::new() };
                Some(ContentBlock { citations_content: Some(cited), ..ContentBlock::default() })
            }
        }
    }

    fn medium(&mut self, part: &Part, path: &str) -> Result<Option<ContentBlock>, Inexpressible> {
        let written = match part {
            Part::Image(Image { source, detail, cache: _ }) => {
                if detail.is_some() {
                    self.losses.waive(format!("{path}.detail"));
                }
                media::write_image(source)
                    .map(|image| ContentBlock { image: Some(image), ..ContentBlock::default() })
            }
            Part::Audio(Audio { source }) if self.takes_media() => media::write_audio(source)
                .map(|audio| ContentBlock { audio: Some(audio), ..ContentBlock::default() }),
            Part::Document(document) if self.takes_media() => self.document(document),
            _ => Err("it can't stand here: Bedrock's answers hold text, images, thinking and tool calls"),
        };
        match written {
            Ok(block) => Ok(Some(block)),
            Err(fix) => self.lose(path, fix),
        }
    }

    fn document(&mut self, document: &Document) -> Result<ContentBlock, &'static str> {
        let document = media::write_document(document)?;
        Ok(ContentBlock { document: Some(document), ..ContentBlock::default() })
    }

    /// Sound and documents are a user's.
    fn takes_media(&self) -> bool {
        matches!(self.receiver, Receiver::Upstream(Role::User, _))
    }

    fn tool_use(&mut self, call: &ToolCall, path: &str) -> Result<ContentBlock, Inexpressible> {
        let input = call.arguments_object().map_err(|why| {
            let why = format!("{why}; Bedrock takes the call of a tool with an object only");
            match self.receiver {
                Receiver::Upstream(..) => self.losses.refuse(path, why),
                // A client would call its tool with something else.
                Receiver::Client => self.losses.unusable(path, why),
            }
        })?;
        let ToolCall { id, name, arguments: _, signature, cache: _ } = call;
        let tool_use_id = match self.receiver {
            Receiver::Client => seal::seal_call_id(id, signature.as_ref()),
            Receiver::Upstream(..) => {
                // It signs no calls.
                if signature.is_some() {
                    self.losses.waive(format!("{path}.signature"));
                }
                call_id::upstream(id).into_owned()
            }
        };
        let tool_use =
            ToolUseBlock { tool_use_id, name: name.clone(), input, kind: None, extra: Extra::new() };
        Ok(ContentBlock { tool_use: Some(tool_use), ..ContentBlock::default() })
    }

    fn tool_result(
        &mut self,
        result: &ToolResult,
        path: &str,
    ) -> Result<Option<ContentBlock>, Inexpressible> {
        if self.receiver == Receiver::Client {
            return self.lose(path, "Bedrock's answers hold no tool results");
        }
        let ToolResult { call_id, name: _, parts, is_error, cache: _ } = result;
        let mut content = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let path = format!("{path}.content[{index}]");
            let Some(block) = self.block(part, &path)? else { continue };
            let ContentBlock { text, image, document, .. } = block;
            if text.is_none() && image.is_none() && document.is_none() {
                self.losses.lose(path, "a tool's result holds text, images and documents")?;
                continue;
            }
            content.push(ToolResultContent { text, image, document, ..ToolResultContent::default() });
        }
        let status = is_error.map(|failed| if failed { "error" } else { "success" }.to_owned());
        let tool_result = ToolResultBlock {
            tool_use_id: call_id::upstream(call_id).into_owned(),
            content,
            status,
            ..ToolResultBlock::default()
        };
        Ok(Some(ContentBlock { tool_result: Some(tool_result), ..ContentBlock::default() }))
    }

    /// Bedrock takes thinking back with its own signature only. Another provider's led to what follows it, and is left out.
    fn thinking(&mut self, thinking: &Thinking, path: &str) -> Option<ContentBlock> {
        let Thinking { text, signature, id: _ } = thinking;
        let signature = match (self.receiver, signature) {
            (Receiver::Client, signature) => {
                signature.as_ref().map(|signature| seal::seal_signature(signature, Provider::Bedrock))
            }
            (Receiver::Upstream(..), Some(Signature { provider: Provider::Bedrock, data })) => {
                Some(data.clone())
            }
            (Receiver::Upstream(..), Some(_) | None) => {
                self.losses.waive(path);
                return None;
            }
        };
        let reasoning_text = ReasoningText { text: text.clone(), signature, extra: Extra::new() };
        Some(reasoning(ReasoningBlock { reasoning_text: Some(reasoning_text), ..ReasoningBlock::default() }))
    }

    fn redacted_thinking(&mut self, thinking: &RedactedThinking, path: &str) -> Option<ContentBlock> {
        let RedactedThinking { provider, data } = thinking;
        let data = match self.receiver {
            Receiver::Client => {
                let signature = Signature { provider: *provider, data: data.clone() };
                seal::seal_signature(&signature, Provider::Bedrock)
            }
            Receiver::Upstream(..) if *provider == Provider::Bedrock => data.clone(),
            Receiver::Upstream(..) => {
                self.losses.waive(path);
                return None;
            }
        };
        Some(reasoning(ReasoningBlock { redacted_content: Some(data), ..ReasoningBlock::default() }))
    }

    fn lose<T>(&mut self, path: &str, fix: &'static str) -> Result<Option<T>, Inexpressible> {
        self.losses.lose(path.to_owned(), fix)?;
        Ok(None)
    }
}

fn reasoning(reasoning: ReasoningBlock) -> ContentBlock {
    ContentBlock { reasoning_content: Some(reasoning), ..ContentBlock::default() }
}

/// The cache point for a mark, where the model has a cache; elsewhere the hint is waived.
pub(in crate::bedrock) fn cache_point(
    mark: Option<CacheMark>,
    profile: ModelProfile,
    path: &str,
    losses: &mut Losses,
) -> Option<CachePoint> {
    let CacheMark { ttl } = mark?;
    let hour = match (profile.cache, ttl) {
        (Cache::None, _) => {
            losses.waive(format!("{path}.cache_control"));
            return None;
        }
        (Cache::Timed, CacheTtl::OneHour) => Some("1h".to_owned()),
        (Cache::Timed | Cache::FiveMinutes, CacheTtl::FiveMinutes)
        | (Cache::FiveMinutes, CacheTtl::OneHour) => None,
    };
    Some(CachePoint { kind: "default".to_owned(), ttl: hour, extra: Extra::new() })
}
