//! A canonical part as a client of this dialect gets it.

use crate::canonical::{
    Audio, Dialect, Document, ForeignPart, Image, Inexpressible, Losses, MediaSource, Part, RedactedThinking,
    Text, Thinking, ToolCall,
};
use crate::gemini::content::{FunctionCall, Part as WirePart};
use crate::gemini::media::{self, Written};
use crate::gemini::request::NO_CUSTOM_TOOLS;
use crate::gemini::service::Service;
use crate::gemini::signature;

/// Writes a part; `None` where it says nothing. Citations are the candidate's affair.
pub(in crate::gemini) fn write_part(
    part: &Part,
    path: &str,
    losses: &mut Losses,
) -> Result<Option<WirePart>, Inexpressible> {
    match part {
        Part::Text(Text { text, citations: _, signature, cache: _ }) => {
            let thought_signature = signature.as_ref().map(signature::seal);
            let said = !text.is_empty() || thought_signature.is_some();
            Ok(said.then(|| WirePart { thought_signature, ..WirePart::text(text) }))
        }
        // There is no word for a refusal; the finish reason says it too.
        Part::Refusal(words) => Ok((!words.is_empty()).then(|| WirePart::text(words))),
        Part::Thinking(Thinking { text, signature, id: _ }) => {
            let thought_signature = signature.as_ref().map(signature::seal);
            let said = !text.is_empty() || thought_signature.is_some();
            Ok(said.then(|| WirePart { thought: Some(true), thought_signature, ..WirePart::text(text) }))
        }
        Part::RedactedThinking(thinking) => Ok(Some(write_redacted(thinking))),
        Part::ToolCall(call) => write_call(call, path, losses).map(Some),
        Part::CustomCall(_) => losses.lose(path, NO_CUSTOM_TOOLS).map(|()| None),
        Part::Image(Image { source, detail: _, cache: _ }) => medium(source, None, path, losses),
        Part::Audio(Audio { source }) => medium(source, None, path, losses),
        Part::Document(Document { source, title, context: _, citations: _, cache: _ }) => {
            medium(source, title.as_deref(), path, losses)
        }
        Part::Foreign(ForeignPart { dialect: Dialect::Gemini, kind, value }) => {
            // By way of text, since raw JSON can't be read out of a value.
            let part = serde_json::from_str::<WirePart>(&value.to_string());
            part.map(Some).map_err(|_| losses.refuse(path, format!("the `{kind}` part is broken")))
        }
        Part::Foreign(part) => {
            losses.lose_foreign_part(path, part, format!("Gemini has no `{}` part", part.kind))?;
            Ok(None)
        }
        Part::ToolResult(_) => {
            losses.lose(path, "an answer holds no tool results")?;
            Ok(None)
        }
    }
}

/// Encrypted thinking, in the only place where a client of this dialect keeps such a thing.
fn write_redacted(thinking: &RedactedThinking) -> WirePart {
    WirePart {
        thought: Some(true),
        thought_signature: Some(signature::seal_redacted(thinking)),
        ..WirePart::text("")
    }
}

fn write_call(call: &ToolCall, path: &str, losses: &Losses) -> Result<WirePart, Inexpressible> {
    let ToolCall { id, name, arguments: _, signature, cache: _ } = call;
    let args = call.arguments_object().map_err(|why| losses.unusable(path, why))?;
    Ok(WirePart {
        function_call: Some(FunctionCall {
            id: Some(id.clone()),
            name: Some(name.clone()),
            args: Some(args),
            ..FunctionCall::default()
        }),
        thought_signature: signature.as_ref().map(signature::seal),
        ..WirePart::default()
    })
}

fn medium(
    source: &MediaSource,
    title: Option<&str>,
    path: &str,
    losses: &mut Losses,
) -> Result<Option<WirePart>, Inexpressible> {
    match media::write(source, title, Service::GeminiApi) {
        Ok(Written::Inline(blob)) => Ok(Some(WirePart { inline_data: Some(blob), ..WirePart::default() })),
        Ok(Written::File(file)) => Ok(Some(WirePart { file_data: Some(file), ..WirePart::default() })),
        Err(fix) => {
            losses.lose(path, fix)?;
            Ok(None)
        }
    }
}
