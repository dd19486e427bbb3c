//! An item that is being written, and the events that tell of it.

use serde_json::{Value, json};

use super::annotations;
use super::builder::{Outbox, TARGET};
use super::markers;
use crate::canonical::{Citation, Delta, Inexpressible, Losses, Mint, Opening, Part, Signature, seal};

/// The item under way.
#[derive(Debug)]
pub(super) enum OpenItem {
    Message(OpenMessage),
    Call(OpenCall),
    Custom(OpenCustom),
    /// An item that only this dialect has, whole.
    Own(Value),
    Reasoning(OpenReasoning),
}

#[derive(Debug)]
pub(super) struct OpenMessage {
    id: String,
    /// Parts that are whole.
    parts: Vec<Value>,
    part: Option<OpenPart>,
}

#[derive(Debug)]
struct OpenPart {
    refusal: bool,
    text: String,
    citations: Vec<Citation>,
    logprobs: Vec<Value>,
    signature: Option<Signature>,
}

#[derive(Debug)]
pub(super) struct OpenCall {
    id: String,
    call_id: String,
    name: String,
    arguments: String,
}

#[derive(Debug)]
pub(super) struct OpenCustom {
    id: String,
    call_id: String,
    name: String,
    input: String,
}

#[derive(Debug)]
pub(super) struct OpenReasoning {
    id: String,
    text: String,
    encrypted: Option<String>,
}

impl OpenItem {
    /// Begins a block, in `open` where it is a message that the block goes on with. What has no place there is lost,
    /// and no item is opened.
    pub(super) fn begin(
        open: &mut Option<Self>,
        opening: &Opening,
        index: usize,
        path: &str,
        mint: &mut Mint,
        outbox: &mut Outbox,
        losses: &mut Losses,
    ) -> Result<(), Inexpressible> {
        let item = match opening {
            Opening::Text | Opening::Refusal => {
                let refusal = matches!(opening, Opening::Refusal);
                let mut message = match open.take() {
                    Some(Self::Message(message)) => message,
                    Some(Self::Call(_) | Self::Custom(_) | Self::Own(_) | Self::Reasoning(_)) | None => {
                        OpenMessage::begin(index, mint, outbox)
                    }
                };
                message.begin_part(refusal, index, outbox);
                Self::Message(message)
            }
            Opening::ToolCall { id, name, signature } => {
                let call = OpenCall {
                    id: mint.id("fc"),
                    call_id: seal::seal_call_id(id, signature.as_ref()),
                    name: name.clone(),
                    arguments: String::new(),
                };
                outbox.send(
                    "response.output_item.added",
                    json!({"output_index": index, "item": call.item("in_progress")}),
                );
                Self::Call(call)
            }
            Opening::CustomCall { id, name } => {
                let (id, call_id, name) = (mint.id("ctc"), id.clone(), name.clone());
                let call = OpenCustom { id, call_id, name, input: String::new() };
                outbox.send(
                    "response.output_item.added",
                    json!({"output_index": index, "item": call.item("in_progress")}),
                );
                Self::Custom(call)
            }
            Opening::Thinking { id } => {
                let id = id.clone().unwrap_or_else(|| mint.id("rs"));
                Self::Reasoning(OpenReasoning::begin(id, None, index, outbox))
            }
            Opening::RedactedThinking { provider, data } => {
                let sealed = markers::seal_redacted(*provider, data);
                Self::Reasoning(OpenReasoning::begin(mint.id("rs"), Some(sealed), index, outbox))
            }
            Opening::Whole(part) => {
                let fix = format!("an answer there holds text and calls, and no {}", part.kind());
                match part.as_ref() {
                    Part::Foreign(own) if own.dialect == TARGET => {
                        let fields = json!({"output_index": index, "item": own.value});
                        outbox.send("response.output_item.added", fields);
                        Self::Own(own.value.clone())
                    }
                    Part::Foreign(foreign) => return losses.lose_foreign_part(path, foreign, fix),
                    _ => return losses.lose(path, fix),
                }
            }
        };
        *open = Some(item);
        Ok(())
    }

    /// The item that carries a text's signature.
    pub(super) fn text_signature(
        signature: &Signature,
        index: usize,
        mint: &mut Mint,
        outbox: &mut Outbox,
    ) -> Self {
        let sealed = markers::seal_text(signature);
        Self::Reasoning(OpenReasoning::begin(mint.id("rs"), Some(sealed), index, outbox))
    }

    pub(super) fn grow(&mut self, delta: &Delta, index: usize, outbox: &mut Outbox) {
        match (self, delta) {
            (Self::Message(message), delta) => message.grow(delta, index, outbox),
            (Self::Call(call), Delta::Arguments(more)) => {
                call.arguments.push_str(more);
                let fields = json!({"item_id": call.id, "output_index": index, "delta": more});
                outbox.send("response.function_call_arguments.delta", fields);
            }
            (Self::Custom(call), Delta::Input(more)) => {
                call.input.push_str(more);
                let fields = json!({"item_id": call.id, "output_index": index, "delta": more});
                outbox.send("response.custom_tool_call_input.delta", fields);
            }
            (Self::Reasoning(reasoning), Delta::Thinking(more)) => reasoning.grow(more, index, outbox),
            (Self::Reasoning(reasoning), Delta::Signature(signature)) => {
                reasoning.encrypted = Some(markers::seal_thinking(signature));
            }
            // Out of grammar.
            (Self::Call(_) | Self::Custom(_) | Self::Own(_) | Self::Reasoning(_), _) => {}
        }
    }

    /// Ends the item; returns it whole.
    pub(super) fn close(self, index: usize, outbox: &mut Outbox) -> Value {
        let item = match self {
            Self::Message(message) => message.item("completed"),
            Self::Call(mut call) => {
                if call.arguments.trim().is_empty() {
                    call.arguments = "{}".to_owned();
                }
                let fields = json!({
                    "item_id": call.id, "output_index": index, "name": call.name, "arguments": call.arguments,
                });
                outbox.send("response.function_call_arguments.done", fields);
                call.item("completed")
            }
            Self::Custom(call) => {
                let fields = json!({"item_id": call.id, "output_index": index, "input": call.input});
                outbox.send("response.custom_tool_call_input.done", fields);
                call.item("completed")
            }
            Self::Own(item) => item,
            Self::Reasoning(reasoning) => {
                reasoning.end_summary(index, outbox);
                reasoning.item()
            }
        };
        outbox.send("response.output_item.done", json!({"output_index": index, "item": item}));
        item
    }
}

impl OpenMessage {
    fn begin(index: usize, mint: &mut Mint, outbox: &mut Outbox) -> Self {
        let message = Self { id: mint.id("msg"), parts: Vec::new(), part: None };
        outbox.send(
            "response.output_item.added",
            json!({"output_index": index, "item": message.item("in_progress")}),
        );
        message
    }

    fn item(&self, status: &str) -> Value {
        json!({
            "id": self.id, "type": "message", "status": status, "role": "assistant", "content": self.parts,
        })
    }

    fn begin_part(&mut self, refusal: bool, index: usize, outbox: &mut Outbox) {
        let part = OpenPart {
            refusal,
            text: String::new(),
            citations: Vec::new(),
            logprobs: Vec::new(),
            signature: None,
        };
        outbox.send("response.content_part.added", self.fields(index, [("part", part.value(&[]))]));
        self.part = Some(part);
    }

    fn grow(&mut self, delta: &Delta, index: usize, outbox: &mut Outbox) {
        let Some(part) = &mut self.part else { return };
        match delta {
            Delta::Text(more) => {
                part.text.push_str(more);
                let fields = self.fields(index, [("delta", json!(more)), ("logprobs", json!([]))]);
                outbox.send("response.output_text.delta", fields);
            }
            Delta::Refusal(more) => {
                part.text.push_str(more);
                let fields = self.fields(index, [("delta", json!(more))]);
                outbox.send("response.refusal.delta", fields);
            }
            Delta::Citation(citation) => part.citations.push(citation.as_ref().clone()),
            Delta::Signature(signature) => part.signature = Some(signature.clone()),
            // Out of grammar.
            Delta::Arguments(_) | Delta::Input(_) | Delta::Thinking(_) => {}
        }
    }

    /// Adds log probabilities to the text under way, or to the last one; gives them back where there is none.
    pub(super) fn logprobs(&mut self, tokens: Vec<Value>, index: usize, outbox: &mut Outbox) -> Vec<Value> {
        if let Some(part) = self.part.as_mut().filter(|part| !part.refusal) {
            part.logprobs.extend(tokens.iter().cloned());
            let fields = self.fields(index, [("delta", json!("")), ("logprobs", Value::Array(tokens))]);
            outbox.send("response.output_text.delta", fields);
            return Vec::new();
        }
        match self.parts.iter_mut().rev().find_map(|part| part.get_mut("logprobs")) {
            Some(Value::Array(all)) => {
                all.extend(tokens);
                Vec::new()
            }
            Some(_) | None => tokens,
        }
    }

    /// Ends the part under way; returns its signature.
    pub(super) fn close_part(
        &mut self,
        index: usize,
        path: &str,
        outbox: &mut Outbox,
        losses: &mut Losses,
    ) -> Option<Signature> {
        let part = self.part.take()?;
        let length = u64::try_from(part.text.chars().count()).unwrap_or(u64::MAX);
        let mut all = Vec::with_capacity(part.citations.len());
        for citation in &part.citations {
            let Some(annotation) = annotations::write(citation, length, path, losses) else { continue };
            let number = json!(all.len());
            let fields =
                self.fields(index, [("annotation_index", number), ("annotation", annotation.clone())]);
            outbox.send("response.output_text.annotation.added", fields);
            all.push(annotation);
        }
        let whole = part.value(&all);
        if part.refusal {
            let fields = self.fields(index, [("refusal", json!(part.text))]);
            outbox.send("response.refusal.done", fields);
        } else {
            let fields = self.fields(index, [("text", json!(part.text)), ("logprobs", json!(part.logprobs))]);
            outbox.send("response.output_text.done", fields);
        }
        outbox.send("response.content_part.done", self.fields(index, [("part", whole.clone())]));
        self.parts.push(whole);
        part.signature
    }

    /// Fields of an event about the part that is under way.
    fn fields<const N: usize>(&self, index: usize, more: [(&str, Value); N]) -> Value {
        let mut fields = json!({
            "item_id": self.id, "output_index": index, "content_index": self.parts.len(),
        });
        for (name, value) in more {
            fields[name] = value;
        }
        fields
    }
}

impl OpenPart {
    fn value(&self, annotations: &[Value]) -> Value {
        if self.refusal {
            return json!({"type": "refusal", "refusal": self.text});
        }
        json!({
            "type": "output_text", "text": self.text, "annotations": annotations, "logprobs": self.logprobs,
        })
    }
}

impl OpenCall {
    fn item(&self, status: &str) -> Value {
        json!({
            "id": self.id, "type": "function_call", "status": status, "call_id": self.call_id, "name": self.name,
            "arguments": self.arguments,
        })
    }
}

impl OpenCustom {
    fn item(&self, status: &str) -> Value {
        let Self { id, call_id, name, input } = self;
        json!({
            "id": id, "type": "custom_tool_call", "status": status, "call_id": call_id, "name": name, "input": input,
        })
    }
}

impl OpenReasoning {
    fn begin(id: String, encrypted: Option<String>, index: usize, outbox: &mut Outbox) -> Self {
        let reasoning = Self { id, text: String::new(), encrypted };
        outbox.send("response.output_item.added", json!({"output_index": index, "item": reasoning.item()}));
        reasoning
    }

    fn grow(&mut self, more: &str, index: usize, outbox: &mut Outbox) {
        if self.text.is_empty() {
            let fields = self.fields(index, "part", json!({"type": "summary_text", "text": ""}));
            outbox.send("response.reasoning_summary_part.added", fields);
        }
        self.text.push_str(more);
        outbox.send("response.reasoning_summary_text.delta", self.fields(index, "delta", json!(more)));
    }

    fn end_summary(&self, index: usize, outbox: &mut Outbox) {
        if self.text.is_empty() {
            return;
        }
        outbox.send("response.reasoning_summary_text.done", self.fields(index, "text", json!(self.text)));
        let part = json!({"type": "summary_text", "text": self.text});
        outbox.send("response.reasoning_summary_part.done", self.fields(index, "part", part));
    }

    fn fields(&self, index: usize, name: &str, value: Value) -> Value {
        let mut fields = json!({"item_id": self.id, "output_index": index, "summary_index": 0});
        fields[name] = value;
        fields
    }

    fn item(&self) -> Value {
        let summary = (!self.text.is_empty()).then(|| json!({"type": "summary_text", "text": self.text}));
        let summary: Vec<Value> = summary.into_iter().collect();
        let mut item = json!({"id": self.id, "type": "reasoning", "summary": summary});
        if let Some(encrypted) = &self.encrypted {
            item["encrypted_content"] = json!(encrypted);
        }
        item
    }
}
