//! Items, of a request and of an answer alike, read.

use serde_json::Value;

use super::super::super::responses::{Item, ItemContent, Summary};
use super::super::view::read as read_value;
use super::content_in::{self, Content};
use super::markers;
use crate::canonical::{
    CustomCall, Dialect, ForeignField, ForeignPart, Part, Role, ToolCall, ToolResult, Unreadable,
    keep_foreign, seal,
};

const ORIGIN: Dialect = Dialect::OpenAiResponses;

/// Adds what an item of the model's says to `parts`, its answer so far. Returns the log probabilities of its texts.
pub(super) fn model_item(
    item: Item,
    whole: Value,
    path: &str,
    parts: &mut Vec<Part>,
    foreign: &mut Vec<ForeignField>,
) -> Result<Content, Unreadable> {
    let Item {
        kind,
        id,
        status: _,
        role: _,
        content,
        summary,
        encrypted_content,
        call_id,
        name,
        arguments,
        input,
        output: _,
        extra,
    } = item;
    match kind.as_deref().unwrap_or("message") {
        "message" => {
            let said = content_in::read(content, &format!("{path}.content"), foreign)?;
            keep_foreign(path, extra, foreign);
            return Ok(said);
        }
        "reasoning" => {
            let text = thought(summary, content);
            let carried = encrypted_content.as_deref().map(markers::open);
            markers::place(parts, text, carried, id);
        }
        "function_call" => {
            let missing = |name: &str| Unreadable::new(format!("{path}.{name}"), "is missing");
            let call_id = call_id.filter(|id| !id.is_empty()).ok_or_else(|| missing("call_id"))?;
            let (id, signature) = seal::open_call_id(&call_id);
            let name = name.filter(|name| !name.is_empty()).ok_or_else(|| missing("name"))?;
            let arguments = arguments.unwrap_or_default();
            parts.push(Part::ToolCall(ToolCall { id, name, arguments, signature, cache: None }));
        }
        "custom_tool_call" => {
            let missing = |name: &str| Unreadable::new(format!("{path}.{name}"), "is missing");
            let id = call_id.filter(|id| !id.is_empty()).ok_or_else(|| missing("call_id"))?;
            let name = name.filter(|name| !name.is_empty()).ok_or_else(|| missing("name"))?;
            let input = input.unwrap_or_default();
            parts.push(Part::CustomCall(CustomCall { id, name, input }));
        }
        other => {
            let kind = other.to_owned();
            parts.push(Part::Foreign(ForeignPart { dialect: ORIGIN, kind, value: whole }));
            return Ok(Content::default());
        }
    }
    keep_foreign(path, extra, foreign);
    Ok(Content::default())
}

/// The words of a reasoning item: the thinking itself where the server shows it, or its summary.
fn thought(summary: Option<Vec<Summary>>, content: Option<ItemContent>) -> String {
    let full = match content {
        None => String::new(),
        Some(ItemContent::Text(text)) => text,
        Some(ItemContent::Parts(parts)) => parts.into_iter().filter_map(|part| part.text).collect(),
    };
    if !full.is_empty() {
        return full;
    }
    let parts: Vec<String> = summary.unwrap_or_default().into_iter().map(|part| part.text).collect();
    parts.join(SUMMARY_SEAM)
}

/// Between the parts of a summary, which are paragraphs.
pub(super) const SUMMARY_SEAM: &str = "\n\n";

/// An item of a request.
pub(super) enum InputItem {
    /// A turn, or a piece of the model's.
    Said { role: Role, parts: Vec<Part> },
    /// Thinking, a call, or what only OpenAI has: the model's too, and no message.
    Model(Vec<Part>),
}

/// Reads an item of a request.
pub(super) fn input_item(
    value: Value,
    path: &str,
    foreign: &mut Vec<ForeignField>,
) -> Result<InputItem, Unreadable> {
    let item: Item = read_value(value.clone(), path)?;
    let kind = item.kind.clone().unwrap_or_else(|| "message".to_owned());
    match kind.as_str() {
        "message" => message(item, path, foreign),
        "function_call_output" | "custom_tool_call_output" => output(item, path, foreign),
        "item_reference" => Err(Unreadable::new(
            format!("{path}.id"),
            "names a stored item, and nothing is stored here: send the item itself",
        )),
        _ => {
            let mut parts = Vec::new();
            model_item(item, value, path, &mut parts, foreign)?;
            Ok(InputItem::Model(parts))
        }
    }
}

fn message(item: Item, path: &str, foreign: &mut Vec<ForeignField>) -> Result<InputItem, Unreadable> {
    let Item { role, content, extra, .. } = item;
    let Content { parts, logprobs: _ } = content_in::read(content, &format!("{path}.content"), foreign)?;
    keep_foreign(path, extra, foreign);
    let role = match role.as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some(other) => {
            let problem = format!("must be user, assistant, system or developer, got `{other}`");
            return Err(Unreadable::new(format!("{path}.role"), problem));
        }
        None => {
            let problem = "is missing: say who speaks, such as \"user\"";
            return Err(Unreadable::new(format!("{path}.role"), problem));
        }
    };
    Ok(InputItem::Said { role, parts })
}

fn output(item: Item, path: &str, foreign: &mut Vec<ForeignField>) -> Result<InputItem, Unreadable> {
    let Item { call_id, output, extra, .. } = item;
    let id = call_id.filter(|id| !id.is_empty()).ok_or_else(|| {
        Unreadable::new(format!("{path}.call_id"), "is missing: give the id of the call that this answers")
    })?;
    let (call_id, _) = seal::open_call_id(&id);
    let Content { parts, logprobs: _ } = content_in::read(output, &format!("{path}.output"), foreign)?;
    keep_foreign(path, extra, foreign);
    let result = ToolResult { call_id, parts, ..ToolResult::default() };
    Ok(InputItem::Said { role: Role::User, parts: vec![Part::ToolResult(result)] })
}
