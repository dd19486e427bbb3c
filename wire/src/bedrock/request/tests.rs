use serde_json::{Value, json};

use super::{from_canonical, to_canonical};
use crate::bedrock::parse;
use crate::canonical::{
    Amount, Dialect, Effort, Part, Provider, Request, Role, Signature, Text, Thinking, ThinkingRequest,
    ToolChoice, Turn, Unsupported,
};

fn read(body: &Value) -> Request {
    to_canonical(parse(body.to_string().as_bytes()).expect("parses"), "amazon.nova-pro-v1:0", false)
        .expect("makes sense")
}

fn unread(body: &Value) -> String {
    match parse(body.to_string().as_bytes()) {
        Ok(request) => to_canonical(request, "m", false).expect_err("makes no sense").field,
        Err(problem) => problem.field,
    }
}

fn write(request: &Request) -> (Value, Vec<String>) {
    let written = from_canonical(request, Unsupported::Refuse).expect("expressible");
    let text = serde_json::to_string(&written.message).expect("writes");
    (serde_json::from_str(&text).expect("JSON"), written.dropped)
}

fn refused(request: &Request) -> String {
    from_canonical(request, Unsupported::Refuse).expect_err("refused").field
}

/// What a client of AWS's sends, all of which Bedrock gets back as it was.
fn everything() -> Value {
    json!({
        "messages": [
            {"role": "user", "content": [
                {"text": "Look."},
                {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                {"document": {"format": "pdf", "name": "report", "source": {"bytes": "AAAA"}, "citations": {"enabled": true}}},
                {"document": {"format": "txt", "name": "note", "source": {"text": "plain"}}},
                {"audio": {"format": "wav", "source": {"bytes": "AAAA"}}},
                {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/k"}}}},
                {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k"}}}},
                {"cachePoint": {"type": "default"}},
            ]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "SIG=="}}},
                {"reasoningContent": {"redactedContent": "AAAA"}},
                {"text": "Looking."},
                {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1.0}}},
            ]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "t1", "status": "error", "content": [{"text": "no"}]}},
            ]},
        ],
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.25, "stopSequences": ["x"]},
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}, "strict": true}},
                {"cachePoint": {"type": "default"}},
                {"systemTool": {"name": "nova_grounding"}},
            ],
            "toolChoice": {"tool": {"name": "f"}},
        },
        "outputConfig": {"effort": "low", "textFormat": {"type": "json_schema", "structure":
            {"jsonSchema": {"schema": "{\"type\":\"object\"}", "name": "n"}}}},
        "requestMetadata": {"team": "a"},
        "additionalModelRequestFields": {"top_k": 5},
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
    })
}

#[test]
fn a_request_comes_back() {
    let mut expected = everything();
    // The mark is the last part's that can have one.
    let content = expected["messages"][0]["content"].as_array_mut().expect("content");
    let point = content.pop().expect("a point");
    content.insert(4, point);
    let (written, dropped) = write(&read(&everything()));
    assert_eq!(written, expected);
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn what_makes_no_sense_is_named() {
    let message = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    for (body, field) in [
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "tool", "content": []}]}), "messages[0].role"),
        (message(json!([{}])), "messages[0].content[0]"),
        (message(json!("text")), "messages[0].content"),
        (
            message(json!([{"toolUse": {"toolUseId": "t", "name": "", "input": {}}}])),
            "messages[0].content[0].toolUse.name",
        ),
        (
            message(json!([{"toolUse": {"toolUseId": "t", "name": "f", "input": 1}}])),
            "messages[0].content[0].toolUse.input",
        ),
        (
            message(json!([{"toolUse": {"toolUseId": "", "name": "f", "input": {}}}])),
            "messages[0].content[0].toolUse.toolUseId",
        ),
        (
            message(json!([{"toolResult": {"toolUseId": "t", "status": "so-so", "content": []}}])),
            "messages[0].content[0].toolResult.status",
        ),
        (json!({"messages": [{"role": "user", "content": [{"text": "q"}]}], "system": [{}]}), "system[0]"),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "q"}]}], "inferenceConfig": {"maxTokens": -1}}),
            "inferenceConfig.maxTokens",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "q"}]}], "outputConfig": {"effort": "much"}}),
            "outputConfig.effort",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "q"}]}], "toolConfig": {"tools": [{"toolSpec": {"name": "f"}}]}}),
            "toolConfig.tools[0].toolSpec.inputSchema.json",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "q"}]}], "toolConfig": {"tools": [], "toolChoice": {"any": {}, "auto": {}}}}),
            "toolConfig.toolChoice",
        ),
    ] {
        assert_eq!(unread(&body), field, "{body}");
    }
}

fn asked() -> Request {
    let mut request = Request::new(Dialect::OpenAiChat, "meta.llama3-3-70b-instruct-v1:0");
    request.turns = vec![Turn { role: Role::User, parts: vec![Part::text("q")], name: None, place: 0 }];
    request
}

fn call(request: &mut Request) {
    let call = crate::canonical::ToolCall { id: "c".into(), name: "f".into(), ..Default::default() };
    let turn = Turn { role: Role::Assistant, parts: vec![Part::ToolCall(call)], name: None, place: 1 };
    request.turns.push(turn);
}

/// Bedrock refuses a conversation with calls where there are no tools.
#[test]
fn a_conversation_with_calls_has_the_tools_that_were_called() {
    let mut request = asked();
    call(&mut request);
    let declared = json!([{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]);
    assert_eq!(write(&request).0["toolConfig"], json!({"tools": declared}));
    let mut plain = asked();
    plain.tool_choice = Some(ToolChoice::None);
    assert!(write(&plain).0["toolConfig"].is_null());
}

#[test]
fn what_bedrock_lacks_is_refused_by_the_callers_name() {
    type Wish = fn(&mut Request);
    let wishes: [(Wish, &str); 12] = [
        (|request| request.sampling.seed = Some(1), "seed"),
        (|request| request.sampling.top_k = Some(1), "top_k"),
        (|request| request.sampling.temperature = Some(1.5), "temperature"),
        (|request| request.sampling.presence_penalty = Some(0.5), "presence_penalty"),
        (|request| request.sampling.stop = vec![String::new()], "stop"),
        (|request| request.choices = Some(2), "n"),
        (|request| request.parallel_tool_calls = Some(false), "parallel_tool_calls"),
        (|request| request.verbosity = Some("low".into()), "verbosity"),
        (
            |request| request.thinking = Some(ThinkingRequest { amount: Some(Amount::Off), shown: None }),
            "reasoning_effort",
        ),
        (|request| request.tool_choice = Some(ToolChoice::Required), "tool_choice"),
        (|request| request.turns.clear(), "messages[0]"),
        (
            |request| {
                call(request);
                request.tool_choice = Some(ToolChoice::None);
            },
            "tool_choice",
        ),
    ];
    for (wish, field) in wishes {
        let mut request = asked();
        wish(&mut request);
        assert_eq!(refused(&request), field);
    }
    let mut request = asked();
    request.thinking = Some(ThinkingRequest { amount: Some(Amount::Effort(Effort::ExtraHigh)), shown: None });
    assert_eq!(write(&request).0["outputConfig"], json!({"effort": "xhigh"}));
}

/// A model without a cache refuses to be asked for one, and the wish is only a hint.
#[test]
fn a_cache_is_asked_for_where_the_model_has_one() {
    let mut request = asked();
    let marked = Text {
        cache: Some(crate::canonical::CacheMark { ttl: crate::canonical::CacheTtl::OneHour }),
        ..Text::new("q")
    };
    request.turns[0].parts = vec![Part::Text(marked)];
    let (written, dropped) = write(&request);
    assert_eq!(written["messages"][0]["content"], json!([{"text": "q"}]));
    assert_eq!(dropped, ["messages[0].content[0].cache_control"]);
    for (model, point) in [
        ("us.amazon.nova-lite-v1:0", json!({"type": "default"})),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", json!({"type": "default", "ttl": "1h"})),
    ] {
        request.model = model.into();
        let (written, dropped) = write(&request);
        assert_eq!(written["messages"][0]["content"][1]["cachePoint"], point, "{model}");
        assert_eq!(dropped, Vec::<String>::new());
    }
}

#[test]
fn blank_texts_and_foreign_signatures_stay_behind() {
    let mut request = asked();
    let signature = Some(Signature { provider: Provider::Anthropic, data: "S".into() });
    request.turns.push(Turn {
        role: Role::Assistant,
        parts: vec![
            Part::text(" \n"),
            Part::Thinking(Thinking { text: "hm".into(), signature, id: None }),
            Part::text("a"),
        ],
        name: None,
        place: 1,
    });
    request.turns.push(Turn { role: Role::User, parts: vec![Part::text("  ")], name: None, place: 2 });
    let (written, dropped) = write(&request);
    assert_eq!(
        written["messages"],
        json!([{"role": "user", "content": [{"text": "q"}]}, {"role": "assistant", "content": [{"text": "a"}]}])
    );
    assert_eq!(dropped, ["messages[1]"]);
}
