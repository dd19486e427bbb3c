//! The operator against a real control plane: apiserver, controller-manager, scheduler; simulated nodes.
//!
//! Each test has a namespace and an operator of its own, which looks at that namespace only. Nothing sleeps:
//! tests wait for objects to be as they should.

mod access;
mod api;
mod bad_input;
mod caches;
mod canaries;
mod certificates;
mod claims;
mod dry_runs;
mod external;
mod fitting;
mod gateway;
mod harness;
mod open;
mod rollouts;
mod routable;
mod swaps;
mod trust;
mod upstream;
mod versions;
