use serde_json::{Value, json};

use super::super::proto_json::parse;
use super::*;
use crate::canonical::{
    Citation, CitationSource, Dialect, Envelope, Failure, FailureClass, Location, Mint, Part, Provider,
    RedactedThinking, Response, Signature, Span, Stop, StopReason, Text, Thinking, ToolCall, Unsupported,
};

fn envelope() -> Envelope {
    Envelope { id: "resp_1".into(), created: 7, model: "team/model".into() }
}

fn read(body: &Value) -> Result<Response, Failure> {
    to_canonical(parse(body.to_string().as_bytes()).expect("parses"), &mut Mint::new("s"))
}

fn write(response: &Response) -> Value {
    let written = from_canonical(response, &envelope(), Unsupported::Refuse).expect("expressible");
    serde_json::to_value(&written.message).expect("JSON")
}

fn answer(parts: Value, finish: &str) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish}]})
}

/// Envoy PR #1486: Gemini has no reason for calls, and a client that waits for one never runs its tools.
#[test]
fn finish_reason_wrong_for_tool_calls() {
    let parts =
        json!([{"text": "a"}, {"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "g"}}]);
    let response = read(&answer(parts, "STOP")).expect("reads");
    let choice = &response.choices[0];
    assert_eq!(choice.stop, Some(Stop::new(StopReason::ToolUse)));
    let calls: Vec<&ToolCall> = choice
        .parts
        .iter()
        .filter_map(|part| if let Part::ToolCall(call) = part { Some(call) } else { None })
        .collect();
    assert!(!calls[0].id.is_empty() && calls[0].id != calls[1].id, "minted, each its own");
    assert_eq!(calls[1].arguments, "{}");
    let plain = read(&answer(json!([{"text": "a"}]), "STOP")).expect("reads");
    assert_eq!(plain.choices[0].stop, Some(Stop::new(StopReason::EndTurn)));
    let cut = read(&answer(json!([{"functionCall": {"name": "f"}}]), "MAX_TOKENS")).expect("reads");
    assert_eq!(cut.choices[0].stop, Some(Stop::new(StopReason::MaxTokens)));
}

#[test]
fn a_blocked_prompt_has_no_candidates() {
    let body = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 4}});
    let response = read(&body).expect("reads");
    assert_eq!(response.choices.len(), 1);
    assert_eq!(response.choices[0].parts, []);
    assert_eq!(response.choices[0].stop, Some(Stop::new(StopReason::ContentFilter)));
    assert_eq!(response.usage.expect("usage").input(), 4);
}

/// litellm #24004 and its like: a failure with a status of 200 counted as an answer.
#[test]
fn a_200_that_is_a_failure() {
    let error = read(&json!({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}))
        .expect_err("error");
    assert_eq!((error.class, error.message.as_str()), (FailureClass::Overloaded, "busy"));
    let mut malformed = answer(json!([]), "MALFORMED_FUNCTION_CALL");
    malformed["candidates"][0]["finishMessage"] = "print(".into();
    let error = read(&malformed).expect_err("malformed");
    assert_eq!(
        (error.class, error.code.as_deref()),
        (FailureClass::Upstream, Some("MALFORMED_FUNCTION_CALL"))
    );
    assert!(error.message.contains("print("), "{}", error.message);
    assert_eq!(read(&json!({"modelVersion": "m"})).expect_err("nothing").class, FailureClass::Upstream);
}

#[test]
fn parts_keep_their_order_and_signatures_their_bytes() {
    let body = r#"{"candidates":[{"content":{"role":"model","parts":[
        {"text":"hm ","thought":true},{"text":"so","thought":true},
        {"text":"a"},{"text":"b"},{"text":"","thoughtSignature":"CiQB+/w="},
        {"functionCall":{"id":"c","name":"f","args":{"b": 1.0,  "a":1e2}},"thoughtSignature":"AAEC/+8="},
        {"inlineData":{"mimeType":"image/png","data":"AA=="},"thoughtSignature":"sig"},
        {"executableCode":{"language":"PYTHON","code":"1"}}
    ]},"finishReason":"STOP","index":0}],"modelVersion":"gemini-3","responseId":"r"}"#;
    let response = to_canonical(parse(body.as_bytes()).expect("parses"), &mut Mint::new("s")).expect("reads");
    assert_eq!((response.id.as_str(), response.model.as_str()), ("r", "gemini-3"));
    let parts = &response.choices[0].parts;
    let gemini = |data: &str| Some(Signature { provider: Provider::Gemini, data: data.into() });
    assert_eq!(parts[0], Part::Thinking(Thinking { text: "hm so".into(), ..Thinking::default() }));
    assert_eq!(parts[1], Part::text("ab"));
    assert_eq!(parts[2], Part::Text(Text { signature: gemini("CiQB+/w="), ..Text::default() }));
    let Part::ToolCall(call) = &parts[3] else { panic!("a call") };
    assert_eq!(call.arguments, r#"{"b": 1.0,  "a":1e2}"#);
    assert_eq!(call.signature, gemini("AAEC/+8="));
    assert_eq!((parts[4].kind(), parts[5].kind()), ("inlineData", "executableCode"));
    let written = from_canonical(&response, &envelope(), Unsupported::Refuse).expect("writes").message;
    let text = serde_json::to_string(&written).expect("JSON");
    for kept in [
        r#"{"text":"","thoughtSignature":"CiQB+/w="}"#,
        r#""args":{"b": 1.0,  "a":1e2}"#,
        r#""thoughtSignature":"AAEC/+8=""#,
        r#"{"thoughtSignature":"sig","inlineData":{"mimeType":"image/png","data":"AA=="}}"#,
        r#"{"executableCode":{"language":"PYTHON","code":"1"}}"#,
        r#""modelVersion":"team/model","responseId":"resp_1""#,
    ] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
}

#[test]
fn a_signed_text_is_joined_with_none() {
    let parts =
        json!([{"text": "a"}, {"text": "b", "thoughtSignature": "c2ln"}, {"text": "c"}, {"text": "d"}]);
    let response = read(&answer(parts, "STOP")).expect("reads");
    let signature = Some(Signature { provider: Provider::Gemini, data: "c2ln".into() });
    let signed = Part::Text(Text { text: "b".into(), signature, ..Text::default() });
    assert_eq!(response.choices[0].parts, [Part::text("a"), signed, Part::text("cd")]);
}

fn from_anthropic(parts: Vec<Part>) -> Response {
    let choice = crate::canonical::Choice {
        index: 0,
        parts,
        stop: Some(Stop::new(StopReason::ToolUse)),
        logprobs: None,
    };
    Response {
        origin: Dialect::Anthropic,
        id: "msg".into(),
        created: None,
        model: "claude".into(),
        choices: vec![choice],
        usage: None,
        foreign: Vec::new(),
    }
}

#[test]
fn another_providers_thinking_travels_in_gemini_slots() {
    let signature = Some(Signature { provider: Provider::Anthropic, data: "EqRk+/=".into() });
    let parts = vec![
        Part::Thinking(Thinking { text: "hm".into(), signature, id: None }),
        Part::RedactedThinking(RedactedThinking { provider: Provider::Anthropic, data: "Eo+/=".into() }),
        Part::ToolCall(ToolCall {
            id: "toolu_1".into(),
            name: "f".into(),
            arguments: "{}".into(),
            ..ToolCall::default()
        }),
    ];
    let written = write(&from_anthropic(parts.clone()));
    assert_eq!(written["candidates"][0]["finishReason"], "STOP");
    // What a client got, it sends back.
    let body = json!({"contents": [{"parts": [{"text": "q"}]}, written["candidates"][0]["content"]]});
    let request =
        super::super::request::to_canonical(parse(body.to_string().as_bytes()).expect("parses"), "m", false);
    assert_eq!(request.expect("reads").turns[1].parts, parts);
}

#[test]
fn broken_arguments_are_refused_whatever_the_policy() {
    let call = ToolCall { id: "c".into(), name: "f".into(), arguments: "{\"a".into(), ..ToolCall::default() };
    let response = from_anthropic(vec![Part::ToolCall(call)]);
    assert!(from_canonical(&response, &envelope(), Unsupported::Drop).is_err());
}

#[test]
fn citations_count_bytes_here_and_characters_there() {
    let mut body =
        answer(json!([{"text": "né."}, {"functionCall": {"name": "f"}}, {"text": "😀 ok"}]), "STOP");
    body["candidates"][0]["groundingMetadata"] = json!({
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"maps": {"uri": "https://m"}}],
        "groundingSupports": [
            {"segment": {"endIndex": 3, "text": "né"}, "groundingChunkIndices": [0]},
            {"segment": {"partIndex": 2, "startIndex": 5, "endIndex": 7, "text": "ok"}, "groundingChunkIndices": [0, 1]}
        ],
        "webSearchQueries": ["q"]
    });
    body["candidates"][0]["citationMetadata"] =
        json!({"citationSources": [{"startIndex": 4, "endIndex": 8, "uri": "https://b", "license": "MIT"}]});
    let response = read(&body).expect("reads");
    let cited = |part: usize| match &response.choices[0].parts[part] {
        Part::Text(text) => text.citations.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(cited(0)[0].span, Some(Span { start: 0, end: 2 }));
    let last: Vec<_> = cited(2).iter().map(|citation| citation.span).collect();
    assert_eq!(
        last,
        [Some(Span { start: 0, end: 1 }), Some(Span { start: 2, end: 4 }), Some(Span { start: 2, end: 4 })]
    );
    assert!(matches!(&cited(2)[2].source, CitationSource::Foreign { kind } if kind == "maps"));
    let written = write(&response);
    let grounding = &written["candidates"][0]["groundingMetadata"];
    assert_eq!(grounding["groundingChunks"][1], json!({"maps": {"uri": "https://m"}}));
    assert_eq!(
        grounding["groundingSupports"][1]["segment"],
        json!({"partIndex": 2, "startIndex": 5, "endIndex": 7, "text": "ok"})
    );
    assert_eq!(grounding["webSearchQueries"], json!(["q"]));
    assert_eq!(written["candidates"][0]["citationMetadata"]["citationSources"][0]["license"], "MIT");
}

#[test]
fn a_cited_document_is_a_retrieved_context() {
    let citation = |source| Citation { span: None, source, cited_text: Some("quoted".into()), foreign: None };
    let location = Location::Pages(Span { start: 1, end: 2 });
    let document = CitationSource::Document { index: 0, title: Some("T".into()), location };
    let text = Text { text: "a".into(), citations: vec![citation(document)], ..Text::default() };
    let written = write(&from_anthropic(vec![Part::Text(text)]));
    assert_eq!(
        written["candidates"][0]["groundingMetadata"]["groundingChunks"],
        json!([{"retrievedContext": {"title": "T", "text": "quoted"}}])
    );
    let foreign = citation(CitationSource::Foreign { kind: "search_result_location".into() });
    let text = Text { text: "a".into(), citations: vec![foreign], ..Text::default() };
    let written = from_canonical(&from_anthropic(vec![Part::Text(text)]), &envelope(), Unsupported::Refuse);
    assert_eq!(written.expect("not refused").dropped, ["choices[0].parts[0].citations"]);
}

#[test]
fn log_probabilities_have_their_mean() {
    let mut body = answer(json!([{"text": "ab"}]), "STOP");
    body["candidates"][0]["logprobsResult"] = json!({"chosenCandidates": [
        {"token": "a", "tokenId": 1, "logProbability": -0.5}, {"token": "b", "tokenId": 2, "logProbability": -1.5}]});
    let response = read(&body).expect("reads");
    assert_eq!(response.choices[0].logprobs.as_ref().expect("logprobs").content.len(), 2);
    let written = write(&response);
    assert_eq!(written["candidates"][0]["avgLogprobs"], -1.0);
    assert_eq!(written["candidates"][0]["logprobsResult"], body["candidates"][0]["logprobsResult"]);
}

#[test]
fn what_only_gemini_says_comes_back_to_its_clients() {
    let mut body = answer(json!([{"text": "a"}]), "STOP");
    body["candidates"][0]["safetyRatings"] = json!([{"category": "X", "probability": "LOW"}]);
    body["promptFeedback"] = json!({"safetyRatings": []});
    body["modelStatus"] = json!({"modelStage": "STABLE"});
    let response = read(&body).expect("reads");
    let written = write(&response);
    for path in ["/candidates/0/safetyRatings", "/promptFeedback/safetyRatings", "/modelStatus/modelStage"] {
        assert_eq!(written.pointer(path), body.pointer(path), "{path}");
        assert!(written.pointer(path).is_some(), "{path}");
    }
}
