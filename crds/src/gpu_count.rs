//! How many GPUs a replica gets, as `resources.gpus` says it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

/// The word for [`GpuCount::Auto`].
const AUTO: &str = "auto";

/// A number of GPUs, or the word for choosing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuCount {
    /// So many.
    Count(i32),
    /// As few as hold the model.
    Auto,
}

impl Serialize for GpuCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            GpuCount::Count(count) => serializer.serialize_i32(*count),
            GpuCount::Auto => serializer.serialize_str(AUTO),
        }
    }
}

impl<'de> Deserialize<'de> for GpuCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountOrWord;
        impl Visitor<'_> for CountOrWord {
            type Value = GpuCount;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("resources.gpus as a number from 1 to 64, or auto")
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<GpuCount, E> {
                let fits = i32::try_from(count).map(GpuCount::Count);
                fits.map_err(|_| E::invalid_value(Unexpected::Signed(count), &self))
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<GpuCount, E> {
                let fits = i32::try_from(count).map(GpuCount::Count);
                fits.map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<GpuCount, E> {
                // A number in quotes is what the rule lets through too.
                let count = || word.parse().ok().map(GpuCount::Count);
                let known = if word == AUTO { Some(GpuCount::Auto) } else { count() };
                known.ok_or_else(|| E::invalid_value(Unexpected::Str(word), &self))
            }
        }
        deserializer.deserialize_any(CountOrWord)
    }
}

impl JsonSchema for GpuCount {
    fn schema_name() -> Cow<'static, str> {
        "GpuCount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    // Which numbers and which word is CEL's to say: a schema of both has no words for it.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}

#[cfg(test)]
mod tests {
    use super::GpuCount;

    #[test]
    fn a_number_and_the_word_are_read_and_written_as_they_are() {
        for (text, count) in
            [("2", GpuCount::Count(2)), ("\"auto\"", GpuCount::Auto), ("-1", GpuCount::Count(-1))]
        {
            assert_eq!(serde_json::from_str::<GpuCount>(text).unwrap(), count);
            assert_eq!(serde_json::to_string(&count).unwrap(), text);
        }
        assert_eq!(serde_json::from_str::<GpuCount>("\"2\"").unwrap(), GpuCount::Count(2));
        for text in ["\"all\"", "1.5", "null", "4294967296"] {
            assert!(serde_json::from_str::<GpuCount>(text).is_err(), "{text}");
        }
    }
}
