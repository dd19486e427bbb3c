//! How one revision of a model follows another.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How another revision comes in the place of the one that answers. No pod knows of it: a change of it rolls nothing.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// `Surge`: the old pods answer until the new ones are all ready, which takes hardware for both. `Replace`: the old pods
    /// drain and go first, and the new ones are made when the last of them is gone, for where there is no hardware to
    /// spare; requests wait meanwhile, within `hold`. Default: `Surge`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: RolloutStrategy,
}

fn is_default(strategy: &RolloutStrategy) -> bool {
    *strategy == RolloutStrategy::default()
}

/// Which goes or comes first.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum RolloutStrategy {
    /// The new revision comes before the old one goes.
    #[default]
    Surge,
    /// The old revision goes before the new one comes.
    Replace,
}
