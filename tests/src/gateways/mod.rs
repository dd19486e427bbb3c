//! Gateways side by side, for the benchmarks `gateway`, `gateway-stream` and `gateway-idle`: ours and those of others in front
//! of one upstream, the load that they get, and what it takes of them. No test comes here, and nothing is decided here.

mod apiserver;
mod bench;
mod held;
mod load;
mod nginx;
mod ours;
mod paced;
mod peers;
mod program;
mod table;
mod target;
mod upstream;

pub use apiserver::OPEN;
pub use bench::{Bench, Common, Share, header, microseconds};
pub use held::{Held, raise_open_files};
pub use load::{Latency, Load};
pub use nginx::Nginx;
pub use ours::{NAME_MUTUAL, Ours, TWO_HOPS, TWO_HOPS_MUTUAL};
pub use paced::{Paced, paced};
pub use peers::{Peer, RunningPeer};
pub use program::Program;
pub use table::Table;
pub use target::Target;
pub use upstream::{CHUNKS, PACE, Pacing, Upstream, run as run_upstream};
