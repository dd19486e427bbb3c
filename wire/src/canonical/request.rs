//! The request.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Dialect, ForeignField, Part, Place, Text, ThinkingRequest, Tool, ToolChoice};

/// A conversation to go on with. A writer destructures it without `..`: what it forgets would be silently lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The dialect it was read from; its names are used in errors.
    pub origin: Dialect,
    /// The model's name.
    pub model: String,
    /// Instructions that come before the conversation.
    pub system: Vec<Instruction>,
    /// The conversation, oldest first.
    pub turns: Vec<Turn>,
    /// The tools.
    pub tools: Vec<Tool>,
    /// Which tool to call.
    pub tool_choice: Option<ToolChoice>,
    /// Several calls in one answer; providers allow it where this is absent.
    pub parallel_tool_calls: Option<bool>,
    /// How tokens are drawn, and when to end.
    pub sampling: Sampling,
    /// How many answers; one where absent.
    pub choices: Option<u32>,
    /// Report log probabilities.
    pub logprobs: Option<LogprobsRequest>,
    /// The answer's form; free text where absent.
    pub output_format: Option<OutputFormat>,
    /// Thinking.
    pub thinking: Option<ThinkingRequest>,
    /// How long answers are: OpenAI's `verbosity`, as it came.
    pub verbosity: Option<String>,
    /// Answer as a stream.
    pub stream: bool,
    /// The stream is to end with its usage (OpenAI's `stream_options.include_usage`; others always do).
    pub include_usage: bool,
    /// Who the end user is, for the provider's abuse monitoring.
    pub user: Option<String>,
    /// Labels.
    pub metadata: BTreeMap<String, String>,
    /// What nobody knows how to translate.
    pub foreign: Vec<ForeignField>,
    /// Unknown fields of the model's own messages: a server said them of an earlier answer, and clients send answers back
    /// as they got them. They are nobody's wish, so where they have no place they go without being refused.
    pub remarks: Vec<ForeignField>,
}

impl Request {
    /// An empty request.
    pub fn new(origin: Dialect, model: impl Into<String>) -> Self {
        Self {
            origin,
            model: model.into(),
            system: Vec::new(),
            turns: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            sampling: Sampling::default(),
            choices: None,
            logprobs: None,
            output_format: None,
            thinking: None,
            verbosity: None,
            stream: false,
            include_usage: false,
            user: None,
            metadata: BTreeMap::new(),
            foreign: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// The name of the tool that call `id` called: Gemini wants it with the result, the other dialects only say the id.
    pub fn tool_name(&self, id: &str) -> Option<&str> {
        self.turns.iter().flat_map(|turn| &turn.parts).find_map(|part| match part {
            Part::ToolCall(call) if call.id == id => Some(call.name.as_str()),
            Part::ToolCall(_)
            | Part::CustomCall(_)
            | Part::Text(_)
            | Part::Image(_)
            | Part::Audio(_)
            | Part::Document(_)
            | Part::ToolResult(_)
            | Part::Thinking(_)
            | Part::RedactedThinking(_)
            | Part::Refusal(_)
            | Part::Foreign(_) => None,
        })
    }

    /// The ids of the calls with free text, whose results are written otherwise or not at all.
    pub fn custom_calls(&self) -> BTreeSet<&str> {
        let parts = self.turns.iter().flat_map(|turn| &turn.parts);
        let calls =
            parts.filter_map(|part| if let Part::CustomCall(call) = part { Some(call) } else { None });
        calls.map(|call| call.id.as_str()).collect()
    }

    /// The turns with neighbours joined as `how` says, each part with its place in the caller's request.
    pub fn joined(&self, how: Joining) -> Vec<Joined<'_>> {
        let mut all: Vec<Joined<'_>> = Vec::with_capacity(self.turns.len());
        for turn in &self.turns {
            let parts = turn.parts.iter().enumerate();
            let parts = parts.map(|(index, part)| (turn.place_of(index, self.origin), part));
            let Turn { role, parts: _, name, place: _ } = turn;
            match all.last_mut() {
                Some(last) if last.takes(turn, how) => last.parts.extend(parts),
                Some(_) | None => {
                    let (role, name) = (*role, name.as_deref());
                    all.push(Joined { role, name, parts: parts.collect() });
                }
            }
        }
        if how == Joining::Alternate {
            for turn in all.iter_mut().filter(|turn| turn.role == Role::User) {
                turn.parts.sort_by_key(|(_, part)| !matches!(part, Part::ToolResult(_)));
            }
        }
        all
    }
}

/// A message that instructs the model. Anthropic and Gemini have one at most, OpenAI any number.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Which of OpenAI's two words for it.
    pub role: InstructionRole,
    /// Its texts; each may have a cache mark.
    pub texts: Vec<Text>,
}

/// OpenAI tells the platform's word from the developer's; the others have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstructionRole {
    /// `system`.
    #[default]
    System,
    /// `developer`.
    Developer,
}

/// One message of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part>,
    /// Tells speakers of one role apart (OpenAI's `name`).
    pub name: Option<String>,
    /// Which message of the caller's list it was, for errors ([`super::Place`]).
    pub place: u32,
}

impl Turn {
    /// Where part `index` stands in the caller's request. OpenAI keeps only some parts in `content`: the others are
    /// named by their message or item.
    pub fn place_of(&self, index: usize, origin: Dialect) -> Place {
        let message = self.place;
        match origin {
            Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses => {
                let in_content = |part: &&Part| part.is_content();
                if !self.parts.get(index).is_some_and(Part::is_content) {
                    return Place::Message(message);
                }
                let part = self.parts.iter().take(index).filter(in_content).count();
                Place::Part { message, part }
            }
            Dialect::Anthropic | Dialect::Gemini | Dialect::Converse => Place::Part { message, part: index },
        }
    }
}

/// How [`Request::joined`] joins neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    /// Not at all.
    Keep,
    /// All of one role (and name), for dialects whose roles must take turns. In a user's turn tool results come first,
    /// in their order: Anthropic refuses a text before them.
    Alternate,
    /// What the model said in one go: Responses says its thinking, its text and its calls as items of their own, and
    /// chat completions as one message. Two texts stay two messages.
    Answers,
}

/// Neighbouring turns as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined<'a> {
    /// Who speaks.
    pub role: Role,
    /// Tells speakers of one role apart.
    pub name: Option<&'a str>,
    /// What is said, each part with its place in the caller's request.
    pub parts: Vec<(Place, &'a Part)>,
}

impl Joined<'_> {
    fn takes(&self, turn: &Turn, how: Joining) -> bool {
        let like = self.role == turn.role && self.name == turn.name.as_deref();
        let speaks = |part: &Part| matches!(part, Part::Text(_) | Part::Refusal(_));
        match how {
            Joining::Keep => false,
            Joining::Alternate => like,
            Joining::Answers => {
                let both = self.parts.iter().any(|(_, part)| speaks(part)) && turn.parts.iter().any(speaks);
                like && self.role == Role::Assistant && !both
            }
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The person; tool results stand in their turns too.
    User,
    /// The model.
    Assistant,
    /// Instructions in the midst of a conversation.
    System,
    /// The same, by OpenAI's other word.
    Developer,
}

/// How tokens are drawn, and when to end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Most tokens to write, thinking included.
    pub max_output_tokens: Option<u32>,
    /// 0 (greedy) to 2; Anthropic takes up to 1.
    pub temperature: Option<f32>,
    /// Nucleus sampling, 0 to 1.
    pub top_p: Option<f32>,
    /// Draw from the k likeliest.
    pub top_k: Option<u32>,
    /// Makes sampling repeatable.
    pub seed: Option<i64>,
    /// Strings that end the answer.
    pub stop: Vec<String>,
    /// -2 to 2.
    pub presence_penalty: Option<f32>,
    /// -2 to 2.
    pub frequency_penalty: Option<f32>,
}

/// Which log probabilities to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogprobsRequest {
    /// How many alternatives for each token; `None` where only the drawn token's was asked for.
    pub top: Option<u32>,
}

/// The answer's form.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputFormat {
    /// Free text, said in so many words.
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// The schema's name; OpenAI demands one.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// To the letter.
        strict: Option<bool>,
    },
}

#[cfg(test)]
mod tests {
    use super::super::{ToolCall, ToolResult};
    use super::*;

    fn turn(role: Role, place: u32, parts: Vec<Part>) -> Turn {
        Turn { role, parts, name: None, place }
    }

    fn result(id: &str) -> Part {
        Part::ToolResult(ToolResult { call_id: id.into(), ..ToolResult::default() })
    }

    #[test]
    fn roles_take_turns_and_results_come_first_in_order() {
        let mut request = Request::new(Dialect::OpenAiChat, "m");
        request.turns = vec![
            turn(Role::User, 0, vec![Part::text("a")]),
            turn(Role::Assistant, 1, vec![Part::text("b")]),
            turn(Role::User, 2, vec![result("1")]),
            turn(Role::User, 3, vec![Part::text("c"), result("2")]),
        ];
        let joined = request.joined(Joining::Alternate);
        assert_eq!(
            joined.iter().map(|turn| turn.role).collect::<Vec<_>>(),
            [Role::User, Role::Assistant, Role::User]
        );
        let parts: Vec<&Part> = joined[2].parts.iter().map(|(_, part)| *part).collect();
        assert_eq!(parts, [&result("1"), &result("2"), &Part::text("c")]);
    }

    #[test]
    fn a_joined_part_keeps_its_place() {
        let mut request = Request::new(Dialect::Anthropic, "m");
        request.turns = vec![
            turn(Role::User, 2, vec![Part::text("a"), result("1")]),
            turn(Role::User, 3, vec![Part::text("b")]),
        ];
        let joined = request.joined(Joining::Alternate);
        let places: Vec<String> =
            joined[0].parts.iter().map(|(place, _)| place.path(request.origin)).collect();
        assert_eq!(places, ["messages[2].content[1]", "messages[2].content[0]", "messages[3].content[0]"]);
    }

    #[test]
    fn an_answer_in_several_items_is_one_turn_and_two_texts_are_two() {
        let call = || Part::ToolCall(ToolCall::default());
        let mut request = Request::new(Dialect::OpenAiResponses, "m");
        request.turns = vec![
            turn(Role::Assistant, 1, vec![Part::text("a")]),
            turn(Role::Assistant, 2, vec![call()]),
            turn(Role::Assistant, 3, vec![Part::text("b")]),
            turn(Role::User, 4, vec![result("1")]),
            turn(Role::User, 5, vec![result("2")]),
        ];
        let joined = request.joined(Joining::Answers);
        assert_eq!(joined.iter().map(|turn| turn.parts.len()).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert_eq!(joined[0].parts[1].0, Place::Message(2), "a call is an item of its own");
    }

    #[test]
    fn a_results_tool_is_found_by_id() {
        let mut request = Request::new(Dialect::OpenAiChat, "m");
        let call = |id: &str, name: &str| {
            Part::ToolCall(ToolCall { id: id.into(), name: name.into(), ..ToolCall::default() })
        };
        request.turns = vec![turn(Role::Assistant, 0, vec![call("1", "a"), call("2", "b")])];
        assert_eq!(request.tool_name("2"), Some("b"));
        assert_eq!(request.tool_name("3"), None);
    }
}
