//! About how many tokens a conversation has, for clients that are told before any upstream has counted.

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
