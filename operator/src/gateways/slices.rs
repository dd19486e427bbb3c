//! Which gateways are ready: by the EndpointSlices of their Service, as callers find them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use futures::StreamExt as _;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{Instant, sleep_until};

use super::{Gateways, Touched};
use crate::metrics::Metrics;
use crate::watch::events;

/// On the EndpointSlices of a Service: its name.
const SERVICE: &str = "kubernetes.io/service-name";

/// Where the gateways are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Their namespace.
    pub namespace: String,
    /// The Service in front of them.
    pub service: String,
    /// The port on which each tells what it routes.
    pub port: u16,
}

impl Gateways {
    /// Follows the gateways for ever, while this process leads.
    pub async fn run(self, client: Client, metrics: Metrics) {
        let Some(place) = self.0.place.clone() else { return };
        self.0.stores.synced().await;
        loop {
            self.0.leadership.gained().await;
            tokio::select! {
                () = self.watch(&place, &client, &metrics) => {}
                () = self.0.leadership.lost() => {}
            }
            *self.listed() = None;
        }
    }

    async fn watch(&self, place: &Place, client: &Client, metrics: &Metrics) {
        let Place { namespace, service, port } = place;
        let labelled = Config::default().labels(&format!("{SERVICE}={service}"));
        let events =
            events::<EndpointSlice>(Api::namespaced(client.clone(), namespace), labelled, metrics.clone());
        tokio::pin!(events);
        let mut slices = Slices::default();
        let mut none_left = None;
        loop {
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event else { return };
                    if slices.take(event) {
                        none_left = self.follow(slices.ready(*port)).await;
                    }
                }
                () = sleep_until(none_left.unwrap_or_else(Instant::now)), if none_left.is_some() => {
                    none_left = None;
                    self.touch(Touched::All).await;
                }
            }
        }
    }
}

/// Ready gateways, slice by slice.
#[derive(Default)]
struct Slices {
    known: BTreeMap<String, Vec<(String, IpAddr)>>,
    /// A list that is not whole yet.
    listing: Option<BTreeMap<String, Vec<(String, IpAddr)>>>,
}

impl Slices {
    /// Takes an event in, and returns whether it says who is ready.
    fn take(&mut self, event: Event<EndpointSlice>) -> bool {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(slice) => {
                self.listing.get_or_insert_default().insert(slice.name_any(), ready(&slice));
            }
            Event::InitDone => {
                self.known = self.listing.take().unwrap_or_default();
                return true;
            }
            Event::Apply(slice) => {
                self.known.insert(slice.name_any(), ready(&slice));
                return true;
            }
            Event::Delete(slice) => {
                self.known.remove(&slice.name_any());
                return true;
            }
        }
        false
    }

    /// Every ready gateway, with where it is asked. With two families of addresses a pod is in a slice of each.
    fn ready(&self, port: u16) -> BTreeMap<String, SocketAddr> {
        let mut ready = BTreeMap::new();
        for (name, address) in self.known.values().flatten() {
            ready.entry(name.clone()).or_insert_with(|| SocketAddr::new(*address, port));
        }
        ready
    }
}

fn ready(slice: &EndpointSlice) -> Vec<(String, IpAddr)> {
    let ready = slice.endpoints.iter().filter(|endpoint| is_ready(endpoint));
    ready
        .filter_map(|endpoint| {
            let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
            let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
            Some((pod.unwrap_or_else(|| address.to_string()), address))
        })
        .collect()
}

/// Kubernetes: unknown readiness means ready; who is on its way out gets no call.
fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions
        .is_none_or(|conditions| conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(name: &str, endpoints: &[(&str, &str, Value)]) -> EndpointSlice {
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|(pod, address, conditions)| {
                json!({"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}})
            })
            .collect();
        let slice = json!({"metadata": {"name": name}, "addressType": "IPv4", "endpoints": endpoints});
        serde_json::from_value(slice).unwrap()
    }

    fn names(slices: &Slices) -> Vec<String> {
        slices.ready(7).into_iter().map(|(name, address)| format!("{name} {address}")).collect()
    }

    #[test]
    fn those_who_are_ready_and_stay_are_gateways() {
        let mut slices = Slices::default();
        assert!(!slices.take(Event::Init));
        let first = slice(
            "s",
            &[
                ("a", "10.0.0.1", json!({"ready": true})),
                ("b", "10.0.0.2", json!({"ready": false})),
                ("c", "10.0.0.3", json!({"ready": true, "terminating": true})),
                ("d", "10.0.0.4", json!({})),
                ("e", "no address", json!({"ready": true})),
            ],
        );
        assert!(!slices.take(Event::InitApply(first)));
        assert!(slices.ready(7).is_empty(), "half a list says nothing");
        assert!(slices.take(Event::InitDone));
        assert_eq!(names(&slices), ["a 10.0.0.1:7", "d 10.0.0.4:7"]);
        // The same pod by another family of addresses.
        let six = slice("s-6", &[("a", "fd00::1", json!({"ready": true}))]);
        assert!(slices.take(Event::Apply(six.clone())));
        assert_eq!(names(&slices), ["a 10.0.0.1:7", "d 10.0.0.4:7"]);
        assert!(slices.take(Event::Apply(slice("s", &[("b", "10.0.0.2", json!({"ready": true}))]))));
        assert_eq!(names(&slices), ["a [fd00::1]:7", "b 10.0.0.2:7"]);
        assert!(slices.take(Event::Delete(six)));
        assert_eq!(names(&slices), ["b 10.0.0.2:7"]);
    }
}
