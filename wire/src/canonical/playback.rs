//! A whole answer as the stream it would have been: for clients that asked for a stream of what was not streamed.

use super::{
    Choice, CustomCall, Delta, Event, Opening, Part, RedactedThinking, Response, Start, Text, Thinking,
    ToolCall,
};

/// The events of `response`; [`super::Assembler`] makes the same response of them.
pub fn play(response: &Response) -> Vec<Event> {
    let Response { origin, id, created, model, choices, usage, foreign } = response;
    let mut events = vec![Event::Start(Start {
        origin: *origin,
        id: id.clone(),
        created: *created,
        model: model.clone(),
        foreign: foreign.clone(),
    })];
    for choice in choices {
        play_choice(choice, &mut events);
    }
    events.extend(usage.map(Event::Usage));
    events.push(Event::End);
    events
}

fn play_choice(answer: &Choice, events: &mut Vec<Event>) {
    let Choice { index: choice, parts, stop, logprobs } = answer;
    for (block, part) in (0u32..).zip(parts) {
        let (opening, deltas) = block_of(part);
        events.push(Event::BlockStart { choice: *choice, block, opening });
        let delta = |delta| Event::BlockDelta { choice: *choice, block, delta };
        events.extend(deltas.into_iter().map(delta));
        events.push(Event::BlockStop { choice: *choice, block });
    }
    events.extend(logprobs.clone().map(|logprobs| Event::Logprobs { choice: *choice, logprobs }));
    // A provider that gives no reason for a whole answer has still ended it.
    let stop = stop
        .clone()
        .unwrap_or_else(|| super::Stop::new(super::StopReason::EndTurn.with_calls(answer.calls_tools())));
    events.push(Event::Stop { choice: *choice, stop });
}

/// How a whole part is streamed. A cache mark belongs to requests and is left out.
fn block_of(part: &Part) -> (Opening, Vec<Delta>) {
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    match part {
        Part::Text(Text { text, citations, signature, cache: _ }) => {
            let mut deltas: Vec<Delta> = said(text).map(Delta::Text).into_iter().collect();
            deltas.extend(citations.iter().cloned().map(|citation| Delta::Citation(Box::new(citation))));
            deltas.extend(signature.clone().map(Delta::Signature));
            (Opening::Text, deltas)
        }
        Part::ToolCall(ToolCall { id, name, arguments, signature, cache: _ }) => {
            let opening =
                Opening::ToolCall { id: id.clone(), name: name.clone(), signature: signature.clone() };
            (opening, said(arguments).map(Delta::Arguments).into_iter().collect())
        }
        Part::CustomCall(CustomCall { id, name, input }) => {
            let opening = Opening::CustomCall { id: id.clone(), name: name.clone() };
            (opening, said(input).map(Delta::Input).into_iter().collect())
        }
        Part::Thinking(Thinking { text, signature, id }) => {
            let mut deltas: Vec<Delta> = said(text).map(Delta::Thinking).into_iter().collect();
            deltas.extend(signature.clone().map(Delta::Signature));
            (Opening::Thinking { id: id.clone() }, deltas)
        }
        Part::RedactedThinking(RedactedThinking { provider, data }) => {
            (Opening::RedactedThinking { provider: *provider, data: data.clone() }, Vec::new())
        }
        Part::Refusal(refusal) => (Opening::Refusal, said(refusal).map(Delta::Refusal).into_iter().collect()),
        Part::Image(_) | Part::Audio(_) | Part::Document(_) | Part::ToolResult(_) | Part::Foreign(_) => {
            (Opening::Whole(Box::new(part.clone())), Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Assembler, Dialect, Provider, Signature, Stop, StopReason, Usage};
    use super::*;

    #[test]
    fn an_answer_played_and_assembled_is_the_same() {
        let signature = Some(Signature { provider: Provider::Gemini, data: "c2ln".into() });
        let call = ToolCall {
            id: "call_1".into(),
            name: "f".into(),
            arguments: "{\"a\": 1.0}".into(),
            signature: signature.clone(),
            cache: None,
        };
        let parts = vec![
            Part::Thinking(Thinking {
                text: String::new(),
                signature: signature.clone(),
                id: Some("rs".into()),
            }),
            Part::RedactedThinking(RedactedThinking { provider: Provider::Anthropic, data: "x".into() }),
            Part::Text(Text { text: "a".into(), signature, ..Text::default() }),
            Part::ToolCall(call),
            Part::CustomCall(CustomCall { id: "call_2".into(), name: "g".into(), input: "x + 1".into() }),
            Part::Refusal("no".into()),
        ];
        let choice =
            |index, stop| Choice { index, parts: parts.clone(), stop: Some(Stop::new(stop)), logprobs: None };
        let response = Response {
            origin: Dialect::Gemini,
            id: "i".into(),
            created: Some(1),
            model: "m".into(),
            choices: vec![choice(0, StopReason::ToolUse), choice(1, StopReason::MaxTokens)],
            usage: Some(Usage { input_uncached: 1, ..Usage::default() }),
            foreign: Vec::new(),
        };
        let mut assembler = Assembler::new();
        for event in play(&response) {
            assembler.push(&event).expect("within the grammar");
        }
        assert_eq!(assembler.finish(), Ok(response));
    }
}
