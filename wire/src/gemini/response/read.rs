//! An upstream's answer into the canonical one.

use super::{AnswerReader, GenerateContentResponse};
use crate::canonical::{Assembler, Dialect, Event, Failure, FailureClass, Mint, Response, Unfinished};

/// Reads an answer. It is read as a stream of one piece, so that both ways come to the same.
///
/// # Errors
/// Where the body holds an error in spite of its status, or the model gave no answer that can be used.
pub fn to_canonical(wire: GenerateContentResponse, mint: &mut Mint) -> Result<Response, Failure> {
    let mut reader = AnswerReader::whole(mint.clone());
    let mut events: Vec<Event> = Vec::new();
    reader.read(wire, &mut events);
    reader.finish(&mut events);
    *mint = reader.into_mint();
    let unreadable = |problem: String| {
        let mut failure = Failure::new(FailureClass::Upstream, problem);
        failure.origin = Some(Dialect::Gemini);
        failure
    };
    let mut assembler = Assembler::new();
    for event in &events {
        assembler.push(event).map_err(|error| unreadable(error.to_string()))?;
    }
    assembler.finish().map_err(|unfinished| match unfinished {
        Unfinished::Failed(failure) => failure,
        Unfinished::Open => unreadable("the answer has no end".to_owned()),
    })
}
