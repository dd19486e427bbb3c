//! A simulated provider behind its proxy behind a gateway.

use anyhow::Result;
use tempfile::TempDir;
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_gateway::{GatewayConfig, ProxyConfig};
use weighbridge_wire::provider::Kind;

use super::{Door, entry, proxy_config, write_keys};
use crate::simulator::Simulator;

/// They end when dropped.
pub struct TwoHops {
    /// The provider.
    pub simulator: Simulator,
    /// Its proxy.
    pub proxy: Door,
    /// Where callers come.
    pub door: Door,
    _folder: TempDir,
}

impl TwoHops {
    /// A provider of `kind` that has `models`.
    ///
    /// # Errors
    /// Where no port is free, or nothing can be written.
    pub async fn new(kind: Kind, models: &[&str]) -> Result<Self> {
        Self::with(kind, models, GatewayConfig::default()).await
    }

    /// The same behind a gateway of this configuration, whose limits are the proxy's too.
    ///
    /// # Errors
    /// As [`TwoHops::new`].
    pub async fn with(kind: Kind, models: &[&str], config: GatewayConfig) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let keys = write_keys(folder.path(), &[("sk-canary", 1)])?;
        let simulator = Simulator::start().await?;
        // A version before every path: the simulator tells dialects apart by how a path ends.
        let base_url = format!("http://{}/v1", simulator.address());
        let limits = config.limits.clone();
        let proxy = Door::proxy(ProxyConfig { limits, ..proxy_config(kind, &base_url, keys) }).await?;
        let entry = |model: &&str| Entry {
            speaks: kind.speaks(model),
            ..entry(model, World::Closed, &[proxy.address])
        };
        let directory = Directory::from_entries(models.iter().map(entry).collect());
        let door = Door::gateway(config, directory).await?;
        Ok(Self { simulator, proxy, door, _folder: folder })
    }
}
