use serde_json::{Value, json};

use super::super::proto_json::parse;
use super::super::service::{SchemaForm, Service, Upstream};
use super::*;
use crate::canonical::{
    CacheMark, Dialect, FunctionTool, Instruction, InstructionRole, OutputFormat, Part, Provider,
    RedactedThinking, Request, Role, Signature, Text, Thinking, Tool as CanonicalTool, ToolCall, ToolChoice,
    ToolResult, Turn, Unreadable, Unsupported,
};

const VERTEX: Upstream = Upstream { service: Service::Vertex, schemas: SchemaForm::Json };

fn read(body: &Value) -> Result<Request, Unreadable> {
    to_canonical(parse(body.to_string().as_bytes())?, "m", false)
}

fn write_to(request: &Request, upstream: Upstream, policy: Unsupported) -> (Value, Vec<String>) {
    let written = from_canonical(request, upstream, policy).expect("expressible");
    (serde_json::to_value(&written.message).expect("JSON"), written.dropped)
}

fn write(request: &Request) -> Value {
    write_to(request, Upstream::default(), Unsupported::Refuse).0
}

fn refused(request: &Request, policy: Unsupported) -> String {
    from_canonical(request, Upstream::default(), policy).expect_err("must be refused").field
}

fn turn(role: Role, place: u32, parts: Vec<Part>) -> Turn {
    Turn { role, parts, name: None, place }
}

fn call(id: &str, name: &str, signature: Option<Signature>) -> Part {
    let arguments = r#"{"b": 1.0,  "a":1e2}"#.to_owned();
    Part::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments, signature, cache: None })
}

fn result(id: &str, text: &str) -> Part {
    Part::ToolResult(ToolResult {
        call_id: id.into(),
        parts: vec![Part::text(text)],
        ..ToolResult::default()
    })
}

fn from_openai(turns: Vec<Turn>) -> Request {
    let mut request = Request::new(Dialect::OpenAiChat, "gemini-2.5-pro");
    request.turns = turns;
    request
}

fn gemini(data: &str) -> Option<Signature> {
    Some(Signature { provider: Provider::Gemini, data: data.into() })
}

fn full() -> Value {
    json!({
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "look"},
                {"inlineData": {"mimeType": "image/png", "data": "iVBOR+/="}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "https://a/b.pdf"}},
                {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/c.mp4"}, "videoMetadata": {"fps": 2.0}}
            ]},
            {"role": "model", "parts": [
                {"text": "hm", "thought": true},
                {"text": "", "thoughtSignature": "CiQB+/w="},
                {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}, "thoughtSignature": "AAEC/+8="},
                {"functionCall": {"id": "c2", "name": "f", "args": {}}}
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "c1", "name": "f", "response": {"output": "sunny"}}},
                {"functionResponse": {"id": "c2", "name": "f", "response": {"error": "no"}, "scheduling": "SILENT"}}
            ]}
        ],
        "tools": [
            {"functionDeclarations": [{"name": "f", "description": "d", "behavior": "BLOCKING",
                "parametersJsonSchema": {"type": "object", "properties": {"x": {"type": "integer"}}}}]},
            {"googleSearch": {}}
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]},
            "retrievalConfig": {"languageCode": "en"}
        },
        "generationConfig": {
            "candidateCount": 2, "stopSequences": ["x"], "maxOutputTokens": 9, "temperature": 0.5, "topP": 0.25,
            "topK": 40, "seed": 7, "presencePenalty": 0.5, "frequencyPenalty": -0.5,
            "responseLogprobs": true, "logprobs": 3,
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 512},
            "speechConfig": {"languageCode": "de"}
        },
        "labels": {"team": "a"},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "cachedContent": "cachedContents/x",
        "serviceTier": "flex"
    })
}

#[test]
fn everything_that_gemini_says_comes_back() {
    let request = read(&full()).expect("reads");
    assert_eq!(request.tool_choice, Some(ToolChoice::Function("f".into())));
    assert_eq!(request.sampling.top_k, Some(40));
    assert_eq!(write(&request), full());
}

fn snake_keys(value: &Value) -> Value {
    let snake = |key: &str| {
        key.chars()
            .flat_map(|c| if c.is_uppercase() { vec!['_', c.to_ascii_lowercase()] } else { vec![c] })
            .collect()
    };
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (snake(key), snake_keys(value))).collect())
        }
        Value::Array(values) => values.iter().map(snake_keys).collect(),
        other => other.clone(),
    }
}

#[test]
fn snake_case_says_the_same() {
    let mut camel = read(&full()).expect("reads");
    let mut snake = read(&snake_keys(&full())).expect("reads");
    assert_eq!(snake.sampling, camel.sampling);
    assert_eq!(snake.tools[0], camel.tools[0]);
    for request in [&mut camel, &mut snake] {
        // Only this dialect's own fields keep the case in which they came.
        request.foreign.clear();
        request.tools.truncate(1);
        request.turns[0].parts.truncate(3);
    }
    assert_eq!(snake, camel);
}

/// bifrost #1437 and #2210: Gemini 3 refuses a call that comes back without its signature.
#[test]
fn gemini_thought_signature_lost() {
    let request = read(&full()).expect("reads");
    let written = write(&request);
    assert_eq!(written["contents"][1]["parts"][1], json!({"text": "", "thoughtSignature": "CiQB+/w="}));
    assert_eq!(written["contents"][1]["parts"][2]["thoughtSignature"], "AAEC/+8=");
    // By way of a client of another dialect, whose call id carries it.
    let turns = vec![
        turn(Role::User, 0, vec![Part::text("q")]),
        turn(Role::Assistant, 1, vec![call("c1", "f", gemini("AAEC/+8=")), call("c2", "f", None)]),
        turn(Role::User, 2, vec![result("c1", "1"), result("c2", "2")]),
    ];
    let mut request = from_openai(turns);
    request.model = "gemini-3-pro".into();
    let written = write(&request);
    assert_eq!(written["contents"][1]["parts"][0]["thoughtSignature"], "AAEC/+8=");
    assert_eq!(written["contents"][1]["parts"][1].get("thoughtSignature"), None);
}

#[test]
fn a_history_that_another_model_began_is_taken_by_gemini_3() {
    let turns = vec![
        turn(Role::User, 0, vec![Part::text("q")]),
        turn(Role::Assistant, 1, vec![Part::text("a"), call("c1", "f", None), call("c2", "f", None)]),
        turn(Role::User, 2, vec![result("c1", "1"), result("c2", "2")]),
    ];
    let mut request = from_openai(turns);
    assert_eq!(write(&request)["contents"][1]["parts"][1].get("thoughtSignature"), None);
    request.model = "gemini-3-pro".into();
    let parts = write(&request)["contents"][1]["parts"].clone();
    assert_eq!(parts[1]["thoughtSignature"], UNSIGNED_CALL);
    assert_eq!(parts[2].get("thoughtSignature"), None);
}

#[test]
fn arguments_keep_their_bytes() {
    let body = r#"{"contents":[{"parts":[{"text":"q"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"b": 1.0,  "a":1e2}}}]}]}"#;
    let request = to_canonical(parse(body.as_bytes()).expect("parses"), "m", false).expect("reads");
    let written = from_canonical(&request, Upstream::default(), Unsupported::Refuse).expect("writes");
    let text = serde_json::to_string(&written.message).expect("JSON");
    assert!(text.contains(r#""args":{"b": 1.0,  "a":1e2}"#), "{text}");
}

#[test]
fn results_answer_calls_by_id_and_not_by_name() {
    let body = json!({"contents": [
        {"parts": {"text": "q"}},
        {"role": "model", "parts": [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f", "id": "two"}}]},
        {"role": "function", "parts": [
            {"functionResponse": {"name": "f", "id": "two", "response": {"output": "2"}}},
            {"functionResponse": {"name": "f", "response": {"output": "1"}}}
        ]}
    ]});
    let request = read(&body).expect("reads");
    let ids = |turn: usize| -> Vec<String> {
        let id = |part: &Part| match part {
            Part::ToolCall(call) => Some(call.id.clone()),
            Part::ToolResult(result) => Some(result.call_id.clone()),
            _ => None,
        };
        request.turns[turn].parts.iter().filter_map(id).collect()
    };
    let calls = ids(1);
    assert_eq!(calls[1], "two");
    assert!(!calls[0].is_empty());
    assert_eq!(ids(2), [calls[1].clone(), calls[0].clone()]);
    let orphan = json!({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]});
    assert_eq!(read(&orphan).expect_err("no call").field, "contents[0].parts[0].functionResponse");
}

#[test]
fn vertex_gets_no_ids_and_results_in_the_order_of_their_calls() {
    let turns = vec![
        turn(Role::User, 0, vec![Part::text("q")]),
        turn(Role::Assistant, 1, vec![call("c1", "f", None), call("c2", "f", None)]),
        turn(Role::User, 2, vec![result("c2", "second")]),
        turn(Role::User, 3, vec![Part::text("and?"), result("c1", "first")]),
    ];
    let (written, _) = write_to(&from_openai(turns), VERTEX, Unsupported::Refuse);
    let parts = &written["contents"][2]["parts"];
    let answers: Vec<&Value> =
        (0..2).map(|index| &parts[index]["functionResponse"]["response"]["output"]).collect();
    assert_eq!(answers, ["first", "second"]);
    assert_eq!(parts[2]["text"], "and?");
    assert!(!written.to_string().contains("\"id\""), "{written}");
}

#[test]
fn a_result_without_its_call_is_refused_whatever_the_policy() {
    let request = from_openai(vec![turn(Role::User, 0, vec![result("gone", "x")])]);
    assert_eq!(refused(&request, Unsupported::Drop), "messages[0]");
    let mut broken = call("c", "f", None);
    if let Part::ToolCall(call) = &mut broken {
        call.arguments = "{\"a\":".into();
    }
    let request = from_openai(vec![turn(Role::Assistant, 0, vec![broken])]);
    assert_eq!(refused(&request, Unsupported::Drop), "messages[0]");
}

#[test]
fn what_gemini_lacks_is_refused_by_the_callers_name() {
    let base = || from_openai(vec![turn(Role::User, 0, vec![Part::text("q")])]);
    let mut cases: Vec<(Request, &str)> = Vec::new();
    let mut with = |change: &dyn Fn(&mut Request), field| {
        let mut request = base();
        change(&mut request);
        cases.push((request, field));
    };
    with(&|request| request.parallel_tool_calls = Some(false), "parallel_tool_calls");
    with(&|request| request.verbosity = Some("low".into()), "verbosity");
    with(&|request| request.sampling.seed = Some(1 << 40), "seed");
    with(&|request| request.turns[0].name = Some("n".into()), "messages[0].name");
    with(&|request| request.turns.push(turn(Role::System, 1, vec![Part::text("s")])), "messages[1]");
    for (request, field) in cases {
        assert_eq!(refused(&request, Unsupported::Refuse), field);
        let (written, dropped) = write_to(&request, Upstream::default(), Unsupported::Drop);
        assert!(dropped.iter().any(|name| name == field), "{field} of {dropped:?}");
        assert_eq!(written["contents"][0]["parts"], json!([{"text": "q"}]));
    }
}

/// A conversation that another provider began goes on here.
#[test]
fn thinking_and_signatures_of_others_go_without_being_refused() {
    let signature = || Some(Signature { provider: Provider::Anthropic, data: "x".into() });
    for (part, field) in [
        (
            Part::RedactedThinking(RedactedThinking { provider: Provider::Anthropic, data: "x".into() }),
            "messages[1]",
        ),
        (
            Part::Thinking(Thinking { text: "t".into(), signature: signature(), id: None }),
            "messages[1].signature",
        ),
        (Part::Text(Text { signature: signature(), ..Text::default() }), "messages[1].content[1].signature"),
    ] {
        let request = from_openai(vec![
            turn(Role::User, 0, vec![Part::text("q")]),
            turn(Role::Assistant, 1, vec![Part::text("a"), part]),
        ]);
        let (written, dropped) = write_to(&request, Upstream::default(), Unsupported::Refuse);
        assert_eq!(dropped, [field]);
        assert_eq!(written["contents"][1]["parts"], json!([{"text": "a"}]));
    }
}

#[test]
fn hints_go_without_being_refused() {
    let mut request = from_openai(vec![turn(Role::User, 0, vec![Part::text("q")])]);
    request.user = Some("u".into());
    request.metadata.insert("Key".into(), "Some Value".into());
    if let Part::Text(Text { cache, .. }) = &mut request.turns[0].parts[0] {
        *cache = Some(CacheMark::default());
    }
    let (written, dropped) = write_to(&request, Upstream::default(), Unsupported::Refuse);
    assert_eq!(dropped, ["messages[0].content[0].cache_control", "user", "metadata"]);
    assert_eq!(written.get("labels"), None);
}

#[test]
fn instructions_are_apart_and_are_one() {
    let mut request = from_openai(vec![turn(Role::User, 2, vec![Part::text("q")])]);
    let instruction = |role, text: &str| Instruction { role, texts: vec![Text::new(text)] };
    request.system =
        vec![instruction(InstructionRole::System, "a"), instruction(InstructionRole::Developer, "b")];
    assert_eq!(write(&request)["systemInstruction"], json!({"parts": [{"text": "a"}, {"text": "b"}]}));
    request.turns.clear();
    assert_eq!(refused(&request, Unsupported::Drop), "messages[0]");
}

#[test]
fn tools_go_as_json_schema_and_choices_as_modes() {
    let mut request = from_openai(vec![turn(Role::User, 0, vec![Part::text("q")])]);
    let tool = |name: &str, parameters| {
        CanonicalTool::Function(FunctionTool { name: name.into(), parameters, ..FunctionTool::default() })
    };
    let schema = json!({"type": "object", "properties": {"x": {"const": 1}}, "additionalProperties": false, "$schema": "s"});
    request.tools =
        vec![tool("f", Some(schema.clone())), tool("g", Some(json!({"type": "object", "properties": {}})))];
    let written = write(&request);
    let functions = &written["tools"][0]["functionDeclarations"];
    assert_eq!(functions[0], json!({"name": "f", "parametersJsonSchema": schema}));
    assert_eq!(functions[1], json!({"name": "g"}), "an object without properties would be refused");
    assert_eq!(written.get("toolConfig"), None);

    let openapi = Upstream { schemas: SchemaForm::OpenApi, ..Upstream::default() };
    let (written, dropped) = write_to(&request, openapi, Unsupported::Refuse);
    assert_eq!(
        written["tools"][0]["functionDeclarations"][0]["parameters"],
        json!({"type": "OBJECT", "properties": {"x": {"minimum": 1, "maximum": 1}}})
    );
    assert_eq!(dropped, ["tools[0].parameters.additionalProperties", "tools[0].parameters.$schema"]);

    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (choice, config) in [
        (ToolChoice::Auto, json!({"mode": "AUTO"})),
        (ToolChoice::None, json!({"mode": "NONE"})),
        (ToolChoice::Required, json!({"mode": "ANY"})),
        (ToolChoice::Function("f".into()), json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
        (
            ToolChoice::Allowed { required: true, names: names(&["f", "g"]) },
            json!({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        ),
        (
            ToolChoice::Allowed { required: false, names: names(&["g"]) },
            json!({"mode": "VALIDATED", "allowedFunctionNames": ["g"]}),
        ),
    ] {
        request.tool_choice = Some(choice.clone());
        let written = write(&request);
        assert_eq!(written["toolConfig"]["functionCallingConfig"], config);
        assert_eq!(read(&written).expect("reads").tool_choice, Some(choice));
    }
    request.tool_choice = Some(ToolChoice::Function("absent".into()));
    assert_eq!(refused(&request, Unsupported::Drop), "tool_choice");
    request.tool_choice = None;
    if let CanonicalTool::Function(function) = &mut request.tools[0] {
        function.strict = Some(true);
    }
    assert_eq!(write(&request)["toolConfig"]["functionCallingConfig"], json!({"mode": "VALIDATED"}));
}

#[test]
fn structured_output_goes_as_json_schema_or_as_the_subset() {
    let mut request = from_openai(vec![turn(Role::User, 0, vec![Part::text("q")])]);
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    request.output_format = Some(OutputFormat::JsonSchema {
        name: Some("n".into()),
        description: Some("d".into()),
        schema,
        strict: Some(true),
    });
    let config = write(&request)["generationConfig"].clone();
    assert_eq!(config["responseMimeType"], "application/json");
    assert_eq!(config["responseJsonSchema"]["description"], "d");
    let openapi = Upstream { schemas: SchemaForm::OpenApi, ..Upstream::default() };
    let (written, _) = write_to(&request, openapi, Unsupported::Refuse);
    let schema = &written["generationConfig"]["responseSchema"];
    assert_eq!(schema["properties"], json!({"a": {"type": "STRING"}}));
    let Some(OutputFormat::JsonSchema { schema, .. }) = read(&written).expect("reads").output_format else {
        panic!("a schema")
    };
    assert_eq!(schema["properties"]["a"]["type"], "string");
}

#[test]
fn fields_of_gemini_alone_are_named_when_another_dialect_is_asked() {
    let request = read(&full()).expect("reads");
    let names: Vec<String> = request.foreign.iter().map(crate::canonical::ForeignField::path).collect();
    for name in [
        "contents[2].parts[1].functionResponse.scheduling",
        "tools.functionDeclarations[0].behavior",
        "toolConfig.retrievalConfig",
        "generationConfig.speechConfig",
        "serviceTier",
        "safetySettings",
        "cachedContent",
    ] {
        assert!(names.iter().any(|known| known == name), "{name} of {names:?}");
    }
}

#[test]
fn bad_requests_name_the_field() {
    let text = json!({"parts": [{"text": "q"}]});
    for (body, field) in [
        (json!({}), "contents"),
        (json!({"contents": [{"role": "assistant", "parts": []}]}), "contents[0].role"),
        (json!({"contents": [text], "generationConfig": {"topK": -1}}), "generationConfig.topK"),
        (json!({"contents": [text], "generationConfig": {"logprobs": 2}}), "generationConfig.logprobs"),
        (
            json!({"contents": [text], "toolConfig": {"functionCallingConfig": {"mode": "X"}}}),
            "toolConfig.functionCallingConfig.mode",
        ),
        (
            json!({"contents": [text], "tools": [{"functionDeclarations": [{}]}]}),
            "tools.functionDeclarations[0].name",
        ),
        (
            json!({"contents": [{"parts": [{"functionCall": {"args": {}}}]}]}),
            "contents[0].parts[0].functionCall.name",
        ),
        (
            json!({"contents": [text], "systemInstruction": {"parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}}),
            "systemInstruction.parts[0]",
        ),
    ] {
        assert_eq!(read(&body).expect_err("must be refused").field, field);
    }
}

/// opencode #3077 by way of Gemini: a thinking block whose words came in pieces goes back as one, with its signature.
#[test]
fn another_providers_thinking_comes_back_whole() {
    let signature = Signature { provider: Provider::Anthropic, data: "EqRk+/=".into() };
    let sealed = crate::canonical::seal::seal_signature(&signature, Provider::Gemini);
    let url_safe = sealed.replace('+', "-").replace('/', "_");
    for sealed in [sealed, url_safe] {
        let body = json!({"contents": [
            {"parts": [{"text": "q"}]},
            {"role": "model", "parts": [{"text": "let me ", "thought": true}]},
            {"role": "model", "parts": [{"text": "see", "thought": true}]},
            {"role": "model", "parts": [{"text": "", "thought": true, "thoughtSignature": sealed}, {"text": "a"}]}
        ]});
        let request = read(&body).expect("reads");
        let thinking = Thinking { text: "let me see".into(), signature: Some(signature.clone()), id: None };
        assert_eq!(request.turns[1].parts, [Part::Thinking(thinking), Part::text("a")]);
    }
}
