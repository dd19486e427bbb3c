//! A real control plane on loopback: etcd, apiserver, controller-manager and scheduler.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::{Instant, sleep};

use super::flags;
use super::pki::Authority;
use super::process::Process;
use super::programs::Programs;

/// A cold apiserver takes ten seconds on an idle machine, and several times that beside a compiler.
const START_DEADLINE: Duration = Duration::from_secs(180);

/// What a control plane can be asked to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the apiserver listens: loopback, or an address that pods reach.
    pub address: Ipv4Addr,
    /// Its port there; 0 is any that is free.
    pub port: u16,
    /// True where real kubelets report: the controller-manager then watches for nodes that fall silent.
    pub real_nodes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST, port: 0, real_nodes: false }
    }
}

/// The running programs. Fields drop in order: etcd last, for an apiserver without it is slow to leave.
pub struct ControlPlane {
    scheduler: Process,
    controller_manager: Process,
    apiserver: Process,
    etcd: Process,
    authority: Authority,
    folder: PathBuf,
}

impl ControlPlane {
    /// Starts everything with its state in `folder`, and waits until the apiserver is ready.
    pub async fn start(programs: &Programs, folder: &Path, options: &Options) -> Result<Self> {
        let logs = folder.join("logs");
        fs::create_dir_all(&logs)?;
        let loopback = Ipv4Addr::LOCALHOST;
        // Held together until each is known, so that the kernel cannot hand out one port twice.
        let held = [listen(loopback, 0)?, listen(loopback, 0)?, listen(options.address, options.port)?];
        let ports = [port(&held[0])?, port(&held[1])?, port(&held[2])?];
        drop(held);
        let [etcd_port, peer_port, secure_port] = ports;

        let authority = Authority::create(&flags::pki(folder))?;
        credentials(&authority, folder, secure_port, options)?;

        let run = |name: &str, arguments: Vec<String>| -> Result<Process> {
            let mut all = vec![name.to_owned()];
            all.extend(arguments);
            Process::start(name, &programs.kube(), &all, &logs)
        };
        let etcd =
            Process::start("etcd", Path::new("etcd"), &flags::etcd(folder, etcd_port, peer_port), &logs)?;
        let apiserver = run("apiserver", flags::apiserver(folder, etcd_port, secure_port, options))?;
        // These two retry until the apiserver answers, so they need not wait their turn.
        let controller_manager = run("controller-manager", flags::controller_manager(folder, options))?;
        let scheduler = run("scheduler", flags::scheduler(folder))?;
        let mut started =
            Self { scheduler, controller_manager, apiserver, etcd, authority, folder: folder.to_owned() };
        started.await_ready().await?;
        Ok(started)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        flags::kubeconfig(&self.folder)
    }

    /// A client, as the administrator.
    pub async fn client(&self) -> Result<Client> {
        client_for(&self.kubeconfig(), None).await
    }

    /// The folder of the logs.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// The cluster's certificate authority.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The audit log: one JSON event a line for each write.
    pub fn audit_log(&self) -> PathBuf {
        flags::audit_log(&self.folder)
    }

    /// Ends the apiserver outright. What it wrote is in etcd.
    pub fn stop_apiserver(&mut self) {
        self.apiserver.stop();
    }

    /// Starts the apiserver where it was, and waits until it is ready.
    pub async fn start_apiserver(&mut self) -> Result<()> {
        self.apiserver.start_again()?;
        self.await_ready().await
    }

    /// The process ids, in the order in which to stop them.
    pub fn process_ids(&self) -> [u32; 4] {
        [self.scheduler.id(), self.controller_manager.id(), self.apiserver.id(), self.etcd.id()]
    }

    /// Fails when one of the programs ended by itself.
    pub fn check(&mut self) -> Result<()> {
        self.etcd.check()?;
        self.apiserver.check()?;
        self.controller_manager.check()?;
        self.scheduler.check()
    }

    async fn await_ready(&mut self) -> Result<()> {
        let client = self.client().await?;
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            self.check()?;
            let readyz = http::Request::get("/readyz").body(Vec::new())?;
            match client.request_text(readyz).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| {
                        format!(
                            "the apiserver was not ready in {} s; its last words:\n{}",
                            START_DEADLINE.as_secs(),
                            self.apiserver.last_words()
                        )
                    });
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// A client for a kubeconfig file, which speaks for `user` where one is named.
pub async fn client_for(path: &Path, user: Option<&str>) -> Result<Client> {
    let file = Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.auth_info.impersonate = user.map(str::to_owned);
    Ok(Client::try_from(config)?)
}

fn credentials(authority: &Authority, folder: &Path, port: u16, options: &Options) -> Result<()> {
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "127.0.0.1",
        flags::KUBERNETES_SERVICE,
        &options.address.to_string(),
    ]
    .map(str::to_owned);
    authority.server("apiserver", &names)?;
    authority.client("kubelet-client", "kube-apiserver", "system:masters")?;
    authority.signing_key("service-accounts")?;
    let admin = authority.client("admin", "admin", "system:masters")?;
    authority.kubeconfig(
        &flags::kubeconfig(folder),
        &format!("https://{}:{port}", options.address),
        &admin,
    )?;
    fs::write(flags::audit_policy(folder), flags::AUDIT_POLICY)?;
    Ok(())
}

fn listen(address: Ipv4Addr, port: u16) -> Result<TcpListener> {
    TcpListener::bind((address, port)).with_context(|| match port {
        0 => format!("find a free port on {address}"),
        port => format!("listen on {address}:{port}"),
    })
}

fn port(listener: &TcpListener) -> Result<u16> {
    Ok(listener.local_addr()?.port())
}
