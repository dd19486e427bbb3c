//! How long, how many and how large requests wait for a model that nothing answers for yet.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteSize, TimeSpan};

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
    /// How many bytes the bodies of those who wait may have, over all gateway replicas, such as `64Mi`: each takes its share, or
    /// one request of whatever size. With `0` one alone waits at each.
    #[serde(default = "max_bytes")]
    pub max_bytes: ByteSize,
}

/// What a pod of a small model takes to start, with room.
fn max_wait() -> TimeSpan {
    TimeSpan::seconds(120)
}

/// As many as an engine lets wait in its own queue.
fn max_queued() -> i32 {
    256
}

/// A megabyte for each of as many as may wait.
fn max_bytes() -> ByteSize {
    ByteSize::bytes(256 << 20)
}

impl Default for Hold {
    fn default() -> Self {
        Self { max_wait: max_wait(), max_queued: max_queued(), max_bytes: max_bytes() }
    }
}

/// What waits for a model at one gateway, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldShare {
    /// Requests.
    pub requests: usize,
    /// Bytes of their bodies, beside a single request of whatever size.
    pub bytes: usize,
}

impl Hold {
    /// What waits at one of `gateways`, at most: its share of [`Hold::max_queued`] and [`Hold::max_bytes`], rounded down, but one
    /// request at least where any may wait at all.
    pub fn share(&self, gateways: usize) -> HoldShare {
        let gateways = gateways.max(1);
        let requests = match usize::try_from(self.max_queued).unwrap_or(0) {
            0 => 0,
            most => (most / gateways).max(1),
        };
        let bytes = usize::try_from(self.max_bytes.get()).unwrap_or(usize::MAX) / gateways;
        HoldShare { requests, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_takes_its_share_rounded_down_and_one_at_least() {
        let of = |max_queued: i32, gateways| Hold { max_queued, ..Hold::default() }.share(gateways).requests;
        assert_eq!([of(256, 1), of(256, 2), of(256, 3), of(256, 0)], [256, 128, 85, 256]);
        assert_eq!([of(2, 3), of(1, 1), of(0, 3), of(-1, 1)], [1, 1, 0, 0]);
        let bytes = |bytes, gateways| {
            Hold { max_bytes: ByteSize::bytes(bytes), ..Hold::default() }.share(gateways).bytes
        };
        assert_eq!([bytes(100, 3), bytes(100, 0), bytes(0, 2), bytes(1, 2)], [33, 100, 0, 0]);
    }
}
