//! Deserialisers for single request fields. Each refuses what is out of range in words that say the range;
//! [`super::parse`] puts the field's name in front.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The most stop strings that a request may carry. OpenAI takes 4; agents in the wild send more.
pub const MAX_STOP_SEQUENCES: usize = 16;

/// An integer from 1 to `u32::MAX`, or null.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    integer(deserializer, 1, u32::MAX)
}

/// An integer from 0 to 20, or null: how many alternatives to report for each token.
pub(super) fn top_logprobs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    integer(deserializer, 0, 20)
}

/// A number from 0 to 2, or null.
pub(super) fn temperature<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    number(deserializer, 0.0, 2.0)
}

/// A number from 0 to 1, or null.
pub(super) fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    number(deserializer, 0.0, 1.0)
}

/// A number from -2 to 2, or null.
pub(super) fn penalty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    number(deserializer, -2.0, 2.0)
}

/// A string, a list of at most [`MAX_STOP_SEQUENCES`] strings, or null (no strings).
pub(super) fn stop<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let stop = deserializer.deserialize_any(StringOrSeq::<String>::new("a string or a list of strings"))?;
    let stop = match stop {
        None => Vec::new(),
        Some(OneOrMany::One(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
    };
    if stop.len() > MAX_STOP_SEQUENCES {
        return Err(D::Error::custom(format!(
            "must hold at most {MAX_STOP_SEQUENCES} strings, got {}",
            stop.len()
        )));
    }
    if stop.iter().any(String::is_empty) {
        return Err(D::Error::custom("must not hold an empty string"));
    }
    Ok(stop)
}

/// `null` and a value told apart from absence: absent is `None`, null is `Some(None)`.
pub(super) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

fn integer<'de, D: Deserializer<'de>>(
    deserializer: D,
    least: u32,
    most: u32,
) -> Result<Option<u32>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    match number.as_u64().and_then(|n| u32::try_from(n).ok()) {
        Some(n) if (least..=most).contains(&n) => Ok(Some(n)),
        _ => Err(D::Error::custom(format!("must be an integer from {least} to {most}, got {number}"))),
    }
}

fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
    least: f64,
    most: f64,
) -> Result<Option<f32>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(deserializer)? else { return Ok(None) };
    if !(least..=most).contains(&number) {
        return Err(D::Error::custom(format!("must be a number from {least} to {most}, got {number}")));
    }
    Ok(Some(number as f32))
}

pub(super) enum OneOrMany<T> {
    One(String),
    Many(Vec<T>),
}

/// Takes a string, a sequence or null. Written out because `#[serde(untagged)]` loses which item was wrong.
pub(super) struct StringOrSeq<T> {
    expecting: &'static str,
    item: PhantomData<T>,
}

impl<T> StringOrSeq<T> {
    pub(super) fn new(expecting: &'static str) -> Self {
        Self { expecting, item: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for StringOrSeq<T> {
    type Value = Option<OneOrMany<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(OneOrMany::One(value.to_owned())))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Self::Value, E> {
        Ok(Some(OneOrMany::One(value)))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Some(OneOrMany::Many(items)))
    }
}
