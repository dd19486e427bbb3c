use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::chat_template::ChatTemplate;
use crate::engine::{EngineConfig, EngineHandle, LoadSnapshot};
use crate::http::{AppState, Generation, Listener, Phase, ServedModel, Serves, api_and_metrics};
use crate::metrics::{EngineMetrics, Metrics};
use crate::testing::{Gate, SimulatedBackend, metadata};
use crate::tokenizer::Tokenizer;

pub(super) const MODEL: &str = "team/simulated";

/// A server on a port of its own; it stops when dropped.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) state: Arc<AppState>,
    pub(super) gate: Gate,
    stop: CancellationToken,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.gate.open();
        self.stop.cancel();
    }
}

impl TestServer {
    pub(super) async fn start() -> Self {
        Self::with(EngineConfig { context_length: Some(1024), ..EngineConfig::default() }).await
    }

    pub(super) async fn with(config: EngineConfig) -> Self {
        let backend = SimulatedBackend::new(256, 4096);
        let gate = backend.gate();
        let metadata = metadata();
        let template = metadata.chat_template.clone().unwrap();
        let tokenizer = Arc::new(Tokenizer::new(metadata).unwrap());
        let engine_metrics = Arc::new(EngineMetrics::default());
        let metrics = Arc::new(Metrics::new(&engine_metrics));
        let engine =
            EngineHandle::start(Box::new(backend), Arc::clone(&tokenizer), config, engine_metrics).unwrap();
        let state = Arc::new(AppState::new(Arc::clone(&metrics)));
        state.set_model(ServedModel {
            names: vec![MODEL.to_owned(), "alias".to_owned()],
            adapters: vec!["tone".to_owned(), "legal".to_owned()],
            created: 1_700_000_000,
            fingerprint: "fp_test".to_owned(),
            serves: Serves::Generation(Generation {
                engine,
                template: ChatTemplate::new(template, "", "").map_err(|error| error.to_string()),
                tokenizer,
                sleeper: None,
            }),
        });
        state.enter(Phase::Ready);
        Self::serve(state, gate).await
    }

    /// A server whose model is not there yet.
    pub(super) async fn loading() -> Self {
        let metrics = Arc::new(Metrics::new(&EngineMetrics::default()));
        Self::serve(Arc::new(AppState::new(metrics)), Gate::default()).await
    }

    async fn serve(state: Arc<AppState>, gate: Gate) -> Self {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), Arc::clone(&state.metrics)).await.unwrap();
        let address = listener.address();
        let stop = CancellationToken::new();
        tokio::spawn(listener.serve(api_and_metrics(Arc::clone(&state)), stop.clone()));
        Self { address, state, gate, stop }
    }

    pub(super) async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> hyper::Response<Incoming> {
        let request = hyper::Request::builder().method(method).uri(path).header("host", "test");
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        self.connect().await.send_request(request).await.unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        let response = self.send("GET", path, vec![]).await;
        (response.status().as_u16(), text(response).await)
    }

    /// Status and JSON of a POST.
    pub(super) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.send("POST", path, body.to_string().into_bytes()).await;
        let status = response.status().as_u16();
        (status, serde_json::from_str(&text(response).await).unwrap())
    }

    /// The chunks of a stream; the last is `[DONE]`, which is checked and left out.
    pub(super) async fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let response = self.send("POST", path, body.to_string().into_bytes()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let text = text(response).await;
        let mut events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(events.pop(), Some("data: [DONE]"));
        events
            .iter()
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }

    /// Waits for the engine's books to say so.
    pub(super) async fn until(&self, what: impl Fn(LoadSnapshot) -> bool) {
        let model = self.state.model().unwrap();
        let waited = async {
            while !what(model.load()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waited).await.expect("the engine never got there");
    }
}

pub(super) async fn text(response: hyper::Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// A chat request of one message, with further fields.
pub(super) fn chat(content: &str, fields: Value) -> Value {
    with(
        json!({"model": MODEL, "messages": [{"role": "user", "content": content}], "temperature": 0}),
        fields,
    )
}

/// A completions request, with further fields.
pub(super) fn completion(prompt: Value, fields: Value) -> Value {
    with(json!({"model": MODEL, "prompt": prompt, "temperature": 0}), fields)
}

fn with(mut request: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    request.as_object_mut().unwrap().extend(fields);
    request
}
