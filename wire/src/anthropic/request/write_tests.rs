mod thinking;

use serde_json::{Value, json};

use super::*;
use crate::anthropic::{ModelProfile, ThinkingForm, parse};
use crate::canonical::{
    CacheMark, Citation, CitationSource, Dialect, Document, FunctionTool, Image, Inexpressible, Instruction,
    InstructionRole, LogprobsRequest, MediaSource, OutputFormat, Part, Provider, Request, Role, Text,
    ToolCall, ToolChoice as Choice, ToolResult, Turn, Unsupported,
};

const PROFILE: ModelProfile = ModelProfile {
    default_max_tokens: Some(100),
    thinking: ThinkingForm::Adaptive,
    sampling: true,
    system_turns: true,
};

fn turn(role: Role, place: u32, parts: Vec<Part>) -> Turn {
    Turn { role, parts, name: None, place }
}

fn chat(turns: Vec<Turn>) -> Request {
    let mut request = Request::new(Dialect::OpenAiChat, "m");
    request.turns = turns;
    request
}

fn asked(change: impl FnOnce(&mut Request)) -> Request {
    let mut request = chat(vec![turn(Role::User, 0, vec![Part::text("a")])]);
    change(&mut request);
    request
}

fn written_for(request: &Request, profile: &ModelProfile) -> Value {
    let written = from_canonical(request, Unsupported::Refuse, profile).expect("written");
    assert!(written.dropped.is_empty(), "{:?}", written.dropped);
    serde_json::to_value(written.message).expect("writes")
}

fn written(request: &Request) -> Value {
    written_for(request, &PROFILE)
}

fn refused_for(request: &Request, profile: &ModelProfile) -> Inexpressible {
    from_canonical(request, Unsupported::Refuse, profile).expect_err("must be refused")
}

/// Refused by this name; and dropped and reported by it where the caller says so.
fn lost(request: &Request, profile: &ModelProfile) -> String {
    let field = refused_for(request, profile).field;
    let dropped = from_canonical(request, Unsupported::Drop, profile).expect("dropped").dropped;
    assert!(dropped.contains(&field), "{field} is not among {dropped:?}");
    field
}

fn result(id: &str, text: &str) -> Part {
    Part::ToolResult(ToolResult {
        call_id: id.into(),
        parts: vec![Part::text(text)],
        ..ToolResult::default()
    })
}

fn call(id: &str) -> Part {
    Part::ToolCall(ToolCall { id: id.into(), name: "f".into(), ..ToolCall::default() })
}

fn function(name: &str) -> crate::canonical::Tool {
    crate::canonical::Tool::Function(FunctionTool { name: name.into(), ..FunctionTool::default() })
}

#[test]
fn a_request_of_ours_is_anthropics() {
    let request = asked(|request| {
        request.system = vec![
            Instruction { role: InstructionRole::System, texts: vec![Text::new("s")] },
            Instruction {
                role: InstructionRole::Developer,
                texts: vec![Text { cache: Some(CacheMark::default()), ..Text::new("d") }],
            },
        ];
        request.sampling.temperature = Some(0.5);
        request.sampling.top_k = Some(3);
        request.sampling.stop = vec!["x".into()];
        request.sampling.presence_penalty = Some(0.0);
        request.choices = Some(1);
        request.user = Some("u".into());
        request.stream = true;
        request.tools = vec![function("f")];
        request.parallel_tool_calls = Some(false);
    });
    assert_eq!(
        written(&request),
        json!({
            "model": "m",
            "messages": [{"role": "user", "content": "a"}],
            "system": [
                {"type": "text", "text": "s"},
                {"type": "text", "text": "d", "cache_control": {"type": "ephemeral"}},
            ],
            "max_tokens": 100,
            "metadata": {"user_id": "u"},
            "stop_sequences": ["x"],
            "stream": true,
            "temperature": 0.5,
            "top_k": 3,
            "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        })
    );
}

#[test]
fn without_max_tokens_the_callers_default_counts_and_else_it_is_refused() {
    let request = asked(|request| request.sampling.max_output_tokens = Some(7));
    assert_eq!(written(&request)["max_tokens"], 7);
    let request = asked(|_| {});
    assert_eq!(written(&request)["max_tokens"], 100);
    let strict = ModelProfile { default_max_tokens: None, ..PROFILE };
    for policy in [Unsupported::Refuse, Unsupported::Drop] {
        let error = from_canonical(&request, policy, &strict).expect_err("no request without it");
        assert_eq!(error.field, "max_completion_tokens");
    }
}

/// What Anthropic does not know is neither passed on nor lost in silence.
#[test]
fn what_anthropic_lacks_is_refused_by_the_senders_name_or_dropped() {
    type Change = fn(&mut Request);
    let cases: [(&str, Change); 12] = [
        ("seed", |request| request.sampling.seed = Some(1)),
        ("presence_penalty", |request| request.sampling.presence_penalty = Some(0.5)),
        ("frequency_penalty", |request| request.sampling.frequency_penalty = Some(0.5)),
        ("temperature", |request| request.sampling.temperature = Some(1.5)),
        ("n", |request| request.choices = Some(2)),
        ("logprobs", |request| request.logprobs = Some(LogprobsRequest { top: None })),
        ("verbosity", |request| request.verbosity = Some("low".into())),
        ("metadata", |request| request.metadata = [("a".to_owned(), "b".to_owned())].into()),
        ("response_format", |request| request.output_format = Some(OutputFormat::JsonObject)),
        ("stop", |request| request.sampling.stop = vec!["\n".into(), "x".into()]),
        ("messages[0].name", |request| request.turns[0].name = Some("x".into())),
        ("messages[0].content[0]", |request| {
            request.turns[0].parts = vec![Part::Audio(crate::canonical::Audio {
                source: MediaSource::Inline { media_type: "audio/wav".into(), data: "AA==".into() },
            })];
        }),
    ];
    for (field, change) in cases {
        assert_eq!(lost(&asked(change), &PROFILE), field);
    }
    let blank = asked(|request| request.sampling.stop = vec!["\n".into(), "x".into()]);
    let dropped = from_canonical(&blank, Unsupported::Drop, &PROFILE).expect("dropped").message;
    assert_eq!(dropped.stop_sequences, Some(vec!["x".to_owned()]));
}

/// API version 2026-10-21 refuses the three even at their defaults.
#[test]
fn sampling_goes_only_where_the_model_takes_it() {
    let newer = ModelProfile { sampling: false, ..PROFILE };
    let neutral = asked(|request| {
        request.sampling.temperature = Some(1.0);
        request.sampling.top_p = Some(1.0);
    });
    let body = written_for(&neutral, &newer);
    assert!(body.get("temperature").is_none() && body.get("top_p").is_none());
    for (field, request) in [
        ("temperature", asked(|request| request.sampling.temperature = Some(0.0))),
        ("top_p", asked(|request| request.sampling.top_p = Some(0.5))),
        ("top_k", asked(|request| request.sampling.top_k = Some(1))),
    ] {
        assert_eq!(lost(&request, &newer), field);
    }
}

/// Results of one round are one user turn, in order, before its text.
#[test]
fn turns_of_one_role_are_joined_and_results_come_first() {
    let request = chat(vec![
        turn(Role::User, 0, vec![Part::text("a")]),
        turn(Role::Assistant, 1, vec![call("1"), call("2")]),
        turn(Role::User, 2, vec![result("1", "x")]),
        turn(Role::User, 3, vec![result("2", "")]),
        turn(Role::User, 4, vec![Part::text("b"), result("3", "z")]),
        turn(Role::Assistant, 5, vec![Part::text("")]),
        turn(Role::User, 6, vec![Part::text("c")]),
    ]);
    let tool_use = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    assert_eq!(
        written(&request)["messages"],
        json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [tool_use("1"), tool_use("2")]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "x"},
                {"type": "tool_result", "tool_use_id": "2"},
                {"type": "tool_result", "tool_use_id": "3", "content": "z"},
                {"type": "text", "text": "b"},
                {"type": "text", "text": "c"},
            ]},
        ])
    );
}

/// A joined message must not shift the paths that a caller knows.
#[test]
fn a_part_is_named_where_its_sender_put_it() {
    let image = Part::Image(Image {
        source: MediaSource::Inline { media_type: "image/bmp".into(), data: "AA==".into() },
        detail: None,
        cache: None,
    });
    let request = chat(vec![
        turn(Role::User, 4, vec![Part::text("a")]),
        turn(Role::User, 5, vec![Part::text("b"), image]),
    ]);
    assert_eq!(lost(&request, &PROFILE), "messages[5].content[1]");
}

/// anomalyco/opencode #3077: "Expected `thinking` or `redacted_thinking`".
#[test]
fn a_call_goes_with_an_object_and_an_id_that_anthropic_takes() {
    let with = |arguments: &str| {
        chat(vec![
            turn(
                Role::Assistant,
                0,
                vec![Part::ToolCall(ToolCall {
                    id: "functions.f:0".into(),
                    name: "f".into(),
                    arguments: arguments.into(),
                    ..ToolCall::default()
                })],
            ),
            turn(Role::User, 1, vec![result("functions.f:0", "x")]),
        ])
    };
    let message = from_canonical(&with(r#"{"b": 1.0,  "a":1e2}"#), Unsupported::Refuse, &PROFILE);
    let json = serde_json::to_string(&message.expect("written").message).expect("writes");
    assert!(json.contains(r#""id":"functions_2ef_3a0""#), "{json}");
    assert!(json.contains(r#""tool_use_id":"functions_2ef_3a0""#), "{json}");
    assert!(json.contains(r#""input":{"b": 1.0,  "a":1e2}"#), "{json}");
    for policy in [Unsupported::Refuse, Unsupported::Drop] {
        let error = from_canonical(&with(r#"{"a":"#), policy, &PROFILE).expect_err("no call without it");
        assert_eq!(error.field, "messages[0]");
    }
}

#[test]
fn media_go_as_anthropic_takes_them() {
    let document = |source| {
        Part::Document(Document {
            source,
            title: Some("t".into()),
            context: None,
            citations: Some(true),
            cache: None,
        })
    };
    let inline = |media_type: &str, data: &str| MediaSource::Inline {
        media_type: media_type.into(),
        data: data.into(),
    };
    let image = |source| Part::Image(Image { source, detail: None, cache: None });
    let request = chat(vec![turn(
        Role::User,
        0,
        vec![
            image(inline("image/png", "AA==")),
            image(MediaSource::Url("https://a/b.png".into())),
            image(MediaSource::File { provider: Provider::Anthropic, id: "file_1".into() }),
            document(inline("application/pdf", "JVBE")),
            document(inline("text/plain;charset=utf-8", "aMOp")),
        ],
    )]);
    let content = written(&request)["messages"][0]["content"].clone();
    let sources: Vec<Value> =
        content.as_array().expect("blocks").iter().map(|block| block["source"].clone()).collect();
    assert_eq!(
        sources,
        [
            json!({"type": "base64", "media_type": "image/png", "data": "AA=="}),
            json!({"type": "url", "url": "https://a/b.png"}),
            json!({"type": "file", "file_id": "file_1"}),
            json!({"type": "base64", "media_type": "application/pdf", "data": "JVBE"}),
            json!({"type": "text", "media_type": "text/plain", "data": "hé"}),
        ]
    );
    assert_eq!(content[3]["citations"], json!({"enabled": true}));
    assert_eq!(content[3]["title"], "t");
    for (role, part) in [
        (Role::User, image(MediaSource::File { provider: Provider::OpenAi, id: "file_1".into() })),
        (Role::User, image(MediaSource::Url("gs://a/b".into()))),
        (Role::User, document(inline("text/plain", "/w=="))),
        (Role::User, document(inline("text/csv", "AA=="))),
        // API version 2026-10-21 refuses it.
        (Role::Assistant, document(inline("application/pdf", "JVBE"))),
    ] {
        assert_eq!(lost(&chat(vec![turn(role, 0, vec![part])]), &PROFILE), "messages[0].content[0]");
    }
}

#[test]
fn the_choice_of_tools_is_said_in_anthropics_words() {
    let with = |choice: Choice| {
        asked(|request| {
            request.tools = vec![function("f"), function("g")];
            request.tool_choice = Some(choice);
            request.parallel_tool_calls = Some(false);
        })
    };
    let single = |kind: &str| json!({"type": kind, "disable_parallel_tool_use": true});
    for (choice, expected, tools) in [
        (Choice::Auto, single("auto"), 2),
        (Choice::Required, single("any"), 2),
        (Choice::None, json!({"type": "none"}), 2),
        (
            Choice::Function("g".into()),
            json!({"type": "tool", "name": "g", "disable_parallel_tool_use": true}),
            2,
        ),
        (Choice::Allowed { required: true, names: vec!["g".into()] }, single("any"), 1),
        (Choice::Allowed { required: false, names: vec!["g".into()] }, single("auto"), 1),
    ] {
        let body = written(&with(choice));
        assert_eq!(body["tool_choice"], expected);
        assert_eq!(body["tools"].as_array().map(Vec::len), Some(tools));
    }
    let without = asked(|request| request.tool_choice = Some(Choice::None));
    assert!(written(&without).get("tool_choice").is_none(), "Anthropic refuses a choice without tools");
    let none_left = with(Choice::Allowed { required: true, names: vec!["h".into()] });
    assert_eq!(refused_for(&none_left, &PROFILE).field, "tool_choice");
}

#[test]
fn a_schema_is_anthropics_format() {
    let request = asked(|request| {
        request.output_format = Some(OutputFormat::JsonSchema {
            name: Some("n".into()),
            description: Some("d".into()),
            schema: json!({"type": "object"}),
            strict: Some(true),
        });
    });
    let schema = json!({"type": "object", "description": "d"});
    assert_eq!(
        written(&request)["output_config"],
        json!({"format": {"type": "json_schema", "schema": schema}})
    );
}

#[test]
fn instructions_in_the_midst_go_where_the_model_takes_them() {
    let request = chat(vec![
        turn(Role::User, 0, vec![Part::text("a")]),
        turn(Role::Developer, 1, vec![Part::text("d")]),
        turn(Role::User, 2, vec![Part::text("b")]),
    ]);
    assert_eq!(written(&request)["messages"][1], json!({"role": "system", "content": "d"}));
    let older = ModelProfile { system_turns: false, ..PROFILE };
    assert_eq!(lost(&request, &older), "messages[1]");
    let dropped = from_canonical(&request, Unsupported::Drop, &older).expect("dropped").message;
    assert_eq!(dropped.messages.len(), 1, "the two user turns are joined");
}

/// API version 2026-10-21 refuses citations on a user's text, and any version an index that is not its own.
#[test]
fn citations_go_back_only_where_anthropic_takes_them() {
    let cited = |foreign| {
        Part::Text(Text {
            citations: vec![Citation {
                span: None,
                source: CitationSource::Web { url: "u".into(), title: None },
                cited_text: Some("c".into()),
                foreign,
            }],
            ..Text::new("a")
        })
    };
    let index = json!({"encrypted_index": "E"}).as_object().cloned().expect("an object");
    let own = || Some((Dialect::Anthropic, index.clone()));
    for (role, part, kept) in [
        (Role::Assistant, cited(own()), true),
        (Role::Assistant, cited(None), false),
        (Role::User, cited(own()), false),
    ] {
        let request = chat(vec![turn(role, 0, vec![part])]);
        let written = from_canonical(&request, Unsupported::Refuse, &PROFILE).expect("written");
        let json = serde_json::to_value(&written.message).expect("writes");
        assert_eq!(json.to_string().contains("encrypted_index"), kept);
        assert_eq!(written.dropped.is_empty(), kept, "left out, and reported");
    }
}

/// Read and written again, a request of Anthropic's own says what it said.
#[test]
fn anthropics_own_request_comes_back() {
    let body = json!({
        "model": "m",
        "messages": [
            {"role": "user", "content": [
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "citations": {"enabled": true}},
                {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]},
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "", "signature": "EqR+/="},
                {"type": "text", "text": "b", "citations": [
                    {"type": "char_location", "document_index": 0, "document_title": null, "start_char_index": 0, "end_char_index": 1, "cited_text": "d"},
                ]},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "x"}},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                ]},
            ]},
        ],
        "system": "s",
        "max_tokens": 2000,
        "metadata": {"user_id": "u"},
        "stop_sequences": ["x"],
        "stream": true,
        "temperature": 1.0,
        "top_p": 1.0,
        "tools": [
            {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true, "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        ],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "inference_geo": "us",
        "service_tier": "standard_only",
    });
    let request = to_canonical(parse(body.to_string().as_bytes()).expect("parses")).expect("reads");
    assert_eq!(written(&request), body);
}

#[test]
fn the_residency_of_another_dialects_client_is_not_dropped_in_silence() {
    let request = asked(|request| {
        request.foreign = vec![crate::canonical::ForeignField {
            parent: String::new(),
            name: "service_tier".into(),
            value: "flex".into(),
        }];
    });
    assert_eq!(lost(&request, &PROFILE), "service_tier");
}
