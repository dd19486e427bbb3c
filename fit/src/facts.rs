use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model as its header describes it, and what an engine would reserve for it.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelFacts {
    /// Its family, as the file names it.
    pub architecture: String,
    /// Its weights, one by one.
    #[schemars(with = "i64")]
    pub parameters: u64,
    /// Bytes of its tensors as they are stored.
    #[schemars(with = "i64")]
    pub bytes: u64,
    /// The same by the tensors' type.
    #[schemars(with = "BTreeMap<String, i64>")]
    pub bytes_by_type: BTreeMap<String, u64>,
    /// Layers.
    #[schemars(with = "i64")]
    pub layers: u64,
    /// Query heads of a layer.
    #[schemars(with = "i64")]
    pub heads: u64,
    /// Heads of keys and values of a layer.
    #[schemars(with = "i64")]
    pub kv_heads: u64,
    /// Elements of a head.
    #[schemars(with = "i64")]
    pub head_length: u64,
    /// Tokens that it knows.
    #[schemars(with = "i64")]
    pub vocabulary: u64,
    /// The longest context that it was built for, in tokens.
    #[schemars(with = "i64")]
    pub built_context: u64,
    /// The longest prompt and answer together that it is served with, in tokens.
    #[schemars(with = "i64")]
    pub context_length: u64,
    /// Sequences that are computed at once.
    #[schemars(with = "i64")]
    pub max_sequences: u64,
    /// Bytes of keys and values of a token, over all layers and devices.
    #[schemars(with = "i64")]
    pub kv_bytes_per_token: u64,
    /// What each device would hold: of the CPU, and of each number of cards that can share the model.
    pub devices: Vec<DeviceFacts>,
    /// Why no card can compute it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_on_cards: Option<String>,
}

/// What one device would hold of a model, in bytes; of several cards, the one that holds most.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceFacts {
    /// Cards that share the model; 0 is the CPU.
    #[schemars(with = "i64")]
    pub cards: u32,
    /// Weights as they are kept.
    #[schemars(with = "i64")]
    pub weights: u64,
    /// A block of keys and values, over all layers.
    #[schemars(with = "i64")]
    pub kv_block: u64,
    /// Blocks that no sequence has.
    #[schemars(with = "i64")]
    pub spare_blocks: u64,
    /// Between operations, with room for one whole context.
    #[schemars(with = "i64")]
    pub scratch: u64,
    /// The same with room for a whole context of every sequence.
    #[schemars(with = "i64")]
    pub full_scratch: u64,
}

impl ModelFacts {
    /// What the CPU would hold, where it can serve the model as it is asked for.
    pub fn cpu(&self) -> Option<&DeviceFacts> {
        self.devices.iter().find(|device| device.cards == 0)
    }

    /// What each of `count` cards would hold, where as many can share the model.
    pub fn card_of(&self, count: u32) -> Option<&DeviceFacts> {
        self.cards().find(|device| device.cards == count)
    }

    /// What a card would hold, for each number of cards that can share the model, the fewest first.
    pub fn cards(&self) -> impl Iterator<Item = &DeviceFacts> {
        self.devices.iter().filter(|device| device.cards > 0)
    }
}
