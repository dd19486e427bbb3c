//! `contents` into turns.

use super::super::content::{
    Content, FunctionCall, FunctionResponse, FunctionResponsePart, Part as WirePart,
};
use super::super::part::{foreign, read_plain};
use super::super::{result, signature};
use super::call_ids::CallIds;
use crate::canonical::{
    Dialect, ForeignField, Part, Place, Provider, Request, Role, Signature, Thinking, ToolCall, ToolResult,
    Turn, Unreadable, keep_foreign,
};

/// The conversation as it is read.
pub(super) struct Conversation {
    turns: Vec<Turn>,
    foreign: Vec<ForeignField>,
    /// Of the model's contents.
    remarks: Vec<ForeignField>,
    ids: CallIds,
}

impl Conversation {
    pub(super) fn new() -> Self {
        Self { turns: Vec::new(), foreign: Vec::new(), remarks: Vec::new(), ids: CallIds::new() }
    }

    /// Gives what was read to `request`.
    pub(super) fn finish(self, request: &mut Request) {
        let Self { turns, foreign, remarks, ids: _ } = self;
        request.turns = turns;
        request.foreign.extend(foreign);
        request.remarks = remarks;
    }

    /// Reads one content.
    pub(super) fn read(&mut self, place: u32, content: Content) -> Result<(), Unreadable> {
        let Content { role, parts, extra } = content;
        let path = Place::Message(place).path(Dialect::Gemini);
        let role = match role.as_deref() {
            None | Some("" | "user" | "function") => Role::User,
            Some("model") => Role::Assistant,
            Some(other) => {
                let problem = format!(
                    "`{other}` is neither `user` nor `model`; instructions go into systemInstruction"
                );
                return Err(Unreadable::new(format!("{path}.role"), problem));
            }
        };
        let before = self.foreign.len();
        keep_foreign(&path, extra, &mut self.foreign);
        // Clients keep each piece of a stream as a content of its own.
        let earlier = self.turns.pop_if(|last| last.role == role && role == Role::Assistant);
        let mut turn = earlier.unwrap_or_else(|| Turn { role, parts: Vec::new(), name: None, place });
        for (index, part) in parts.into_iter().enumerate() {
            let path = Place::Part { message: place, part: index }.path(Dialect::Gemini);
            let kept = Place::Part { message: turn.place, part: turn.parts.len() }.path(Dialect::Gemini);
            turn.parts.extend(self.part(part, &path, &kept)?);
        }
        if role == Role::Assistant {
            turn.parts = join_thinking(turn.parts);
            self.remarks.extend(self.foreign.split_off(before));
        }
        self.turns.push(turn);
        Ok(())
    }

    /// Reads the part at `path`; its foreign fields are kept under `kept`, where its turn will have it.
    fn part(&mut self, part: WirePart, path: &str, kept: &str) -> Result<Option<Part>, Unreadable> {
        let whole = || Part::Foreign(foreign(&part));
        match (&part.function_call, &part.function_response) {
            (Some(call), None) if call.name.as_deref().is_none_or(str::is_empty) => {
                Err(Unreadable::new(format!("{path}.functionCall.name"), "name the function"))
            }
            (Some(call), None) if !call.extra.is_empty() => Ok(Some(whole())),
            (Some(_), Some(_)) => Err(Unreadable::new(path, "give a call or a result, not both")),
            (None, None) => Ok(read_plain(part, kept, &mut self.foreign)),
            (Some(_), None) => {
                let WirePart { thought_signature, function_call, extra, .. } = part;
                keep_foreign(kept, extra, &mut self.foreign);
                Ok(function_call.map(|call| self.call(call, thought_signature.as_deref())))
            }
            (None, Some(_)) => {
                let WirePart { function_response, extra, .. } = part;
                keep_foreign(kept, extra, &mut self.foreign);
                function_response.map(|response| self.result(response, path, kept)).transpose()
            }
        }
    }

    fn call(&mut self, call: FunctionCall, thought_signature: Option<&str>) -> Part {
        let FunctionCall { id, name, args, extra: _ } = call;
        let name = name.unwrap_or_default();
        Part::ToolCall(ToolCall {
            id: self.ids.called(id, &name),
            name,
            arguments: args.map_or_else(|| "{}".to_owned(), |args| args.get().to_owned()),
            signature: thought_signature.map(signature::open),
            cache: None,
        })
    }

    fn result(&mut self, response: FunctionResponse, path: &str, kept: &str) -> Result<Part, Unreadable> {
        let FunctionResponse { id, name, response, parts, extra } = response;
        let kept = format!("{kept}.functionResponse");
        let call = name.clone().unwrap_or_default();
        let call_id = self.ids.answered(id, &call).ok_or_else(|| {
            let problem =
                format!("no call of `{call}` is left to answer: give the call's `id`, or its functionCall");
            Unreadable::new(format!("{path}.functionResponse"), problem)
        })?;
        keep_foreign(&kept, extra, &mut self.foreign);
        let (text, is_error) = result::read(response.as_deref());
        let mut read: Vec<Part> = text.map(Part::text).into_iter().collect();
        for (index, part) in parts.into_iter().enumerate() {
            let FunctionResponsePart { inline_data, file_data, extra } = part;
            let part = WirePart { inline_data, file_data, extra, ..WirePart::default() };
            read.extend(read_plain(part, &format!("{kept}.parts[{index}]"), &mut self.foreign));
        }
        Ok(Part::ToolResult(ToolResult { call_id, name, parts: read, is_error, cache: None }))
    }
}

/// Joins thinking that came to the client in pieces, where its signature covers them all: another provider's does.
/// Gemini's must not be joined with what it did not come with.
fn join_thinking(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        if let Part::Thinking(Thinking { text, signature: Some(Signature { provider, data }), id: None }) =
            &part
            && *provider != Provider::Gemini
        {
            let mut whole = text.clone();
            while let Some(Part::Thinking(Thinking { text, signature: None, id: None })) = joined.last() {
                whole.insert_str(0, text);
                joined.pop();
            }
            let signature = Some(Signature { provider: *provider, data: data.clone() });
            joined.push(Part::Thinking(Thinking { text: whole, signature, id: None }));
        } else {
            joined.push(part);
        }
    }
    joined
}
