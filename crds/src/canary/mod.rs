//! A revision on trial beside the one that runs: what a spec says of it (here), how far it is (`trial`), and what gateways
//! measure (`figures`).
//!
//! Nothing here decides anything, and nothing knows a clock.

mod amount;
mod figures;
mod trial;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use amount::{Capacity, CapacityError, Pause};
pub use figures::{Latencies, RevisionFigures, TrialFigures, TrialKey};
pub use trial::{Promotion, RolloutPhase, RolloutStatus};

/// The steps of a trial, and what ends it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.steps.map(step, step.traffic).isSorted()")
        .message("steps: traffic goes down from one step to the next: write them in the order in which the new revision gets more")
        .field_path(".steps")
)]
pub struct Canary {
    /// From 1 to 10 of them, one after the other. When the last is passed, the new revision gets all pods and all requests.
    #[schemars(length(min = 1, max = 10))]
    pub steps: Vec<CanaryStep>,
    /// How much worse than the one that runs the new revision may be. Worse, and beyond chance, it is aborted: all requests go
    /// back at once, its pods go, and it is not tried again until the spec changes.
    #[serde(default)]
    pub abort: AbortThresholds,
    /// What becomes of a step whose `pause` is over with fewer than `abort.minRequests` of either revision, or with a
    /// difference that may be chance. `Hold`: it waits for more requests, or for `weighbridge promote`. `Promote`: the
    /// next step comes. `Abort`. Default: `Hold`.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
}

/// One step of a trial.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!string(self.capacity).endsWith('%') || self.traffic <= int(self.capacity.replace('%', ''))")
        .message("traffic is a larger share than capacity, so that each new pod would get more than an old one: raise capacity, or lower traffic")
        .field_path(".traffic"),
    validation = Rule::new("self.pause == 'Manual' || duration(self.pause) > duration('0s') && duration(self.pause) <= duration('24h')")
        .message("pause is a length of time up to 24h, such as 5m, or Manual, which weighbridge promote ends")
        .field_path(".pause")
)]
pub struct CanaryStep {
    /// Pods of the new revision: a number, or a share of `replicas` such as `25%`, rounded up. At least one, and never more
    /// than `replicas`. The pods of the running revision all stay beside them.
    pub capacity: Capacity,
    /// Percent of requests that go to the new revision once those pods are ready. At 100 nothing would be left to compare
    /// with.
    #[schemars(range(min = 1, max = 99))]
    pub traffic: i32,
    /// How long the step is measured, such as `5m`, up to `24h`; or `Manual`: until `weighbridge promote` ends it.
    pub pause: Pause,
}

/// How much worse than the running revision a new one may be, in the same step and over the same time.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AbortThresholds {
    /// Percentage points of requests more that fail: of 100 answers, so many more are 5xx, 429 or cut off. What a caller did
    /// wrong is no failure.
    #[serde(default = "error_rate")]
    #[schemars(range(min = 0, max = 100))]
    pub error_rate: i32,
    /// Percent longer until the first token, at the 95th percentile of streams.
    #[serde(default = "latency")]
    #[schemars(range(min = 10, max = 10000))]
    pub time_to_first_token: i32,
    /// Percent longer between two tokens, at the 95th percentile.
    #[serde(default = "latency")]
    #[schemars(range(min = 10, max = 10000))]
    pub inter_token_latency: i32,
    /// Requests of each revision without which a step is not judged; and streams, without which its latencies are not.
    #[serde(default = "min_requests")]
    #[schemars(range(min = 1, max = 1000000))]
    pub min_requests: i32,
}

fn error_rate() -> i32 {
    2
}

fn latency() -> i32 {
    50
}

/// Fewer say little of a rate of some percent, or of a 95th percentile.
fn min_requests() -> i32 {
    100
}

impl Default for AbortThresholds {
    fn default() -> Self {
        Self {
            error_rate: error_rate(),
            time_to_first_token: latency(),
            inter_token_latency: latency(),
            min_requests: min_requests(),
        }
    }
}

/// What becomes of a step that too little is known of.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum OnInconclusive {
    /// It waits.
    #[default]
    Hold,
    /// It is passed.
    Promote,
    /// The new revision goes.
    Abort,
}
