//! When an engine lets others have its GPU, and where its weights are meanwhile.

use std::fmt;
use std::str::FromStr;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::UnknownWord;

/// When an engine on a GPU gives the card's memory back, so that several models serve on one card by turns. The next
/// request takes it again, or waits a minute at most while another model has it.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sleep {
    /// Seconds without a request after which it does.
    #[schemars(range(min = 1, max = 604800))]
    pub after_seconds: i32,
    /// Where the weights are while it sleeps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weights: SleepingWeights,
}

fn is_default(weights: &SleepingWeights) -> bool {
    *weights == SleepingWeights::default()
}

/// Where the weights of an engine that sleeps are: `dropped`, and read from the file again, or in the memory of the
/// `host`, as they were on the card, which wakes sooner and takes as much memory as the weights. Default: `dropped`.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SleepingWeights {
    /// Nowhere: the file is read again.
    #[default]
    Dropped,
    /// In the pod's memory.
    Host,
}

impl SleepingWeights {
    /// The word that names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for SleepingWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SleepingWeights {
    type Err = UnknownWord;

    fn from_str(given: &str) -> Result<Self, UnknownWord> {
        let found = [Self::Dropped, Self::Host].into_iter().find(|known| known.as_str() == given);
        found.ok_or_else(|| UnknownWord { given: given.to_owned(), known: "dropped, host" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_and_field_use_the_same_words() {
        for place in [SleepingWeights::Dropped, SleepingWeights::Host] {
            assert_eq!(serde_json::to_value(place).unwrap(), place.as_str());
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        let error = "disk".parse::<SleepingWeights>().unwrap_err().to_string();
        assert!(error.contains("\"disk\"") && error.contains("dropped, host"), "{error}");
    }
}
