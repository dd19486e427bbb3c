//! A gateway that tells an operator what it routes, as a pod of the chart does, and the EndpointSlice in which it is ready.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Parser;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::cli::{Cli, Role};
use weighbridge_gateway::directory::cluster;
use weighbridge_tests::door::Door;
use weighbridge_tests::testbed::wait;
use weighbridge_tls::Identity;

use super::harness::{Bench, apply};

/// The Service in front of the gateways, in each test's own namespace.
const SERVICE: &str = "gateways";

/// This machine's own address: an EndpointSlice may hold no loopback address.
pub fn address() -> Result<IpAddr> {
    // Connecting a UDP socket sends nothing; it only chooses the address that would be used.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("192.0.2.1:9").context("this machine has no address but loopback")?;
    Ok(socket.local_addr()?.ip())
}

/// Where a test's gateways are asked what they route: one address for all, and a port that nobody else has.
pub struct Place {
    at: SocketAddr,
    folder: TempDir,
}

/// A gateway that runs.
pub struct Gateway {
    pub door: Door,
    follows: Option<AbortOnDropHandle<()>>,
}

impl Place {
    pub async fn new() -> Result<Self> {
        let listener = TcpListener::bind((address()?, 0)).await?;
        Ok(Self { at: listener.local_addr()?, folder: tempfile::tempdir()? })
    }

    /// Flags with which an operator finds the gateways.
    pub fn flags(&self) -> [String; 2] {
        [format!("--gateway-service={SERVICE}"), format!("--gateway-state-port={}", self.at.port())]
    }

    /// Starts a gateway there, with the certificate that the operator of `bench` has made for it.
    pub async fn start(&self, bench: &Bench) -> Result<Gateway> {
        self.start_over(bench, bench.client.clone()).await
    }

    /// The same, of a gateway that sees the cluster through `client`.
    pub async fn start_over(&self, bench: &Bench, client: Client) -> Result<Gateway> {
        let secrets = bench.api::<Secret>();
        let name = "weighbridge-gateway-certificate";
        let secret = wait::until(&secrets, name, "the gateways' certificate", |_| true).await?;
        for (name, value) in secret.data.context("a certificate")? {
            std::fs::write(self.folder.path().join(name), value.0)?;
        }
        let file = |flag: &str, name: &str| format!("--upstream-{flag}-file={}", self.file(name).display());
        let cli = Cli::try_parse_from([
            "weighbridge-gateway".to_owned(),
            "serve".to_owned(),
            format!("--state-listen={}", self.at),
            file("cert", "tls.crt"),
            file("key", "tls.key"),
            file("ca", "ca.crt"),
        ])?;
        let Role::Serve(arguments) = cli.role else { bail!("no gateway") };
        let listener = TcpListener::bind(arguments.state_listen.context("an address")?).await?;
        let tls = arguments.upstream.serving(&[Identity::Operator])?;
        assert!(tls.is_some(), "it shows a certificate");
        let (directory, follows) = cluster::follow(client, None);
        let follows = AbortOnDropHandle::new(tokio::spawn(follows));
        let (door, _) = Door::telling(GatewayConfig::default(), directory, listener, tls).await?;
        Ok(Gateway { door, follows: Some(follows) })
    }

    /// Has the pods of these names be the gateways that are ready, or not.
    pub async fn ready(&self, bench: &Bench, pods: &[(&str, bool)]) -> Result<()> {
        let endpoint = |(name, ready): &(&str, bool)| -> Value {
            json!({"addresses": [self.at.ip()], "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": name}})
        };
        let endpoints: Vec<_> = pods.iter().map(endpoint).collect();
        let slice = json!({"addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080}],
            "metadata": {"labels": {"kubernetes.io/service-name": SERVICE}}});
        apply::<EndpointSlice>(&bench.api(), "gateways-1", slice).await?;
        Ok(())
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

impl Gateway {
    /// From now on it hears nothing of the cluster, and does not know it.
    pub fn goes_deaf(&mut self) {
        self.follows = None;
    }

    /// Ends it, as a pod is ended.
    pub async fn ends(self) -> Result<()> {
        self.door.shutdown.drain();
        self.door.ended().await
    }
}
