//! What a proxy must know of a simulated cloud: where its models are, and a key that it takes.
#![allow(clippy::expect_used, reason = "the simulator's own constants")]

use std::net::SocketAddr;

use weighbridge_wire::provider::{Kind, Place};

use crate::simulator::{Simulator, bedrock, vertex};

/// Where the simulator has its models.
///
/// # Panics
/// Where its constants are no names of places.
pub fn place(kind: Kind) -> Place {
    if kind == Kind::Bedrock {
        return Place::Bedrock { region: bedrock::REGION.parse().expect("a region") };
    }
    Place::Vertex {
        project: vertex::PROJECT.parse().expect("a project"),
        location: vertex::LOCATION.parse().expect("a location"),
    }
}

/// A key that the simulator takes.
pub fn key(kind: Kind, simulator: &Simulator) -> String {
    match kind {
        Kind::Bedrock => bedrock::access_key(false).to_string(),
        _ => vertex::service_account(&token_uri(simulator.address())).to_string(),
    }
}

/// Where a simulator gives tokens.
pub fn token_uri(address: SocketAddr) -> String {
    format!("http://{address}/token")
}
