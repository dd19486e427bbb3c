//! What a gateway reads of a request, and the two values it may change.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::super::ApiError;
use super::walk::Walked;
use super::{quoted, span};

/// A chat completion or completions request, read only as far as a gateway needs.
#[derive(Debug)]
pub struct RequestView<'a> {
    model: Cow<'a, str>,
    model_span: Range<usize>,
    stream: bool,
    stream_span: Option<Range<usize>>,
    options: Options,
}

/// The state of `stream_options`.
#[derive(Debug)]
enum Options {
    Absent,
    /// Null or an empty object: replaced whole.
    Empty(Range<usize>),
    /// Without `include_usage`: it goes in at this offset, right after the brace.
    Without(usize),
    /// With `include_usage`, whose value lies here.
    With {
        asked: bool,
        value: Range<usize>,
    },
}

impl<'a> RequestView<'a> {
    /// Reads `body`.
    ///
    /// # Errors
    /// A 400 in OpenAI's shape: not UTF-8, not JSON, not an object, nested too deep, `model` missing or not a
    /// string, `stream` not a boolean, `stream_options` not an object; or one of these given twice, since
    /// gateway and upstream could then read different ones.
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body)
            .map_err(|error| ApiError::invalid_json(&format!("not UTF-8 at byte {}", error.valid_up_to())))?;
        let top: Top<'a> = serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => ApiError::invalid_request(None, &error.to_string()),
            _ => ApiError::invalid_json(&error.to_string()),
        })?;
        let model = top.model.ok_or_else(|| {
            ApiError::invalid_request(Some("model"), "`model` is missing: name the model to use.")
        })?;
        let name = serde_json::from_str::<Text<'a>>(model.get())
            .map_err(|_| ApiError::invalid_request(Some("model"), "`model` must be a string."))?;
        let stream = match top.stream {
            None => None,
            Some(value) => serde_json::from_str::<Option<bool>>(value.get())
                .map_err(|_| ApiError::invalid_request(Some("stream"), "`stream` must be a boolean."))?,
        };
        Ok(Self {
            model: name.0,
            model_span: span(text, model),
            stream: stream.unwrap_or(false),
            stream_span: top.stream.map(|value| span(text, value)),
            options: options(text, top.stream_options)?,
        })
    }

    /// The name of the model asked for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the answer is to be a stream.
    pub fn stream(&self) -> bool {
        self.stream
    }

    /// Whether the caller asked for the usage at the end of the stream.
    pub fn include_usage(&self) -> bool {
        matches!(self.options, Options::With { asked: true, .. })
    }

    /// What changes to rename the model and, for a stream, to set `stream_options.include_usage` to true:
    /// spans of the body with their new text, in order and apart. Every byte outside of them stays.
    pub fn edits(&self, model: &str) -> Vec<(Range<usize>, String)> {
        let mut edits = Vec::new();
        if self.model != model {
            edits.push((self.model_span.clone(), quoted(model)));
        }
        if self.stream {
            edits.extend(self.usage_edit());
        }
        edits.sort_by_key(|(range, _)| range.start);
        edits
    }

    fn usage_edit(&self) -> Option<(Range<usize>, String)> {
        match &self.options {
            Options::With { asked: true, .. } => None,
            Options::With { asked: false, value } => Some((value.clone(), "true".to_owned())),
            Options::Empty(value) => Some((value.clone(), r#"{"include_usage":true}"#.to_owned())),
            Options::Without(at) => Some((*at..*at, r#""include_usage":true,"#.to_owned())),
            Options::Absent => {
                let after = self.stream_span.as_ref()?.end;
                Some((after..after, r#","stream_options":{"include_usage":true}"#.to_owned()))
            }
        }
    }
}

fn options(text: &str, value: Option<&RawValue>) -> Result<Options, ApiError> {
    let Some(value) = value else { return Ok(Options::Absent) };
    let all = span(text, value);
    let refused = |param: &str, message: &str| ApiError::invalid_request(Some(param), message);
    let parsed: Option<StreamOptions<'_>> = serde_json::from_str(value.get())
        .map_err(|error| refused("stream_options", &format!("`stream_options`: {error}")))?;
    let Some(parsed) = parsed else { return Ok(Options::Empty(all)) };
    let Some(include_usage) = parsed.include_usage else {
        return Ok(if parsed.others { Options::Without(all.start + 1) } else { Options::Empty(all) });
    };
    let asked: Option<bool> = serde_json::from_str(include_usage.get()).map_err(|_| {
        refused("stream_options.include_usage", "`stream_options.include_usage` must be a boolean.")
    })?;
    Ok(Options::With { asked: asked.unwrap_or(false), value: span(text, include_usage) })
}

/// A string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(value)))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[derive(Default)]
struct Top<'a> {
    model: Option<&'a RawValue>,
    stream: Option<&'a RawValue>,
    stream_options: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TopVisitor;
        impl<'de> Visitor<'de> for TopVisitor {
            type Value = Top<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
                let mut top = Top::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    let slot = match &*key.0 {
                        "model" => &mut top.model,
                        "stream" => &mut top.stream,
                        "stream_options" => &mut top.stream_options,
                        _ => {
                            map.next_value::<Walked>()?;
                            continue;
                        }
                    };
                    if slot.replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom(format!("`{}` is given twice", key.0)));
                    }
                }
                Ok(top)
            }
        }
        deserializer.deserialize_map(TopVisitor)
    }
}

struct StreamOptions<'a> {
    include_usage: Option<&'a RawValue>,
    others: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for StreamOptions<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OptionsVisitor;
        impl<'de> Visitor<'de> for OptionsVisitor {
            type Value = StreamOptions<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut options = StreamOptions { include_usage: None, others: false };
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if key.0 != "include_usage" {
                        map.next_value::<Walked>()?;
                        options.others = true;
                    } else if options.include_usage.replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom("`include_usage` is given twice"));
                    }
                }
                Ok(options)
            }
        }
        deserializer.deserialize_map(OptionsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::splice;
    use super::*;

    fn rewritten(body: &str, model: &str) -> String {
        let view = RequestView::parse(body.as_bytes()).expect("parses");
        String::from_utf8(splice(body, &view.edits(model))).expect("UTF-8")
    }

    #[test]
    fn only_the_model_changes() {
        let body = "{ \"z\" : 1.50e2,\n\t\"model\":  \"a\" , \"\\u006d\": [ ], \"a\":\"\\ud83d\\ude00\" }";
        assert_eq!(rewritten(body, "b\"c"), body.replace("\"a\" ,", "\"b\\\"c\" ,"));
        assert_eq!(rewritten(body, "a"), body);
    }

    #[test]
    fn usage_is_asked_for_in_streams_only() {
        assert_eq!(rewritten(r#"{"model":"m"}"#, "m"), r#"{"model":"m"}"#);
        for (given, expected) in [
            (r#""stream":true"#, r#""stream":true,"stream_options":{"include_usage":true}"#),
            (
                r#""stream_options":null,"stream":true"#,
                r#""stream_options":{"include_usage":true},"stream":true"#,
            ),
            (
                r#""stream":true,"stream_options":{ }"#,
                r#""stream":true,"stream_options":{"include_usage":true}"#,
            ),
            (
                r#""stream":true,"stream_options":{ "x":1}"#,
                r#""stream":true,"stream_options":{"include_usage":true, "x":1}"#,
            ),
            (
                r#""stream":true,"stream_options":{"include_usage": false}"#,
                r#""stream":true,"stream_options":{"include_usage": true}"#,
            ),
            (
                r#""stream":true,"stream_options":{"include_usage":true}"#,
                r#""stream":true,"stream_options":{"include_usage":true}"#,
            ),
        ] {
            let (given, expected) =
                (format!("{{{given},\"model\":\"m\"}}"), format!("{{{expected},\"model\":\"m\"}}"));
            assert_eq!(rewritten(&given, "m"), expected);
        }
    }

    #[test]
    fn bad_requests_name_the_field() {
        let refused =
            |body: &str| RequestView::parse(body.as_bytes()).expect_err("must be refused").body.error;
        assert_eq!(refused(r#"{"messages":[]}"#).param.as_deref(), Some("model"));
        assert_eq!(refused(r#"{"model":7}"#).param.as_deref(), Some("model"));
        assert_eq!(refused(r#"{"model":"m","stream":"yes"}"#).param.as_deref(), Some("stream"));
        assert_eq!(refused(r#"{"model":"m","stream_options":7}"#).param.as_deref(), Some("stream_options"));
        assert!(refused(r#"{"model":"a","model":"b"}"#).message.contains("twice"));
        assert!(refused(r#"{"model":"a","\u006dodel":"b"}"#).message.contains("twice"));
        assert_eq!(refused("[]").code, None);
        assert_eq!(refused("{").code.as_deref(), Some("invalid_json"));
        assert_eq!(refused(r#"{"model":"m"}x"#).code.as_deref(), Some("invalid_json"));
    }

    #[test]
    fn deep_nesting_is_refused_wherever_it_is() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for body in [
            format!(r#"{{"model":"m","x":{deep}}}"#),
            format!(r#"{{"model":"m","x":[{{"y":{deep}}}]}}"#),
            format!(r#"{{"model":"m","stream_options":{deep}}}"#),
            format!(r#"{{"model":"m","stream_options":{{"x":{deep}}}}}"#),
            format!(r#"{{"model":{deep}}}"#),
        ] {
            assert_eq!(RequestView::parse(body.as_bytes()).expect_err("must be refused").status, 400);
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\€😀\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("[a-z]{0,6}", inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_rewrite_differs_in_the_edited_values_only(
            before in proptest::collection::vec(("x[a-z]{0,6}", any_json()), 0..4),
            after in proptest::collection::vec(("y[a-z]{0,6}", any_json()), 0..4),
            old in "[a-z\"€/]{1,8}", new in "[a-z\"€/]{1,8}", stream: bool, pretty: bool,
        ) {
            let mut object = serde_json::Map::new();
            object.extend(before);
            object.insert("model".into(), json!(old));
            object.insert("stream".into(), json!(stream));
            object.extend(after);
            let encode = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let body = encode(&Value::Object(object.clone())).expect("encodes");
            let out = rewritten(&body, &new);

            object.insert("model".into(), json!(new));
            let unedited = out.replace(r#","stream_options":{"include_usage":true}"#, "");
            prop_assert_eq!(&unedited, &encode(&Value::Object(object.clone())).expect("encodes"));
            let parsed: Value = serde_json::from_str(&out).expect("JSON");
            prop_assert_eq!(parsed.get("stream_options").is_some(), stream);
        }

        #[test]
        fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(view) = RequestView::parse(&bytes) {
                let out = splice(std::str::from_utf8(&bytes).expect("UTF-8"), &view.edits("n"));
                let again = RequestView::parse(&out).expect("still parses");
                prop_assert_eq!(again.model(), "n");
            }
        }
    }
}
