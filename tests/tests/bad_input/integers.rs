//! Every integer of every request, at the ends of what integers are and beyond.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use weighbridge_tests::door::{Answer, Client, Form};

use super::bed::{Bed, Upstream};
use super::call::{Call, HERE};

/// The least, -1, 0 and the most of the integers that requests are read into, one more than each most, and what is none.
const NUMBERS: [&str; 16] = [
    "-9223372036854775808",
    "-9223372036854775809",
    "-2147483648",
    "-1",
    "0",
    "1",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "-1e400",
];

/// What a number that does not fit becomes where it is wrapped, cut or held at the end of the range.
const MANGLED: [&str; 9] = [
    "-9223372036854775808",
    "-2147483648",
    "-1",
    "2147483647",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
];

/// Fields with an integer each, in place of those of the question.
fn fields(call: Call) -> Vec<Value> {
    let config = |name: &str| {
        let mut config = json!({"maxOutputTokens": 4});
        config[name] = json!(HERE);
        json!({"generationConfig": config})
    };
    match call {
        Call::Talk(Form::Chat) => vec![
            json!({"max_tokens": HERE}),
            json!({"max_completion_tokens": HERE}),
            json!({"n": HERE}),
            json!({"seed": HERE}),
            json!({"top_k": HERE}),
            json!({"logprobs": true, "top_logprobs": HERE}),
            json!({"logprobs": HERE}),
            json!({"best_of": HERE}),
            json!({"logit_bias": {"5": HERE}}),
            json!({"max_tool_calls": HERE}),
        ],
        Call::Talk(Form::Responses) => vec![
            json!({"max_output_tokens": HERE}),
            json!({"top_logprobs": HERE, "include": ["message.output_text.logprobs"]}),
            json!({"max_tool_calls": HERE}),
            json!({"input": [
                {"type": "message", "role": "user", "content": "hi"},
                {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [
                    {"type": "output_text", "text": "ho", "annotations": [
                        {"type": "url_citation", "url": "https://e.example", "title": "t", "start_index": HERE,
                         "end_index": HERE}]}]},
                {"type": "message", "role": "user", "content": "hi"}]}),
        ],
        Call::Talk(Form::Messages) => vec![
            json!({"max_tokens": HERE}),
            json!({"top_k": HERE}),
            json!({"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": HERE}}),
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": HERE}]}),
            json!({"messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [{"type": "text", "text": "ho", "citations": [
                    {"type": "char_location", "cited_text": "o", "document_index": HERE, "document_title": null,
                     "start_char_index": HERE, "end_char_index": HERE}]}]},
                {"role": "user", "content": "hi"}]}),
        ],
        Call::Talk(Form::Events | Form::Array) => vec![
            config("maxOutputTokens"),
            config("topK"),
            config("candidateCount"),
            config("seed"),
            json!({"generationConfig": {"maxOutputTokens": 4, "responseLogprobs": true, "logprobs": HERE}}),
            json!({"generationConfig": {"maxOutputTokens": 4, "thinkingConfig": {"thinkingBudget": HERE}}}),
        ],
        Call::Converse => vec![
            json!({"inferenceConfig": {"maxTokens": HERE}}),
            json!({"additionalModelRequestFields": {"top_k": HERE}}),
            json!({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": HERE}}}),
        ],
        Call::CountConverse => {
            let counted = |field: Value| {
                let mut converse = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]});
                converse["additionalModelRequestFields"] = field;
                json!({"input": {"converse": converse}})
            };
            vec![
                counted(json!({"top_k": HERE})),
                counted(json!({"thinking": {"type": "enabled", "budget_tokens": HERE}})),
            ]
        }
        Call::Completions => vec![
            json!({"max_tokens": HERE}),
            json!({"n": HERE}),
            json!({"best_of": HERE}),
            json!({"logprobs": HERE}),
            json!({"seed": HERE}),
            json!({"top_k": HERE}),
            json!({"prompt": [HERE]}),
        ],
        Call::Embeddings => vec![json!({"dimensions": HERE}), json!({"input": [HERE]})],
        Call::EmbedContent => vec![json!({"outputDimensionality": HERE})],
        Call::BatchEmbedContents => Vec::new(),
        Call::CountMessages => vec![json!({"thinking": {"type": "enabled", "budget_tokens": HERE}})],
        Call::CountContents => vec![json!({"generateContentRequest": {
            "model": "models/@model@", "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
            "generationConfig": {"maxOutputTokens": HERE}}})],
        Call::Rerank => vec![json!({"top_n": HERE}), json!({"max_chunks_per_doc": HERE})],
    }
}

/// The fields of a batch name its model.
fn of(call: Call, model: &str) -> Vec<Value> {
    let mut fields = fields(call);
    if call == Call::BatchEmbedContents {
        let request = json!({"model": format!("models/{model}"), "content": {"parts": [{"text": "hi"}]},
                             "outputDimensionality": HERE});
        fields.push(json!({"requests": [request]}));
    }
    let named = |field: Value| field.to_string().replace("@model@", model);
    fields.into_iter().map(|field| serde_json::from_str(&named(field)).expect("JSON")).collect()
}

/// The numbers of a body, as they are written.
fn numbers(body: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(body);
    let parts =
        text.split(|letter: char| !letter.is_ascii_digit() && !matches!(letter, '-' | '.' | 'e' | 'E' | '+'));
    parts.map(str::to_owned).collect()
}

/// A number is answered or refused in the door's own shape by whoever knows its range, and never becomes another.
#[tokio::test]
async fn every_integer_of_a_request_is_answered_or_refused_and_never_becomes_another() {
    let bed = Bed::new().await;
    for upstream in Upstream::ALL {
        for (call, stream) in Call::ways().chain([(Call::Converse, true)]) {
            let model = bed.model(upstream, call);
            let mut client = Client::connect(bed.door.address).await.expect("connected");
            // Who refuses everything would pass below.
            if matches!(call, Call::Talk(_) | Call::Completions | Call::Converse) {
                let body = Value::Object(call.body(model, stream)).to_string();
                let answer = client.post(&call.path(model, stream), body).await.expect("answered");
                assert_eq!(answer.status, 200, "{call:?} at {upstream:?}: {:?}", answer.body);
            }
            for field in of(call, model) {
                for number in NUMBERS {
                    let what = format!("{call:?} at {upstream:?}, stream {stream}: {field} of {number}");
                    let asked = bed.asked(upstream);
                    let body = call.with(model, stream, &field, number);
                    let answer = client.post(&call.path(model, stream), body).await;
                    let answer = answer.unwrap_or_else(|error| panic!("{what}: no answer: {error:#}"));
                    match answer.status.as_u16() {
                        200 => is_an_answer(call, stream, &answer, &what),
                        400 => {
                            call.refusal(&answer, &what);
                        }
                        other => panic!("{what}: {other} {:?}", answer.text()),
                    }
                    if let Some(sent) = bed.sent(upstream, asked) {
                        let sent = numbers(&sent);
                        let mangled =
                            MANGLED.iter().find(|mangled| **mangled != number && sent.contains(**mangled));
                        assert_eq!(mangled, None, "{what}: {sent:?}");
                    }
                }
            }
        }
    }
}

/// What a 200 holds is one answer in the door's dialect, whole or as events.
fn is_an_answer(call: Call, stream: bool, answer: &Answer, what: &str) {
    if call == Call::Converse && stream {
        return are_frames(&answer.body, what);
    }
    let text = answer.text().expect("text");
    let events = match call {
        Call::Talk(form) if stream => form.events(text).unwrap_or_else(|error| panic!("{what}: {error:#}")),
        _ if stream => Form::Chat.events(text).unwrap_or_else(|error| panic!("{what}: {error:#}")),
        _ => vec![serde_json::from_str(text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"))],
    };
    assert!(!events.is_empty() && events.iter().all(|event| event["error"].is_null()), "{what}: {text}");
}

/// AWS's frames, each of which begins with its length: events to their end, and no exception.
fn are_frames(mut body: &[u8], what: &str) {
    let holds = |frame: &[u8], word: &str| frame.windows(word.len()).any(|part| part == word.as_bytes());
    let mut last = [&b""[..]; 2];
    while let Some(length) = body.first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (frame, rest) = body.split_at_checked(length).unwrap_or_else(|| panic!("{what}: half a frame"));
        assert!(!holds(frame, ":exception-type"), "{what}: {}", String::from_utf8_lossy(frame));
        (last, body) = ([last[1], frame], rest);
    }
    assert!(body.is_empty() && holds(last[0], "messageStop") && holds(last[1], "metadata"), "{what}");
}

/// A page's size in each dialect that has pages.
#[tokio::test]
async fn the_size_of_a_page_of_models_is_answered_or_refused_by_its_name() {
    let bed = Bed::new().await;
    let anthropic: &[(&'static str, &str)] = &[("anthropic-version", "2023-06-01")];
    for (path, name, headers, call) in [
        ("/v1/models", "limit", anthropic, Call::Talk(Form::Messages)),
        ("/v1beta/models", "pageSize", &[], Call::Talk(Form::Events)),
        ("/v1/models", "limit", &[], Call::Talk(Form::Chat)),
    ] {
        for number in NUMBERS {
            let what = format!("{path}?{name}={number} of {headers:?}");
            let mut client = Client::connect(bed.door.address).await.expect("connected");
            let asked = client.open(Method::GET, &format!("{path}?{name}={number}"), headers, "").await;
            let answer = asked.expect("answered").whole().await.expect("whole");
            let is_a_size = number.parse::<u64>().is_ok_and(|number| number > 0);
            // OpenAI's list has no pages.
            if is_a_size || call == Call::Talk(Form::Chat) {
                let list = answer.json().expect("JSON");
                let listed = list["data"].as_array().or_else(|| list["models"].as_array());
                let least = if number == "1" && call != Call::Talk(Form::Chat) { 1 } else { 2 };
                assert!(listed.is_some_and(|listed| listed.len() >= least), "{what}: {list}");
            } else {
                assert_eq!(answer.status, 400, "{what}");
                assert!(call.refusal(&answer, &what).contains(name), "{what}: {:?}", answer.text());
            }
        }
    }
}
