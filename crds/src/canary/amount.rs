//! How many pods a step has and how long it lasts, as people write it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::{TimeSpan, TimeSpanError};

/// Pods of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// So many.
    Pods(i32),
    /// So many percent of `replicas`.
    Percent(i32),
}

/// A text that is no capacity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no capacity: write a number of pods, such as 1, or a share of replicas, such as 25%")]
pub struct CapacityError(String);

impl Capacity {
    /// Pods where the model has `replicas`: rounded up, at least one and at most all of them; none where it has none.
    pub fn pods(self, replicas: i32) -> i32 {
        let replicas = replicas.max(0);
        let pods = match self {
            Self::Pods(pods) => i64::from(pods),
            Self::Percent(percent) => (i64::from(percent) * i64::from(replicas) + 99) / 100,
        };
        // At most `replicas`, which is an i32.
        i32::try_from(pods.max(1).min(i64::from(replicas))).unwrap_or(replicas)
    }
}

impl FromStr for Capacity {
    type Err = CapacityError;

    fn from_str(given: &str) -> Result<Self, CapacityError> {
        let (number, make): (_, fn(i32) -> Self) = match given.strip_suffix('%') {
            Some(number) => (number, Self::Percent),
            None => (given, Self::Pods),
        };
        number.parse().map(make).map_err(|_| CapacityError(given.to_owned()))
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(pods) => write!(f, "{pods}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Capacity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pods(pods) => serializer.serialize_i32(*pods),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Capacity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrShare;
        impl Visitor<'_> for NumberOrShare {
            type Value = Capacity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("capacity as a number of pods, or a share of replicas such as 25%")
            }

            fn visit_i64<E: Error>(self, pods: i64) -> Result<Capacity, E> {
                let fits = i32::try_from(pods).map(Capacity::Pods);
                fits.map_err(|_| E::invalid_value(Unexpected::Signed(pods), &self))
            }

            fn visit_u64<E: Error>(self, pods: u64) -> Result<Capacity, E> {
                let fits = i32::try_from(pods).map(Capacity::Pods);
                fits.map_err(|_| E::invalid_value(Unexpected::Unsigned(pods), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Capacity, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(NumberOrShare)
    }
}

impl JsonSchema for Capacity {
    fn schema_name() -> Cow<'static, str> {
        "Capacity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    // The bounds are of a number, the pattern of a share. No rule of CEL: its cost would be reckoned from the longest text that a
    // request can hold.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true, "minimum": 1, "maximum": 1000, "pattern": "^([1-9][0-9]?|100)%$"
        })
    }
}

/// The word for [`Pause::Manual`].
const MANUAL: &str = "Manual";

/// How long a step lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pause {
    /// So long, and then it is judged.
    For(TimeSpan),
    /// Until a person says so.
    Manual,
}

impl TryFrom<String> for Pause {
    type Error = TimeSpanError;

    fn try_from(given: String) -> Result<Self, TimeSpanError> {
        if given == MANUAL { Ok(Self::Manual) } else { given.parse().map(Self::For) }
    }
}

impl From<Pause> for String {
    fn from(pause: Pause) -> Self {
        match pause {
            Pause::For(span) => span.to_string(),
            Pause::Manual => MANUAL.to_owned(),
        }
    }
}

impl JsonSchema for Pause {
    fn schema_name() -> Cow<'static, str> {
        "Pause".into()
    }

    fn inline_schema() -> bool {
        true
    }

    /// Bounded, for the cost of a rule is reckoned from the longest text.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 18, "pattern": "^(Manual|([0-9]{1,5}[hms]){1,3})$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_rounded_up_and_within_one_and_all() {
        let percent = |percent, replicas| Capacity::Percent(percent).pods(replicas);
        assert_eq!([percent(10, 1), percent(10, 10), percent(10, 11), percent(100, 7)], [1, 1, 2, 7]);
        let pods = |pods, replicas| Capacity::Pods(pods).pods(replicas);
        assert_eq!([pods(1, 3), pods(5, 3), pods(0, 3), pods(2, 0), percent(50, 0)], [1, 3, 1, 0, 0]);
    }

    #[test]
    fn capacities_and_pauses_are_read_and_written_as_they_are() {
        for (text, capacity) in [("1", Capacity::Pods(1)), ("\"25%\"", Capacity::Percent(25))] {
            assert_eq!(serde_json::from_str::<Capacity>(text).unwrap(), capacity);
            assert_eq!(serde_json::to_string(&capacity).unwrap(), text);
        }
        assert_eq!(serde_json::from_str::<Capacity>("\"2\"").unwrap(), Capacity::Pods(2));
        for text in ["\"half\"", "\"%\"", "1.5", "null", "4294967296", "\"1 %\""] {
            assert!(serde_json::from_str::<Capacity>(text).is_err(), "{text}");
        }
        for (text, pause) in [("\"300s\"", Pause::For(TimeSpan::seconds(300))), ("\"Manual\"", Pause::Manual)]
        {
            assert_eq!(serde_json::from_str::<Pause>(text).unwrap(), pause);
            assert_eq!(serde_json::to_string(&pause).unwrap(), text);
        }
        assert!(serde_json::from_str::<Pause>("\"manual\"").is_err());
    }
}
