//! OpenTelemetry of the gateway, as a collector gets it: spans, their parents, GenAI's metrics, and no content.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod provider_script;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use provider_script::{LEAKS, Provider, Seen, config, leaky, write_keys};
use serde_json::json;
use tokio::net::TcpListener;
use weighbridge_crds::{DataPolicy, ProviderKind};
use weighbridge_gateway::access::Access;
use weighbridge_gateway::directory::{Directory, Entry, World, data_policy};
use weighbridge_gateway::{GatewayConfig, ProxyConfig, TelemetryConfig};
use weighbridge_tests::door::{Answer, Client, ClosedPort, Door, Form, entry, model_access};
use weighbridge_tests::simulator::{COMPLETION_TOKENS, PROMPT_TOKENS, Simulator};
use weighbridge_wire::provider::Kind;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// Of every prompt here.
const SECRET: &str = "the-launch-code-is-swordfish";
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// Takes what is exported.
struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Vec<(String, Bytes)>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let received: Arc<Mutex<Vec<(String, Bytes)>>> = Arc::default();
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let service = service_fn(move |request: Request<Incoming>| {
                    let kept = Arc::clone(&kept);
                    async move {
                        let path = request.uri().path().to_owned();
                        let body = request.into_body().collect().await.expect("a body").to_bytes();
                        kept.lock().unwrap_or_else(PoisonError::into_inner).push((path, body));
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
                    }
                });
                tokio::spawn(async move {
                    Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok()
                });
            }
        });
        Self { address, received }
    }

    fn bodies(&self, path: &str) -> Vec<Bytes> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().filter(|(at, _)| at == path).map(|(_, body)| body.clone()).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self
            .bodies("/v1/traces")
            .into_iter()
            .map(|body| ExportTraceServiceRequest::decode(body).expect("an export of spans").resource_spans);
        requests.flatten().flat_map(|of| of.scope_spans).flat_map(|of| of.spans).collect()
    }

    /// Sums of histograms, by name and the value of `gen_ai.token.type`.
    fn sums(&self) -> BTreeMap<(String, String), (u64, f64)> {
        let requests = self.bodies("/v1/metrics").into_iter().map(|body| {
            ExportMetricsServiceRequest::decode(body).expect("an export of metrics").resource_metrics
        });
        let metrics = requests.flatten().flat_map(|of| of.scope_metrics).flat_map(|of| of.metrics);
        let mut sums = BTreeMap::new();
        for metric in metrics {
            let Some(Data::Histogram(histogram)) = metric.data else { continue };
            for point in histogram.data_points {
                let kind = text(&point.attributes, "gen_ai.token.type").unwrap_or_default();
                sums.insert((metric.name.clone(), kind), (point.count, point.sum.unwrap_or_default()));
            }
        }
        sums
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a any_value::Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref().and_then(|AnyValue { value, .. }| value.as_ref())
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match value(attributes, key)? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn door(collector: Option<&Collector>, entries: Vec<Entry>) -> Door {
    let config = exporting(collector);
    Door::gateway(config, Directory::from_entries(entries)).await.expect("a gateway")
}

fn exporting(collector: Option<&Collector>) -> GatewayConfig {
    let telemetry = collector.map(|collector| TelemetryConfig {
        collector: format!("http://{}", collector.address).parse().expect("a URL"),
        ca_file: None,
    });
    GatewayConfig { telemetry, ..GatewayConfig::default() }
}

async fn ask(door: &Door, model: &str, stream: bool, traceparent: Option<&str>) -> Answer {
    let body = json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": SECRET}]});
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(traceparent.map(|value| ("traceparent", value)));
    let mut client = Client::connect(door.address).await.expect("connected");
    let answer = client.open(Method::POST, "/v1/chat/completions", &headers, body.to_string()).await;
    answer.expect("an answer").whole().await.expect("its end")
}

async fn metrics(door: &Door) -> String {
    let mut client = Client::connect(door.admin).await.expect("connected");
    client.get("/metrics").await.expect("metrics").text().expect("text").to_owned()
}

async fn end(door: Door) {
    door.shutdown.drain();
    door.ended().await.expect("a clean end");
}

fn sampled() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

#[tokio::test]
async fn a_request_is_a_span_and_each_attempt_one_under_it() {
    let (collector, simulator) = (Collector::start().await, Simulator::start().await.expect("a simulator"));
    let nobody = ClosedPort::new().expect("a port");
    // Two replicas, one of them gone.
    let entries = vec![entry("normal", World::Open, &[nobody.address, simulator.address()])];
    let door = door(Some(&collector), entries).await;
    let mut asked = 0;
    // Until the replica that is gone was tried: which comes first is the router's affair.
    while asked < 4 || !metrics(&door).await.contains("weighbridge_retries_total{") {
        let answer = ask(&door, "normal", asked % 2 == 1, Some(&sampled())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        asked += 1;
    }
    let exemplar = format!("# {{trace_id=\"{TRACE}\"}}");
    let exposed = metrics(&door).await;
    for name in
        ["weighbridge_request_duration_seconds_bucket", "weighbridge_time_to_first_token_seconds_bucket"]
    {
        let traced = exposed.lines().any(|line| line.starts_with(name) && line.contains(&exemplar));
        assert!(traced, "{name} has no exemplar: {exposed}");
    }
    end(door).await;

    let spans = collector.spans();
    let requests: Vec<&Span> = spans.iter().filter(|span| span.kind == SERVER).collect();
    assert_eq!(requests.len(), asked, "{spans:?}");
    let (mut answered, mut failed) = (Vec::new(), 0);
    for request in &requests {
        assert_eq!(request.name, "POST /v1/chat/completions");
        assert_eq!(
            (hex(&request.trace_id), hex(&request.parent_span_id)),
            (TRACE.to_owned(), PARENT.to_owned())
        );
        assert_eq!(text(&request.attributes, "http.response.status_code").as_deref(), Some("200"));
        for attempt in
            spans.iter().filter(|span| span.kind == CLIENT && span.parent_span_id == request.span_id)
        {
            assert_eq!(hex(&attempt.trace_id), TRACE);
            assert_eq!(attempt.name, "chat normal");
            let of = |key| text(&attempt.attributes, key);
            assert_eq!(of("gen_ai.operation.name").as_deref(), Some("chat"));
            assert_eq!(of("gen_ai.provider.name").as_deref(), Some("weighbridge"));
            assert_eq!(of("weighbridge.model").as_deref(), Some("team/normal"));
            match of("error.type") {
                None => {
                    assert_eq!(of("gen_ai.usage.input_tokens"), Some(PROMPT_TOKENS.to_string()));
                    assert_eq!(of("gen_ai.usage.output_tokens"), Some(COMPLETION_TOKENS.to_string()));
                    answered.push(hex(&attempt.span_id));
                }
                Some(class) => {
                    assert_eq!(class, "overloaded");
                    assert_eq!(of("server.port"), Some(nobody.address.port().to_string()));
                    failed += 1;
                }
            }
        }
    }
    assert_eq!(answered.len(), asked);
    assert!(failed > 0, "an attempt at the replica that is gone has a span too: {spans:?}");

    // The upstream's work is the attempt's child.
    let told: Vec<String> = simulator
        .seen()
        .iter()
        .map(|seen| seen.headers["traceparent"].to_str().expect("text").to_owned())
        .collect();
    assert_eq!(told.len(), asked);
    for (traceparent, span) in told.iter().zip(&answered) {
        assert_eq!(traceparent, &format!("00-{TRACE}-{span}-01"));
    }
}

/// Whoever traces keeps what is theirs in it (W3C Trace Context, section 3.3), with an export of ours or without.
#[tokio::test]
async fn a_callers_trace_state_goes_on_to_the_upstream() {
    let (collector, simulator) = (Collector::start().await, Simulator::start().await.expect("a simulator"));
    for collector in [Some(&collector), None] {
        let door = door(collector, vec![entry("normal", World::Open, &[simulator.address()])]).await;
        let headers = [("traceparent", sampled()), ("tracestate", "acme=1,other=t61rcWkgMzE".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut client = Client::connect(door.address).await.expect("connected");
        let body = Form::Chat.body("normal", false, SECRET);
        let answer = client.open(Method::POST, "/v1/chat/completions", &headers, body).await;
        assert_eq!(answer.expect("an answer").whole().await.expect("its end").status, 200);
        let seen = simulator.seen().pop().expect("it was asked").headers;
        let sent = |name: &str| seen[name].to_str().expect("text").to_owned();
        assert_eq!(sent("tracestate"), "acme=1,other=t61rcWkgMzE");
        assert_eq!(
            sent("traceparent") == sampled(),
            collector.is_none(),
            "whose child the upstream's work is"
        );
        end(door).await;
    }
}

#[tokio::test]
async fn a_span_says_who_asked_which_world_what_it_used_and_how_it_was_cut() {
    const KEY: &str = "wb-traced";
    let (collector, simulator) = (Collector::start().await, Simulator::start().await.expect("a simulator"));
    let entries = ["cached", "truncated"].map(|model| entry(model, World::Closed, &[simulator.address()]));
    let access = Access::from_resources(&[model_access("team", "apps", &[("ci", KEY)], &["*"])]);
    let directory = Directory::from_entries(entries.to_vec());
    let door = Door::guarded(exporting(Some(&collector)), directory, access).await.expect("a gateway");
    let mut client = Client::connect(door.address).await.expect("connected");
    let mut ask = async |model: &str, stream: bool| {
        let body = json!({"model": model, "stream": stream, "reasoning_effort": "low",
                          "messages": [{"role": "user", "content": SECRET}]});
        let headers = [("authorization", "Bearer wb-traced"), ("content-type", "application/json")];
        let answer = client.open(Method::POST, "/v1/chat/completions", &headers, body.to_string()).await;
        answer.expect("an answer").whole().await.expect("its end")
    };
    let usage = ask("cached", false).await.json().expect("an answer")["usage"].clone();
    ask("truncated", true).await;
    end(door).await;

    let spans = collector.spans();
    let of = |kind: i32, model: &str| {
        let attempt = |span: &&Span| text(&span.attributes, "gen_ai.request.model").as_deref() == Some(model);
        let attempt = spans.iter().find(|span| span.kind == CLIENT && attempt(span)).expect("an attempt");
        if kind == CLIENT {
            return attempt;
        }
        spans.iter().find(|span| span.span_id == attempt.parent_span_id).expect("a request")
    };
    let said = |span: &Span, key: &str| text(&span.attributes, key);
    for model in ["cached", "truncated"] {
        assert_eq!(said(of(SERVER, model), "weighbridge.access").as_deref(), Some("team/apps"));
        assert_eq!(said(of(CLIENT, model), "weighbridge.world").as_deref(), Some("closed"));
    }
    let attempt = of(CLIENT, "cached");
    for (attribute, field) in [
        ("gen_ai.usage.input_tokens", "/prompt_tokens"),
        ("gen_ai.usage.output_tokens", "/completion_tokens"),
        ("gen_ai.usage.cache_read.input_tokens", "/prompt_tokens_details/cached_tokens"),
        ("gen_ai.usage.reasoning.output_tokens", "/completion_tokens_details/reasoning_tokens"),
    ] {
        let used = usage.pointer(field).and_then(serde_json::Value::as_u64).expect("a count");
        assert!(used > 0, "{field} of {usage}");
        assert_eq!(said(attempt, attribute), Some(used.to_string()), "{attribute}");
    }
    for kind in [SERVER, CLIENT] {
        assert_eq!(said(of(kind, "cached"), "weighbridge.stream.cut"), None);
        assert_eq!(said(of(kind, "truncated"), "weighbridge.stream.cut").as_deref(), Some("upstream"));
    }
}

#[tokio::test]
async fn the_metrics_of_generative_ai_add_up() {
    let (collector, simulator) = (Collector::start().await, Simulator::start().await.expect("a simulator"));
    let door = door(Some(&collector), vec![entry("normal", World::Closed, &[simulator.address()])]).await;
    for stream in [false, true] {
        assert_eq!(ask(&door, "normal", stream, None).await.status, 200);
    }
    assert_eq!(ask(&door, "unknown", false, None).await.status, 404);
    end(door).await;

    let sums = collector.sums();
    let of = |name: &str, kind: &str| sums.get(&(name.to_owned(), kind.to_owned())).copied();
    let usage = |kind| of("gen_ai.client.token.usage", kind);
    assert_eq!(usage("input"), Some((2, (2 * PROMPT_TOKENS) as f64)), "{sums:?}");
    assert_eq!(usage("output"), Some((2, (2 * COMPLETION_TOKENS) as f64)));
    assert_eq!(of("gen_ai.client.operation.duration", "").map(|(count, _)| count), Some(2));
    assert_eq!(of("gen_ai.client.operation.time_to_first_chunk", "").map(|(count, _)| count), Some(1));
    assert!(of("gen_ai.client.operation.time_per_output_chunk", "").is_some());
}

/// It was paid for: OpenTelemetry's meter and Prometheus' say the same of it.
#[tokio::test]
async fn what_an_answer_used_that_is_withheld_is_counted_by_both_meters() {
    let (collector, simulator) = (Collector::start().await, Simulator::start().await.expect("a simulator"));
    let policy = DataPolicy { region: Some("us".to_owned()), retention: None, on_mismatch: None };
    let folder = tempfile::tempdir().expect("a folder");
    let keys = write_keys(folder.path(), &[("sk-one", 1)]);
    let base_url = format!("http://{}", simulator.address()).parse().expect("a URL");
    let config = config(Kind::Anthropic, simulator.address(), keys);
    let proxy = Door::proxy(ProxyConfig { base_url: Some(base_url), ..config }).await.expect("a proxy");
    let demanding = Entry {
        speaks: Kind::Anthropic.speaks("elsewhere"),
        data_policy: data_policy(ProviderKind::Anthropic, Some(&policy), None),
        ..entry("elsewhere", World::Closed, &[proxy.address])
    };
    let door = door(Some(&collector), vec![demanding]).await;
    assert_eq!(ask(&door, "elsewhere", false, None).await.status, 403);
    let exposed = metrics(&door).await;
    end(door).await;
    let sums = collector.sums();
    for direction in ["input", "output"] {
        let is_it = |line: &&str| {
            line.starts_with("weighbridge_tokens_total{")
                && line.contains(&format!("direction=\"{direction}\""))
        };
        let line = exposed.lines().find(is_it).unwrap_or_else(|| panic!("no {direction}: {exposed}"));
        let counted: f64 = line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count");
        let usage = sums.get(&("gen_ai.client.token.usage".to_owned(), direction.to_owned())).copied();
        assert!(counted > 0.0);
        assert_eq!(usage, Some((1, counted)), "{direction}");
    }
    let attempt = collector.spans().into_iter().find(|span| span.kind == CLIENT).expect("an attempt");
    assert!(text(&attempt.attributes, "gen_ai.usage.input_tokens").is_some());
}

#[tokio::test]
async fn nothing_that_was_said_is_exported() {
    let (collector, simulator) = (Collector::start().await, Simulator::start().await.expect("a simulator"));
    let models = ["normal", "error-first", "status-429", "invalid-json"];
    let entries = models.iter().map(|model| entry(model, World::Closed, &[simulator.address()])).collect();
    let door = door(Some(&collector), entries).await;
    let mut said = Vec::new();
    for model in models {
        for stream in [false, true] {
            said.push(ask(&door, model, stream, None).await);
        }
    }
    end(door).await;

    assert_eq!(collector.spans().iter().filter(|span| span.kind == SERVER).count(), 2 * models.len());
    let answer = said[0].json().expect("an answer")["choices"][0]["message"]["content"].clone();
    let answer = answer.as_str().expect("text").to_owned();
    for (path, body) in collector.received.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        for kept_back in [SECRET, answer.as_str()] {
            let leaked = body.windows(kept_back.len()).any(|window| window == kept_back.as_bytes());
            assert!(!leaked, "{path} holds {kept_back:?}");
        }
    }
}

/// Nor a caller's own, good or bad, wherever it is written.
#[tokio::test]
async fn no_key_that_a_caller_shows_is_exported() {
    const GOOD: &str = "wb-canary-3f0d5a";
    let (collector, simulator) = (Collector::start().await, Simulator::start().await.expect("a simulator"));
    let access = Access::from_resources(&[model_access("team", "apps", &[("ci", GOOD)], &["normal"])]);
    let directory = Directory::from_entries(vec![entry("normal", World::Open, &[simulator.address()])]);
    let door = Door::guarded(exporting(Some(&collector)), directory, access).await.expect("a gateway");
    let bearer = format!("Bearer {GOOD}");
    let mut asked = 0;
    for (name, key, model, status) in [
        ("authorization", bearer.as_str(), "normal", 200),
        ("x-api-key", GOOD, "other", 403),
        ("x-goog-api-key", "wb-canary-of-nobody", "normal", 401),
        // No model and no place in a URL are for keys, and callers have put them there.
        ("x-api-key", GOOD, GOOD, 403),
    ] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let mut client = Client::connect(door.address).await.expect("connected");
        let path = "/v1/chat/completions?key=wb-canary-in-a-query";
        let headers = [("content-type", "application/json"), (name, key)];
        let answer = client.open(Method::POST, path, &headers, body).await.expect("an answer");
        assert_eq!(answer.whole().await.expect("its end").status, status, "{name}");
        asked += 1;
    }
    end(door).await;
    assert_eq!(collector.spans().iter().filter(|span| span.kind == SERVER).count(), asked);
    for (path, body) in collector.received.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        assert!(!body.windows(6).any(|window| window == b"canary"), "{path} holds a key");
    }
}

/// A provider that says its key in every answer, in headers and bodies, with and without an error's status.
#[tokio::test]
async fn no_key_that_a_provider_says_is_exported() {
    const KEYS: [&str; 3] = ["sk-canary-5a1c", "sk-canary-77b0", "sk-canary-e03d"];
    let said = KEYS.map(|key| [key.to_owned(), format!("Bearer {key}")]).concat();
    for kind in [Kind::OpenAi, Kind::Anthropic, Kind::Gemini] {
        let (collector, folder) = (Collector::start().await, tempfile::tempdir().expect("a folder"));
        let turn = Arc::new(Mutex::new(0));
        let (now, said) = (Arc::clone(&turn), said.clone());
        let script = move |_: &Seen| leaky(kind, *now.lock().expect("unpoisoned"), &KEYS, &said);
        let provider = Provider::start(kind, script).await;
        let keys = write_keys(folder.path(), &KEYS.map(|key| (key, 1)));
        let proxy = Door::proxy(config(kind, provider.address, keys)).await.expect("a proxy");
        let entry = Entry { speaks: kind.speaks("m"), ..entry("m", World::Closed, &[proxy.address]) };
        let door = door(Some(&collector), vec![entry]).await;
        let mut asked = 0;
        for next in 0..LEAKS {
            *turn.lock().expect("unpoisoned") = next;
            for (form, stream) in Form::ALL.into_iter().flat_map(|form| [(form, false), (form, true)]) {
                let mut client = Client::connect(door.address).await.expect("connected");
                // An answer may be broken off for what it says.
                let _ = client.post(&form.path("m", stream), form.body("m", stream, "hi")).await;
                asked += 1;
            }
        }
        end(door).await;
        assert!(!provider.seen().is_empty(), "{kind}");
        let spans = collector.spans();
        assert_eq!(spans.iter().filter(|span| span.kind == SERVER).count(), asked, "{kind}");
        let failed = spans.iter().any(|span| text(&span.attributes, "error.type").is_some());
        assert!(failed, "{kind}: spans tell of failures");
        for (path, body) in collector.received.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            assert!(!body.windows(6).any(|window| window == b"canary"), "{kind}: {path} holds a key");
        }
    }
}

#[tokio::test]
async fn without_a_collector_a_callers_trace_passes_untouched_and_is_named_beside_figures() {
    let simulator = Simulator::start().await.expect("a simulator");
    let door = door(None, vec![entry("normal", World::Open, &[simulator.address()])]).await;
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    for traceparent in [Some(unsampled.as_str()), Some("not-a-trace"), None] {
        assert_eq!(ask(&door, "normal", false, traceparent).await.status, 200);
        assert!(!metrics(&door).await.contains("trace_id"), "nobody keeps {traceparent:?}");
    }
    assert_eq!(ask(&door, "normal", false, Some(&sampled())).await.status, 200);
    assert!(metrics(&door).await.contains(&format!("trace_id=\"{TRACE}\"")));
    let passed: Vec<Option<String>> = simulator
        .seen()
        .iter()
        .map(|seen| Some(seen.headers.get("traceparent")?.to_str().ok()?.to_owned()))
        .collect();
    assert_eq!(passed, [Some(unsampled), Some("not-a-trace".to_owned()), None, Some(sampled())]);
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_no_answer() {
    let (simulator, nobody) =
        (Simulator::start().await.expect("a simulator"), ClosedPort::new().expect("a port"));
    let gone = Collector { address: nobody.address, received: Arc::default() };
    let door = door(Some(&gone), vec![entry("normal", World::Open, &[simulator.address()])]).await;
    assert_eq!(ask(&door, "normal", true, None).await.status, 200);
    end(door).await;
}
