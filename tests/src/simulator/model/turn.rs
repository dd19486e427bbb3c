//! What the model says.

use serde_json::{Value, json};

use super::instance::instance;
use super::{Choice, Last, Prompt, Usage};
use crate::simulator::Behaviour;

/// The answer to a plain question, a token a piece, with a letter of two bytes and a character of four.
const WORDS: [&str; 4] = ["Hello", ", wörld", " 😀", "!"];
const THOUGHTS: [&str; 3] = ["Let me think", " about “this”", "."];
/// Pieces of text in a burst.
const BURST: usize = 100;
/// Bytes of a huge piece.
const HUGE: usize = 16 << 20;
/// Characters in a piece of JSON.
const FRAGMENT: usize = 7;

/// An answer before a dialect writes it. One piece is one token.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::simulator) struct Turn {
    /// Thoughts; empty where the model did not think.
    pub(in crate::simulator) thoughts: Vec<String>,
    pub(in crate::simulator) text: Vec<String>,
    pub(in crate::simulator) calls: Vec<Call>,
    pub(in crate::simulator) finish: Finish,
}

/// A tool's call.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::simulator) struct Call {
    pub(in crate::simulator) name: String,
    pub(in crate::simulator) arguments: Value,
}

/// Why the answer ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::simulator) enum Finish {
    #[default]
    End,
    /// At this stop sequence.
    Stopped(String),
    /// Out of tokens.
    Limit,
    /// With calls to be answered.
    Calls,
    /// The prompt was refused.
    Blocked,
}

impl Turn {
    /// What `prompt` is answered with.
    pub(in crate::simulator) fn answering(prompt: &Prompt, behaviour: Behaviour) -> Self {
        match behaviour {
            Behaviour::Blocked => return Self { finish: Finish::Blocked, ..Self::default() },
            Behaviour::Burst => return Self::saying(WORDS.iter().cycle().take(BURST).copied()),
            Behaviour::Huge => return Self { text: vec!["x".repeat(HUGE)], ..Self::default() },
            _ => {}
        }
        let mut turn = match &prompt.last {
            // A forced choice is kept to even after results, as the providers do.
            Last::Results(results) if matches!(prompt.choice, Choice::Auto | Choice::None) => {
                Self::reporting(prompt, results)
            }
            _ => Self::beginning(prompt),
        };
        turn.stop_at(&prompt.stops);
        turn.cut_at(prompt.limit);
        turn
    }

    fn saying<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Self {
        Self { text: pieces.into_iter().map(str::to_owned).collect(), ..Self::default() }
    }

    fn beginning(prompt: &Prompt) -> Self {
        let calls = calls(prompt);
        let said = if !calls.is_empty() {
            Self { calls, finish: Finish::Calls, ..Self::default() }
        } else if let Some(schema) = &prompt.schema {
            Self { text: fragments(&instance(schema).to_string()), ..Self::default() }
        } else if let Some(image) = prompt.images.last() {
            // Said back whole: whoever altered a byte on the way is found out.
            Self::saying(["I see ", &image.media_type, " ", &image.data])
        } else {
            Self::saying(WORDS)
        };
        let thoughts = if prompt.thinking { THOUGHTS.map(str::to_owned).to_vec() } else { Vec::new() };
        Self { thoughts, ..said }
    }

    fn reporting(prompt: &Prompt, results: &[String]) -> Self {
        if let Some(schema) = &prompt.schema {
            return Self { text: fragments(&instance(schema).to_string()), ..Self::default() };
        }
        let said = results.iter().enumerate().flat_map(|(index, result)| {
            [if index == 0 { "The tools say: " } else { " and " }, result.as_str()]
        });
        Self::saying(said.chain(["."]))
    }

    fn stop_at(&mut self, stops: &[String]) {
        let whole = self.text.concat();
        let found = stops.iter().filter_map(|stop| Some((whole.find(stop.as_str())?, stop))).min();
        let Some((mut left, stop)) = found.filter(|(_, stop)| !stop.is_empty()) else { return };
        for piece in &mut self.text {
            let kept = piece.len().min(left);
            piece.truncate(kept);
            left -= kept;
        }
        self.text.retain(|piece| !piece.is_empty());
        self.finish = Finish::Stopped(stop.clone());
    }

    fn cut_at(&mut self, limit: Option<u64>) {
        let Some(mut left) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
        if self.thoughts.len() + self.text.len() + self.calls.len() <= left {
            return;
        }
        self.thoughts.truncate(left);
        left -= self.thoughts.len();
        self.text.truncate(left);
        // A call that does not fit is not made: half a call is of no use to a test.
        self.calls.clear();
        self.finish = Finish::Limit;
    }

    /// Adds what is written to what was read.
    pub(in crate::simulator) fn usage(&self, read: Usage) -> Usage {
        let pieces = self.text.len() + self.calls.len();
        let count = |pieces: usize| u64::try_from(pieces).unwrap_or(u64::MAX);
        Usage { visible: count(pieces), reasoning: count(self.thoughts.len()), ..read }
    }
}

fn calls(prompt: &Prompt) -> Vec<Call> {
    let most = if prompt.parallel { 2 } else { 1 };
    let may = |name: &str| match &prompt.choice {
        Choice::None => false,
        Choice::Auto | Choice::Any => true,
        Choice::Named(only) => only == name,
    };
    // Who wants an instance of a schema and does not insist on calls gets the instance.
    if prompt.schema.is_some() && matches!(prompt.choice, Choice::Auto) {
        return Vec::new();
    }
    let called = prompt.tools.iter().filter(|tool| may(&tool.name)).take(most);
    called.map(|tool| Call { name: tool.name.clone(), arguments: arguments(&tool.schema) }).collect()
}

fn arguments(schema: &Value) -> Value {
    match instance(schema) {
        object @ Value::Object(_) => object,
        _ => json!({}),
    }
}

/// A text in pieces of a few characters.
pub(in crate::simulator) fn fragments(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(FRAGMENT).map(|piece| piece.iter().collect()).collect()
}
