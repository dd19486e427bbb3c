//! A request, read as strictly as Gemini reads it.

use serde_json::{Value, json};

use super::fields::{get, list, only};
use super::{history, schema};
use crate::simulator::asked::Asked;
use crate::simulator::error::Refusal;
use crate::simulator::model::{Cache, Choice, Image, Prompt, Tool, count_tokens};

const KNOWN: [&str; 10] = [
    "contents",
    "tools",
    "toolConfig",
    "safetySettings",
    "systemInstruction",
    "generationConfig",
    "cachedContent",
    "model",
    "serviceTier",
    "store",
];
const CONFIG: [&str; 23] = [
    "candidateCount",
    "enableEnhancedCivicAnswers",
    "frequencyPenalty",
    "imageConfig",
    "logprobs",
    "maxOutputTokens",
    "mediaResolution",
    "presencePenalty",
    "responseFormat",
    "responseJsonSchema",
    "responseLogprobs",
    "responseMimeType",
    "responseModalities",
    "responseSchema",
    "_responseJsonSchema",
    "seed",
    "speechConfig",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
    "translationConfig",
];
const DECLARATION: [&str; 7] = [
    "name",
    "description",
    "parameters",
    "parametersJsonSchema",
    "response",
    "responseJsonSchema",
    "behavior",
];

/// Reads a request for an answer.
pub(super) fn prompt(asked: &Asked, body: &Value) -> Result<Prompt, Refusal> {
    only("", body, &KNOWN)?;
    let config = get(body, "generationConfig");
    only("generation_config", config, &CONFIG)?;
    if !get(config, "candidateCount").is_null() && get(config, "candidateCount") != 1 {
        return Err(Refusal::bad("Only one candidate can be specified"));
    }
    let range = get(config, "temperature").as_f64().is_none_or(|value| (0.0..=2.0).contains(&value));
    if !range {
        let message = "* GenerateContentRequest.generation_config.temperature: temperature must be in the range \
                       [0.0, 2.0].";
        return Err(Refusal::bad(message));
    }
    let tools = tools(body)?;
    let calling = get(get(body, "toolConfig"), "functionCallingConfig");
    let named = list(calling, "allowedFunctionNames").find_map(Value::as_str);
    let choice = match get(calling, "mode").as_str() {
        Some("NONE") => Choice::None,
        Some("ANY") => named.map_or(Choice::Any, |name| Choice::Named(name.to_owned())),
        Some("AUTO" | "VALIDATED" | "MODE_UNSPECIFIED") | None => Choice::Auto,
        Some(other) => {
            let message = format!(
                "Invalid value at 'tool_config.function_calling_config.mode' \
                 (type.googleapis.com/google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode), \
                 \"{other}\""
            );
            return Err(Refusal::bad(message));
        }
    };
    let thinking = get(config, "thinkingConfig");
    only(
        "generation_config.thinking_config",
        thinking,
        &["includeThoughts", "thinkingBudget", "thinkingLevel"],
    )?;
    if !get(thinking, "thinkingBudget").is_null() && !get(thinking, "thinkingLevel").is_null() {
        return Err(Refusal::bad("You can only set one of thinking budget and thinking level."));
    }
    let counted = counted(asked, body)?;
    Ok(Prompt {
        tools,
        choice,
        parallel: true,
        schema: wanted(config)?,
        thinking: thinking.is_object() && get(thinking, "thinkingBudget") != 0,
        limit: get(config, "maxOutputTokens").as_u64(),
        stops: list(config, "stopSequences").filter_map(Value::as_str).map(str::to_owned).collect(),
        ..counted
    })
}

/// Reads the contents alone.
pub(super) fn counted(asked: &Asked, body: &Value) -> Result<Prompt, Refusal> {
    let contents = get(body, "contents").as_array().filter(|contents| !contents.is_empty());
    let contents = contents
        .ok_or_else(|| Refusal::bad("* GenerateContentRequest.contents: contents is not specified\n"))?;
    let last = history::last(contents)?;
    let parts = contents.iter().flat_map(|content| list(content, "parts"));
    let images = parts.filter_map(image).collect::<Result<_, _>>()?;
    let system = get(body, "systemInstruction");
    let parts = contents.iter().chain([system]).flat_map(|content| list(content, "parts"));
    let tokens =
        parts.map(|part| part["text"].as_str().map_or_else(|| count_tokens(&part.to_string()), count_tokens));
    let tools = get(body, "tools");
    let tools = if tools.is_null() { 0 } else { count_tokens(&tools.to_string()) };
    let cached = get(body, "cachedContent").as_str();
    let cache = cached.map(|name| Cache { key: format!("gemini {} {name}", asked.model), an_hour: false });
    Ok(Prompt { last, images, tokens: tokens.sum::<u64>() + tools, cache, ..Prompt::default() })
}

/// Protobuf's JSON reads either alphabet of base64.
fn image(part: &Value) -> Option<Result<Image, Refusal>> {
    let inline = get(part, "inlineData");
    let data = get(inline, "data").as_str()?.replace('-', "+").replace('_', "/");
    let image = Image::new(get(inline, "mimeType").as_str().unwrap_or_default(), &data);
    Some(
        image.ok_or_else(|| Refusal::bad("Invalid value at 'contents' (TYPE_BYTES), Base64 decoding failed")),
    )
}

fn tools(body: &Value) -> Result<Vec<Tool>, Refusal> {
    let mut tools = Vec::new();
    for (index, tool) in list(body, "tools").enumerate() {
        for (at, declared) in list(tool, "functionDeclarations").enumerate() {
            let place = format!("tools[{index}].function_declarations[{at}]");
            only(&place, declared, &DECLARATION)?;
            let name = declared["name"].as_str().unwrap_or_default();
            let fits =
                |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':');
            let begins = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
            if !begins || name.len() > 64 || !name.chars().all(fits) {
                let message = format!(
                    "* GenerateContentRequest.{place}.name: Invalid function name. Must start with a letter or \
                     an underscore."
                );
                return Err(Refusal::bad(message));
            }
            let (subset, json_schema) = (get(declared, "parameters"), get(declared, "parametersJsonSchema"));
            if !subset.is_null() {
                if !json_schema.is_null() {
                    return Err(Refusal::bad(format!(
                        "{place}: parameters and parameters_json_schema are exclusive."
                    )));
                }
                schema::check(&format!("{place}.parameters"), subset)?;
            }
            let schema = [subset, json_schema].into_iter().find(|schema| !schema.is_null());
            let schema = schema.cloned().unwrap_or_else(|| json!({"type": "object"}));
            tools.push(Tool { name: name.to_owned(), schema });
        }
    }
    Ok(tools)
}

/// The schema that the answer is to be an instance of.
fn wanted(config: &Value) -> Result<Option<Value>, Refusal> {
    let is_json = get(config, "responseMimeType") == "application/json";
    let subset = get(config, "responseSchema");
    let json_schema = [get(config, "responseJsonSchema"), &config["_responseJsonSchema"]];
    let json_schema = json_schema.into_iter().find(|schema| !schema.is_null());
    if !subset.is_null() {
        schema::check("generation_config.response_schema", subset)?;
    }
    let schema = if subset.is_null() { json_schema } else { Some(subset) };
    match schema {
        Some(_) if !is_json => Err(Refusal::bad(
            "* GenerateContentRequest.generation_config.response_mime_type: response_schema is only supported \
             with response_mime_type `application/json`.",
        )),
        Some(schema) => Ok(Some(schema.clone())),
        None if is_json => Ok(Some(json!({"properties": {"answer": {"type": "string"}}}))),
        None => Ok(None),
    }
}
