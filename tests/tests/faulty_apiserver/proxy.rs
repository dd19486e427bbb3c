//! A loopback proxy before the real apiserver: it passes everything, notes writes, and spoils what it is told to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// One write: what it does, to what, and which of the like it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Method, plural and subresource, such as `PATCH modeldeployments/status`.
    pub what: String,
    /// The object's name, without the revision in it, which is another in each namespace; empty where the server gives it.
    pub name: String,
    /// Counted from 1.
    pub nth: u32,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} #{}", self.what, self.name, self.nth)
    }
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is done, and the process is killed before it hears of it.
    Crash,
    /// It is done, and the connection breaks before the answer.
    Lost,
    /// The answer is this status, and nothing is done.
    Refused(u16),
    /// Somebody writes the object just before.
    Touched,
}

/// How watches and lists answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum View {
    /// As the apiserver does.
    Present,
    /// Lists are of this revision, and watches wait.
    Past(String),
    /// What watches tell is lost. Once they tell again, each is told to list anew.
    Swallowed,
}

#[derive(Default)]
struct Notes {
    writes: Vec<Write>,
    counts: HashMap<(String, String), u32>,
    armed: Option<(Write, Fault)>,
    met: bool,
    process: Option<u32>,
}

struct Inner {
    client: Client,
    notes: Mutex<Notes>,
    view: watch::Sender<View>,
}

/// The proxy, listening as long as it lives.
pub struct Proxy {
    inner: Arc<Inner>,
    /// Where it listens.
    pub address: SocketAddr,
    _listening: AbortOnDropHandle<()>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>>;

impl Proxy {
    /// Before the apiserver that `client` is of.
    pub async fn start(client: Client) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let inner =
            Arc::new(Inner { client, notes: Mutex::default(), view: watch::Sender::new(View::Present) });
        let serving = Arc::clone(&inner);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&serving), stream));
            }
        });
        Ok(Proxy { inner, address, _listening: AbortOnDropHandle::new(listening) })
    }

    /// Forgets what was written, and spoils the write that is like `armed`, once.
    pub fn arm(&self, armed: Option<(Write, Fault)>) {
        let mut notes = self.notes();
        *notes = Notes { armed, process: notes.process, ..Notes::default() };
    }

    /// The process that a crash ends.
    pub fn ends_with_a_crash(&self, process: u32) {
        self.notes().process = Some(process);
    }

    /// Everything that was written but Leases.
    pub fn writes(&self) -> Vec<Write> {
        self.notes().writes.clone()
    }

    /// Whether the write that was to be spoilt came.
    pub fn met(&self) -> bool {
        self.notes().met
    }

    /// From now on lists are of `revision`, and watches tell nothing.
    pub fn travel(&self, revision: &str) {
        self.inner.view.send_replace(View::Past(revision.to_owned()));
    }

    /// From now on what watches tell is lost.
    pub fn swallow(&self) {
        self.inner.view.send_replace(View::Swallowed);
    }

    /// From now on everything is told; watches that lost something are told to list anew.
    pub fn tell(&self) {
        self.inner.view.send_replace(View::Present);
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.inner.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(inner: Arc<Inner>, stream: TcpStream) {
    let service = service_fn(move |request| answer(Arc::clone(&inner), request));
    // A connection that breaks is what a fault asked for, or the end of a process.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Answer> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let watched =
        parts.method == Method::GET && parts.uri.query().is_some_and(|query| query.contains("watch="));
    if watched {
        return watching(&inner, parts.uri, parts.headers).await;
    }
    if parts.method == Method::GET {
        let view = inner.view.borrow().clone();
        if let (View::Past(revision), None) = (&view, named(parts.uri.path())) {
            parts.uri = in_the_past(&parts.uri, revision)?;
        }
        return pass(&inner, parts.method, parts.uri, &parts.headers, body).await;
    }
    let fault = inner.note(&parts.method, &parts.uri);
    match fault {
        None => pass(&inner, parts.method, parts.uri, &parts.headers, body).await,
        Some(Fault::Refused(code)) => Ok(refusal(code)),
        Some(Fault::Touched) => {
            inner.touch(&parts.uri).await;
            pass(&inner, parts.method, parts.uri, &parts.headers, body).await
        }
        Some(Fault::Lost) => {
            pass(&inner, parts.method, parts.uri, &parts.headers, body).await?;
            anyhow::bail!("the connection breaks")
        }
        Some(Fault::Crash) => {
            pass(&inner, parts.method, parts.uri, &parts.headers, body).await?;
            let process = inner.notes.lock().unwrap_or_else(PoisonError::into_inner).process;
            let process =
                process.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
            if let Some(process) = process {
                rustix::process::kill_process(process, rustix::process::Signal::KILL)?;
            }
            anyhow::bail!("nobody hears it")
        }
    }
}

/// `m` of `m-0123456789`.
fn without_revision(name: &str) -> &str {
    let is_revision = |end: &str| end.len() == 10 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.rsplit_once('-').filter(|(_, end)| is_revision(end)).map_or(name, |(start, _)| start)
}

impl Inner {
    /// Notes a write, and says what becomes of it.
    fn note(&self, method: &Method, uri: &Uri) -> Option<Fault> {
        let (what, name) = place(method, uri.path())?;
        let name = without_revision(&name).to_owned();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let count = notes.counts.entry((what.clone(), name.clone())).or_default();
        *count += 1;
        let write = Write { what, name, nth: *count };
        notes.writes.push(write.clone());
        let fault = notes.armed.as_ref().filter(|(armed, _)| *armed == write).map(|(_, fault)| *fault)?;
        notes.armed = None;
        notes.met = true;
        Some(fault)
    }

    /// Somebody else writes the object, if it is there.
    async fn touch(&self, uri: &Uri) {
        let path = uri.path().trim_end_matches("/status");
        let body = json!({"metadata": {"annotations": {"somebody": "was here"}}}).to_string();
        let touch = Request::patch(path).header("content-type", "application/merge-patch+json");
        if let Ok(touch) = touch.body(Body::from(body.into_bytes())) {
            // Where there is nothing yet, there is nothing to touch.
            let _ = self.client.send(touch).await;
        }
    }
}

/// What a write does and to what; none for a Lease, which is written by the clock.
fn place(method: &Method, path: &str) -> Option<(String, String)> {
    let (_, object) = path.split_once("/namespaces/")?;
    let mut words = object.split('/').skip(1);
    let (plural, name) = (words.next()?, words.next().unwrap_or_default());
    let subresource = words.next().map(|word| format!("/{word}")).unwrap_or_default();
    (plural != "leases").then(|| {
        // An Event's name is another each time.
        let name = if plural == "events" { "" } else { name };
        (format!("{method} {plural}{subresource}"), name.to_owned())
    })
}

/// The name of the one object that a path is of.
fn named(path: &str) -> Option<&str> {
    let (_, object) = path.split_once("/namespaces/")?;
    object.split('/').nth(2)
}

/// The same list as it was at `revision`, which an apiserver answers as long as it has not compacted it.
fn in_the_past(uri: &Uri, revision: &str) -> Result<Uri> {
    let kept = uri.query().unwrap_or_default().split('&');
    let kept = kept.filter(|pair| !pair.starts_with("resourceVersion") && !pair.is_empty());
    let past = format!("resourceVersion={revision}&resourceVersionMatch=Exact");
    let query: Vec<&str> = kept.chain([past.as_str()]).collect();
    format!("{}?{}", uri.path(), query.join("&")).parse().context("a list's address")
}

async fn pass(inner: &Inner, method: Method, uri: Uri, headers: &HeaderMap, body: Bytes) -> Result<Answer> {
    let mut onward = Request::builder().method(method).uri(uri);
    for (name, value) in headers.iter().filter(|(name, _)| *name != "host" && *name != "connection") {
        onward = onward.header(name, value);
    }
    let answer = inner.client.send(onward.body(Body::from(body.to_vec()))?).await?;
    Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// A watch: what it tells passes, waits or is lost, as the view of the moment is.
async fn watching(inner: &Arc<Inner>, uri: Uri, headers: HeaderMap) -> Result<Answer> {
    let mut view = inner.view.subscribe();
    if matches!(*view.borrow_and_update(), View::Past(_)) {
        view.wait_for(|view| *view == View::Present).await?;
    }
    if *view.borrow() == View::Swallowed {
        view.wait_for(|view| *view == View::Present).await?;
        return Ok(refusal(410));
    }
    let answer = pass(inner, Method::GET, uri, &headers, Bytes::new()).await?;
    let (parts, body) = answer.into_parts();
    let frames =
        stream::unfold((BodyStream::new(body), view, false), |(mut frames, mut view, lost)| async move {
            let mut lost = lost;
            loop {
                let now = view.borrow_and_update().clone();
                lost |= now == View::Swallowed;
                if lost && now == View::Present {
                    // Something was lost: the end of the stream, after which a list tells all.
                    return None;
                }
                tokio::select! {
                    biased;
                    changed = view.changed() => {
                        if changed.is_err() {
                            return None;
                        }
                    }
                    frame = frames.next() => {
                        let frame: Frame<Bytes> = frame?.ok()?;
                        if now == View::Present {
                            return Some((Ok::<_, Infallible>(frame), (frames, view, lost)));
                        }
                        lost = true;
                    }
                }
            }
        });
    let body = StreamBody::new(frames).map_err(|never| match never {}).boxed_unsync();
    Ok(Response::from_parts(parts, body))
}

/// An apiserver's own form of a refusal.
fn refusal(code: u16) -> Answer {
    let (reason, message) = match code {
        409 => ("Conflict", "the object has been modified; please apply your changes to the latest version"),
        410 => ("Expired", "too old resource version"),
        _ => ("InternalError", "refused on request"),
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    let body = Full::from(status.to_string()).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    answer
}
