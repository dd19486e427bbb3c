//! JSON nested 10,000 deep: parsers that recurse end the process on it.

use serde_json::{Value, json};
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_tests::door::{Client, Door, Form, entry, proxy_config, write_keys};
use weighbridge_tests::simulator::Simulator;
use weighbridge_wire::provider::Kind;

use super::answers::{BehindAProxy, KINDS};
use super::bed::{Bed, Upstream};
use super::call::{Call, HERE};
use super::meddler::{Meddler, Said};

const DEPTH: usize = 10_000;

/// Lists, objects, and both by turns.
fn nests() -> [String; 3] {
    let nest = |open: &str, close: &str| format!("{}1{}", open.repeat(DEPTH), close.repeat(DEPTH));
    [nest("[", "]"), nest("{\"a\":", "}"), nest("[{\"a\":", "}]")]
}

/// Where anything may stand.
fn places(call: Call) -> Vec<Value> {
    let parts = || json!([{"role": "user", "parts": [{"text": HERE}]}]);
    let function = json!({"name": "f", "description": "d", "parameters": HERE});
    let schema = json!({"name": "s", "schema": HERE});
    let mut places = vec![json!({"x_unknown": HERE}), json!({"metadata": HERE})];
    places.extend(match call {
        Call::Talk(Form::Chat) => vec![
            json!({"messages": HERE}),
            json!({"messages": [{"role": "user", "content": HERE}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "x": HERE}]}]}),
            json!({"tools": [{"type": "function", "function": function}]}),
            json!({"response_format": {"type": "json_schema", "json_schema": schema}}),
        ],
        Call::Talk(Form::Responses) => vec![
            json!({"input": HERE}),
            json!({"input": [{"type": "message", "role": "user", "content": HERE}]}),
            json!({"tools": [{"type": "function", "name": "f", "parameters": HERE}]}),
            json!({"text": {"format": {"type": "json_schema", "name": "s", "schema": HERE}}}),
        ],
        Call::Talk(Form::Messages) | Call::CountMessages => vec![
            json!({"system": HERE}),
            json!({"messages": [{"role": "user", "content": HERE}]}),
            json!({"messages": [{"role": "assistant", "content": [
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": HERE}]}]}),
            json!({"tools": [{"name": "f", "input_schema": HERE}]}),
        ],
        Call::Talk(Form::Events | Form::Array) | Call::CountContents => vec![
            json!({"contents": HERE}),
            json!({"contents": parts()}),
            json!({"systemInstruction": HERE}),
            json!({"tools": [{"functionDeclarations": [function]}]}),
            json!({"generationConfig": {"responseMimeType": "application/json", "responseSchema": HERE}}),
            json!({"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": HERE}}),
        ],
        Call::Converse => vec![
            json!({"messages": HERE}),
            json!({"messages": [{"role": "user", "content": HERE}]}),
            json!({"system": HERE}),
            json!({"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": HERE}}}]}}),
            json!({"additionalModelRequestFields": HERE}),
        ],
        Call::CountConverse => vec![
            json!({"input": HERE}),
            json!({"input": {"converse": {"messages": HERE}}}),
            json!({"input": {"converse": {"messages": [{"role": "user", "content": HERE}]}}}),
        ],
        Call::Completions => vec![json!({"prompt": HERE})],
        Call::Embeddings => vec![json!({"input": HERE})],
        Call::EmbedContent => vec![json!({"content": {"parts": [{"text": HERE}]}})],
        Call::BatchEmbedContents => vec![json!({"requests": HERE})],
        Call::Rerank => vec![json!({"documents": HERE}), json!({"documents": [HERE]})],
    });
    places
}

#[tokio::test]
async fn what_is_nested_without_end_is_refused_at_every_door_and_goes_nowhere() {
    let bed = Bed::new().await;
    for upstream in Upstream::ALL {
        for (call, stream) in Call::ways().chain([(Call::Converse, true)]) {
            let model = bed.model(upstream, call);
            let mut client = Client::connect(bed.door.address).await.expect("connected");
            for place in places(call) {
                for nest in nests() {
                    let what =
                        format!("{call:?} at {upstream:?}, stream {stream}: {place} of {}", &nest[..8]);
                    let asked = bed.asked(upstream);
                    let body = call.with(model, stream, &place, &nest);
                    let answer = client.post(&call.path(model, stream), body).await;
                    let answer = answer.unwrap_or_else(|error| panic!("{what}: no answer: {error:#}"));
                    assert_eq!(answer.status, 400, "{what}: {:?}", answer.text());
                    call.refusal(&answer, &what);
                    assert_eq!(bed.asked(upstream), asked, "{what}: it went on");
                }
            }
        }
    }
}

/// A proxy reads no bodies: this one is the provider's to judge, and comes there byte for byte.
#[tokio::test]
async fn a_proxy_hands_it_on_unread() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in KINDS {
        let simulator = Simulator::start().await.expect("a simulator");
        let keys = write_keys(folder.path(), &[("sk-canary", 1)]).expect("written");
        let config = proxy_config(kind, &format!("http://{}/v1", simulator.address()), keys);
        let proxy = Door::proxy(config).await.expect("a proxy");
        let mut client = Client::connect(proxy.address).await.expect("connected");
        let call = match kind {
            Kind::Anthropic => Call::Talk(Form::Messages),
            Kind::Gemini => Call::Talk(Form::Events),
            _ => Call::Talk(Form::Chat),
        };
        for nest in nests() {
            let body = call.with("faithful", false, &json!({"x_unknown": HERE}), &nest);
            let answer = client.post(&call.path("faithful", false), body.clone()).await.expect("answered");
            assert_eq!(answer.status, 400, "{kind}");
            assert_eq!(simulator.seen().pop().expect("asked").body, body, "{kind}");
        }
    }
}

/// Puts `nest` into a right answer, as a field that nobody knows: into the body, or into each event.
fn spoil(mut said: Said, nest: &str) -> Said {
    let within = format!("{{\"x_unknown\":{nest},");
    let first = |text: &str| text.replacen('{', &within, 1);
    said.text = if !said.text.contains("data: {") {
        first(&said.text)
    } else {
        said.frames().into_iter().map(first).collect()
    };
    said
}

/// What a provider nests is no reason to die either. Where the answer is passed on as it came, nobody need read that field;
/// everywhere else it is an answer that can't be read.
#[tokio::test]
async fn an_answer_that_is_nested_without_end_is_delivered_as_it_came_or_refused() {
    for kind in KINDS {
        for nest in nests() {
            let within = nest.clone();
            let meddler = Meddler::start(move |said| spoil(said, &within)).await;
            let bed = BehindAProxy::new(kind, meddler).await;
            for (call, stream) in Call::ways() {
                let what = format!("{call:?} at {kind}, stream {stream}");
                let answer = bed.ask(call, stream).await;
                let text = answer.text().expect("text");
                match answer.status.as_u16() {
                    // The caller's own dialect, byte for byte.
                    200 if text.contains("x_unknown") => {
                        assert!(text.contains(&nest), "{what}: it was changed");
                    }
                    200 if !stream => {
                        let read: Result<Value, _> = serde_json::from_str(text);
                        assert!(read.is_ok_and(|read| read.is_object()), "{what}: {text}");
                    }
                    200 => bed.ends(call, text, &what),
                    400 if !bed.speaks(call, stream) => {
                        call.refusal(&answer, &what);
                    }
                    status if status == call.failed() => {
                        let said = call.refusal(&answer, &what);
                        assert!(!said.contains("x_unknown") && !said.contains("[["), "{what}: {said}");
                    }
                    other => panic!("{what}: {other} {text}"),
                }
            }
        }
    }
}

/// The same in the place of an error, at the proxy as well, which reads those: nobody needs that field.
#[tokio::test]
async fn an_error_that_is_nested_without_end_is_told_without_it() {
    for kind in KINDS {
        for nest in nests() {
            let meddler = Meddler::start(move |mut said| {
                said.status = http::StatusCode::BAD_REQUEST;
                said.text = format!("{{\"error\":{{\"message\":\"x_unknown\",\"details\":{nest}}}}}");
                said.of_type("application/json")
            })
            .await;
            let bed = BehindAProxy::new(kind, meddler).await;
            for (call, stream) in Call::ways().filter(|(call, stream)| bed.speaks(*call, *stream)) {
                let what = format!("{call:?} at {kind}, stream {stream}");
                let answer = bed.ask(call, stream).await;
                let status = answer.status.as_u16();
                assert!(status == 400 || status == call.failed(), "{what}: {:?}", answer.text());
                assert!(!call.refusal(&answer, &what).contains("1]"), "{what}: {:?}", answer.text());
            }
            // And where nothing stands between that would have read it.
            let entry = Entry {
                speaks: kind.speaks("faithful"),
                ..entry("faithful", World::Closed, &[bed.meddler.address])
            };
            let directory = Directory::from_entries(vec![entry]);
            let door = Door::gateway(GatewayConfig::default(), directory).await.expect("a gateway");
            let call = Call::Talk(Form::Messages);
            let mut client = Client::connect(door.address).await.expect("connected");
            let body = Value::Object(call.body("faithful", false)).to_string();
            let answer = client.post(&call.path("faithful", false), body).await.expect("answered");
            let said = call.refusal(&answer, &kind.to_string());
            assert!((400..=502).contains(&answer.status.as_u16()) && said.len() < 1000, "{kind}: {answer:?}");
        }
    }
}
