//! Everyday requests: a loop of tool calls as each dialect's clients send it, on its way to every other dialect.

use serde_json::{Value, json};

use super::door::{read_request, write_request};
use crate::canonical::{Dialect, Unsupported};

fn schema() -> Value {
    json!({"type": "object", "properties": {"file_path": {"type": "string"}}, "required": ["file_path"],
        "additionalProperties": false})
}

/// As Claude Code sends it: cache marks, adaptive thinking, streamed inputs, two calls at once, one of which failed.
fn claude_code() -> Value {
    let mark = json!({"type": "ephemeral"});
    json!({
        "model": "gemini-2.5-pro", "max_tokens": 32000, "stream": true,
        "system": [
            {"type": "text", "text": "You are an agent.", "cache_control": mark},
            {"type": "text", "text": "Be brief."},
        ],
        "metadata": {"user_id": "user_1"},
        "thinking": {"type": "adaptive"},
        "tools": [{"name": "Read", "description": "Reads a file.", "input_schema": schema(),
            "eager_input_streaming": true, "cache_control": mark}],
        "tool_choice": {"type": "auto"},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>x</system-reminder>"},
                {"type": "text", "text": "Read both."},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Two files.", "signature": "EqR+/="},
                {"type": "text", "text": "Reading."},
                {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"file_path": "/a"}},
                {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {"file_path": "/b"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "A"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true,
                    "content": [{"type": "text", "text": "no such file"}], "cache_control": mark},
            ]},
        ],
    })
}

/// As boto3 sends it: a cache point of its own, thinking signed, one of two calls failed.
fn boto3() -> Value {
    json!({
        "system": [{"text": "You are an agent."}, {"cachePoint": {"type": "default"}}],
        "inferenceConfig": {"maxTokens": 1000},
        "outputConfig": {"effort": "low"},
        "toolConfig": {"tools": [{"toolSpec": {"name": "Read", "description": "Reads a file.",
            "inputSchema": {"json": schema()}}}], "toolChoice": {"auto": {}}},
        "messages": [
            {"role": "user", "content": [{"text": "Read both."}]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "Two files.", "signature": "SIG=="}}},
                {"toolUse": {"toolUseId": "tooluse_1", "name": "Read", "input": {"file_path": "/a"}}},
                {"toolUse": {"toolUseId": "tooluse_2", "name": "Read", "input": {"file_path": "/b"}}},
            ]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "A"}]}},
                {"toolResult": {"toolUseId": "tooluse_2", "status": "error", "content": [{"json": {"why": "gone"}}]}},
            ]},
        ],
    })
}

/// As OpenAI's Python client sends an answer back: with its nulls.
fn openai() -> Value {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "Read", "arguments": arguments}});
    json!({
        "model": "gemini-2.5-pro", "max_completion_tokens": 1000, "stream": true,
        "stream_options": {"include_usage": true}, "reasoning_effort": "low", "prompt_cache_key": "k",
        "tools": [{"type": "function", "function": {"name": "Read", "description": "Reads a file.",
            "parameters": schema(), "strict": false}}],
        "parallel_tool_calls": true,
        "messages": [
            {"role": "developer", "content": "You are an agent."},
            {"role": "user", "content": "Read both."},
            {"role": "assistant", "content": null, "refusal": null, "annotations": [], "audio": null,
                "function_call": null, "tool_calls": [call("call_1", "{\"file_path\": \"/a\"}"), call("call_2", "{\"file_path\":\"/b\"}")]},
            {"role": "tool", "tool_call_id": "call_1", "content": "A"},
            {"role": "tool", "tool_call_id": "call_2", "content": "B"},
            {"role": "user", "content": "Which is longer?"},
        ],
    })
}

/// As google-genai sends it for a model of Gemini 2.5: signed, and without ids.
fn gemini() -> Value {
    json!({
        "systemInstruction": {"role": "user", "parts": [{"text": "You are an agent."}]},
        "generationConfig": {"maxOutputTokens": 1000, "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 4096}},
        "tools": [{"functionDeclarations": [{"name": "Read", "description": "Reads a file.",
            "parametersJsonSchema": schema()}]}],
        "contents": [
            {"role": "user", "parts": [{"text": "Read both."}]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "Read", "args": {"file_path": "/a"}}, "thoughtSignature": "CiQB+/w="},
                {"functionCall": {"name": "Read", "args": {"file_path": "/b"}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "Read", "response": {"output": "A"}}},
                {"functionResponse": {"name": "Read", "response": {"output": "B"}}},
            ]},
        ],
    })
}

/// Nothing of an everyday request is refused by default.
fn sent(from: Dialect, body: &Value, to: Dialect) -> (Value, Vec<String>) {
    let request = read_request(from, body);
    write_request(to, &request, Unsupported::Refuse).unwrap_or_else(|error| panic!("{from} to {to}: {error}"))
}

#[test]
fn claude_code_reaches_a_chat_server() {
    let (body, dropped) = sent(Dialect::Anthropic, &claude_code(), Dialect::OpenAiChat);
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "Read", "arguments": arguments}});
    let text = |text: &str| json!({"type": "text", "text": text});
    assert_eq!(
        body["messages"],
        json!([
            {"role": "system", "content": [text("You are an agent."), text("Be brief.")]},
            {"role": "user", "content": [text("<system-reminder>x</system-reminder>"), text("Read both.")]},
            {"role": "assistant", "content": "Reading.", "tool_calls": [
                call("toolu_1", "{\"file_path\":\"/a\"}"), call("toolu_2", "{\"file_path\":\"/b\"}")]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "A"},
            {"role": "tool", "tool_call_id": "toolu_2", "content": "no such file"},
        ])
    );
    assert_eq!(body["tools"][0]["function"]["parameters"], schema());
    assert_eq!((&body["max_completion_tokens"], &body["user"]), (&json!(32000), &json!("user_1")));
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    assert!(dropped.contains(&"messages[1].content[0]".to_owned()), "its thinking: {dropped:?}");
    assert!(dropped.contains(&"tools[0].eager_input_streaming".to_owned()), "{dropped:?}");
}

#[test]
fn claude_code_reaches_responses() {
    let (body, _) = sent(Dialect::Anthropic, &claude_code(), Dialect::OpenAiResponses);
    let kinds: Vec<&str> =
        body["input"].as_array().expect("items").iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "message",
            "message",
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output"
        ]
    );
    assert_eq!(body["input"][3]["arguments"], "{\"file_path\":\"/a\"}");
    assert_eq!(
        body["input"][5],
        json!({"type": "function_call_output", "call_id": "toolu_1", "output": "A"})
    );
    assert_eq!((&body["store"], &body["tools"][0]["strict"]), (&json!(false), &json!(false)));
}

#[test]
fn claude_code_reaches_gemini() {
    let (body, _) = sent(Dialect::Anthropic, &claude_code(), Dialect::Gemini);
    assert_eq!(
        body["contents"],
        json!([
            {"role": "user", "parts": [{"text": "<system-reminder>x</system-reminder>"}, {"text": "Read both."}]},
            {"role": "model", "parts": [
                {"text": "Reading."},
                {"functionCall": {"id": "toolu_1", "name": "Read", "args": {"file_path": "/a"}}},
                {"functionCall": {"id": "toolu_2", "name": "Read", "args": {"file_path": "/b"}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "toolu_1", "name": "Read", "response": {"output": "A"}}},
                {"functionResponse": {"id": "toolu_2", "name": "Read", "response": {"error": "no such file"}}},
            ]},
        ])
    );
    assert_eq!(
        body["systemInstruction"]["parts"],
        json!([{"text": "You are an agent."}, {"text": "Be brief."}])
    );
    assert_eq!(body["generationConfig"]["thinkingConfig"], json!({"thinkingBudget": -1}));
    assert_eq!(body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"], schema());
}

#[test]
fn openais_client_reaches_anthropic() {
    let (body, dropped) = sent(Dialect::OpenAiChat, &openai(), Dialect::Anthropic);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": "Read both."},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "call_1", "name": "Read", "input": {"file_path": "/a"}},
                {"type": "tool_use", "id": "call_2", "name": "Read", "input": {"file_path": "/b"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "A"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "B"},
                {"type": "text", "text": "Which is longer?"},
            ]},
        ])
    );
    assert_eq!((&body["system"], &body["max_tokens"]), (&json!("You are an agent."), &json!(1000)));
    assert_eq!(
        (&body["thinking"]["type"], &body["output_config"]["effort"]),
        (&json!("adaptive"), &json!("low"))
    );
    assert_eq!(body["tools"][0]["input_schema"], schema());
    assert_eq!(dropped, ["prompt_cache_key"]);
}

#[test]
fn openais_client_reaches_gemini() {
    let (body, dropped) = sent(Dialect::OpenAiChat, &openai(), Dialect::Gemini);
    assert_eq!(
        body["contents"][2]["parts"],
        json!([
            {"functionResponse": {"id": "call_1", "name": "Read", "response": {"output": "A"}}},
            {"functionResponse": {"id": "call_2", "name": "Read", "response": {"output": "B"}}},
            {"text": "Which is longer?"},
        ])
    );
    assert_eq!(body["contents"][1]["parts"][0]["functionCall"]["args"], json!({"file_path": "/a"}));
    assert_eq!(body["generationConfig"]["thinkingConfig"]["thinkingBudget"], 4096);
    assert_eq!(dropped, ["prompt_cache_key"]);
}

#[test]
fn geminis_client_reaches_a_chat_server_and_anthropic() {
    let (body, dropped) = sent(Dialect::Gemini, &gemini(), Dialect::OpenAiChat);
    let messages = body["messages"].as_array().expect("messages");
    let roles: Vec<&str> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool"]);
    let calls = &messages[2]["tool_calls"];
    assert_eq!(calls[1]["function"]["arguments"], "{\"file_path\":\"/b\"}");
    for index in 0..2 {
        assert_eq!(calls[index]["id"], messages[3 + index]["tool_call_id"], "a result names its call");
    }
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!((&messages[3]["content"], &messages[4]["content"]), (&json!("A"), &json!("B")));
    assert_eq!(body["reasoning_effort"], "low");
    assert!(dropped.iter().any(|path| path == "contents[1].parts[0].signature"), "{dropped:?}");

    let (body, _) = sent(Dialect::Gemini, &gemini(), Dialect::Anthropic);
    let messages = &body["messages"];
    for index in 0..2 {
        assert_eq!(messages[1]["content"][index]["id"], messages[2]["content"][index]["tool_use_id"]);
    }
    assert_eq!(messages[2]["content"][1]["content"], "B");
    assert_eq!(body["thinking"], json!({"type": "adaptive", "display": "summarized"}));
    assert_eq!((&body["output_config"]["effort"], &body["max_tokens"]), (&json!("low"), &json!(1000)));
}

/// As Codex sends it: nothing stored, its reasoning encrypted.
fn codex() -> Value {
    json!({
        "model": "gemini-2.5-pro", "instructions": "You are an agent.", "stream": true, "store": false,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "parallel_tool_calls": true,
        "tool_choice": "auto", "reasoning": {"effort": "medium", "summary": "auto"}, "max_output_tokens": 1000,
        "tools": [{"type": "function", "name": "Read", "description": "Reads a file.", "parameters": schema(),
            "strict": false}],
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Read it."}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "One file."}],
                "content": null, "encrypted_content": "gAAAA=="},
            {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
                "content": [{"type": "output_text", "text": "Reading.", "annotations": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "Read",
                "arguments": "{\"file_path\":\"/a\"}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "A"},
        ],
    })
}

#[test]
fn codex_reaches_every_other_dialect() {
    let (body, dropped) = sent(Dialect::OpenAiResponses, &codex(), Dialect::Anthropic);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": "Read it."},
            {"role": "assistant", "content": [
                {"type": "text", "text": "Reading."},
                {"type": "tool_use", "id": "call_1", "name": "Read", "input": {"file_path": "/a"}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "A"}]},
        ])
    );
    assert_eq!(body["output_config"]["effort"], "medium");
    assert_eq!(dropped, ["input[1]", "prompt_cache_key"], "its reasoning, and a hint");

    let (body, _) = sent(Dialect::OpenAiResponses, &codex(), Dialect::Gemini);
    assert_eq!(
        body["contents"][1]["parts"],
        json!([
            {"text": "Reading."},
            {"functionCall": {"id": "call_1", "name": "Read", "args": {"file_path": "/a"}}},
        ])
    );
    assert_eq!(body["contents"][2]["parts"][0]["functionResponse"]["name"], "Read");

    let (body, _) = sent(Dialect::OpenAiResponses, &codex(), Dialect::OpenAiChat);
    let roles: Vec<&str> = body["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .filter_map(|message| message["role"].as_str())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!(body["messages"][2]["tool_calls"][0]["function"]["arguments"], "{\"file_path\":\"/a\"}");
    assert_eq!(body["prompt_cache_key"], "k", "both endpoints have it");

    let (body, _) = sent(Dialect::OpenAiResponses, &codex(), Dialect::OpenAiResponses);
    assert_eq!(body["input"][2]["encrypted_content"], "gAAAA==", "and OpenAI has its own back");
}

#[test]
fn claude_code_and_openai_reach_bedrock() {
    let (body, dropped) = sent(Dialect::Anthropic, &claude_code(), Dialect::Converse);
    let call = |id: &str, path: &str| json!({"toolUse": {"toolUseId": id, "name": "Read", "input": {"file_path": path}}});
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"text": "<system-reminder>x</system-reminder>"}, {"text": "Read both."}]},
            {"role": "assistant", "content": [{"text": "Reading."}, call("toolu_1", "/a"), call("toolu_2", "/b")]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "toolu_1", "content": [{"text": "A"}]}},
                {"toolResult": {"toolUseId": "toolu_2", "status": "error", "content": [{"text": "no such file"}]}},
            ]},
        ])
    );
    assert_eq!(body["system"], json!([{"text": "You are an agent."}, {"text": "Be brief."}]));
    assert_eq!(body["inferenceConfig"], json!({"maxTokens": 32000}));
    assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"], schema());
    assert!(dropped.contains(&"messages[1].content[0]".to_owned()), "its thinking: {dropped:?}");
    assert!(dropped.contains(&"system.cache_control".to_owned()), "a model without a cache: {dropped:?}");

    let (body, dropped) = sent(Dialect::OpenAiChat, &openai(), Dialect::Converse);
    assert_eq!(body["messages"][2]["content"][2], json!({"text": "Which is longer?"}), "results come first");
    assert_eq!(body["outputConfig"]["effort"], "low");
    assert_eq!(dropped, ["prompt_cache_key"]);
}

#[test]
fn boto3_reaches_every_other_dialect() {
    let (body, dropped) = sent(Dialect::Converse, &boto3(), Dialect::OpenAiChat);
    let messages = body["messages"].as_array().expect("messages");
    let roles: Vec<&str> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool"]);
    assert_eq!(messages[2]["tool_calls"][1]["function"]["arguments"], "{\"file_path\":\"/b\"}");
    assert_eq!(
        (&messages[3]["content"], &messages[4]["content"]),
        (&json!("A"), &json!("{\"why\":\"gone\"}"))
    );
    assert_eq!((&body["reasoning_effort"], &body["max_completion_tokens"]), (&json!("low"), &json!(1000)));
    assert!(dropped.contains(&"messages[1].content[0]".to_owned()), "its thinking: {dropped:?}");

    let (body, _) = sent(Dialect::Converse, &boto3(), Dialect::Anthropic);
    assert_eq!(body["messages"][1]["content"][0]["id"], "tooluse_1");
    assert_eq!(body["messages"][2]["content"][1]["is_error"], true);
    assert_eq!(body["system"][0]["cache_control"], json!({"type": "ephemeral"}));

    let (body, _) = sent(Dialect::Converse, &boto3(), Dialect::Gemini);
    assert_eq!(
        body["contents"][2]["parts"][1]["functionResponse"]["response"],
        json!({"error": "{\"why\":\"gone\"}"})
    );

    let (body, _) = sent(Dialect::Converse, &boto3(), Dialect::OpenAiResponses);
    assert_eq!(body["input"][3]["call_id"], "tooluse_2");
}
