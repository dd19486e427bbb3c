//! How long and how many requests wait for a model that nothing answers for yet.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::TimeSpan;

/// What becomes of requests while the model has no ready endpoint: they wait in order, until there is one, or are refused
/// with 503. No pod knows of it.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.maxWait.matches('^([0-9]{1,5}[hms]){1,3}$') && duration(self.maxWait) <= duration('1h')")
        .message("maxWait is a length of time up to 1h: write 90s, 2m or 1h, or 0s so that no request waits")
        .field_path(".maxWait")
)]
pub struct Hold {
    /// How long a request waits at most, such as `90s` or `2m`, up to `1h`; with `0s` none waits. Whoever waits behind a load
    /// balancer that cuts silent connections is cut by it: nothing is sent before an answer begins.
    #[serde(default = "max_wait")]
    pub max_wait: TimeSpan,
    /// How many requests wait at most, over all gateway replicas: each takes its share, rounded down, and one at least. With 0
    /// none waits.
    #[serde(default = "max_queued")]
    #[schemars(range(min = 0, max = 100000))]
    pub max_queued: i32,
}

/// What a pod of a small model takes to start, with room.
fn max_wait() -> TimeSpan {
    TimeSpan::seconds(120)
}

/// As many as an engine lets wait in its own queue.
fn max_queued() -> i32 {
    256
}

impl Default for Hold {
    fn default() -> Self {
        Self { max_wait: max_wait(), max_queued: max_queued() }
    }
}

impl Hold {
    /// How many requests wait at one of `gateways`, at most: its share of [`Hold::max_queued`], rounded down, but one at least
    /// where any may wait at all.
    pub fn share(&self, gateways: usize) -> usize {
        match usize::try_from(self.max_queued).unwrap_or(0) {
            0 => 0,
            most => (most / gateways.max(1)).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_takes_its_share_rounded_down_and_one_at_least() {
        let of = |max_queued: i32, gateways| Hold { max_queued, ..Hold::default() }.share(gateways);
        assert_eq!([of(256, 1), of(256, 2), of(256, 3), of(256, 0)], [256, 128, 85, 256]);
        assert_eq!([of(2, 3), of(1, 1), of(0, 3), of(-1, 1)], [1, 1, 0, 0]);
    }
}
