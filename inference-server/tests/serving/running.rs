//! A whole server of some model, over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use weighbridge_inference_server::http::Phase;
use weighbridge_inference_server::server::{ModelFile, ServeError, Server, ServerConfig};

pub struct Running {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<Result<(), ServeError>>,
}

/// What `path` is served with: a port of its own, and the name `name`.
pub fn config(path: PathBuf, name: &str) -> ServerConfig {
    ServerConfig::new(([127, 0, 0, 1], 0).into(), ModelFile::Path(path), name)
}

/// Why nothing is served with `config`.
pub async fn refusal(config: ServerConfig) -> ServeError {
    let server = Server::bind(config).await.unwrap();
    server.run(std::future::pending(), Arc::new(|_| ())).await.unwrap_err()
}

impl Running {
    /// A server that has become ready.
    pub async fn start(config: ServerConfig) -> Self {
        let server = Server::bind(config).await.unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let (phases, mut phase) = watch::channel(Phase::Opening);
        let progress = Arc::new(move |phase: &Phase| {
            phases.send_replace(phase.clone());
        });
        let done = tokio::spawn(async move { server.run(async { drop(stopped.await) }, progress).await });
        let settled = |phase: &Phase| matches!(phase, Phase::Ready | Phase::Failed(_));
        let settled = phase.wait_for(settled).await.unwrap().clone();
        assert_eq!(settled, Phase::Ready);
        Self { address, stop, done }
    }

    pub async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::builder().method(method).uri(path).header("host", "test");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response =
            sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// The JSON of a POST that is answered.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let (status, text) = self.send("POST", path, body).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The error of a POST that is refused.
    pub async fn refused(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.send("POST", path, body).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(status >= 400, "{answer}");
        (status, answer["error"].clone())
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.done.await.unwrap().unwrap();
    }
}
