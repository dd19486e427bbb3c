//! What each client is to find in each column. Where it is not what the client asked for, `docs/gateway.md` says so.

use std::collections::BTreeMap;

use weighbridge_tests::matrix::{Ability, Client, Dialect};

use super::column::Column;

/// A way in which a provider misbehaves.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The simulator's name of it.
    pub name: &'static str,
    /// What becomes of the proxy's keys.
    pub keys: Keys,
}

/// Whether a fault is the key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It is not.
    Untouched,
    /// It is, so that it needs a proxy of its own, with this many keys.
    Used(u16),
}

/// Of the faults that use keys up, both forms of a scenario find keys that are left.
const SIX: Keys = Keys::Used(6);
const ONE: Keys = Keys::Used(1);

/// Every fault that the provider of this column is made to have.
pub fn provider_faults(column: Column) -> Vec<Fault> {
    let own_hint = match column {
        Column::Anthropic => "limited-anthropic-resets",
        Column::Gemini => "limited-retry-info",
        Column::OpenAi | Column::Compatible | Column::Open => "limited-openai-resets",
    };
    [
        ("status-400", Keys::Untouched),
        ("bad-key", SIX),
        ("status-402", SIX),
        ("status-403", SIX),
        ("status-404", Keys::Untouched),
        ("quota", SIX),
        ("limited-no-hint", ONE),
        ("limited-retry-after", ONE),
        (own_hint, ONE),
        ("status-500", Keys::Untouched),
        ("status-503", Keys::Untouched),
        ("status-529", Keys::Untouched),
        ("error-in-200", Keys::Untouched),
        ("hang-up", Keys::Untouched),
        ("html", Keys::Untouched),
        ("wrong-type", Keys::Untouched),
        ("error-first", Keys::Untouched),
        ("error-in-stream", Keys::Untouched),
        ("truncated", Keys::Untouched),
        ("cut", Keys::Untouched),
        ("invalid-json", Keys::Untouched),
        ("limited-retry-after-ms", ONE),
        ("once-limited-retry-after-ms", ONE),
    ]
    .map(|(name, keys)| Fault { name, keys })
    .to_vec()
}

/// Every fault of the open world: a replica that is ill, which no engine of ours is on request.
pub fn open_faults() -> Vec<&'static str> {
    vec![
        "status-400",
        "limited-retry-after",
        "status-500",
        "status-503",
        "error-first",
        "error-in-stream",
        "truncated",
        "cut",
        "invalid-json",
    ]
}

/// What the table has no cells of, and why.
pub const NOT_ASKED: &str = "\
Not asked: open weights for cached tokens, which our engine does not report; another dialect's provider to look at altered
signatures, which each does in its own way, and to be tried again, which is the client's affair and the same everywhere;
the models list by the AI SDK, which has none.
";

/// What is asked of `column`.
pub fn abilities(client: &Client, column: Column) -> Vec<Ability> {
    let mut abilities = vec![
        Ability::Text,
        Ability::Completions,
        Ability::Image,
        Ability::Tools,
        Ability::Parallel,
        Ability::Schema,
        Ability::Thinking,
        Ability::Stored,
        Ability::Embeddings,
        Ability::Count,
        Ability::Models,
        Ability::Keys,
        Ability::Errors,
    ];
    if column != Column::Open {
        abilities.push(Ability::Cached);
    }
    let same_dialect = match column {
        Column::Open => false,
        Column::OpenAi => matches!(client.dialect, Dialect::Chat | Dialect::Responses),
        Column::Compatible => client.dialect == Dialect::Chat,
        Column::Anthropic => client.dialect == Dialect::Messages,
        Column::Gemini => client.dialect == Dialect::Generate,
    };
    if same_dialect {
        abilities.extend([Ability::Signature, Ability::Retries]);
    }
    abilities
}

/// Whether thoughts are signed each for itself. Google signs the call, or the text, that came of them.
pub fn signs_thoughts(column: Column) -> bool {
    matches!(column, Column::OpenAi | Column::Anthropic)
}

/// Whether `client` sends back what it is told of thoughts, and the provider has it signed.
pub fn repeats_thoughts(client: &Client, column: Column) -> bool {
    match column {
        Column::OpenAi => client.dialect != Dialect::Chat,
        // Of chat's clients only this one repeats fields that it does not know.
        Column::Anthropic => client.dialect != Dialect::Chat || client.name == "openai-python chat",
        Column::Open | Column::Compatible | Column::Gemini => false,
    }
}

/// Whether a request to a provider goes on from a call with the signed thought that led to it. That Google's comes back
/// its simulator insists on.
pub fn is_signed_turn(column: Column, body: &str) -> bool {
    match column {
        Column::OpenAi => body.contains("function_call_output") && body.contains(r#""encrypted_content":"#),
        Column::Anthropic => body.contains("tool_result") && body.contains(r#""signature":"#),
        Column::Open | Column::Compatible | Column::Gemini => false,
    }
}

/// By scenario, the field that is refused by name.
pub fn refused(client: &Client, column: Column) -> BTreeMap<String, String> {
    let own = |chat, responses, messages, generate| match client.dialect {
        Dialect::Chat => chat,
        Dialect::Responses => responses,
        Dialect::Messages => messages,
        Dialect::Generate => generate,
    };
    let mut refused = vec![("stored", "store")];
    match column {
        Column::Open => refused.extend([
            // The engine's own words, where no field of the caller's stands for one of its.
            ("image", "messages[0].content"),
            // The first that it meets.
            ("tools", if client.name == "openai-python chat" { "tool_choice" } else { "tools" }),
            ("parallel", "tools"),
            (
                "structured",
                match client.name {
                    // It makes a tool of it for every model that it does not know.
                    "ai-sdk anthropic" => "tools",
                    _ => own(
                        "response_format",
                        "text.format",
                        "output_config.format",
                        "generationConfig.responseJsonSchema",
                    ),
                },
            ),
            (
                "thinking",
                own("reasoning_effort", "reasoning.effort", "thinking", "generationConfig.thinkingConfig"),
            ),
            ("embeddings", "model"),
            // Its second question has tools.
            ("count", if client.name == "anthropic-python" { "tools" } else { "" }),
        ]),
        Column::Anthropic => {
            refused.push(("embeddings", own("/v1/embeddings", "/v1/embeddings", "", "batchEmbedContents")));
        }
        Column::OpenAi | Column::Compatible => {
            refused.push(("count", own("", "", "/v1/messages/count_tokens", "countTokens")));
        }
        Column::Gemini if client.name == "ai-sdk anthropic" => {
            refused.push(("structured", "tool_choice.disable_parallel_tool_use"));
        }
        Column::Gemini => {}
    }
    refused
        .into_iter()
        .filter(|(_, field)| !field.is_empty())
        .map(|(scenario, field)| (scenario.to_owned(), field.to_owned()))
        .collect()
}

/// By fault, the status that a client is told before an answer begins.
pub fn statuses(client: &Client, column: Column) -> Vec<(String, u16)> {
    let messages = client.dialect == Dialect::Messages;
    // Each dialect's word for the two classes that not all of them tell apart.
    let (overloaded, used_up) = if messages { (529, 402) } else { (503, 429) };
    let status = |fault: &'static str| match fault {
        "status-400" => Some(400),
        "quota" => Some(used_up),
        // Google has no word for it: 402 is none of its statuses.
        "status-402" => Some(if column == Column::Gemini { 400 } else { used_up }),
        "status-503" | "status-529" => Some(overloaded),
        "error-first" => Some(match column {
            // It says its status; OpenAI's dialects say none there.
            Column::Anthropic | Column::Gemini => overloaded,
            Column::Open | Column::OpenAi | Column::Compatible => 502,
        }),
        // An engine's own word, in its own dialect.
        "status-500" if column == Column::Open && client.dialect == Dialect::Chat => Some(500),
        "bad-key" | "status-403" | "status-404" | "status-500" => Some(502),
        "error-in-200" | "hang-up" | "html" | "wrong-type" => Some(502),
        // Those that are for the scenarios of retries, and those within a stream.
        "limited-retry-after-ms" | "once-limited-retry-after-ms" => None,
        "error-in-stream" | "truncated" | "cut" | "invalid-json" => None,
        limited if limited.starts_with("limited-") => Some(429),
        other => panic!("no such fault: {other}"),
    };
    let faults = match column {
        Column::Open => open_faults(),
        provider => provider_faults(provider).into_iter().map(|fault| fault.name).collect(),
    };
    let told = faults.into_iter().filter_map(|fault| Some((fault.to_owned(), status(fault)?)));
    told.chain([("no-such-behaviour".to_owned(), 404)]).collect()
}

/// By fault, the status of the error that ends a stream; a dialect may not say it.
pub fn broken(column: Column) -> Vec<(String, u16)> {
    let said = match column {
        Column::Anthropic | Column::Gemini => 503,
        Column::Open | Column::OpenAi | Column::Compatible => 502,
    };
    [("error-in-stream", said), ("truncated", 502), ("cut", 502), ("invalid-json", 502)]
        .map(|(fault, status)| (fault.to_owned(), status))
        .to_vec()
}
