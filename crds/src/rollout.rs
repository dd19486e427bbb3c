//! How one revision of a model follows another.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Canary;

/// How another revision comes in the place of the one that answers. No pod knows of it: a change of it rolls nothing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.canary) == (has(self.strategy) && self.strategy == 'Canary')")
        .message("canary goes with strategy: Canary and nothing else: set both, such as canary: { steps: [{ capacity: 1, traffic: 10, pause: 5m }] }, or neither")
        .field_path(".canary")
)]
pub struct Rollout {
    /// `Surge`: the old pods answer until the new ones are all ready, which takes hardware for both. `Replace`: the old pods
    /// drain and go first, and the new ones are made when the last of them is gone, for where there is no hardware to
    /// spare; requests wait meanwhile, within `hold`. `Canary`: a few new pods get a share of the requests, step by step, and
    /// are measured beside the old ones, which all stay until the last step is passed. Default: `Surge`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: RolloutStrategy,
    /// The steps of a `Canary`, and what ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
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
    /// The new revision is tried beside the old one.
    Canary,
}
