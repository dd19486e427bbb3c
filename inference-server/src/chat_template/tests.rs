use serde_json::json;

use super::{ChatTemplate, TemplateError};

const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn render(source: &str, messages: &serde_json::Value) -> Result<String, TemplateError> {
    let template = ChatTemplate::new(source.to_owned(), "<s>", "</s>")?;
    template.render(messages.as_array().unwrap(), true)
}

#[test]
fn smollm2_adds_its_system_prompt_and_opens_the_answer() {
    let prompt = render(SMOLLM2, &json!([{"role": "user", "content": "<b>Hi & bye</b>"}])).unwrap();
    assert_eq!(
        prompt,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\n<b>Hi & bye</b><|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn a_template_may_refuse_in_its_own_words() {
    let source = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}";
    let error = render(source, &json!([{"role": "system", "content": "x"}])).unwrap_err();
    assert!(matches!(&error, TemplateError::Refused(words) if words == "user first"), "{error}");
}

#[test]
fn what_python_templates_use_is_there() {
    let source = "{{ bos_token }}{{ messages[0].content.strip().upper() }}{{ messages[0].role.startswith('us') }}\
                  {{ messages[0] | tojson }}{% if tools is not none %}tools{% endif %}{{ strftime_now('%Y')[:2] }}\
                  {%- for m in messages %}{% if m.skip is defined %}{% continue %}{% endif %}.{% endfor %}";
    let prompt = render(source, &json!([{"role": "user", "content": " <é> "}])).unwrap();
    assert_eq!(prompt, "<s><É>True{\"role\": \"user\", \"content\": \" <é> \"}20.");
}

#[test]
fn json_is_written_as_python_writes_it() {
    let value = json!([{"b": [1e16, 2.5e-7, 1.0, -3], "a": {"é🦀": "é\u{7f}\"\n"}, "e": [], "o": {}}]);
    let written =
        |options: &str| render(&format!("{{{{ messages[0] | tojson{options} }}}}"), &value).unwrap();
    assert_eq!(
        written(""),
        "{\"b\": [1e+16, 2.5e-07, 1.0, -3], \"a\": {\"é🦀\": \"é\u{7f}\\\"\\n\"}, \"e\": [], \"o\": {}}"
    );
    assert_eq!(
        written("(ensure_ascii=true, separators=(',', ':'), sort_keys=true)"),
        "{\"a\":{\"\\u00e9\\ud83e\\udd80\":\"\\u00e9\\u007f\\\"\\n\"},\"b\":[1e+16,2.5e-07,1.0,-3],\"e\":[],\"o\":{}}"
    );
    assert_eq!(
        written("(indent=1)"),
        "{\n \"b\": [\n  1e+16,\n  2.5e-07,\n  1.0,\n  -3\n ],\n \"a\": {\n  \"é🦀\": \"é\u{7f}\\\"\\n\"\n },\n \
         \"e\": [],\n \"o\": {}\n}"
    );
    let error = render("{{ 1 | tojson(separators=(',',)) }}", &json!([])).unwrap_err().to_string();
    assert!(error.contains("separators are two strings"), "{error}");
}

#[test]
fn indented_lines_are_as_python_has_them() {
    let source = "{{ messages[0].content | indent }}|{{ messages[0].content | indent(1, true, blank=true) }}|\
                  {{ messages[0].content | indent(width=2, first=true) }}";
    let prompt = render(source, &json!([{"content": "a\r\n\nb\u{2028}c\n"}])).unwrap();
    assert_eq!(prompt, "a\n\n    b\n    c\n| a\n \n b\n c\n |  a\n\n  b\n  c\n");
    let wide = render("{{ 'a' | indent(99999999999999, true) }}", &json!([]));
    assert!(matches!(wide, Err(TemplateError::Limit)), "{wide:?}");
}

#[test]
fn tools_and_the_date_are_what_the_caller_says() {
    let source = "{% if tools %}{{ tools[0].name }}{% else %}none{% endif %} {{ strftime_now('%d %b %Y') }}";
    let template = ChatTemplate::new(source.to_owned(), "", "").unwrap();
    let template = template.at("2024-07-26T09:05:03Z".parse().unwrap());
    let tools = [json!({"name": "look"})];
    assert_eq!(template.render_with_tools(&[], Some(&tools), true).unwrap(), "look 26 Jul 2024");
    assert_eq!(template.render(&[], true).unwrap(), "none 26 Jul 2024");
}

#[test]
fn training_marks_write_what_is_between_them() {
    let source =
        "a {%- generation -%} {{ messages[0].content }} {%- endgeneration %} b{% set generation = 1 %}{% if";
    assert!(
        matches!(render(source, &json!([])), Err(TemplateError::Unreadable(_))),
        "an open statement stays one"
    );
    let source = source.strip_suffix("{% if").unwrap();
    assert_eq!(render(source, &json!([{"content": "x"}])).unwrap(), "ax b");
}

#[test]
fn none_is_not_iterable() {
    let source = "{% if tools is iterable and tools | length > 0 %}tools{% else %}none{% endif %}\
                  {{ messages is iterable }}{{ messages[0].content is iterable }}";
    assert_eq!(render(source, &json!([{"content": "x"}])).unwrap(), "noneTrueTrue");
}

#[test]
fn white_space_is_as_transformers_sets_it() {
    let source = "{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}";
    assert_eq!(render(source, &json!([{"content": "a"}, {"content": "b"}])).unwrap(), "a\nb\n");
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    let slow = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert!(matches!(render(slow, &json!([])), Err(TemplateError::Limit)));
    let long = "{% set s = messages[0].content %}{% for i in range(99999) %}{{ s }}{% endfor %}";
    let message = json!([{"content": "x".repeat(4096)}]);
    assert!(matches!(render(long, &message), Err(TemplateError::Limit)));
}

/// Memory is bounded by the same fuel: minijinja charges for the bytes and elements that an operation makes.
#[test]
fn what_doubles_in_memory_is_stopped() {
    for source in [
        "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(90) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{{ 'x\ny' | indent(99999999999) }}",
    ] {
        assert!(matches!(render(source, &json!([])), Err(TemplateError::Limit)), "{source}");
    }
    assert!(render("{{ 'x' * 99999999999 }}", &json!([])).is_err());
}

/// SGLang CVE-2026-5760: a template out of a model's metadata ran code. Guard: minijinja has no loader here, and no value
/// has attributes but its own.
#[test]
fn cve_2026_5760_nothing_outside_can_be_had() {
    for source in [
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    ] {
        let error = render(source, &json!([{"role": "user", "content": "x"}]));
        assert!(matches!(error, Err(TemplateError::Failed(_))), "{source}: {error:?}");
    }
}

/// Guard: `catch_unwind` in `new`.
#[test]
fn a_template_over_which_minijinja_panics_is_unreadable() {
    let error = render("{% import 'os' as os | tojson %}", &json!([])).unwrap_err();
    assert!(
        matches!(&error, TemplateError::Unreadable(words) if words == "it cannot be compiled"),
        "{error}"
    );
}

#[test]
fn a_template_with_an_error_names_the_line() {
    let error = render("line one\n{% if %}", &json!([])).unwrap_err();
    assert!(
        matches!(&error, TemplateError::Unreadable(words) if words.contains("chat_template:2")),
        "{error}"
    );
}
