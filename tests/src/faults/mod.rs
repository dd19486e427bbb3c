//! The operator in this process, against an apiserver in this process that fails on request.
//!
//! `world` is what the apiserver stores, with every revision of it; `write` its verbs, with field managers (`fields`) and `rules`;
//! `cluster` what other controllers and kubelets would do, and `gateway` what a gateway says; `watchdog` what no write of the operator may ever do. `http`
//! is the door that a `kube::Client` takes, where faults (`fault`) and planted bugs (`bug`) sit. `process` runs one
//! operator on it, in virtual time; `scenario` says what people do; `compare` what of an end state counts; `sweep` puts a
//! fault at every write.
//!
//! Nothing here waits for a clock, opens a port or knows what the operator should do: the run without faults says that.

mod bug;
mod call;
mod cluster;
mod compare;
mod fault;
mod fields;
mod gateway;
mod http;
mod kinds;
mod process;
mod rules;
mod scenario;
mod scenarios;
mod sweep;
mod view;
mod watchdog;
mod world;
mod write;

pub use bug::Bug;
pub use fault::{Fault, Place, Plan, View};
pub use fields::merge_patch;
pub use http::apiserver;
pub use scenario::{Act, Scenario};
pub use scenarios::scenarios;
pub use sweep::{Course, Divergence, Leg, Mode, POINTS, Sweep, installed, sweep};
