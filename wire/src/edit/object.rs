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

    /// What changes to make the fields asked for as they are wanted: in place where they are there, and right after the
    /// brace where they are not. `wanted` is in the order of the names.
    pub(crate) fn set(&self, wanted: &[Wanted]) -> Vec<Edit> {
        let mut edits = Vec::new();
        let (mut missing, mut gone) = (Vec::new(), Vec::new());
        let mut stays = self.others;
        for ((name, value), wanted) in self.names.iter().zip(&self.values).zip(wanted) {
            match (value, wanted) {
                (Some(value), Wanted::Gone) => gone.push(self.member(value)),
                (None, Wanted::Gone) => {}
                (Some(_), Wanted::Default(_)) => stays = true,
                (Some(value), Wanted::Value(new)) => {
                    stays = true;
                    if value.get() != new {
                        edits.push((span(self.text, value), new.clone()));
                    }
                }
                (None, Wanted::Value(new) | Wanted::Default(new)) => {
                    missing.push(format!("{}:{new}", quoted(name)));
                }
            }
        }
        if !missing.is_empty() {
            let (at, _) = self.opening();
            edits.push((at..at, missing.join(",") + if stays { "," } else { "" }));
        }
        edits.extend(self.without(gone).into_iter().map(|range| (range, String::new())));
        edits.sort_by_key(|(range, _)| (range.start, range.end));
        edits
    }

    /// Where a field lies, its name included. A name that was asked for has no quotation mark within, however it is escaped.
    fn member(&self, value: &RawValue) -> Range<usize> {
        let value = span(self.text, value);
        let before = self.text.get(..value.start).unwrap_or_default();
        let name_end = before.trim_end().trim_end_matches(':').trim_end().len();
        let name = before.get(..name_end.saturating_sub(1)).unwrap_or_default();
        name.rfind('"').unwrap_or_default()..value.end
    }

    /// What goes with these fields: neighbours go together, with the comma behind them or, of the last, before them.
    fn without(&self, mut gone: Vec<Range<usize>>) -> Vec<Range<usize>> {
        gone.sort_by_key(|range| range.start);
        let mut runs: Vec<Range<usize>> = Vec::new();
        for range in gone {
            let joins = |last: &Range<usize>| {
                let between = self.text.get(last.end..range.start).unwrap_or_default();
                between.trim() == ","
            };
            match runs.last_mut().filter(|last| joins(last)) {
                Some(last) => last.end = range.end,
                None => runs.push(range),
            }
        }
        let space = |text: &str, rest: &str| text.len() - rest.len();
        for run in &mut runs {
            let after = self.text.get(run.end..).unwrap_or_default();
            let before = self.text.get(..run.start).unwrap_or_default();
            if let Some(rest) = after.trim_start().strip_prefix(',') {
                run.end += space(after, rest.trim_start());
            } else if let Some(rest) = before.trim_end().strip_suffix(',') {
                run.start = rest.len();
            }
        }
        runs
    }
}

/// What is to become of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It has this value.
    Value(String),
    /// It has this value where it is not there.
    Default(String),
    /// It is not there.
    Gone,
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

    fn set(text: &str, names: &[&str], wanted: &[Wanted]) -> String {
        let edits = Object::read(text, names).expect("an object").set(wanted);
        let text = String::from_utf8(splice(text, &edits)).expect("UTF-8");
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        text
    }

    fn value(text: &str) -> Wanted {
        Wanted::Value(text.into())
    }

    #[test]
    fn a_field_is_replaced_where_it_lies_and_else_goes_first() {
        let names = ["a", "b"];
        let default = |text: &str| Wanted::Default(text.into());
        for (text, wanted, expected) in [
            (r#" {"x":1, "b" : [2] }"#, [value("0"), value("9")], r#" {"a":0,"x":1, "b" : 9 }"#),
            ("{ }", [value("0"), value("9")], r#"{"a":0,"b":9 }"#),
            (r#"{"a":1}"#, [default("2"), value("9")], r#"{"b":9,"a":1}"#),
            (r#"{"\u0061":1}"#, [value("2"), default("3")], r#"{"b":3,"\u0061":2}"#),
            (r#"{"a":1,"b":2}"#, [default("9"), value("2")], r#"{"a":1,"b":2}"#),
        ] {
            assert_eq!(set(text, &names, &wanted), expected);
        }
    }

    #[test]
    fn a_field_goes_with_its_comma_wherever_it_lies() {
        let gone = [Wanted::Gone, Wanted::Gone];
        for (text, expected) in [
            (r#"{"a":1,"x":{"a":2}}"#, r#"{"x":{"a":2}}"#),
            (r#"{"x":1, "a" : "\"," }"#, r#"{"x":1 }"#),
            (r#"{"x":1,"a":1, "y":2}"#, r#"{"x":1,"y":2}"#),
            (r#"{"x":1,"a":1,"b":2}"#, r#"{"x":1}"#),
            (r#"{"x":1,"a":1,"b":2,"y":3}"#, r#"{"x":1,"y":3}"#),
            (r#"{"a":1,"x":1,"b":2}"#, r#"{"x":1}"#),
            (r#"{"\u0061":1,"x":","}"#, r#"{"x":","}"#),
            (r#"{ "a" : 1 }"#, "{  }"),
            (r#"{"x":1}"#, r#"{"x":1}"#),
        ] {
            assert_eq!(set(text, &["a", "b"], &gone), expected, "{text}");
        }
        let names = ["a", "b", "c"];
        let replaced = [Wanted::Gone, Wanted::Gone, value("7")];
        assert_eq!(set(r#"{"a":1,"b":2}"#, &names, &replaced), r#"{"c":7}"#);
        assert_eq!(set(r#"{"a":1,"x":2,"b":2}"#, &names, &replaced), r#"{"c":7,"x":2}"#);
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
