use serde_json::{Value, json};

use super::{StreamWriter, request, response};
use crate::canonical::{
    Choice, Dialect, Envelope, Logprobs, Part, Response, Stop, StopReason, Thinking, TokenLogprob, ToolCall,
    Unsupported, Usage, WriteStream, play,
};
use crate::openai::parse;
use crate::openai::translate::Server;
use crate::openai::translate::chat;

fn envelope() -> Envelope {
    Envelope { id: "cmpl-1".into(), created: 7, model: "m".into() }
}

fn answer(parts: Vec<Part>) -> Response {
    let token = |token: &str| TokenLogprob {
        token: token.into(),
        logprob: -0.5,
        bytes: None,
        id: None,
        alternatives: vec![],
    };
    Response {
        origin: Dialect::Anthropic,
        id: String::new(),
        created: None,
        model: String::new(),
        choices: vec![Choice {
            index: 0,
            parts,
            stop: Some(Stop::new(StopReason::MaxTokens)),
            logprobs: Some(Logprobs { content: vec![token("€"), token("ab")], refusal: vec![] }),
        }],
        usage: Some(Usage { input_uncached: 3, output_visible: 2, ..Usage::default() }),
        foreign: Vec::new(),
    }
}

#[test]
fn a_prompt_is_a_users_turn_and_every_parameter_passes() {
    let body = json!({"model": "m", "prompt": "p", "max_tokens": 5, "temperature": 0.5, "top_p": 0.25, "seed": 1,
        "n": 2, "stop": ["s"], "presence_penalty": 1.0, "frequency_penalty": 1.0, "logprobs": 3, "user": "u",
        "stream": true, "stream_options": {"include_usage": true}});
    let request = request::to_canonical(parse(body.to_string().as_bytes()).expect("parses")).expect("reads");
    let sent =
        chat::request::from_canonical(&request, Server::OpenAi, Unsupported::Refuse).expect("expressible");
    assert_eq!(
        json!(sent.message),
        json!({
            "model": "m", "messages": [{"role": "user", "content": "p"}], "max_completion_tokens": 5, "temperature": 0.5,
            "top_p": 0.25, "seed": 1, "n": 2, "stop": ["s"], "presence_penalty": 1.0, "frequency_penalty": 1.0,
            "logprobs": true, "top_logprobs": 3, "user": "u", "stream": true,
            "stream_options": {"include_usage": true},
        })
    );
}

#[test]
fn what_no_conversation_holds_is_refused_by_name() {
    let read = |fields: &str| {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        request::to_canonical(parse(body.as_bytes()).expect("parses"))
    };
    for fields in [r#""prompt":["a","b"]"#, r#""prompt":[1]"#, r#""prompt":[[1],[2]]"#] {
        assert_eq!(read(fields).expect_err(fields).field, "prompt");
    }
    assert!(read(r#""prompt":["a"]"#).is_ok());
    for field in ["echo", "best_of", "suffix"] {
        let value = if field == "echo" { "true" } else { "\"2\"" };
        let request = read(&format!(r#""prompt":"a","{field}":{value}"#)).expect("reads");
        let error =
            chat::request::from_canonical(&request, Server::OpenAi, Unsupported::Refuse).expect_err(field);
        assert_eq!(error.field, field);
    }
}

#[test]
fn an_answers_text_comes_back_and_thinking_is_reported() {
    let thinking = Part::Thinking(Thinking { text: "hm".into(), ..Thinking::default() });
    let response = answer(vec![thinking, Part::text("€"), Part::Refusal("ab".into())]);
    let written = response::from_canonical(&response, &envelope(), Unsupported::Refuse).expect("expressible");
    assert_eq!(written.dropped, ["content[0]"]);
    assert_eq!(
        json!(written.message),
        json!({
            "id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m",
            "choices": [{"index": 0, "text": "€ab", "finish_reason": "length", "logprobs": {
                "tokens": ["€", "ab"], "token_logprobs": [-0.5, -0.5], "top_logprobs": [{}, {}], "text_offset": [0, 1]}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        })
    );
}

#[test]
fn a_call_is_refused_streamed_or_not() {
    let response =
        answer(vec![Part::ToolCall(ToolCall { id: "c".into(), name: "f".into(), ..ToolCall::default() })]);
    let error = response::from_canonical(&response, &envelope(), Unsupported::Refuse).expect_err("a call");
    assert_eq!(error.field, "content[0]");
    let mut writer = StreamWriter::new(envelope(), false, Unsupported::Refuse);
    let refused = play(&response).iter().find_map(|event| writer.write(event, &mut Vec::new()).err());
    assert_eq!(refused, Some(error));
}

/// The pieces of a stream, put together, are the answer that was not streamed.
#[test]
fn a_stream_adds_up_to_the_answer() {
    let response = answer(vec![Part::text("€"), Part::text("ab")]);
    let mut writer = StreamWriter::new(envelope(), true, Unsupported::Refuse);
    let mut out = Vec::new();
    play(&response).iter().for_each(|event| writer.write(event, &mut out).expect("expressible"));
    let out = String::from_utf8(out).expect("UTF-8");
    let data: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (done, chunks) = data.split_last().expect("events");
    assert_eq!(*done, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_str(chunk).expect("JSON")).collect();
    let whole =
        response::from_canonical(&response, &envelope(), Unsupported::Refuse).expect("expressible").message;
    let whole = json!(whole);
    let of = |pointer: &str| chunks.iter().filter_map(|chunk| chunk.pointer(pointer)).collect::<Vec<_>>();
    let text: String = of("/choices/0/text").iter().filter_map(|text| text.as_str()).collect();
    assert_eq!(json!(text), whole["choices"][0]["text"]);
    let reasons: Vec<_> =
        of("/choices/0/finish_reason").into_iter().filter(|reason| !reason.is_null()).collect();
    assert_eq!(reasons, [&whole["choices"][0]["finish_reason"]]);
    let logprobs: Vec<_> =
        of("/choices/0/logprobs").into_iter().filter(|logprobs| !logprobs.is_null()).collect();
    assert_eq!(logprobs, [&whole["choices"][0]["logprobs"]]);
    let (last, earlier) = chunks.split_last().expect("chunks");
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    assert!(earlier.iter().all(|chunk| chunk["usage"].is_null()));
}
