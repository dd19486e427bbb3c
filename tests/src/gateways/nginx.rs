//! nginx as the upstream: it answers everything with one chat completion of 453 bytes, and costs a gateway nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use weighbridge_tls::Identity;

use super::apiserver::{NAMESPACE, OPEN};
use super::program::{Program, answers, free_port};
use crate::certificates::Installation;
use crate::testbed::Authority;

/// What it answers.
pub const ANSWER: &str = r#"{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion","created":1741569952,"model":"mock-01-2026-11-28","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I assist you today?","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0}},"service_tier":"default"}"#;

const START: Duration = Duration::from_secs(30);

/// A running nginx.
pub struct Nginx {
    /// Where it speaks plain HTTP.
    pub plain: SocketAddr,
    /// Where it speaks TLS, as a provider does.
    pub tls: SocketAddr,
    /// Who signed its certificate there.
    pub authority: PathBuf,
    /// Where it lets in gateways of the installation alone, as an engine does.
    pub mutual: SocketAddr,
    /// The program.
    pub program: Program,
}

impl Nginx {
    /// Starts it, with all its files in `folder`, as an engine of `installation`.
    ///
    /// # Errors
    /// Where it is not installed, or does not start.
    pub async fn start(folder: &Path, installation: &Installation) -> Result<Self> {
        install()?;
        let authority = Authority::create(folder)?;
        let pair = authority.server("nginx", &["127.0.0.1".to_owned()])?;
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let (plain, tls, mutual) = (address(free_port()?), address(free_port()?), address(free_port()?));
        let engine = Identity::Engine { namespace: NAMESPACE.to_owned(), name: OPEN.to_owned() };
        let engine = installation.pod("engine", &engine)?;
        let engine = engine.display();
        let config = folder.join("nginx.conf");
        let (here, certificate, key) = (folder.display(), pair.certificate.display(), pair.key.display());
        std::fs::write(
            &config,
            format!(
                r#"daemon off;
worker_processes 1;
pid {here}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_max_body_size 64m;
    client_body_temp_path {here}/bodies;
    proxy_temp_path {here}/proxied;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    default_type application/json;
    server {{
        listen {plain};
        listen {tls} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{ return 200 '{ANSWER}'; }}
    }}
    server {{
        listen {mutual} ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate {engine}/tls.crt;
        ssl_certificate_key {engine}/tls.key;
        ssl_client_certificate {engine}/ca.crt;
        ssl_verify_client on;
        location / {{ return 200 '{ANSWER}'; }}
    }}
}}
"#
            ),
        )?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&config);
        let mut program = Program::start("nginx", &mut command, folder)?;
        let ready = async |_: &str| answers(plain, "/").await.then_some(());
        program.until(START, ready).await?;
        Ok(Self { plain, tls, authority: authority.certificate(), mutual, program })
    }
}

/// Installs what the benchmarks of gateways take from Debian.
pub(super) fn install() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install-packages.sh");
    let status = Command::new(&script).arg("gateways").status().context("can't install nginx")?;
    if !status.success() {
        bail!("{} gateways failed: {status}", script.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_of_the_size_that_was_measured_with_others() {
        assert_eq!(ANSWER.len(), 453);
    }
}
