//! Items of a request, written for an upstream. Calls go by the ids that their provider knows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::super::Extra;
use super::content_out::{hint, input, output};
use crate::canonical::{
    CustomCall, Dialect, Field, Inexpressible, Instruction, InstructionRole, Losses, Part, Place, Provider,
    Role, Signature, Thinking, ToolCall, ToolResult, Turn,
};

const TARGET: Dialect = Dialect::OpenAiResponses;

/// Writes the instructions and the conversation as items.
pub(super) fn write(
    system: &[Instruction],
    turns: &[Turn],
    custom_calls: &BTreeSet<&str>,
    losses: &mut Losses,
) -> Result<Vec<Value>, Inexpressible> {
    let mut items = Vec::new();
    for Instruction { role, texts } in system {
        let role = match role {
            InstructionRole::System => "system",
            InstructionRole::Developer => "developer",
        };
        let path = Place::System.path(losses.origin());
        for text in texts {
            hint(text.cache, &path, losses);
        }
        let texts = texts.iter().map(|text| json!({"type": "input_text", "text": text.text})).collect();
        items.push(message(role, texts));
    }
    for turn in turns {
        let Turn { role, parts, name, place } = turn;
        if name.is_some() {
            let path = format!("{}.name", Place::Message(*place).path(losses.origin()));
            losses.lose(path, "speakers of one role can't be told apart there: leave it out")?;
        }
        let word = match role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
            Role::Developer => "developer",
        };
        let mut writer = ItemWriter {
            role: word,
            said: Vec::new(),
            items: &mut items,
            custom_calls,
            losses: &mut *losses,
        };
        for (index, part) in parts.iter().enumerate() {
            let path = turn.place_of(index, writer.losses.origin()).path(writer.losses.origin());
            writer.part(part, &path)?;
        }
        writer.flush();
    }
    Ok(items)
}

/// Writes one turn: what is said in a message, and what is an item of its own between.
struct ItemWriter<'a> {
    role: &'static str,
    said: Vec<Value>,
    items: &'a mut Vec<Value>,
    custom_calls: &'a BTreeSet<&'a str>,
    losses: &'a mut Losses,
}

impl ItemWriter<'_> {
    fn part(&mut self, part: &Part, path: &str) -> Result<(), Inexpressible> {
        let item = match part {
            Part::ToolResult(result) => Some(self.result(result, path)?),
            Part::ToolCall(call) => Some(self.call(call, path)),
            Part::CustomCall(CustomCall { id, name, input }) => Some(json!({
                "type": "custom_tool_call", "call_id": id, "name": name, "input": input,
            })),
            Part::Thinking(thinking) => match reasoning(thinking) {
                Some(item) => Some(item),
                // Only its provider takes it back, and what it led to is there.
                None => {
                    self.losses.waive(path);
                    return Ok(());
                }
            },
            Part::RedactedThinking(_) => {
                self.losses.waive(path);
                return Ok(());
            }
            Part::Foreign(part) if part.dialect == TARGET && is_item(&part.kind) => Some(part.value.clone()),
            Part::Text(_)
            | Part::Image(_)
            | Part::Audio(_)
            | Part::Document(_)
            | Part::Refusal(_)
            | Part::Foreign(_) => None,
        };
        match item {
            Some(item) => {
                self.flush();
                self.items.push(item);
            }
            None if self.role == "assistant" => self.said.extend(output(part, path, self.losses)?),
            None => self.said.extend(input(part, path, self.losses)?),
        }
        Ok(())
    }

    fn call(&mut self, call: &ToolCall, path: &str) -> Value {
        hint(call.cache, path, self.losses);
        if call.signature.is_some() {
            self.losses.waive(format!("{path}.signature"));
        }
        json!({
            "type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments_or_empty(),
        })
    }

    fn result(&mut self, result: &ToolResult, path: &str) -> Result<Value, Inexpressible> {
        let ToolResult { call_id, name: _, parts, is_error, cache } = result;
        hint(*cache, path, self.losses);
        // The result's text says that it is an error; there is no flag for it.
        if *is_error == Some(true) {
            self.losses.waive(format!("{path}.is_error"));
        }
        let said = match parts.as_slice() {
            [] => json!(""),
            [Part::Text(text)] => {
                hint(text.cache, &format!("{path}.content[0]"), self.losses);
                json!(text.text)
            }
            parts => {
                let mut all = Vec::with_capacity(parts.len());
                for (index, part) in parts.iter().enumerate() {
                    all.extend(input(part, &format!("{path}.content[{index}]"), self.losses)?);
                }
                Value::Array(all)
            }
        };
        let kind = if self.custom_calls.contains(call_id.as_str()) {
            "custom_tool_call_output"
        } else {
            "function_call_output"
        };
        Ok(json!({"type": kind, "call_id": call_id, "output": said}))
    }

    fn flush(&mut self) {
        if !self.said.is_empty() {
            self.items.push(message(self.role, std::mem::take(&mut self.said)));
        }
    }
}

/// Thinking goes back to OpenAI as it came from there: with its signature, since nothing is stored.
fn reasoning(thinking: &Thinking) -> Option<Value> {
    let Thinking { text, signature, id } = thinking;
    let Some(Signature { provider: Provider::OpenAi, data }) = signature else { return None };
    let mut item = Extra::from_iter([("type".to_owned(), json!("reasoning"))]);
    item.extend(id.as_ref().map(|id| ("id".to_owned(), json!(id))));
    let summary = (!text.is_empty()).then(|| json!({"type": "summary_text", "text": text}));
    item.insert("summary".into(), Value::Array(summary.into_iter().collect()));
    item.insert("encrypted_content".into(), json!(data));
    Some(Value::Object(item))
}

/// Whether a foreign part is an item, and no part of a message.
fn is_item(kind: &str) -> bool {
    !kind.starts_with("input_") && !kind.starts_with("output_")
}

fn message(role: &str, content: Vec<Value>) -> Value {
    json!({"type": "message", "role": role, "content": content})
}

/// Whether a turn holds thinking that OpenAI issued.
pub(super) fn holds_own_thinking(turns: &[Turn]) -> bool {
    turns.iter().flat_map(|turn| &turn.parts).any(|part| match part {
        Part::Thinking(thinking) => reasoning(thinking).is_some(),
        _ => false,
    })
}

/// What of sampling the endpoint lacks.
pub(super) fn lose_sampling(
    sampling: &crate::canonical::Sampling,
    losses: &mut Losses,
) -> Result<(), Inexpressible> {
    let crate::canonical::Sampling {
        max_output_tokens: _,
        temperature: _,
        top_p: _,
        top_k,
        seed,
        stop,
        presence_penalty,
        frequency_penalty,
    } = sampling;
    for (there, field) in [
        (top_k.is_some(), Field::TopK),
        (seed.is_some(), Field::Seed),
        (!stop.is_empty(), Field::Stop),
        (presence_penalty.is_some_and(|penalty| penalty != 0.0), Field::PresencePenalty),
        (frequency_penalty.is_some_and(|penalty| penalty != 0.0), Field::FrequencyPenalty),
    ] {
        if there {
            losses.lose(field.name(losses.origin()), "leave it out, or use chat completions")?;
        }
    }
    Ok(())
}
