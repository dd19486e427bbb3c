//! Both lanes from end to end.

mod answers;
mod bounds;
mod bugs;
mod clouds;
mod crossing;
mod documents;
mod streams;

use std::time::Duration;

use serde_json::{Value, json};

use super::{Body, Door, Ended, Lane, Observed, Operation, Outbound, Speaks, Stamp, StreamBounds, read};
use crate::anthropic::{ModelProfile, ThinkingForm};
use crate::canonical::{Dialect, Failure, Took, Unsupported};
use crate::edit::splice;
use crate::gemini::{Framing, Upstream};

pub(super) const PROFILE: ModelProfile = ModelProfile {
    default_max_tokens: Some(4_096),
    thinking: ThinkingForm::Adaptive,
    sampling: true,
    system_turns: false,
};

const SSE: Operation = Operation::StreamGenerateContent { framing: Framing::Sse };
const ARRAY: Operation = Operation::StreamGenerateContent { framing: Framing::Array };

const LIMIT: StreamBounds = StreamBounds { event_bytes: 1 << 20, answer_bytes: 4 << 20 };

pub(super) fn upstreams() -> [Speaks; 4] {
    [Speaks::openai(), Speaks::engine(), Speaks::anthropic(PROFILE), Speaks::gemini(Upstream::default())]
}

/// The same, and those that clouds serve.
pub(super) fn everyone() -> Vec<Speaks> {
    let clouds = [
        Speaks::bedrock("meta.llama3-3-70b-instruct-v1:0"),
        Speaks::bedrock("us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        Speaks::vertex("claude-sonnet-4-5@20250929"),
        Speaks::vertex("gemini-2.5-pro"),
    ];
    upstreams().into_iter().chain(clouds).collect()
}

/// The upstream that takes an operation as it comes.
fn native(operation: Operation) -> Speaks {
    everyone().into_iter().find(|speaks| speaks.takes(operation)).expect("someone takes it")
}

fn stamp() -> Stamp {
    let took = Took::new(|| Duration::from_millis(7));
    Stamp { unique: "1".into(), created: 7, took, prompt_tokens: None }
}

/// A request that each operation takes, for the model `ns/m`.
fn question(operation: Operation, stream: bool) -> Value {
    match operation {
        Operation::ChatCompletions => json!({
            "model": "ns/m", "stream": stream, "messages": [{"role": "user", "content": "q"}],
            "stream_options": {"include_usage": true},
        }),
        Operation::Completions => json!({"model": "ns/m", "stream": stream, "prompt": "q"}),
        Operation::Responses => json!({"model": "ns/m", "stream": stream, "input": "q"}),
        Operation::Embeddings => json!({"model": "ns/m", "input": ["a", "b"]}),
        Operation::Rerank => json!({"model": "ns/m", "query": "q", "documents": ["a"]}),
        Operation::Messages => json!({
            "model": "ns/m", "stream": stream, "max_tokens": 9, "messages": [{"role": "user", "content": "q"}],
        }),
        Operation::CountMessageTokens | Operation::Tokenize => {
            json!({"model": "ns/m", "messages": [{"role": "user", "content": "q"}]})
        }
        Operation::GenerateContent | Operation::StreamGenerateContent { .. } | Operation::CountTokens => {
            json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}]})
        }
        Operation::Converse | Operation::ConverseStream => {
            json!({"messages": [{"role": "user", "content": [{"text": "q"}]}], "inferenceConfig": {"maxTokens": 9}})
        }
        Operation::CountConverseTokens => {
            json!({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "q"}]}]}}})
        }
        // Nobody asks it.
        Operation::Predict => json!({}),
        Operation::EmbedContent => json!({"content": {"parts": [{"text": "a"}]}}),
        Operation::BatchEmbedContents => json!({"requests": [
            {"model": "models/ns/m", "content": {"parts": [{"text": "a"}]}},
            {"model": "models/ns/m", "content": {"parts": [{"text": "b"}]}},
        ]}),
    }
}

fn at(operation: Operation) -> Door<'static> {
    let in_path = matches!(operation.dialect(), Dialect::Gemini | Dialect::Converse);
    Door { operation, model_in_path: in_path.then_some("ns/m".into()) }
}

fn ask(operation: Operation, body: &Value, speaks: &Speaks) -> Result<Outbound, Failure> {
    let text = body.to_string();
    read(&at(operation), text.as_bytes())?.outbound(speaks, "up", Unsupported::Refuse, &[])
}

/// The body that goes upstream.
fn sent(body: &Value, outbound: &Outbound) -> Value {
    let bytes = match &outbound.body {
        Body::Edited(edits) => splice(&body.to_string(), edits),
        Body::Written(bytes) => bytes.clone(),
    };
    serde_json::from_slice(&bytes).expect("JSON")
}

fn lane(operation: Operation, stream: bool, speaks: &Speaks) -> Lane {
    ask(operation, &question(operation, stream), speaks).expect("a way").lane
}

/// A stream of an upstream's dialect as the upstream of `lane` frames it.
fn framed(lane: &Lane, bytes: Vec<u8>) -> Vec<u8> {
    if lane.upstream_media_type() == lane.upstream().stream_media_type() {
        return bytes;
    }
    let mut out = Vec::new();
    for event in String::from_utf8(bytes).expect("text").split("\n\n") {
        let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
        let bytes = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, data);
        crate::eventstream::event("chunk", &json!({"bytes": bytes, "p": "abc"}).to_string(), &mut out);
    }
    out
}

/// What a client gets of a stream that comes in these pieces, and what was observed: at the end, with all pieces summed.
fn streamed(lane: Lane, pieces: &[&[u8]]) -> (String, Observed) {
    let (out, observed) = streamed_bytes(lane, pieces);
    (String::from_utf8(out).expect("UTF-8"), observed)
}

/// The same, in a framing that is no text.
fn streamed_bytes(lane: Lane, pieces: &[&[u8]]) -> (Vec<u8>, Observed) {
    let mut stream = lane.stream(&stamp(), LIMIT);
    let mut out = Vec::new();
    let mut count = 0;
    for piece in pieces {
        count += stream.push(piece, &mut out).pieces;
    }
    let last = stream.finish(&mut out);
    let observed = Observed { pieces: count + last.pieces, ..last };
    (out, observed)
}

fn failed(observed: &Observed) -> &Failure {
    match &observed.ended {
        Some(Ended::Failed(failure)) => failure,
        other => panic!("it did not fail: {other:?}"),
    }
}
