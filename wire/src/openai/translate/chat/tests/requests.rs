use proptest::prelude::*;
use serde_json::{Value, json};

use crate::canonical::{
    Amount, Dialect, Document, FunctionTool, Inexpressible, MediaSource, Part, Provider, Request, Role,
    Signature, Thinking, ThinkingRequest, Tool, ToolCall, ToolResult, Turn, Unsupported, seal,
};
use crate::openai::chat::ChatCompletionRequest;
use crate::openai::parse;
use crate::openai::translate::Server;
use crate::openai::translate::chat::request::{from_canonical, to_canonical};

fn read(body: &Value) -> Request {
    to_canonical(parse(body.to_string().as_bytes()).expect("parses")).expect("makes sense")
}

fn refused(body: &Value) -> String {
    to_canonical(parse(body.to_string().as_bytes()).expect("parses"))
        .expect_err("must be refused")
        .to_string()
}

fn written(request: &Request) -> Result<ChatCompletionRequest, Inexpressible> {
    from_canonical(request, Server::OpenAi, Unsupported::Refuse).map(|translated| translated.message)
}

fn with(fields: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

#[test]
fn a_conversation_with_tools_is_read() {
    let sealed =
        seal::seal_call_id("call_1", Some(&Signature { provider: Provider::Gemini, data: "c2ln".into() }));
    let request = read(&json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            ]},
            {"role": "assistant", "content": "", "refusal": null, "annotations": [], "reasoning_content": "hm",
             "tool_calls": [{"id": sealed, "type": "function",
                             "function": {"name": "f", "arguments": "{\"a\": 1.0}"}}]},
            {"role": "tool", "tool_call_id": sealed, "content": "42"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    }));
    assert_eq!(request.system[0].texts[0].text, "s");
    assert_eq!(request.turns.iter().map(|turn| turn.place).collect::<Vec<_>>(), [1, 2, 3]);
    let Part::Text(text) = &request.turns[0].parts[0] else { panic!("text first") };
    assert_eq!(text.cache.map(|mark| mark.ttl), Some(crate::canonical::CacheTtl::OneHour));
    let call = ToolCall {
        id: "call_1".into(),
        name: "f".into(),
        arguments: "{\"a\": 1.0}".into(),
        signature: Some(Signature { provider: Provider::Gemini, data: "c2ln".into() }),
        cache: None,
    };
    let thinking = Thinking { text: "hm".into(), ..Thinking::default() };
    assert_eq!(request.turns[1].parts, [Part::Thinking(thinking), Part::ToolCall(call)]);
    let result =
        ToolResult { call_id: "call_1".into(), parts: vec![Part::text("42")], ..ToolResult::default() };
    assert_eq!(request.turns[2].parts, [Part::ToolResult(result)]);
    assert_eq!(request.turns[2].role, Role::User);
    assert!(request.foreign.is_empty(), "{:?}", request.foreign);
}

#[test]
fn signed_thinking_comes_back_to_its_place() {
    let details = json!([
        {"type": "reasoning.text", "text": "a", "signature": "s1+/=", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1", "index": 2},
    ]);
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let request = read(&json!({"model": "m", "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "reasoning_content": "a", "reasoning_details": details,
         "tool_calls": [call("1"), call("2")]},
    ]}));
    let kinds: Vec<&str> = request.turns[1].parts.iter().map(Part::kind).collect();
    assert_eq!(kinds, ["thinking", "tool call", "redacted thinking", "tool call"]);
    let Part::Thinking(thinking) = &request.turns[1].parts[0] else { panic!("thinking") };
    let signature = Signature { provider: Provider::Anthropic, data: "s1+/=".into() };
    assert_eq!(thinking.signature, Some(signature));
}

#[test]
fn thinking_without_a_place_stays_in_order_and_in_front() {
    let detail = |text: &str| json!({"type": "reasoning.text", "text": text});
    let message =
        json!({"role": "assistant", "content": "c", "reasoning_details": [detail("a"), detail("b")]});
    let request = read(&json!({"model": "m", "messages": [message]}));
    let thinking = |text: &str| Part::Thinking(Thinking { text: text.into(), ..Thinking::default() });
    assert_eq!(request.turns[0].parts, [thinking("a"), thinking("b"), Part::text("c")]);
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let tool = |message: Value| json!({"model": "m", "messages": [message]});
    for (body, start) in [
        (with(json!({"top_logprobs": 3})), "`top_logprobs`: needs `logprobs: true`"),
        (with(json!({"max_tokens": 1, "max_completion_tokens": 2})), "`max_tokens`: is the older name"),
        (
            with(json!({"tools": [{"type": "function", "function": {}}]})),
            "`tools[0].function`: missing field `name`",
        ),
        (with(json!({"tool_choice": "maybe"})), "`tool_choice`: must be auto, none, required"),
        (with(json!({"reasoning_effort": "harder"})), "`reasoning_effort`: must be none, minimal"),
        (with(json!({"response_format": {"type": "xml"}})), "`response_format.type`: must be text"),
        (
            with(json!({"response_format": {"type": "json_schema"}})),
            "`response_format.json_schema`: must hold",
        ),
        (tool(json!({"role": "tool", "content": "x"})), "`messages[0].tool_call_id`: is missing"),
        (
            tool(json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]})),
            "`messages[0].content[0].image_url.url`: a data URL",
        ),
        (
            tool(json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]})),
            "`messages[0].tool_calls[0].id`: is missing",
        ),
        (
            tool(json!({"role": "system", "content": [{"type": "image_url", "image_url": {"url": "u"}}]})),
            "`messages[0].content[0]`: is a part of type image",
        ),
    ] {
        let error = refused(&body);
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn openais_own_fields_pass_to_openai_and_are_named_elsewhere() {
    let body = with(json!({"logit_bias": {"5": 1}, "service_tier": "flex", "store": false}));
    let request = read(&body);
    let extra = written(&request).expect("its own").extra;
    assert_eq!(extra.keys().collect::<Vec<_>>(), ["logit_bias", "service_tier"]);
    let paths: Vec<String> = request.foreign.iter().map(|field| field.path()).collect();
    assert_eq!(paths, ["logit_bias", "service_tier"]);
    let nested = with(json!({"tools": [{"type": "function", "function": {"name": "f", "colour": 1}}]}));
    assert_eq!(written(&read(&nested)).expect_err("nested").field, "tools[0].function.colour");
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, parts, name: None, place: 4 }
}

/// A conversation that another provider began goes on here.
#[test]
fn thinking_and_signatures_of_others_go_without_being_refused() {
    let signature = || Some(crate::canonical::Signature { provider: Provider::Gemini, data: "c2ln".into() });
    let thinking = Part::Thinking(Thinking { text: "t".into(), ..Thinking::default() });
    let empty = Part::Text(crate::canonical::Text { signature: signature(), ..Default::default() });
    for (part, field) in [(thinking, "messages[4].content[1]"), (empty, "messages[4].content[1].signature")] {
        let mut request = Request::new(Dialect::Anthropic, "m");
        request.turns = vec![turn(Role::Assistant, vec![Part::text("a"), part])];
        let written = from_canonical(&request, Server::OpenAi, Unsupported::Refuse).expect("not refused");
        assert_eq!(written.dropped, [field]);
        assert_eq!(json!(written.message.messages), json!([{"role": "assistant", "content": "a"}]));
    }
}

/// What other dialects say and chat completions can't: each is refused by the caller's own name, and goes where the
/// caller said to drop.
#[test]
fn what_only_others_say_is_refused_by_their_name_or_dropped() {
    let document = |context: Option<&str>, citations| {
        Part::Document(Document {
            source: MediaSource::Inline { media_type: "application/pdf".into(), data: "AA==".into() },
            title: None,
            context: context.map(str::to_owned),
            citations,
            cache: None,
        })
    };
    let image = Part::Image(crate::canonical::Image {
        source: MediaSource::File { provider: Provider::Anthropic, id: "file_1".into() },
        detail: None,
        cache: None,
    });
    let in_result = Part::ToolResult(ToolResult {
        call_id: "1".into(),
        parts: vec![Part::text("a"), image.clone()],
        ..ToolResult::default()
    });
    let user = |part: Part| turn(Role::User, vec![Part::text("a"), part]);
    for (turn, field) in [
        (user(document(Some("c"), None)), "messages[4].content[1].context"),
        (user(document(None, Some(true))), "messages[4].content[1].citations"),
        (user(image), "messages[4].content[1]"),
        (user(in_result), "messages[4].content[1].content[1]"),
    ] {
        let mut request = Request::new(Dialect::Anthropic, "m");
        request.turns = vec![turn];
        let error = written(&request).expect_err(field);
        assert_eq!((error.field.as_str(), error.dialect), (field, Dialect::OpenAiChat));
        let dropped = from_canonical(&request, Server::OpenAi, Unsupported::Drop).expect("dropped");
        assert_eq!(dropped.dropped, [field]);
    }
    let mut request = Request::new(Dialect::Gemini, "m");
    request.sampling.top_k = Some(4);
    assert_eq!(written(&request).expect_err("top_k").field, "generationConfig.topK");
    let ours =
        from_canonical(&request, Server::Compatible, Unsupported::Refuse).expect("our engine takes it");
    assert_eq!(ours.message.extra.get("top_k"), Some(&json!(4)));
}

/// The chat templates of other servers' models know no `developer`.
#[test]
fn the_developers_word_is_system_where_nobody_knows_developers() {
    let mut request = Request::new(Dialect::OpenAiResponses, "m");
    let texts = vec![crate::canonical::Text::new("a")];
    let role = crate::canonical::InstructionRole::Developer;
    request.system = vec![crate::canonical::Instruction { role, texts }];
    request.turns =
        vec![turn(Role::User, vec![Part::text("b")]), turn(Role::Developer, vec![Part::text("c")])];
    for (server, word) in [(Server::OpenAi, "developer"), (Server::Compatible, "system")] {
        let written = from_canonical(&request, server, Unsupported::Refuse).expect("written");
        let body = serde_json::to_value(written.message).expect("writes");
        assert_eq!(
            (&body["messages"][0]["role"], &body["messages"][2]["role"]),
            (&json!(word), &json!(word))
        );
        assert_eq!(written.dropped, Vec::<String>::new());
    }
}

#[test]
fn hints_go_without_refusal_and_are_reported() {
    let mut request = Request::new(Dialect::Anthropic, "m");
    let cache = Some(crate::canonical::CacheMark::default());
    request.tools = vec![Tool::Function(FunctionTool { name: "f".into(), cache, ..FunctionTool::default() })];
    let source = MediaSource::Url("https://a/b.png".into());
    let image = Part::Image(crate::canonical::Image { source, detail: None, cache });
    let failed = ToolResult { call_id: "1".into(), is_error: Some(true), ..ToolResult::default() };
    request.turns = vec![turn(Role::User, vec![Part::ToolResult(failed), image])];
    request.thinking = Some(ThinkingRequest { amount: Some(Amount::Budget(8_000)), shown: None });
    let translated = from_canonical(&request, Server::OpenAi, Unsupported::Refuse).expect("only hints");
    let hints =
        ["tools[0].cache_control", "messages[4].content[0].is_error", "messages[4].content[1].cache_control"];
    assert_eq!(translated.dropped, hints);
    assert_eq!(translated.message.extra.get("reasoning_effort"), Some(&json!("medium")));
}

#[test]
fn results_and_words_of_one_turn_become_messages_in_their_order() {
    let result = |id: &str| {
        Part::ToolResult(ToolResult {
            call_id: id.into(),
            parts: vec![Part::text(id)],
            ..ToolResult::default()
        })
    };
    let mut request = Request::new(Dialect::Anthropic, "m");
    request.turns = vec![turn(Role::User, vec![result("1"), result("2"), Part::text("go on")])];
    let messages = json!(written(&request).expect("expressible").messages);
    assert_eq!(
        messages,
        json!([
            {"role": "tool", "content": "1", "tool_call_id": "1"},
            {"role": "tool", "content": "2", "tool_call_id": "2"},
            {"role": "user", "content": "go on"},
        ])
    );
}

fn text() -> impl Strategy<Value = String> {
    "[a-z €😀\"\\\\]{1,12}"
}

fn part() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|text| json!({"type": "text", "text": text})),
        Just(
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iV+/", "detail": "high"}})
        ),
        Just(json!({"type": "image_url", "image_url": {"url": "https://a/b.png"}})),
        Just(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}})),
        Just(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
        Just(
            json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}})
        ),
        Just(json!({"type": "file", "file": {"file_id": "file-1"}})),
        Just(json!({"type": "hologram", "hologram": {"x": 1}})),
    ]
}

fn content() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::from),
        // A list of one text is said as a string; two or more stay a list.
        (part(), proptest::collection::vec(part(), 1..4)).prop_map(|(first, mut rest)| {
            rest.insert(0, first);
            json!(rest)
        }),
    ]
}

fn call() -> impl Strategy<Value = Value> {
    ("[a-z0-9_-]{1,8}", "[a-z_]{1,8}", prop_oneof![Just("{}"), Just("{\"a\": 1.0, \"b\":[]}"), Just("{\"bro")])
        .prop_map(|(id, name, arguments)| {
            json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        })
}

fn message() -> impl Strategy<Value = Value> {
    prop_oneof![
        content().prop_map(|content| json!({"role": "user", "content": content})),
        (text(), text())
            .prop_map(|(content, name)| json!({"role": "user", "content": content, "name": name})),
        text().prop_map(|content| json!({"role": "system", "content": content})),
        text().prop_map(|content| json!({"role": "developer", "content": content})),
        text().prop_map(|content| json!({"role": "assistant", "content": content})),
        (text(), proptest::collection::vec(call(), 1..3)).prop_map(
            |(content, calls)| json!({"role": "assistant", "content": content, "tool_calls": calls})
        ),
        proptest::collection::vec(call(), 1..3)
            .prop_map(|calls| json!({"role": "assistant", "content": null, "tool_calls": calls})),
        text().prop_map(|why| json!({"role": "assistant", "content": [{"type": "refusal", "refusal": why}]})),
        (text(), "[a-z0-9_]{1,8}")
            .prop_map(|(content, id)| json!({"role": "tool", "content": content, "tool_call_id": id})),
    ]
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let function = json!({"type": "function", "function": {"name": "f"}});
    proptest::sample::subsequence(
        vec![
            ("max_completion_tokens", json!(9)),
            ("temperature", json!(1.5)),
            ("top_p", json!(0.25)),
            ("seed", json!(-3)),
            ("n", json!(2)),
            ("stop", json!(["a", "b"])),
            ("presence_penalty", json!(-2.0)),
            ("frequency_penalty", json!(0.5)),
            (
                "tools",
                json!([{"type": "function", "function": {
                "name": "f", "description": "d", "parameters": {"type": "object", "x-y": [1]}, "strict": true}},
                {"type": "custom", "custom": {"name": "c"}}]),
            ),
            (
                "tool_choice",
                json!({"type": "allowed_tools", "allowed_tools": {
                "mode": "required", "tools": [function.clone()]}}),
            ),
            ("parallel_tool_calls", json!(false)),
            (
                "response_format",
                json!({"type": "json_schema", "json_schema": {
                "name": "n", "description": "d", "schema": {"type": "object"}, "strict": false}}),
            ),
            ("reasoning_effort", json!("low")),
            ("verbosity", json!("high")),
            ("user", json!("u")),
            ("metadata", json!({"k": "v"})),
            ("logit_bias", json!({"1": 5})),
            ("prediction", json!({"type": "content", "content": "p"})),
            ("web_search_options", json!({})),
            ("store", json!(true)),
            ("field_of_tomorrow", json!({"a": [1, {"b": null}]})),
        ],
        0..=21,
    )
}

fn choices() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    proptest::sample::select(vec![
        vec![],
        vec![("tool_choice", json!("auto"))],
        vec![("tool_choice", json!("none"))],
        vec![("tool_choice", json!("required"))],
        vec![("tool_choice", json!({"type": "function", "function": {"name": "f"}}))],
        vec![("tool_choice", json!({"type": "custom", "custom": {"name": "c"}}))],
        vec![("logprobs", json!(true))],
        vec![("logprobs", json!(true)), ("top_logprobs", json!(0))],
        vec![("logprobs", json!(true)), ("top_logprobs", json!(5))],
        vec![("response_format", json!({"type": "text"}))],
        vec![("response_format", json!({"type": "json_object"}))],
        vec![("stream", json!(true))],
        vec![("stream", json!(true)), ("stream_options", json!({"include_usage": true}))],
    ])
}

/// Key order is no meaning; `Value`s are equal without it.
fn plain(request: &ChatCompletionRequest) -> Value {
    json!(request)
}

proptest! {
    /// Nothing that OpenAI can say is lost on the way through the canonical form, its own fields included.
    #[test]
    fn a_request_comes_back(
        messages in proptest::collection::vec(message(), 1..6),
        fields in fields(),
        choices in choices(),
    ) {
        let mut body = json!({"model": "m", "messages": messages});
        for (name, value) in fields.into_iter().chain(choices) {
            body[name] = value;
        }
        let given: ChatCompletionRequest = parse(body.to_string().as_bytes()).expect("parses");
        let request = to_canonical(given.clone()).expect("makes sense");
        let back = written(&request).expect("its own dialect");
        prop_assert_eq!(plain(&back), plain(&given));
        prop_assert_eq!(to_canonical(back).expect("makes sense"), request);
    }
}
