//! Which of several operators may write: one Lease, held by the observed-unchanged rule.
//!
//! A holder is taken to be gone when its Lease stayed unchanged for the Lease's duration *as observed here*, so
//! that no two clocks are ever compared. [`election`] decides and knows no client; [`lease`] acts.

mod election;
mod leadership;
mod lease;

pub use election::{Observation, Step, decide};
pub use leadership::Leadership;
pub use lease::{Candidate, LeaseError};

use std::time::Duration;

/// Time after which an unchanged Lease is free.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Time that a holder trusts its last renewal. Shorter than the Lease by more than one call may take, so that
/// the last write of a holder that froze arrives before another takes over.
pub const HOLD_DURATION: Duration = Duration::from_secs(10);
/// Time between renewals, and between looks at another's Lease.
pub const RETRY_PERIOD: Duration = Duration::from_secs(3);
