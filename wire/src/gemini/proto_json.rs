//! Reading JSON as Google's servers do: protobuf's rules, which are laxer than JSON's own.
//!
//! A field may be written `camelCase` or `snake_case` (the types say both), a whole number as `40.0` or `"40"`, and a
//! list of one without its brackets.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::canonical::Unreadable;

/// Parses a body of this dialect.
///
/// # Errors
/// Names the field, or says where the JSON is broken. JSON nested deeper than 128 is refused (serde_json's limit).
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| unreadable(&error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| unreadable(".", &error))?;
    Ok(value)
}

fn unreadable(path: &str, error: &serde_json::Error) -> Unreadable {
    let text = error.to_string();
    if error.is_data() {
        // serde_json adds a position that means nothing to someone who sent one line.
        return Unreadable::new(path, text.split(" at line ").next().unwrap_or_default());
    }
    Unreadable::new("body", format!("not valid JSON: {text}"))
}

/// A list, or its only element without brackets, as Google's own examples write `contents` and `parts`.
pub(super) fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct OneOrMany<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = list.next_element()? {
                elements.push(element);
            }
            Ok(elements)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(|element| vec![element])
        }
    }
    deserializer.deserialize_any(OneOrMany(PhantomData))
}

/// A whole number, however it is written; null is none.
pub(super) fn integer<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    struct Integer;
    impl<'de> Visitor<'de> for Integer {
        type Value = Option<i64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number")
        }

        fn visit_unit<E: Error>(self) -> Result<Option<i64>, E> {
            Ok(None)
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Option<i64>, E> {
            Ok(Some(value))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Option<i64>, E> {
            i64::try_from(value).map(Some).map_err(|_| E::custom("the number is too large"))
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<Option<i64>, E> {
            // Above 2^53 a float no longer holds every whole number.
            if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
                #[expect(clippy::cast_possible_truncation, reason = "whole, and within range")]
                return Ok(Some(value as i64));
            }
            Err(E::custom(format!("{value} is not a whole number")))
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<Option<i64>, E> {
            value.parse().map(Some).map_err(|_| E::custom(format!("`{value}` is not a whole number")))
        }
    }
    deserializer
        .deserialize_any(Integer)?
        .map(|value| T::try_from(value).map_err(|_| D::Error::custom(format!("{value} is out of range"))))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Sample {
        #[serde(deserialize_with = "integer")]
        count: Option<u32>,
        #[serde(deserialize_with = "one_or_many")]
        items: Vec<Sample>,
    }

    #[test]
    fn numbers_are_read_as_protobuf_writes_them() {
        for (text, count) in [("40", Some(40)), ("40.0", Some(40)), (r#""40""#, Some(40)), ("null", None)] {
            let sample: Sample = parse(format!(r#"{{"count":{text}}}"#).as_bytes()).expect(text);
            assert_eq!(sample.count, count, "{text}");
        }
        for bad in ["-1", "1.5", r#""x""#, "1e300", "4294967296", "18446744073709551615", "[]"] {
            let error = parse::<Sample>(format!(r#"{{"items":[{{"count":{bad}}}]}}"#).as_bytes());
            assert_eq!(error.expect_err(bad).field, "items[0].count", "{bad}");
        }
    }

    #[test]
    fn a_list_of_one_needs_no_brackets() {
        let sample: Sample = parse(br#"{"items":{"count":1,"items":null}}"#).expect("reads");
        assert_eq!(sample.items.len(), 1);
        assert_eq!(sample.items[0].count, Some(1));
        assert!(parse::<Sample>(br#"{"items":7}"#).is_err_and(|error| error.field == "items"));
    }

    #[test]
    fn broken_json_says_where() {
        let error = parse::<Sample>(b"{\"count\":").expect_err("broken");
        assert!(error.field == "body" && error.problem.contains("line 1"), "{error}");
        assert!(parse::<Sample>(b"{} x").is_err());
    }
}
