//! Controllers of models on one control plane, measured alike: ours, and KubeAI's.
//!
//! `subject` starts and stops one of them, `model` says what each is given and what it makes of it, `phases` what is done
//! with it. What a controller costs is read from the kernel and from the apiserver's audit log, never from itself.

mod kubeai;
mod model;
mod phases;
mod subject;

pub use kubeai::KUBEAI;
pub use model::Which;
pub use phases::{Outcome, Plan, measure};
