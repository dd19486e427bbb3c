//! What both ways of the translation promise together.

mod answers;
mod requests;
mod streams;

use crate::canonical::Envelope;
use crate::openai::responses::ResponsesRequest;
use crate::openai::translate::responses::Echo;

pub(super) fn envelope() -> Envelope {
    Envelope { id: "resp_1".into(), created: 7, model: "m".into() }
}

pub(super) fn echo() -> Echo {
    Echo::of(&ResponsesRequest::default())
}
