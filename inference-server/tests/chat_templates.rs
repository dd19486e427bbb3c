//! Chat templates write what jinja2 writes when transformers sets it up, and what llama.cpp's own tests want
//! (goldens in `tests/goldens/templates`).
//!
//! The files among the templates are not in the repository: without them these tests fail and say how to get them.
#![allow(clippy::unwrap_used, clippy::panic)] // A golden that cannot be read fails the test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weighbridge_inference_server::chat_template::{ChatTemplate, TemplateError};

/// Renders of files that differ from jinja2's, and why. One that no longer does has to leave the list.
const KNOWN: [(&str, &str, &str); 10] = [
    ("CohereForAI-c4ai-command-r-plus-tool_use", "chat", NONE),
    ("CohereForAI-c4ai-command-r-plus-tool_use", "system", NONE),
    ("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "chat", NONE),
    ("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "system", NONE),
    ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "chat", NONE),
    ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "system", NONE),
    ("llama-cpp-deepseek-r1", "tools", GENERATOR),
    ("llama-cpp-deepseek-r1", "call", GENERATOR),
    ("meetkai-functionary-medium-v3.1", "tools", MARKUP),
    ("meetkai-functionary-medium-v3.1", "call", MARKUP),
];

const NONE: &str =
    "it goes through `tools` whether there are any: minijinja finds none of them, jinja2 fails";
const GENERATOR: &str =
    "it writes what `map` gives as JSON: minijinja writes the list, jinja2 fails on a generator";
const MARKUP: &str =
    "it adds text to what is `safe`: in Python the sum is escaped as HTML, and minijinja's is not";

/// Cases in which llama.cpp wants another prompt than jinja2 and we write, and why.
const NOT_LLAMA_CPP: [(&str, &str); 6] = [
    ("mistralai/Mistral-7B-Instruct-v0.2 (NOTE: Old pre-v1 without a system prompt)", SYSTEM),
    ("google/gemma-7b-it", SYSTEM),
    ("OrionStarAI/Orion-14B-Chat", SYSTEM),
    ("Phi-3-mini", SYSTEM),
    ("Phi-3-medium", SYSTEM),
    ("yandex/YandexGPT-5-Lite-8B-instruct", SYSTEM),
];

const SYSTEM: &str = "its template has no place for a system message: llama.cpp puts it before the user's, while with \
                      transformers and here the template has the last word";

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/templates").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

fn folder() -> PathBuf {
    let cache = std::env::var_os("WEIGHBRIDGE_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/weighbridge"));
    let folder = cache.join("llama-cpp-models/templates");
    assert!(folder.is_dir(), "{} is not there: run make test-setup", folder.display());
    folder
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// What is wrong with what we made where `wanted` is jinja2's text, the template's own refusal, or a failure.
fn difference(made: Result<String, TemplateError>, wanted: &Value) -> Option<String> {
    match made {
        Ok(made) => (wanted["text"] != *made).then(|| format!("wanted {wanted}\n  got    {:?}", made)),
        Err(TemplateError::Refused(words)) if wanted["refused"] == *words => None,
        Err(TemplateError::Failed(_)) if wanted["failed"].is_string() => None,
        Err(error) => Some(format!("wanted {wanted}\n  got    {error}")),
    }
}

#[test]
fn every_file_writes_what_jinja2_writes() {
    let golden = golden("files.json");
    let templates = golden["templates"].as_object().unwrap();
    let shipped = std::fs::read_dir(folder()).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".jinja").unwrap().to_owned()
    });
    assert_eq!(shipped.collect::<BTreeSet<_>>(), templates.keys().cloned().collect());

    let now = text(&golden["now"]).parse().unwrap();
    let mut different = Vec::new();
    let mut equal = 0;
    for (name, cases) in templates {
        let source = std::fs::read_to_string(folder().join(format!("{name}.jinja"))).unwrap();
        let template = ChatTemplate::new(source, text(&golden["bos"]), text(&golden["eos"]));
        let template = template.unwrap_or_else(|error| panic!("{name}: {error}")).at(now);
        for (case, wanted) in cases.as_object().unwrap() {
            let conversation = &golden["conversations"][case];
            let tools = (conversation["tools"] == true).then(|| list(&golden["tools"]));
            let made = template.render_with_tools(list(&conversation["messages"]), tools, true);
            let known = KNOWN.iter().find(|(template, of, _)| template == name && of == case);
            match (difference(made, wanted), known) {
                (None, None) => equal += 1,
                (Some(_), Some(_)) => {}
                (Some(how), None) => different.push(format!("{name}, {case}: {how}")),
                (None, Some(_)) => different.push(format!("{name}, {case}: equal now, and still in KNOWN")),
            }
        }
    }
    assert!(different.is_empty(), "{} equal, {} not\n{}", equal, different.len(), different.join("\n"));
    let cases: usize = templates.values().map(|cases| cases.as_object().unwrap().len()).sum();
    assert_eq!(equal + KNOWN.len(), cases);
}

#[test]
fn every_case_of_llama_cpp_is_as_it_wants_or_as_jinja2_has_it() {
    let golden = golden("llama_cpp.json");
    let cases = list(&golden["cases"]);
    assert_eq!(cases.len(), 36);
    let mut different = Vec::new();
    for case in cases {
        let name = text(&case["name"]);
        let template =
            ChatTemplate::new(text(&case["template"]).to_owned(), text(&case["bos"]), text(&case["eos"]));
        let template = template.unwrap_or_else(|error| panic!("{name}: {error}"));
        let messages = [list(&golden["messages"]), list(&case["extra"])].concat();
        let made = template.render(&messages, true);
        let as_wanted = case["llama_cpp"].as_str().is_none_or(|wanted| made.as_deref().ok() == Some(wanted));
        if as_wanted == NOT_LLAMA_CPP.iter().any(|(known, _)| *known == name) {
            different
                .push(format!("{name}: as llama.cpp wants it: {as_wanted}; NOT_LLAMA_CPP says otherwise"));
        }
        different.extend(difference(made, &case["jinja2"]).map(|how| format!("{name}: {how}")));
    }
    assert!(different.is_empty(), "{} differ\n{}", different.len(), different.join("\n"));
}
