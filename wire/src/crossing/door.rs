//! One way to every dialect's readers and writers.

use serde_json::{Value, json};

use crate::anthropic::{self, ModelProfile, ThinkingForm};
use crate::bedrock;
use crate::canonical::{
    Assembler, Dialect, Envelope, Event, Failure, Inexpressible, Mint, ReadStream, Request, Response,
    Unsupported, WriteStream,
};
use crate::gemini::{self, Framing, Upstream};
use crate::openai::responses::ResponsesRequest;
use crate::openai::translate::responses::Echo;
use crate::openai::translate::{Server, chat, responses};
use crate::openai::{self};

/// The dialects of conversations.
pub(super) const DOORS: [Dialect; 5] =
    [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Anthropic, Dialect::Gemini, Dialect::Converse];

pub(super) const PROFILE: ModelProfile = ModelProfile {
    default_max_tokens: Some(4_096),
    thinking: ThinkingForm::Adaptive,
    sampling: true,
    system_turns: false,
};

/// A message and what was left out of it.
pub(crate) type Written<T> = Result<(T, Vec<String>), Inexpressible>;

pub(super) fn envelope() -> Envelope {
    Envelope { id: "id_1".into(), created: 7, model: "m".into() }
}

fn echo() -> Echo {
    Echo::of(&ResponsesRequest::default())
}

fn mint() -> Mint {
    Mint::new("test")
}

pub(super) fn read_request(door: Dialect, body: &Value) -> Request {
    let bytes = body.to_string().into_bytes();
    match door {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            chat::request::to_canonical(openai::parse(&bytes).expect("parses"))
        }
        Dialect::OpenAiResponses => responses::request::to_canonical(openai::parse(&bytes).expect("parses")),
        Dialect::Anthropic => anthropic::request::to_canonical(anthropic::parse(&bytes).expect("parses")),
        Dialect::Gemini => {
            gemini::request::to_canonical(gemini::parse(&bytes).expect("parses"), "gemini-2.5-pro", false)
        }
        Dialect::Converse => {
            bedrock::request::to_canonical(bedrock::parse(&bytes).expect("parses"), "gemini-2.5-pro", false)
        }
    }
    .expect("makes sense")
}

pub(super) fn write_request(door: Dialect, request: &Request, policy: Unsupported) -> Written<Value> {
    Ok(match door {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            let written = chat::request::from_canonical(request, Server::OpenAi, policy)?;
            (json!(written.message), written.dropped)
        }
        Dialect::OpenAiResponses => {
            let written = responses::request::from_canonical(request, policy)?;
            (json!(written.message), written.dropped)
        }
        Dialect::Anthropic => {
            let written = anthropic::request::from_canonical(request, policy, &PROFILE)?;
            (value(&written.message), written.dropped)
        }
        Dialect::Gemini => {
            let written = gemini::request::from_canonical(request, Upstream::default(), policy)?;
            (value(&written.message), written.dropped)
        }
        Dialect::Converse => {
            let written = bedrock::request::from_canonical(request, policy)?;
            (value(&written.message), written.dropped)
        }
    })
}

/// By way of text: raw JSON goes into no value.
fn value<T: serde::Serialize>(message: &T) -> Value {
    serde_json::from_str(&serde_json::to_string(message).expect("writes")).expect("JSON")
}

/// Writes a whole answer as a client of `door` gets it.
pub(super) fn write_whole(door: Dialect, response: &Response) -> Written<String> {
    let policy = Unsupported::Refuse;
    let text = |message: Value| message.to_string();
    Ok(match door {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            let written = chat::response::from_canonical(response, &envelope(), policy)?;
            (text(json!(written.message)), written.dropped)
        }
        Dialect::OpenAiResponses => {
            let written = responses::response::from_canonical(response, &envelope(), echo(), policy)?;
            (text(json!(written.message)), written.dropped)
        }
        Dialect::Anthropic => {
            let written = anthropic::response::from_canonical(response, &envelope(), policy)?;
            (serde_json::to_string(&written.message).expect("writes"), written.dropped)
        }
        Dialect::Gemini => {
            let written = gemini::response::from_canonical(response, &envelope(), policy)?;
            (serde_json::to_string(&written.message).expect("writes"), written.dropped)
        }
        Dialect::Converse => {
            let written = bedrock::response::from_canonical(response, policy)?;
            (serde_json::to_string(&written.message).expect("writes"), written.dropped)
        }
    })
}

/// Reads a whole answer of an upstream that speaks `door`.
pub(super) fn read_whole(door: Dialect, body: &str) -> Result<Response, Failure> {
    let bytes = body.as_bytes();
    match door {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => chat::response::read(bytes, &mut mint()),
        Dialect::OpenAiResponses => responses::response::read(bytes),
        Dialect::Anthropic => anthropic::response::to_canonical(anthropic::parse(bytes)?, &mut mint()),
        Dialect::Gemini => {
            let parsed = gemini::parse(bytes).map_err(|problem| problem.to_failure())?;
            gemini::response::to_canonical(parsed, &mut mint())
        }
        Dialect::Converse => {
            let parsed = bedrock::parse(bytes).map_err(|problem| problem.to_failure())?;
            bedrock::response::to_canonical(parsed, &mut mint())
        }
    }
}

/// Writes events as a client of `door` gets them.
pub(crate) fn write_stream(door: Dialect, framing: Framing, events: &[Event]) -> Written<Vec<u8>> {
    let policy = Unsupported::Refuse;
    let mut writer: Box<dyn WriteStream> = match door {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            Box::new(chat::StreamWriter::new(envelope(), true, policy))
        }
        Dialect::OpenAiResponses => Box::new(responses::StreamWriter::new(envelope(), echo(), policy)),
        Dialect::Anthropic => Box::new(anthropic::StreamWriter::new(envelope(), policy, 1)),
        Dialect::Gemini => Box::new(gemini::StreamWriter::new(envelope(), policy, framing)),
        Dialect::Converse => Box::new(bedrock::StreamWriter::new(policy)),
    };
    let mut out = Vec::new();
    for event in events {
        writer.write(event, &mut out)?;
    }
    Ok((out, writer.dropped().to_vec()))
}

/// Reads the stream of an upstream that speaks `door`, which comes in `pieces`.
pub(crate) fn read_stream(door: Dialect, pieces: &[&[u8]]) -> Vec<Event> {
    let mut reader: Box<dyn ReadStream> = match door {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => Box::new(chat::StreamReader::new(mint())),
        Dialect::OpenAiResponses => Box::new(responses::StreamReader::new()),
        Dialect::Anthropic => Box::new(anthropic::StreamReader::new(mint())),
        Dialect::Gemini => Box::new(gemini::StreamReader::new(mint())),
        Dialect::Converse => Box::new(bedrock::StreamReader::new(mint())),
    };
    let mut events = Vec::new();
    for piece in pieces {
        reader.read(piece, &mut events);
    }
    reader.finish(&mut events);
    events
}

pub(crate) fn assembled(events: &[Event]) -> Response {
    let mut assembler = Assembler::new();
    for event in events {
        assembler.push(event).unwrap_or_else(|error| panic!("{error}: {event:?}"));
    }
    assembler.finish().expect("whole")
}
