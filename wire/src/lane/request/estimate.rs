//! About how many tokens a conversation has: for clients that are told before any upstream has counted, and for the
//! meter where none ever does.

use crate::canonical::{Instruction, Part, Request, Text, Tool, Turn};

/// Bytes of a token, of English and of code.
const BYTES_PER_TOKEN: usize = 4;

/// An estimate, from the words alone: pictures and sound are worth what their provider says.
pub(super) fn tokens(request: &Request) -> u64 {
    let instructions = request.system.iter().flat_map(|Instruction { role: _, texts }| texts);
    let system: usize = instructions.map(|text| text.text.len()).sum();
    let turns: usize = request.turns.iter().flat_map(|Turn { parts, .. }| parts).map(bytes).sum();
    let tools: usize = request.tools.iter().map(of_tool).sum();
    u64::try_from((system + turns + tools).div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

/// A string of JSON is a picture, a sound or a file from so many bytes on, if its beginning has no space.
const BLOB_BYTES: usize = 2048;
const BLOB_BEGINNING: usize = 256;

/// The same of a body that was not read: what stands between its quotes, without what is no text.
pub(super) fn of_body(text: &str) -> u64 {
    let is_blob = |string: &[u8]| {
        let beginning = string.get(..BLOB_BEGINNING).unwrap_or(string);
        string.len() >= BLOB_BYTES && !beginning.contains(&b' ')
    };
    let (mut bytes, mut start) = (0_usize, 0);
    for end in memchr::memchr_iter(b'"', text.as_bytes()).chain([text.len()]) {
        let string = text.as_bytes().get(start..end).unwrap_or_default();
        bytes += if is_blob(string) { 0 } else { string.len() };
        start = end + 1;
    }
    u64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

fn bytes(part: &Part) -> usize {
    match part {
        Part::Text(Text { text, .. }) | Part::Refusal(text) => text.len(),
        Part::ToolCall(call) => call.name.len() + call.arguments.len(),
        Part::CustomCall(call) => call.name.len() + call.input.len(),
        Part::ToolResult(result) => result.parts.iter().map(bytes).sum(),
        Part::Thinking(thinking) => thinking.text.len(),
        Part::Image(_)
        | Part::Audio(_)
        | Part::Document(_)
        | Part::RedactedThinking(_)
        | Part::Foreign(_) => 0,
    }
}

fn of_tool(tool: &Tool) -> usize {
    match tool {
        Tool::Function(function) => {
            let described = function.description.as_ref().map_or(0, String::len);
            let parameters = function.parameters.as_ref().map_or(0, |schema| schema.to_string().len());
            function.name.len() + described + parameters
        }
        Tool::Custom(custom) => custom.name.len() + custom.description.as_ref().map_or(0, String::len),
        Tool::Foreign(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_counts_its_words_and_not_its_pictures() {
        let words = "word ".repeat(1000);
        let picture = "iVBORw0KGgo".repeat(100_000);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{words}"}}]}}"#);
        let seen = of_body(&body);
        assert!((1250..1300).contains(&seen), "{seen}");
        let part = format!(r#","image_url":{{"url":"data:image/png;base64,{picture}"}}}}]}}"#);
        let with_picture = body.replace("}]}", &part);
        assert!(of_body(&with_picture) < seen + 20, "{}", of_body(&with_picture));
        assert_eq!(of_body(""), 0);
    }
}
