//! The answer to one request, as HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::json;
use weighbridge_wire::openai::PROMPT_TOKENS_HEADER;

use super::asked::{Asked, Cloud, Dialect, Method};
use super::error::{Refusal, bad_key};
use super::script::Script;
use super::state::{Open, State};
use super::steps::{Step, steps};
use super::{
    Behaviour, HINT_SECONDS, PROMPT_TOKENS, Seen, answer, anthropic, bedrock, gemini, hint, openai, vertex,
};

type Body = UnsyncBoxBody<Bytes, io::Error>;

const PACE: Duration = Duration::from_millis(20);
const JSON: &str = "application/json; charset=utf-8";
const EVENTS: &str = "text/event-stream";
const FRAMES: &str = "application/vnd.amazon.eventstream";

/// Answers; `None` is to close the connection.
pub(super) async fn answer(state: Arc<State>, request: Request<Incoming>) -> Option<Response<Body>> {
    let (head, body) = request.into_parts();
    if head.method == http::Method::GET {
        return Some(list(&state, &head));
    }
    let body = body.collect().await.ok()?.to_bytes();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let allowed = allowed(&state, &path, &head, &body);
    let asked = allowed.and_then(|()| Asked::read(&state, &path, head.headers.clone(), &body));
    let token = (path == "/token").then(|| vertex::token(&state, &head.headers, &body));
    state.see(Seen { path, headers: head.headers, body });
    if let Some((status, said)) = token {
        return Some(whole(status, "application/json", said.to_string()));
    }
    state.count(|counts| counts.requests += 1);
    match asked {
        Ok(asked) => respond(state, asked).await,
        Err((method, refusal)) => Some(refused(method, &refusal)),
    }
}

/// Who may come in, where a cloud asks.
fn allowed(state: &State, path: &str, head: &Parts, body: &[u8]) -> Result<(), (Method, Refusal)> {
    match Cloud::of(path) {
        None => Ok(()),
        Some(Cloud::Vertex) => {
            vertex::authorised(state, path, &head.headers).map_err(|refusal| (Method::Generate, refusal))
        }
        Some(Cloud::Bedrock) => {
            bedrock::authorised(state, head, body).map_err(|refusal| (Method::Converse, refusal))
        }
    }
}

async fn respond(state: Arc<State>, asked: Asked) -> Option<Response<Body>> {
    let refused = |refusal: &Refusal| named(refused(asked.method, refusal), &asked);
    if !state.takes(&asked.headers) {
        return Some(refused(&bad_key(asked.method.dialect())));
    }
    if let Some(refusal) = Refusal::by(&asked) {
        let mut response = refused(&refusal);
        match asked.behaviour {
            Behaviour::Limited(hint) => {
                for (name, value) in hint::headers(hint, Timestamp::now()) {
                    let Ok(value) = HeaderValue::try_from(value) else { continue };
                    response.headers_mut().insert(HeaderName::from_static(name), value);
                }
            }
            Behaviour::Status(429 | 503 | 529) => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(HINT_SECONDS));
            }
            _ => {}
        }
        return Some(response);
    }
    match asked.behaviour {
        Behaviour::HangUp => return None,
        Behaviour::Html => return Some(whole(200, "text/html", "<html>Welcome</html>".to_owned())),
        Behaviour::ErrorIn200 => {
            let inside = Refusal { code: Some("simulated"), ..Refusal::new(500, "inside") };
            return Some(whole(200, "application/json", inside.body(asked.method).to_string()));
        }
        Behaviour::Redirect => {
            let mut response = whole(307, "application/json", "{}".to_owned());
            response.headers_mut().insert(LOCATION, HeaderValue::from_static("/v1/elsewhere"));
            return Some(response);
        }
        Behaviour::Endless => return Some(endless(&asked)),
        _ => {}
    }
    let script = match script(&state, &asked) {
        Ok(script) => script,
        Err(refusal) => return Some(refused(&refusal)),
    };
    let mut response = match asked.behaviour {
        Behaviour::Silent => {
            let mut open = Open { state: &state, done: false };
            state.pass_gate().await;
            open.done = true;
            whole(200, "application/json", script.whole)
        }
        _ if asked.stream => streamed(Arc::clone(&state), &asked, &script),
        Behaviour::InvalidJson => whole(200, "application/json", "{\"half\":".to_owned()),
        Behaviour::Cut => cut(&script.whole),
        _ => {
            state.count(|counts| {
                counts.add(script.usage);
                counts.finished += 1;
            });
            whole(200, JSON, script.whole)
        }
    };
    if asked.behaviour == Behaviour::WrongType {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    Some(named(response, &asked))
}

/// The list of models, in the dialect whose clients ask so.
fn list(state: &State, head: &Parts) -> Response<Body> {
    let (path, headers) = (head.uri.path(), &head.headers);
    let method = match path {
        vertex::LIST => Method::Generate,
        bedrock::LIST => Method::Converse,
        path if path.contains("/v1beta/") => Method::Generate,
        _ if headers.contains_key("anthropic-version") => Method::Messages,
        _ => Method::Chat,
    };
    let allowed = match path {
        vertex::LIST => vertex::known(state, headers).and_then(|()| may_list(state)),
        bedrock::LIST => bedrock::authorised(state, head, b"").and_then(|()| may_list(state)),
        _ if state.takes(headers) => Ok(()),
        _ => Err(bad_key(method.dialect())),
    };
    if let Err(refusal) = allowed {
        return refused(method, &refusal);
    }
    let models = Behaviour::LISTED.iter();
    let list = match method.dialect() {
        Dialect::OpenAi => json!({"object": "list", "data": models
            .map(|model| json!({"id": model, "object": "model", "created": 1_764_000_000, "owned_by": "simulator"}))
            .collect::<Vec<_>>()}),
        Dialect::Anthropic => json!({"data": models
            .map(|model| json!({"type": "model", "id": model, "display_name": model,
                                "created_at": "2025-11-24T16:00:00Z"}))
            .collect::<Vec<_>>(), "has_more": false, "first_id": null, "last_id": null}),
        Dialect::Gemini if path == vertex::LIST => json!({"publisherModels": models
            .map(|model| json!({"name": format!("publishers/google/models/gemini-{model}"), "versionId": "default",
                                "launchStage": "GA"}))
            .collect::<Vec<_>>()}),
        Dialect::Gemini => json!({"models": models
            .map(|model| json!({"name": format!("models/{model}"), "displayName": model}))
            .collect::<Vec<_>>()}),
        Dialect::Converse => json!({"modelSummaries": models
            .map(|model| json!({"modelId": format!("amazon.nova-{model}-v1:0"), "modelName": model,
                                "modelArn": format!("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-{model}-v1:0"),
                                "providerName": "Amazon", "inferenceTypesSupported": ["INFERENCE_PROFILE"],
                                "modelLifecycle": {"status": "ACTIVE"}}))
            .collect::<Vec<_>>()}),
    };
    whole(200, JSON, list.to_string())
}

/// Whether a cloud's key may see the list.
fn may_list(state: &State) -> Result<(), Refusal> {
    let said = "The key is not authorized to list models.";
    if state.shows_lists() { Ok(()) } else { Err(Refusal::new(403, said)) }
}

/// What is said, by the dialect's own rules.
fn script(state: &State, asked: &Asked) -> Result<Script, Refusal> {
    match asked.method {
        Method::Completions if openai::is_plain_completion(asked) => Ok(answer::script(asked)),
        Method::Completions => openai::completions(state, asked),
        Method::Chat if openai::is_plain(asked) => Ok(answer::script(asked)),
        Method::Chat => openai::chat(state, asked),
        Method::Responses => openai::responses(state, asked),
        // What is no request for embeddings is answered as on any other path.
        Method::Embeddings if asked.behaviour != Behaviour::Faithful && asked.body["input"].is_null() => {
            Ok(answer::script(asked))
        }
        Method::Embeddings => openai::embeddings(asked),
        Method::Rerank if asked.behaviour != Behaviour::Faithful => Ok(answer::script(asked)),
        Method::Rerank => openai::rerank(asked),
        Method::Messages => anthropic::messages(state, asked),
        Method::CountMessages => anthropic::count(asked),
        Method::Generate | Method::StreamEvents | Method::StreamArray => gemini::generate(state, asked),
        Method::CountContents => gemini::count(asked),
        Method::Embed | Method::EmbedBatch => gemini::embed(asked),
        Method::Predict => vertex::predict(asked),
        Method::RawPredict | Method::StreamRawPredict => anthropic::messages(state, asked),
        Method::CountRawPredict => anthropic::count(asked),
        Method::Invoke | Method::InvokeStream => bedrock::invoke(state, asked),
        Method::Converse | Method::ConverseStream => bedrock::converse(state, asked),
        Method::CountConverse => bedrock::count(asked),
    }
}

/// The answer with the headers that its provider has on every one.
fn named(mut response: Response<Body>, asked: &Asked) -> Response<Body> {
    let name = match asked.method.dialect() {
        Dialect::OpenAi => HeaderName::from_static("x-request-id"),
        Dialect::Anthropic => HeaderName::from_static("request-id"),
        Dialect::Converse => HeaderName::from_static("x-amzn-requestid"),
        Dialect::Gemini => return response,
    };
    if let Ok(id) = HeaderValue::try_from(format!("req_sim{}", asked.number)) {
        response.headers_mut().insert(name, id);
    }
    response
}

/// How `method` frames a stream.
fn events_type(method: Method) -> &'static str {
    match method {
        Method::StreamArray => JSON,
        Method::InvokeStream | Method::ConverseStream => FRAMES,
        _ => EVENTS,
    }
}

fn endless(asked: &Asked) -> Response<Body> {
    let content_type = if asked.stream { events_type(asked.method) } else { "application/json" };
    let first =
        if content_type == FRAMES { bedrock::endless() } else { Bytes::from_static(b"data: {\"x\":\"") };
    let rest = Bytes::from(vec![b' '; 64 << 10]);
    let body = stream::once(async { first }).chain(stream::repeat(rest)).map(|bytes| Ok(Frame::data(bytes)));
    of_type(content_type, StreamBody::new(body).boxed_unsync())
}

/// Half of the answer, and then the connection breaks.
fn cut(answer: &str) -> Response<Body> {
    let half = Bytes::copy_from_slice(&answer.as_bytes()[..answer.len() / 2]);
    let parts = [Ok(Frame::data(half)), Err(io::Error::other("cut"))];
    of_type("application/json", StreamBody::new(stream::iter(parts)).boxed_unsync())
}

fn streamed(state: Arc<State>, asked: &Asked, script: &Script) -> Response<Body> {
    // One event ahead at most: what a test sees arrive is what was just produced.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(produce(state, steps(asked, script), sender));
    let frames = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let mut response = of_type(events_type(asked.method), StreamBody::new(frames).boxed_unsync());
    if asked.behaviour == Behaviour::Told {
        response.headers_mut().insert(PROMPT_TOKENS_HEADER, HeaderValue::from(PROMPT_TOKENS));
    }
    response
}

type Frames = tokio::sync::mpsc::Sender<io::Result<Frame<Bytes>>>;

async fn produce(state: Arc<State>, steps: Vec<Step>, frames: Frames) {
    let mut open = Open { state: &state, done: false };
    for step in steps {
        match step {
            Step::Gate => tokio::select! {
                () = state.pass_gate() => {}
                () = frames.closed() => return,
            },
            Step::Pause => tokio::time::sleep(PACE).await,
            Step::Send(bytes) => {
                if frames.send(Ok(Frame::data(bytes))).await.is_err() {
                    return;
                }
            }
            Step::Count(usage) => state.count(|counts| counts.add(usage)),
            Step::Break => {
                // The caller may be gone already; then there is nothing to break.
                let _ = frames.send(Err(io::Error::other("cut"))).await;
            }
        }
    }
    open.done = true;
}

fn whole(status: u16, content_type: &'static str, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut response = of_type(content_type, body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn of_type(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn refused(method: Method, refusal: &Refusal) -> Response<Body> {
    let mut response = whole(refusal.status, "application/json", refusal.body(method).to_string());
    if method.dialect() == Dialect::Converse {
        let kind = format!("{}:http://internal.amazon.com/coral/com.amazon.bedrock/", refusal.aws_type());
        if let Ok(kind) = HeaderValue::try_from(kind) {
            response.headers_mut().insert("x-amzn-errortype", kind);
        }
    }
    response
}
