//! Single fields of an object, found where they lie.

use std::fmt;
use std::ops::Range;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::walk::Walked;
use super::{Edit, Text, quoted, span};

/// The fields of an object that somebody asked for, as they lie in its text; the others were only walked.
#[derive(Debug)]
pub(crate) struct Object<'a, 'n> {
    text: &'a str,
    names: &'n [&'n str],
    values: Vec<Option<&'a RawValue>>,
    /// Whether there are fields that nobody asked for.
    others: bool,
}

/// A text is no object, or says a field twice that was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    /// A field that was asked for comes twice: two readers could then read different ones.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// No JSON, no object, or nested too deep.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl<'a, 'n> Object<'a, 'n> {
    /// Reads `text`, which is one object and nothing else, and finds the fields of these names.
    pub(crate) fn read(text: &'a str, names: &'n [&'n str]) -> Result<Self, ObjectError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let Found { values, others, twice } = Seek(names).deserialize(&mut json)?;
        json.end()?;
        match twice {
            Some(name) => Err(ObjectError::Twice(name)),
            None => Ok(Self { text, names, values, others }),
        }
    }

    /// The field of this name, which is one of those that were asked for.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let at = self.names.iter().position(|one| *one == name)?;
        self.values.get(at).copied().flatten()
    }

    /// Where the field's value lies.
    pub(crate) fn span(&self, name: &str) -> Option<Range<usize>> {
        self.get(name).map(|value| span(self.text, value))
    }

    /// Right after the brace, where a further field can go; what follows it there.
    pub(crate) fn opening(&self) -> (usize, &'static str) {
        let brace = self.text.find('{').map_or(0, |at| at + 1);
        let empty = !self.others && self.values.iter().all(Option::is_none);
        (brace, if empty { "" } else { "," })
    }

    /// What changes to give the fields asked for these values: in place where they are there, and right after the brace
    /// where they are not. `wanted` is in the order of the names, and `None` leaves a field as it is.
    pub(crate) fn set(&self, wanted: &[Option<String>]) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut missing = Vec::new();
        for ((name, value), wanted) in self.names.iter().zip(&self.values).zip(wanted) {
            match (value, wanted) {
                (_, None) => {}
                (Some(value), Some(new)) if value.get() == new => {}
                (Some(value), Some(new)) => edits.push((span(self.text, value), new.clone())),
                (None, Some(new)) => missing.push(format!("{}:{new}", quoted(name))),
            }
        }
        if !missing.is_empty() {
            let (at, before_others) = self.opening();
            edits.push((at..at, missing.join(",") + before_others));
        }
        edits.sort_by_key(|(range, _)| range.start);
        edits
    }
}

struct Seek<'n>(&'n [&'n str]);

struct Found<'a> {
    values: Vec<Option<&'a RawValue>>,
    others: bool,
    twice: Option<String>,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let mut found = Found { values: vec![None; self.0.len()], others: false, twice: None };
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let Some(at) = self.0.iter().position(|name| *name == key.0) else {
                map.next_value::<Walked>()?;
                found.others = true;
                continue;
            };
            let slot = found.values.get_mut(at).ok_or_else(|| A::Error::custom("no such field"))?;
            if slot.replace(map.next_value()?).is_some() {
                found.twice.get_or_insert_with(|| key.0.into_owned());
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::splice;
    use super::*;

    fn set(text: &str, names: &[&str], wanted: &[Option<&str>]) -> String {
        let wanted: Vec<Option<String>> = wanted.iter().map(|one| one.map(str::to_owned)).collect();
        let edits = Object::read(text, names).expect("an object").set(&wanted);
        String::from_utf8(splice(text, &edits)).expect("UTF-8")
    }

    #[test]
    fn a_field_is_replaced_where_it_lies_and_else_goes_first() {
        let names = ["a", "b"];
        assert_eq!(
            set(r#" {"x":1, "b" : [2] }"#, &names, &[Some("0"), Some("9")]),
            r#" {"a":0,"x":1, "b" : 9 }"#
        );
        assert_eq!(set("{ }", &names, &[Some("0"), Some("9")]), r#"{"a":0,"b":9 }"#);
        assert_eq!(set(r#"{"a":1}"#, &names, &[None, Some("9")]), r#"{"b":9,"a":1}"#);
        assert_eq!(set(r#"{"\u0061":1}"#, &names, &[Some("2"), None]), r#"{"\u0061":2}"#);
        assert_eq!(set(r#"{"a":1}"#, &names, &[None, None]), r#"{"a":1}"#);
    }

    #[test]
    fn a_field_that_comes_twice_is_named() {
        let twice = Object::read(r#"{"a":1,"x":1,"x":2,"\u0061":1}"#, &["a"]).expect_err("twice");
        assert!(matches!(twice, ObjectError::Twice(name) if name == "a"));
        assert!(Object::read(r#"{"x":1,"x":2}"#, &["a"]).is_ok());
        for bad in ["[]", "", "{}x", r#"{"a":1"#, "{\"x\":\"\u{1}\"}"] {
            assert!(matches!(Object::read(bad, &["a"]), Err(ObjectError::Json(_))), "{bad}");
        }
    }
}
