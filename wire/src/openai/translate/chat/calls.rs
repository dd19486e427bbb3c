//! Tool calls of a message.

use serde_json::{Value, json};

use super::super::super::Extra;
use super::super::super::chat::{CalledCustom, CalledFunction, MessageToolCall};
use super::super::view::{join, read, take};
use crate::canonical::{
    CustomCall, Dialect, ForeignField, ForeignPart, Mint, Part, ToolCall, Unreadable, keep_foreign, seal,
};

/// Takes `tool_calls` out of a message's `extra`. A call without an id gets one from `mint`, or is refused where
/// there is none: a request's results could not name it.
pub(super) fn take_calls(
    extra: &mut Extra,
    path: &str,
    mut mint: Option<&mut Mint>,
    foreign: &mut Vec<ForeignField>,
) -> Result<Vec<Part>, Unreadable> {
    let given: Vec<Value> = take(extra, path, "tool_calls")?.unwrap_or_default();
    let mut parts = Vec::with_capacity(given.len());
    for (index, value) in given.into_iter().enumerate() {
        let path = join(path, &format!("tool_calls[{index}]"));
        let MessageToolCall { id, kind, function, custom, mut extra } = read(value.clone(), &path)?;
        // Position in a list says it already; streams that were put together keep it.
        extra.shift_remove("index");
        if let Some(CalledCustom { name, input, extra: inner }) = custom {
            keep_foreign(&path, extra, foreign);
            keep_foreign(&join(&path, "custom"), inner, foreign);
            let id = id.filter(|id| !id.is_empty()).or_else(|| mint.as_deref_mut().map(Mint::call_id));
            let id = id.ok_or_else(|| Unreadable::new(join(&path, "id"), "is missing: name the call"))?;
            if name.is_empty() {
                return Err(Unreadable::new(join(&path, "custom.name"), "must name the tool"));
            }
            parts.push(Part::CustomCall(CustomCall { id, name, input }));
            continue;
        }
        let Some(CalledFunction { name, arguments, extra: inner }) = function else {
            let kind = kind.unwrap_or_default();
            parts.push(Part::Foreign(ForeignPart { dialect: Dialect::OpenAiChat, kind, value }));
            continue;
        };
        keep_foreign(&path, extra, foreign);
        keep_foreign(&join(&path, "function"), inner, foreign);
        let id = id.filter(|id| !id.is_empty()).or_else(|| mint.as_deref_mut().map(Mint::call_id));
        let id = id.ok_or_else(|| Unreadable::new(join(&path, "id"), "is missing: name the call"))?;
        if name.is_empty() {
            return Err(Unreadable::new(join(&path, "function.name"), "must name the function"));
        }
        let (id, signature) = seal::open_call_id(&id);
        parts.push(Part::ToolCall(ToolCall { id, name, arguments, signature, cache: None }));
    }
    Ok(parts)
}

/// A call as an entry of `tool_calls`, by the id that its reader is to know.
pub(super) fn entry(call: &ToolCall, id: &str) -> Value {
    json!({
        "id": id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_or_empty()},
    })
}

/// A call with free text as an entry of `tool_calls`.
pub(super) fn custom_entry(call: &CustomCall) -> Value {
    let CustomCall { id, name, input } = call;
    json!({"id": id, "type": "custom", "custom": {"name": name, "input": input}})
}
