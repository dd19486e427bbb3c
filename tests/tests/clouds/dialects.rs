//! Every door in front of every model of a cloud.

use serde_json::{Value, json};
use weighbridge_tests::door::Answer;
use weighbridge_wire::provider::Kind;

use super::bed::{Bed, Maker, named};

const SAID: &str = "Hello, wörld 😀!";
const CLOUDS: [Kind; 2] = [Kind::Vertex, Kind::Bedrock];
const MAKERS: [Maker; 2] = [Maker::Anthropic, Maker::Own];

/// A door of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Chat,
    Responses,
    Messages,
    Gemini,
}

const DOORS: [Dialect; 4] = [Dialect::Chat, Dialect::Responses, Dialect::Messages, Dialect::Gemini];

/// A question with a tool, and what is answered to its call.
struct Loop {
    path: String,
    question: Value,
}

impl Dialect {
    fn path(self, model: &str, stream: bool) -> String {
        match self {
            Self::Chat => "/v1/chat/completions".to_owned(),
            Self::Responses => "/v1/responses".to_owned(),
            Self::Messages => "/v1/messages".to_owned(),
            Self::Gemini if stream => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            Self::Gemini => format!("/v1beta/models/{model}:generateContent"),
        }
    }

    fn question(self, model: &str, stream: bool) -> Value {
        let said = json!([{"role": "user", "content": "hi"}]);
        match self {
            Self::Chat => json!({"model": model, "stream": stream, "messages": said, "max_tokens": 99}),
            Self::Responses => json!({"model": model, "stream": stream, "input": said, "store": false}),
            Self::Messages => json!({"model": model, "stream": stream, "messages": said, "max_tokens": 99}),
            Self::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        }
    }

    /// The text of a whole answer.
    fn text(self, answer: &Value) -> String {
        let path = match self {
            Self::Chat => "/choices/0/message/content",
            Self::Responses => "/output/0/content/0/text",
            Self::Messages => "/content/0/text",
            Self::Gemini => "/candidates/0/content/parts/0/text",
        };
        answer.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no text: {answer}")).to_owned()
    }

    /// The text of a stream, and whether it came to its end.
    fn streamed(self, body: &str) -> (String, bool) {
        let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
        let text = |event: &Value| {
            let path = match self {
                Self::Chat => "/choices/0/delta/content",
                Self::Responses if event["type"] != "response.output_text.delta" => return String::new(),
                Self::Responses => "/delta",
                Self::Messages => "/delta/text",
                Self::Gemini => "/candidates/0/content/parts/0/text",
            };
            event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let ended = match self {
            Self::Chat => body.ends_with("data: [DONE]\n\n"),
            Self::Responses => events.last().is_some_and(|event| event["type"] == "response.completed"),
            Self::Messages => events.last().is_some_and(|event| event["type"] == "message_stop"),
            Self::Gemini => {
                events.last().is_some_and(|event| event.pointer("/candidates/0/finishReason").is_some())
            }
        };
        (events.iter().map(text).collect(), ended)
    }

    fn with_tool(self, model: &str) -> Loop {
        let schema =
            json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let mut question = self.question(model, false);
        match self {
            Self::Chat => {
                question["tools"] =
                    json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}]);
            }
            Self::Responses => {
                question["tools"] = json!([{"type": "function", "name": "weather", "parameters": schema}]);
            }
            Self::Messages => question["tools"] = json!([{"name": "weather", "input_schema": schema}]),
            Self::Gemini => {
                question["tools"] =
                    json!([{"functionDeclarations": [{"name": "weather", "parameters": schema}]}]);
            }
        }
        Loop { path: self.path(model, false), question }
    }

    /// The conversation goes on with what the tool said.
    fn go_on(self, question: &mut Value, answer: &Value) {
        let push = |list: &mut Value, items: Vec<Value>| {
            list.as_array_mut().expect("an array").extend(items);
        };
        let said = "22.5 °C";
        match self {
            Self::Chat => {
                let message = answer["choices"][0]["message"].clone();
                let id = message["tool_calls"][0]["id"].clone();
                let result = json!({"role": "tool", "tool_call_id": id, "content": said});
                push(&mut question["messages"], vec![message, result]);
            }
            Self::Responses => {
                let mut items = answer["output"].as_array().expect("items").clone();
                let call = items.iter().find(|item| item["type"] == "function_call").expect("a call");
                let id = call["call_id"].clone();
                items.push(json!({"type": "function_call_output", "call_id": id, "output": said}));
                push(&mut question["input"], items);
            }
            Self::Messages => {
                let content = answer["content"].clone();
                let call = content.as_array().and_then(|all| all.last()).expect("a call");
                let result = json!([{"type": "tool_result", "tool_use_id": call["id"], "content": said}]);
                let turns = vec![
                    json!({"role": "assistant", "content": content}),
                    json!({"role": "user", "content": result}),
                ];
                push(&mut question["messages"], turns);
            }
            Self::Gemini => {
                let content = answer["candidates"][0]["content"].clone();
                let call = content.pointer("/parts/0/functionCall").expect("a call").clone();
                let mut response = json!({"name": call["name"], "response": {"result": said}});
                // As Google's own client has it: what a call is called comes back with what it came to.
                if let Some(id) = call.get("id") {
                    response["id"] = id.clone();
                }
                let part = json!({"role": "user", "parts": [{"functionResponse": response}]});
                push(&mut question["contents"], vec![content, part]);
            }
        }
    }
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{:?}", answer.text());
    answer.json().expect("JSON")
}

#[tokio::test]
async fn every_door_reaches_every_model_whole_and_streamed() {
    for kind in CLOUDS {
        let mut bed = Bed::new(kind).await;
        for maker in MAKERS {
            for door in DOORS {
                let model = named(maker, "faithful");
                let whole = bed.post(&door.path(&model, false), &door.question(&model, false)).await;
                assert_eq!(door.text(&json_of(&whole)), SAID, "{kind} {maker:?} {door:?}");
                for behaviour in ["faithful", "drip"] {
                    let model = named(maker, behaviour);
                    let answer = bed.post(&door.path(&model, true), &door.question(&model, true)).await;
                    let streamed = door.streamed(answer.text().expect("text"));
                    assert_eq!(streamed, (SAID.to_owned(), true), "{kind} {maker:?} {door:?} {behaviour}");
                }
            }
        }
    }
}

/// Vertex AI refuses a call's id, and no dialect but Gemini's can do without.
#[tokio::test]
async fn a_tools_call_and_result_find_each_other_at_every_model() {
    for kind in CLOUDS {
        let mut bed = Bed::new(kind).await;
        for maker in MAKERS {
            for door in DOORS {
                let Loop { path, mut question } = door.with_tool(&named(maker, "faithful"));
                let first = json_of(&bed.post(&path, &question).await);
                door.go_on(&mut question, &first);
                let second = json_of(&bed.post(&path, &question).await);
                let said = second.to_string();
                assert!(said.contains("The tools say: 22.5 °C."), "{kind} {maker:?} {door:?}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn claudes_version_and_what_is_not_general_yet_are_where_the_cloud_has_them() {
    for (kind, version) in [(Kind::Vertex, "vertex-2023-10-16"), (Kind::Bedrock, "bedrock-2023-05-31")] {
        let bed = Bed::new(kind).await;
        let mut client = weighbridge_tests::door::Client::connect(bed.door.address).await.expect("connected");
        let question = Dialect::Messages.question(&named(Maker::Anthropic, "faithful"), false).to_string();
        let headers = [
            ("content-type", "application/json"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "a-1,b-2"),
        ];
        let answer =
            client.open(http::Method::POST, "/v1/messages", &headers, question).await.expect("answered");
        let answer = answer.whole().await.expect("whole");
        assert_eq!(answer.status, 200, "{:?}", answer.text());
        let seen = bed.simulator.seen().pop().expect("a request");
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!(body["anthropic_version"], version);
        assert!(body["model"].is_null(), "{body}");
        let betas = seen.headers.get("anthropic-beta").map(|value| value.to_str().expect("text"));
        let expected =
            if kind == Kind::Vertex { (Some("a-1,b-2"), Value::Null) } else { (None, json!(["a-1", "b-2"])) };
        assert_eq!((betas, body["anthropic_beta"].clone()), expected, "{kind}");
    }
}

#[tokio::test]
async fn tokens_are_counted_where_the_cloud_counts_them() {
    for kind in CLOUDS {
        let mut bed = Bed::new(kind).await;
        for maker in MAKERS {
            let model = named(maker, "faithful");
            let message = json!([{"role": "user", "content": "How many tokens are in here?"}]);
            let question = json!({"model": model, "messages": message});
            let answer = json_of(&bed.post("/v1/messages/count_tokens", &question).await);
            assert!(
                answer["input_tokens"].as_u64().is_some_and(|count| count > 0),
                "{kind} {maker:?} {answer}"
            );
            let contents = json!({"contents": [{"parts": [{"text": "How many tokens are in here?"}]}]});
            let answer = json_of(&bed.post(&format!("/v1beta/models/{model}:countTokens"), &contents).await);
            assert!(
                answer["totalTokens"].as_u64().is_some_and(|count| count > 0),
                "{kind} {maker:?} {answer}"
            );
        }
    }
}

#[tokio::test]
async fn texts_are_embedded_at_vertex_by_whichever_way_the_model_has() {
    let mut bed = Bed::new(Kind::Vertex).await;
    for (model, method) in [("own-faithful", "batchEmbedContents"), ("embedder", "predict")] {
        let question = json!({"model": model, "input": ["one", "two"], "dimensions": 6});
        let answer = json_of(&bed.post("/v1/embeddings", &question).await);
        let vector = |index: usize| answer["data"][index]["embedding"].as_array().expect("a vector").clone();
        assert_eq!((vector(0).len(), vector(1).len()), (6, 6));
        assert_ne!(vector(0), vector(1));
        let path = bed.simulator.seen().pop().expect("a request").path;
        assert!(path.ends_with(&format!(":{method}")), "{path}");
    }
    let mut bed = Bed::new(Kind::Bedrock).await;
    let answer = bed.post("/v1/embeddings", &json!({"model": "own-faithful", "input": "one"})).await;
    assert_eq!(answer.status, 400, "{:?}", answer.text());
}
