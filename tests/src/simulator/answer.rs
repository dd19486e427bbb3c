//! The bytes of right answers. Odd spacing, odd numbers and unknown fields are there on purpose: whoever
//! passes them on must not change them.

use super::Behaviour;
use super::asked::{Asked, Method};
use super::model::Usage;
use super::script::Script;

/// Pieces of text in a burst.
const BURST: usize = 100;

/// Tokens that every such answer claims to have read.
pub const PROMPT_TOKENS: u64 = 11;
/// Tokens that every such answer claims to have written: the pieces of [`WORDS`].
pub const COMPLETION_TOKENS: u64 = WORDS.len() as u64;

const WORDS: [&str; 4] = ["Hello", ", w\\u00f6rld", " 😀", "!"];

/// The answer to `asked`.
pub(super) fn script(asked: &Asked) -> Script {
    let chat = asked.method == Method::Chat;
    let pieces = if asked.stream && asked.behaviour == Behaviour::Burst { BURST } else { WORDS.len() };
    Script {
        whole: completion(&asked.model, chat),
        events: events(&asked.model, chat, pieces, asked.include_usage()),
        opening: usize::from(chat),
        usage: Usage { uncached: PROMPT_TOKENS, visible: pieces as u64, ..Usage::default() },
        told: 0,
        reports: asked.include_usage(),
    }
}

fn usage(completion: u64) -> String {
    let total = PROMPT_TOKENS + completion;
    format!(r#"{{"prompt_tokens":{PROMPT_TOKENS},"completion_tokens":{completion},"total_tokens":{total}}}"#)
}

/// A whole answer of `model`, for the chat form or the older one.
pub fn completion(model: &str, chat: bool) -> String {
    let text = WORDS.concat();
    let (object, choice) = if chat {
        ("chat.completion", format!(r#""message":{{"role":"assistant","content":"{text}","refusal":null}}"#))
    } else {
        ("text_completion", format!(r#""text":"{text}""#))
    };
    let usage = usage(COMPLETION_TOKENS);
    format!(
        "{{ \"id\":\"sim-1\",\n \"object\":\"{object}\", \"created\":1764000000,\"x_first\":{{\"model\":\"inner\"}},\
         \"model\" :\"{model}\", \"choices\":[{{\"index\":0,{choice},\"logprobs\":null,\
         \"finish_reason\":\"stop\"}}],\t\"usage\":{usage},\"x_last\":[1.50e2,\"\\ud83d\\ude00\"] }}"
    )
}

/// The events of a streamed answer, each with its blank line, the end mark included. `pieces` of text; with
/// `usage`, every chunk has `usage: null` and one more chunk reports it.
pub fn events(model: &str, chat: bool, pieces: usize, include_usage: bool) -> Vec<String> {
    let object = if chat { "chat.completion.chunk" } else { "text_completion" };
    let head = format!(r#""id":"sim-1", "object":"{object}","created":1764000000,"model":"{model}""#);
    let usage_null = if include_usage { r#","usage":null"# } else { "" };
    let chunk = |delta: &str, reason: &str| {
        let choice = if chat {
            format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}"#)
        } else {
            format!(r#"{{"index":0,{delta},"logprobs":null,"finish_reason":{reason}}}"#)
        };
        format!("data: {{{head},\"choices\":[{choice}]{usage_null},\"x\":1.0}}\n\n")
    };
    let text =
        |word: &str| if chat { format!(r#"{{"content":"{word}"}}"#) } else { format!(r#""text":"{word}""#) };
    let mut events = Vec::new();
    if chat {
        events.push(chunk(r#"{"role":"assistant","content":"","refusal":null}"#, "null"));
    }
    events.extend(WORDS.iter().cycle().take(pieces).map(|word| chunk(&text(word), "null")));
    events.push(chunk(if chat { "{}" } else { r#""text":"""# }, r#""stop""#));
    if include_usage {
        let usage = usage(pieces as u64);
        events.push(format!("data: {{{head},\"choices\":[],\"usage\":{usage},\"x\":1.0}}\n\n"));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}
