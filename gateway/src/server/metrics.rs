//! Counters of the listening side: one for each bound that can be hit.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weighbridge_tls::{Certified, ClientTls, ServerTls};

use crate::metrics::Registry;

/// Counters of the listening side.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerMetrics {
    /// Connections open now.
    pub connections: Gauge,
    /// Times that a connection had to wait because as many as allowed were open.
    pub connections_full: Counter,
    /// Connections, or streams of one, given up because the client took nothing.
    pub write_stalls: Counter,
    /// Requests whose handling failed in a way that is a defect of ours.
    pub panics: Counter,
    /// Requests refused because as many as allowed were open.
    pub requests_full: Counter,
    /// Requests refused because the bodies held at once reached their bound.
    pub bodies_full: Counter,
}

impl ServerMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { connections, connections_full, write_stalls, panics, requests_full, bodies_full } =
            &metrics;
        registry.register("weighbridge_connections", "Connections open now", connections.clone());
        registry.register(
            "weighbridge_connections_full",
            "Times a connection waited because as many as allowed were open",
            connections_full.clone(),
        );
        registry.register(
            "weighbridge_write_stalls",
            "Connections, or streams of one, given up because the client took nothing of what was written to it",
            write_stalls.clone(),
        );
        registry.register(
            "weighbridge_panics",
            "Requests answered 500 because a defect of the program showed itself: the log says where",
            panics.clone(),
        );
        registry.register(
            "weighbridge_requests_full",
            "Requests refused because as many as allowed were open",
            requests_full.clone(),
        );
        registry.register(
            "weighbridge_request_bodies_full",
            "Requests refused because request bodies in memory reached their bound",
            bodies_full.clone(),
        );
        metrics
    }
}

/// Names what is known of a role's certificates, as a server and as a client, to its metrics.
pub(crate) fn register_certificates(
    registry: &mut Registry,
    server: Option<&Arc<ServerTls>>,
    client: Option<&Arc<ClientTls>>,
) {
    let server_side = server.map(|server| Arc::clone(server) as Arc<dyn Certified>);
    let client_side = client.map(|client| Arc::clone(client) as Arc<dyn Certified>);
    let certified = server_side.into_iter().chain(client_side).collect();
    let registry = registry.sub_registry_with_prefix("weighbridge");
    weighbridge_tls::register(registry, certified, server.map(Arc::as_ref));
}
