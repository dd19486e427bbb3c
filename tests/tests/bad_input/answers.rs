//! A provider that answers with a page, with another address, or without end, behind its proxy.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_gateway::{GatewayConfig, Limits};
use weighbridge_tests::door::{Answer, Client, Door, Form, entry, proxy_config, write_keys};
use weighbridge_wire::lane::{self, Speaks};
use weighbridge_wire::provider::Kind;

use super::call::Call;
use super::meddler::{Meddler, Said};

/// One of each dialect, and one that has OpenAI's older paths alone.
pub const KINDS: [Kind; 4] = [Kind::OpenAi, Kind::OpenAiCompatible, Kind::Anthropic, Kind::Gemini];

const ANSWER_BYTES: usize = 1 << 20;
const EVENT_BYTES: usize = 64 << 10;
/// Beyond the limits, what lies in the sockets' buffers of two hops.
const IN_FLIGHT: u64 = 64 << 20;
/// Longer than anything here takes: what is still not there will not come.
const NEVER: Duration = Duration::from_secs(120);
/// A provider's words that are for nobody.
const PAGE: &str = "<html><h1>Welcome to the canary of the page</h1></html>";
const CANARY: &str = "canary of the page";

/// A provider that spoils its answers, its proxy, and a gateway with limits that a test can reach.
pub struct BehindAProxy {
    pub meddler: Meddler,
    kind: Kind,
    door: Door,
    _proxy: Door,
    _folder: TempDir,
}

impl BehindAProxy {
    pub async fn new(kind: Kind, meddler: Meddler) -> Self {
        let limits = Limits { answer_bytes: ANSWER_BYTES, event_bytes: EVENT_BYTES, ..Limits::default() };
        Self::within(kind, meddler, limits).await
    }

    async fn within(kind: Kind, meddler: Meddler, limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = write_keys(folder.path(), &[("sk-canary", 1)]).expect("written");
        let config = proxy_config(kind, &format!("http://{}/v1", meddler.address), keys);
        let proxy = Door::proxy(config).await.expect("a proxy");
        let entry =
            Entry { speaks: kind.speaks("faithful"), ..entry("faithful", World::Closed, &[proxy.address]) };
        let config = GatewayConfig { limits, ..GatewayConfig::default() };
        let door = Door::gateway(config, Directory::from_entries(vec![entry])).await.expect("a gateway");
        Self { meddler, kind, door, _proxy: proxy, _folder: folder }
    }

    /// The answer to a short question.
    pub async fn ask(&self, call: Call, stream: bool) -> Answer {
        let what = format!("{call:?} at {}, stream {stream}", self.kind);
        let answer = async {
            let mut client = Client::connect(self.door.address).await.expect("connected");
            let body = Bytes::from(Value::Object(call.body("faithful", stream)).to_string());
            client.post(&call.path("faithful", stream), body).await
        };
        let answer = tokio::time::timeout(NEVER, answer).await;
        let answer = answer.unwrap_or_else(|_| panic!("{what}: it never ends"));
        answer.unwrap_or_else(|error| panic!("{what}: {error:#}"))
    }

    /// Whether this provider can be asked so.
    pub fn speaks(&self, call: Call, stream: bool) -> bool {
        let path = call.path("faithful", stream);
        let (path, query) =
            path.split_once('?').map_or((path.as_str(), None), |(path, query)| (path, Some(query)));
        let speaks: Speaks = self.kind.speaks("faithful");
        let door = lane::door(path, query).expect("a door");
        speaks.asked(door.operation, stream).is_ok()
    }

    /// The stream `text` is whole, or ends with an error in the door's own shape.
    pub fn ends(&self, call: Call, text: &str, what: &str) {
        let form = call.shape();
        let events = form.events(text).unwrap_or_else(|error| panic!("{what}: {error:#}"));
        if events.iter().any(|event| form.is_end(event)) {
            return;
        }
        self.breaks(call, text, what);
    }

    /// The stream `text` ends with an error in the door's own shape.
    pub fn breaks(&self, call: Call, text: &str, what: &str) {
        let form = call.shape();
        let events = form.events(text).unwrap_or_else(|error| panic!("{what}: {error:#}"));
        assert!(!events.iter().any(|event| form.is_end(event)), "{what}: {text}");
        let last = events.last().unwrap_or_else(|| panic!("{what}: nothing"));
        match form {
            Form::Responses if last["type"] == "response.failed" => {
                assert!(last["response"]["error"]["message"].is_string(), "{what}: {last}");
            }
            // Before anything else was said, Responses has an event of its own.
            Form::Responses => assert_eq!(last["type"], "error", "{what}: {last}"),
            _ => {
                call.error(last, None, what);
            }
        }
    }
}

/// What a provider does in place of an answer that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misbehaviour {
    Page,
    PageAsJson,
    PageAsEvents,
    PageOfAnError,
    Redirect,
    SeeOther,
    EndlessBody,
    EndlessError,
    EndlessEvent,
}

impl Misbehaviour {
    const ALL: [Self; 9] = [
        Self::Page,
        Self::PageAsJson,
        Self::PageAsEvents,
        Self::PageOfAnError,
        Self::Redirect,
        Self::SeeOther,
        Self::EndlessBody,
        Self::EndlessError,
        Self::EndlessEvent,
    ];

    fn spoil(self, mut right: Said) -> Said {
        let page = |mut said: Said| {
            said.text = PAGE.to_owned();
            said
        };
        let spaces = " ".repeat(64 << 10);
        match self {
            Self::Page => page(right).of_type("text/html"),
            Self::PageAsJson => page(right).of_type("application/json"),
            Self::PageAsEvents => page(right).of_type("text/event-stream"),
            Self::PageOfAnError => {
                right.status = StatusCode::BAD_GATEWAY;
                page(right).of_type("text/html")
            }
            Self::Redirect | Self::SeeOther => {
                let status = [StatusCode::TEMPORARY_REDIRECT, StatusCode::SEE_OTHER];
                right.status = status[usize::from(self == Self::SeeOther)];
                right.headers.insert("location", HeaderValue::from_static("/v1/canary-of-the-page"));
                page(right).of_type("application/json")
            }
            Self::EndlessBody => {
                right.text = format!("{{\"x\":\"{CANARY}\",\"y\":\"");
                right.again = Some(spaces);
                right.of_type("application/json")
            }
            Self::EndlessError => {
                right.status = StatusCode::BAD_REQUEST;
                right.text = format!("{{\"error\":{{\"message\":\"{CANARY}");
                right.again = Some(spaces);
                right.of_type("application/json")
            }
            Self::EndlessEvent if right.path.ends_with(":streamGenerateContent") => {
                right.text = format!("[{{\"x\":\"{CANARY}");
                right.again = Some(spaces);
                right
            }
            Self::EndlessEvent => {
                right.text = format!("data: {{\"x\":\"{CANARY}");
                right.again = Some(spaces);
                right.of_type("text/event-stream")
            }
        }
    }

    /// Whether it is one for a stream alone.
    fn streams(self) -> bool {
        matches!(self, Self::EndlessEvent | Self::PageAsEvents)
    }
}

/// The right stream up to its first piece of text, and that piece for ever.
fn endless_events(mut right: Said) -> Said {
    if !right.is_stream() {
        return right;
    }
    let of = |path: &str| match path {
        _ if path.contains("alt=sse") => Form::Events,
        _ if path.contains(":streamGenerateContent") => Form::Array,
        _ if path.contains("/messages") => Form::Messages,
        _ if path.contains("/responses") => Form::Responses,
        _ => Form::Chat,
    };
    let form = of(&right.path);
    if form == Form::Array {
        let elements: Vec<Value> = serde_json::from_str(&right.text).expect("an array");
        let said = elements.iter().find(|element| !form.streamed(&[(*element).clone()]).is_empty());
        let piece = said.expect("a text").to_string();
        (right.text, right.again) = (format!("[{piece}"), Some(format!(",\r\n{piece}").repeat(16)));
        return right;
    }
    let frames = right.frames();
    let says = |frame: &&str| {
        let events = form.events(frame).expect("events");
        // The older form has its text elsewhere.
        !form.streamed(&events).is_empty()
            || events.iter().any(|event| event["choices"][0]["text"] == "Hello")
    };
    let at = frames.iter().position(says).expect("a text");
    let again = frames[at].repeat(16);
    (right.text, right.again) = (frames[..=at].concat(), Some(again));
    right
}

/// Signs of life, and nothing else.
fn endless_comments(mut right: Said) -> Said {
    right.text = String::new();
    right.again = Some(": still there\n\n".repeat(64));
    right.of_type("text/event-stream")
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_of_ours_that_quotes_nothing_and_ends() {
    for misbehaviour in Misbehaviour::ALL {
        for kind in KINDS {
            let bed =
                BehindAProxy::new(kind, Meddler::start(move |said| misbehaviour.spoil(said)).await).await;
            for (call, stream) in Call::ways() {
                if !bed.speaks(call, stream) || (misbehaviour.streams() && !stream) {
                    continue;
                }
                let what = format!("{misbehaviour:?} to {call:?} at {kind}, stream {stream}");
                let before = bed.meddler.taken().await;
                let answer = bed.ask(call, stream).await;
                // Of an error that can't be read, its status is left.
                let status = if misbehaviour == Misbehaviour::EndlessError { 400 } else { call.failed() };
                assert_eq!(answer.status, status, "{what}: {:?}", answer.text());
                call.refusal(&answer, &what);
                let said = format!("{:?} {:?}", answer.headers, answer.text());
                assert!(!said.contains(CANARY) && !said.contains("canary-of"), "{what}: {said}");
                let taken = tokio::time::timeout(NEVER, bed.meddler.taken()).await;
                let taken = taken.unwrap_or_else(|_| panic!("{what}: the provider goes on")) - before;
                // The gateway tries once more at most.
                assert!(taken <= 2 * (ANSWER_BYTES as u64 + IN_FLIGHT), "{what}: {taken} bytes were taken");
            }
            let paths = bed.meddler.simulator.seen();
            assert!(
                paths.iter().all(|seen| !seen.path.contains("canary")),
                "{misbehaviour:?}: it was followed"
            );
        }
    }
}

/// Small events without end are an answer for as long as its caller takes it: no more of it is in memory than what lies between
/// the two, and it ends with the caller.
#[tokio::test]
async fn a_stream_without_end_is_taken_no_faster_than_its_caller_takes_it_and_ends_with_it() {
    const RECEIVED: usize = 1 << 20;
    for kind in KINDS {
        for comments in [false, true] {
            let endless = if comments { endless_comments } else { endless_events };
            let bed = BehindAProxy::new(kind, Meddler::start(endless).await).await;
            for (call, stream) in Call::ways().filter(|(call, stream)| *stream && bed.speaks(*call, true)) {
                let what = format!("{call:?} at {kind}, comments {comments}");
                let before = bed.meddler.taken().await;
                let mut client = Client::connect(bed.door.address).await.expect("connected");
                let body = Bytes::from(Value::Object(call.body("faithful", stream)).to_string());
                let opened = client.open(Method::POST, &call.path("faithful", stream), &[], body).await;
                let mut answer = opened.unwrap_or_else(|error| panic!("{what}: {error:#}"));
                // Of comments alone, Gemini's array is none.
                if comments && answer.status == 502 {
                    continue;
                }
                assert_eq!(answer.status, 200, "{what}");
                let mut received = 0;
                while received < RECEIVED && !comments {
                    let piece = tokio::time::timeout(NEVER, answer.piece()).await.expect("it hangs");
                    received += piece.expect("not cut").expect("no end").len();
                }
                drop((answer, client));
                let taken = tokio::time::timeout(NEVER, bed.meddler.taken()).await;
                let taken = taken.unwrap_or_else(|_| panic!("{what}: the provider goes on")) - before;
                // An event may be longer there than here.
                let most = 8 * received as u64 + IN_FLIGHT;
                assert!(
                    comments || taken <= most,
                    "{what}: {taken} bytes were taken of which {received} came"
                );
            }
        }
    }
}

/// Responses says a whole answer once more at its end, so that a translation keeps it until then: that is memory as well.
#[tokio::test]
async fn what_is_kept_of_a_stream_is_bounded_by_the_memory() {
    let limits = Limits { buffered_bytes: 256 << 10, ..Limits::default() };
    let meddler = Meddler::start(endless_events).await;
    let bed = BehindAProxy::within(Kind::OpenAiCompatible, meddler, limits).await;
    let call = Call::Talk(Form::Responses);
    // The second has the place of the first.
    for turn in ["first", "second"] {
        let answer = bed.ask(call, true).await;
        assert_eq!(answer.status, 200, "{turn}");
        bed.breaks(call, answer.text().expect("text"), turn);
    }
}

/// Up to 64 events, or 256 KiB, that mean nothing; with more the answer has begun, and what comes then is a part of it.
#[tokio::test]
async fn what_is_held_back_before_an_answer_begins_is_bounded() {
    const ERROR: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
                         \"message\":\"out of luck\"}}\n\n";
    let comments = |number: usize, bytes: usize| format!(": {}\n\n", "x".repeat(bytes - 4)).repeat(number);
    for (before, status) in [
        (comments(63, 16), 529),
        (comments(64, 16), 200),
        (comments(7, 32 << 10), 529),
        (comments(8, 32 << 10), 200),
    ] {
        let bytes = before.len();
        let meddle = move |mut right: Said| {
            (right.text, right.again) = (before.clone(), Some(ERROR.to_owned()));
            right.of_type("text/event-stream")
        };
        let bed = BehindAProxy::new(Kind::Anthropic, Meddler::start(meddle).await).await;
        let answer = bed.ask(Call::Talk(Form::Messages), true).await;
        assert_eq!(answer.status, status, "after {bytes} bytes");
    }
}
