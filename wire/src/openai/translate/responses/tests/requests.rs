use proptest::prelude::*;
use serde_json::{Value, json};

use crate::canonical::{
    Dialect, Document, Image, Inexpressible, Joining, MediaSource, Part, Provider, Request, Role, Signature,
    Text, Thinking, ToolCall, ToolResult, Turn, Unsupported, seal,
};
use crate::openai::parse;
use crate::openai::responses::ResponsesRequest;
use crate::openai::translate::Server;
use crate::openai::translate::chat;
use crate::openai::translate::responses::request::{from_canonical, to_canonical};

fn read(body: &Value) -> Request {
    to_canonical(parse(body.to_string().as_bytes()).expect("parses")).expect("makes sense")
}

fn written(request: &Request) -> Result<Value, Inexpressible> {
    from_canonical(request, Unsupported::Refuse).map(|translated| json!(translated.message))
}

fn with(fields: Value) -> Value {
    let mut body = json!({"model": "m", "input": "x"});
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

#[test]
fn what_needs_a_store_is_refused_by_name() {
    for (body, field) in [
        (with(json!({"previous_response_id": "resp_0"})), "previous_response_id"),
        (with(json!({"store": true})), "store"),
        (with(json!({"background": true})), "background"),
        (with(json!({"conversation": "conv_1"})), "conversation"),
        (with(json!({"prompt": {"id": "pmpt_1"}})), "prompt"),
        (with(json!({"input": [{"type": "item_reference", "id": "msg_1"}]})), "input[0].id"),
    ] {
        let error = to_canonical(parse(body.to_string().as_bytes()).expect("parses")).expect_err(field);
        assert_eq!(error.field, field);
        assert!(error.problem.contains("nothing is stored here"), "{error}");
    }
    let harmless =
        with(json!({"store": false, "background": false, "conversation": null, "truncation": "disabled"}));
    assert!(read(&harmless).foreign.is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let item = |item: Value| with(json!({"input": [item]}));
    for (body, start) in [
        (item(json!({"role": "robot", "content": "x"})), "`input[0].role`: must be user"),
        (item(json!({"content": "x"})), "`input[0].role`: is missing"),
        (item(json!({"type": "function_call", "name": "f"})), "`input[0].call_id`: is missing"),
        (item(json!({"type": "function_call", "call_id": "c"})), "`input[0].name`: is missing"),
        (item(json!({"type": "function_call_output", "output": "x"})), "`input[0].call_id`: is missing"),
        (
            item(json!({"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]})),
            "`input[0].content[0].image_url`: a data URL",
        ),
        (
            item(
                json!({"role": "user", "content": [{"type": "input_file", "file_url": "u", "file_id": "f"}]}),
            ),
            "`input[0].content[0]`: must say one place",
        ),
        (item(json!({"role": "user", "content": 7})), "`input[0].content`: invalid type"),
        (with(json!({"tools": [{"type": "function"}]})), "`tools[0].name`: must name"),
        (with(json!({"text": {"format": {"type": "xml"}}})), "`text.format.type`: must be"),
        (with(json!({"reasoning": {"effort": "harder"}})), "`reasoning.effort`: must be"),
        (with(json!({"reasoning": {"summary": "long"}})), "`reasoning.summary`: must be"),
    ] {
        let error =
            to_canonical(parse(body.to_string().as_bytes()).expect("parses")).expect_err(start).to_string();
        assert!(error.starts_with(start), "{error}");
    }
}

/// Items of one answer come to a chat server as one message, with the calls' results after it.
#[test]
fn a_conversation_in_items_reaches_a_chat_server() {
    let request = read(&json!({"model": "m", "instructions": "s", "input": [
        {"role": "user", "content": "u"},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "t", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1.0}"},
        {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
    ]}));
    let sent =
        chat::request::from_canonical(&request, Server::OpenAi, Unsupported::Refuse).expect("expressible");
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    assert_eq!(
        json!(sent.message.messages),
        json!([
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "t", "tool_calls": [call("c1", "{\"a\": 1.0}"), call("c2", "{}")]},
            {"role": "tool", "content": "1", "tool_call_id": "c1"},
            {"role": "tool", "content": "2", "tool_call_id": "c2"},
        ])
    );
}

#[test]
fn thinking_that_openai_did_not_sign_is_left_out_by_its_item() {
    let request = read(&json!({"model": "m", "input": [
        {"role": "user", "content": "u"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}]},
    ]}));
    let sent = from_canonical(&request, Unsupported::Refuse).expect("not refused");
    assert_eq!(sent.dropped, ["input[1]"]);
    let joined = request.joined(Joining::Answers);
    assert_eq!(joined.len(), 2);
}

#[test]
fn signatures_of_others_come_back_to_their_parts() {
    let gemini = |data: &str| Signature { provider: Provider::Gemini, data: data.into() };
    let sealed_call = seal::seal_call_id("c1", Some(&gemini("call")));
    let sealed_text = super::super::markers::seal_text(&gemini("text"));
    let sealed_thought = super::super::markers::seal_thinking(&gemini("thought"));
    let reasoning = |data: &str, summary: Value| json!({"type": "reasoning", "id": "rs", "summary": summary, "encrypted_content": data});
    let request = read(&json!({"model": "m", "input": [
        reasoning(&sealed_thought, json!([{"type": "summary_text", "text": "hm"}])),
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "t"}]},
        reasoning(&sealed_text, json!([])),
        {"type": "function_call", "call_id": sealed_call, "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": sealed_call, "output": "1"},
    ]}));
    let parts: Vec<Part> = request.turns.iter().flat_map(|turn| turn.parts.clone()).collect();
    let call = ToolCall {
        id: "c1".into(),
        name: "f".into(),
        arguments: "{}".into(),
        signature: Some(gemini("call")),
        cache: None,
    };
    let result = ToolResult { call_id: "c1".into(), parts: vec![Part::text("1")], ..ToolResult::default() };
    assert_eq!(
        parts,
        [
            Part::Thinking(Thinking {
                text: "hm".into(),
                signature: Some(gemini("thought")),
                id: Some("rs".into())
            }),
            Part::Text(Text { text: "t".into(), signature: Some(gemini("text")), ..Text::default() }),
            Part::ToolCall(call),
            Part::ToolResult(result),
        ]
    );
}

#[test]
fn what_responses_lacks_is_refused_by_the_callers_name() {
    let chat = |fields: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x", "name": "n"}]});
        if !fields.is_null() {
            body["messages"][0]["name"] = Value::Null;
        }
        for (name, value) in fields.as_object().cloned().unwrap_or_default() {
            body[name] = value;
        }
        chat::request::to_canonical(parse(body.to_string().as_bytes()).expect("parses")).expect("makes sense")
    };
    for (fields, field) in [
        (Value::Null, "messages[0].name"),
        (json!({"seed": 1}), "seed"),
        (json!({"stop": "a"}), "stop"),
        (json!({"n": 2}), "n"),
        (json!({"presence_penalty": 1.0}), "presence_penalty"),
        (json!({"frequency_penalty": 1.0}), "frequency_penalty"),
        (json!({"top_k": 3}), "top_k"),
        (json!({"logit_bias": {"1": 1}}), "logit_bias"),
    ] {
        let request = chat(fields);
        let error = written(&request).expect_err(field);
        assert_eq!((error.field.as_str(), error.dialect), (field, Dialect::OpenAiResponses));
        assert_eq!(from_canonical(&request, Unsupported::Drop).expect("dropped").dropped, [field]);
    }
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let sent = written(&chat(json!({"tools": tool}))).expect("expressible");
    assert_eq!(sent["tools"][0]["strict"], json!(false), "absent would mean strict there");
    let common = chat(json!({"n": 1, "service_tier": "flex", "presence_penalty": 0.0, "verbosity": "low"}));
    let sent = written(&common).expect("expressible");
    assert_eq!((&sent["service_tier"], &sent["text"]["verbosity"]), (&json!("flex"), &json!("low")));
}

#[test]
fn a_documents_context_and_citations_are_refused_by_their_name() {
    let document = |context: Option<&str>, citations| {
        Part::Document(Document {
            source: MediaSource::Url("https://a/b.pdf".into()),
            title: None,
            context: context.map(str::to_owned),
            citations,
            cache: None,
        })
    };
    let elsewhere = MediaSource::File { provider: Provider::Anthropic, id: "file_1".into() };
    let image = Part::Image(Image { source: elsewhere, detail: None, cache: None });
    for (part, field) in [
        (document(Some("c"), None), "messages[2].content[1].context"),
        (document(None, Some(true)), "messages[2].content[1].citations"),
        (image, "messages[2].content[1]"),
    ] {
        let mut request = Request::new(Dialect::Anthropic, "m");
        let parts = vec![Part::text("a"), part];
        request.turns = vec![Turn { role: Role::User, parts, name: None, place: 2 }];
        assert_eq!(written(&request).expect_err(field).field, field);
        assert_eq!(from_canonical(&request, Unsupported::Drop).expect("dropped").dropped, [field]);
    }
}

/// An upstream stores nothing, and is asked for encrypted reasoning only where the model may reason: one that does not
/// refuses to be asked.
#[test]
fn an_upstream_stores_nothing() {
    let mut request = Request::new(Dialect::Anthropic, "m");
    request.turns = vec![Turn { role: Role::User, parts: vec![Part::text("x")], name: None, place: 0 }];
    let sent = written(&request).expect("expressible");
    assert_eq!((&sent["store"], sent.get("include")), (&json!(false), None));
    request.thinking = Some(crate::canonical::ThinkingRequest::default());
    let sent = written(&request).expect("expressible");
    assert_eq!(sent["include"], json!(["reasoning.encrypted_content"]));
}

fn text() -> impl Strategy<Value = String> {
    "[a-z €😀\"\\\\]{1,12}"
}

fn input_part() -> impl Strategy<Value = Value> + Clone {
    prop_oneof![
        text().prop_map(|text| json!({"type": "input_text", "text": text})),
        Just(json!({"type": "input_image", "image_url": "data:image/png;base64,iV+/", "detail": "high"})),
        Just(json!({"type": "input_image", "image_url": "https://a/b.png"})),
        Just(json!({"type": "input_image", "file_id": "file-1"})),
        Just(
            json!({"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"})
        ),
        Just(json!({"type": "input_file", "file_url": "https://a/b.pdf"})),
        Just(json!({"type": "input_hologram", "x": 1})),
    ]
}

fn output_part() -> impl Strategy<Value = Value> {
    let citation =
        json!({"type": "url_citation", "start_index": 0, "end_index": 1, "url": "u", "title": "t"});
    let file = json!({"type": "file_citation", "file_id": "f", "index": 3, "filename": "n"});
    prop_oneof![
        text().prop_map(|text| json!({"type": "output_text", "text": text, "annotations": []})),
        text().prop_map(move |text| {
            json!({"type": "output_text", "text": text, "annotations": [citation.clone(), file.clone()]})
        }),
        text().prop_map(|why| json!({"type": "refusal", "refusal": why})),
    ]
}

fn item() -> impl Strategy<Value = Value> {
    let inputs = proptest::collection::vec(input_part(), 1..4);
    let outputs = proptest::collection::vec(output_part(), 1..4);
    let id = "[a-z0-9_-]{1,8}";
    prop_oneof![
        inputs.clone().prop_map(|content| json!({"type": "message", "role": "user", "content": content})),
        outputs.prop_map(|content| json!({"type": "message", "role": "assistant", "content": content})),
        text().prop_map(|text| {
            json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": text}]})
        }),
        (id, text(), proptest::option::of(text())).prop_map(|(id, data, summary)| {
            let summary: Vec<Value> =
                summary.into_iter().map(|text| json!({"type": "summary_text", "text": text})).collect();
            json!({"type": "reasoning", "id": id, "summary": summary, "encrypted_content": data})
        }),
        (id, prop_oneof![Just("{}"), Just("{\"a\": 1.0, \"b\":[]}"), Just("{\"bro")]).prop_map(
            |(id, arguments)| {
                json!({"type": "function_call", "call_id": id, "name": "f", "arguments": arguments})
            }
        ),
        (id, text())
            .prop_map(|(id, text)| json!({"type": "function_call_output", "call_id": id, "output": text})),
        (id, inputs).prop_map(|(id, first)| {
            let parts = [first, vec![json!({"type": "input_text", "text": "x"})]].concat();
            json!({"type": "function_call_output", "call_id": id, "output": parts})
        }),
        id.prop_map(
            |id| json!({"type": "web_search_call", "id": id, "status": "completed", "action": {"q": 1}})
        ),
    ]
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    proptest::sample::subsequence(
        vec![
            ("max_output_tokens", json!(9)),
            ("temperature", json!(1.5)),
            ("top_p", json!(0.25)),
            (
                "tools",
                json!([
                    {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true},
                    {"type": "function", "name": "g", "parameters": null},
                {"type": "web_search", "x": 1},
                ]),
            ),
            (
                "tool_choice",
                json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}),
            ),
            ("parallel_tool_calls", json!(false)),
            (
                "text",
                json!({"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": true}, "verbosity": "low"}),
            ),
            ("user", json!("u")),
            ("metadata", json!({"k": "v"})),
            ("service_tier", json!("flex")),
            ("prompt_cache_key", json!("k")),
            ("max_tool_calls", json!(3)),
            ("truncation", json!("auto")),
            ("field_of_tomorrow", json!([{"a": null}])),
        ],
        0..=14,
    )
}

fn choices() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    proptest::sample::select(vec![
        vec![],
        vec![("stream", json!(true))],
        vec![("tool_choice", json!("required"))],
        vec![("tool_choice", json!({"type": "function", "name": "f"}))],
        vec![("tool_choice", json!({"type": "web_search"}))],
        vec![("include", json!(["message.output_text.logprobs"])), ("top_logprobs", json!(3))],
        vec![("include", json!(["file_search_call.results"]))],
    ])
}

proptest! {
    /// Nothing that Responses can say is lost on the way through the canonical form, its own items included.
    #[test]
    fn a_request_comes_back(
        items in proptest::collection::vec(item(), 1..6),
        fields in fields(),
        choices in choices(),
    ) {
        let mut body = json!({"model": "m", "input": items, "store": false});
        for (name, value) in fields.into_iter().chain(choices) {
            body[name] = value;
        }
        let reasons = items_reason(&body["input"]);
        let given: ResponsesRequest = parse(body.to_string().as_bytes()).expect("parses");
        let mut back = written(&to_canonical(given).expect("makes sense")).expect("its own dialect");
        if reasons {
            // Asked for, so that the answer's reasoning can come back too.
            let include = back["include"].as_array_mut().expect("an include");
            include.retain(|what| what != "reasoning.encrypted_content");
            if include.is_empty() {
                back.as_object_mut().expect("an object").remove("include");
            }
        }
        prop_assert_eq!(back, body);
    }
}

fn items_reason(items: &Value) -> bool {
    items.as_array().is_some_and(|items| items.iter().any(|item| item["type"] == "reasoning"))
}
