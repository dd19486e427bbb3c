//! Responses' events, each numbered.

use serde_json::{Value, json};

use super::responses::{begun, ended};
use crate::simulator::asked::Asked;
use crate::simulator::model::{Finish, Turn, Usage, fragments};

/// Numbers the events and frames them.
#[derive(Default)]
struct Events(Vec<String>);

impl Events {
    fn say(&mut self, kind: &str, fields: &Value) {
        let mut event = json!({"type": kind, "sequence_number": self.0.len()});
        for (name, value) in fields.as_object().into_iter().flatten() {
            event[name] = value.clone();
        }
        self.0.push(format!("event: {kind}\ndata: {event}\n\n"));
    }
}

/// All events of an answer with these items.
pub(super) fn events(asked: &Asked, turn: &Turn, usage: Usage, output: &[Value]) -> Vec<String> {
    let mut events = Events::default();
    events.say("response.created", &json!({"response": begun(asked)}));
    events.say("response.in_progress", &json!({"response": begun(asked)}));
    for (index, item) in output.iter().enumerate() {
        let place = Place { index, id: item["id"].as_str().unwrap_or_default() };
        events.say("response.output_item.added", &json!({"output_index": index, "item": opened(item)}));
        match item["type"].as_str() {
            Some("reasoning") if item["summary"] != json!([]) => {
                reasoning(&mut events, place, &turn.thoughts)
            }
            Some("message") => message(&mut events, place, &turn.text, &item["content"][0]),
            Some("function_call") => call(&mut events, place, item),
            Some(_) | None => {}
        }
        events.say("response.output_item.done", &json!({"output_index": index, "item": item}));
    }
    let kind = match turn.finish {
        Finish::Limit | Finish::Blocked => "response.incomplete",
        Finish::End | Finish::Stopped(_) | Finish::Calls => "response.completed",
    };
    events.say(kind, &json!({"response": ended(asked, turn, usage, output)}));
    events.0
}

/// Where an event belongs.
#[derive(Clone, Copy)]
struct Place<'a> {
    index: usize,
    id: &'a str,
}

impl Place<'_> {
    fn with(self, fields: Value) -> Value {
        let mut all = json!({"item_id": self.id, "output_index": self.index});
        if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
            all.extend(fields);
        }
        all
    }
}

/// An item as it is added: with its place, and nothing in it.
fn opened(item: &Value) -> Value {
    let mut item = item.clone();
    match item["type"].as_str() {
        Some("reasoning") => item["summary"] = json!([]),
        Some("message") => {
            item["content"] = json!([]);
            item["status"] = json!("in_progress");
        }
        Some("function_call") => {
            item["arguments"] = json!("");
            item["status"] = json!("in_progress");
        }
        Some(_) | None => {}
    }
    item
}

fn reasoning(events: &mut Events, place: Place<'_>, thoughts: &[String]) {
    let part = |text: &str| json!({"summary_index": 0, "part": {"type": "summary_text", "text": text}});
    let text = thoughts.concat();
    events.say("response.reasoning_summary_part.added", &place.with(part("")));
    for piece in thoughts {
        let delta = json!({"summary_index": 0, "delta": piece});
        events.say("response.reasoning_summary_text.delta", &place.with(delta));
    }
    let done = json!({"summary_index": 0, "text": text});
    events.say("response.reasoning_summary_text.done", &place.with(done));
    events.say("response.reasoning_summary_part.done", &place.with(part(&text)));
}

fn message(events: &mut Events, place: Place<'_>, pieces: &[String], part: &Value) {
    let mut empty = part.clone();
    empty["text"] = json!("");
    events.say("response.content_part.added", &place.with(json!({"content_index": 0, "part": empty})));
    for piece in pieces {
        let delta = json!({"content_index": 0, "delta": piece, "logprobs": []});
        events.say("response.output_text.delta", &place.with(delta));
    }
    let done = json!({"content_index": 0, "text": part["text"], "logprobs": []});
    events.say("response.output_text.done", &place.with(done));
    events.say("response.content_part.done", &place.with(json!({"content_index": 0, "part": part})));
}

fn call(events: &mut Events, place: Place<'_>, item: &Value) {
    let arguments = item["arguments"].as_str().unwrap_or_default();
    for piece in fragments(arguments) {
        events.say("response.function_call_arguments.delta", &place.with(json!({"delta": piece})));
    }
    events.say("response.function_call_arguments.done", &place.with(json!({"arguments": arguments})));
}
