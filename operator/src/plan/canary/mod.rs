//! A revision on trial: how far it is (`course`), and whether it is worse than the one that runs (`judge`).
//!
//! Pure, as all of the plan: what was measured and what time it is are facts. A decision becomes so by being written into the
//! status, where gateways read it; children are planned by what the status says already, and by nothing that is only decided.
//! So a crash between two writes, or an old view, leads back to the same place, and gateways are told before pods come or go.

mod course;
mod judge;

pub use course::set_aside;
pub(super) use course::{Course, Setting, course, withdrawn};
pub use judge::{Judged, Verdict, judge};
