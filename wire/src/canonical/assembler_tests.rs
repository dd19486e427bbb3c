use super::super::{Dialect, Provider, Signature, Stop, StopReason};
use super::*;

fn start() -> Event {
    Event::Start(Start {
        origin: Dialect::Anthropic,
        id: "msg_1".into(),
        created: None,
        model: "m".into(),
        foreign: Vec::new(),
    })
}

fn begin(block: u32, opening: Opening) -> Event {
    Event::BlockStart { choice: 0, block, opening }
}

fn delta(block: u32, delta: Delta) -> Event {
    Event::BlockDelta { choice: 0, block, delta }
}

fn close(block: u32) -> Event {
    Event::BlockStop { choice: 0, block }
}

fn stop(reason: StopReason) -> Event {
    Event::Stop { choice: 0, stop: Stop::new(reason) }
}

fn call(id: &str) -> Opening {
    Opening::ToolCall { id: id.into(), name: "f".into(), signature: None }
}

/// Feeds all but the last, which must fail.
fn fault(events: &[Event]) -> GrammarError {
    let (last, good) = events.split_last().expect("some events");
    let mut assembler = Assembler::new();
    for event in good {
        assembler.push(event).expect("good so far");
    }
    assembler.push(last).expect_err("must be refused")
}

#[test]
fn interleaved_blocks_come_together() {
    let signature = Signature { provider: Provider::Anthropic, data: "s+/=".into() };
    let usage = |output_visible| Usage { input_uncached: 3, output_visible, ..Usage::default() };
    let mut assembler = Assembler::new();
    for event in [
        Event::Ping,
        start(),
        Event::Usage(usage(1)),
        begin(0, Opening::Thinking { id: None }),
        delta(0, Delta::Thinking("hm".into())),
        delta(0, Delta::Signature(signature.clone())),
        close(0),
        begin(1, call("a")),
        begin(2, call("b")),
        delta(2, Delta::Arguments("{\"x\"".into())),
        delta(1, Delta::Arguments("".into())),
        delta(2, Delta::Arguments(":1.0}".into())),
        close(2),
        close(1),
        stop(StopReason::ToolUse),
        Event::Usage(usage(9)),
        Event::End,
    ] {
        assembler.push(&event).expect("within the grammar");
    }
    let response = assembler.finish().expect("whole");
    let tool = |id: &str, arguments: &str| {
        Part::ToolCall(ToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: arguments.into(),
            ..ToolCall::default()
        })
    };
    assert_eq!(response.choices.len(), 1);
    assert_eq!(
        response.choices[0].parts,
        [
            Part::Thinking(Thinking { text: "hm".into(), signature: Some(signature), id: None }),
            tool("a", "{}"),
            tool("b", "{\"x\":1.0}"),
        ]
    );
    assert_eq!(response.usage, Some(usage(9)), "the last, not the sum");
}

#[test]
fn every_rule_has_its_error() {
    let text = || begin(0, Opening::Text);
    let more = || delta(0, Delta::Text("a".into()));
    for (events, expected) in [
        (vec![text()], GrammarError::BeforeStart { event: "a block's start" }),
        (vec![Event::End], GrammarError::BeforeStart { event: "an end" }),
        (vec![start(), start()], GrammarError::StartedTwice),
        (vec![start(), Event::End, Event::Ping], GrammarError::AfterEnd { event: "a ping" }),
        (
            vec![start(), begin(1, Opening::Text)],
            GrammarError::BlockOutOfOrder { choice: 0, block: 1, expected: 0 },
        ),
        (vec![start(), text(), text()], GrammarError::BlockOutOfOrder { choice: 0, block: 0, expected: 1 }),
        (vec![start(), more()], GrammarError::BlockNotOpen { choice: 0, block: 0 }),
        (vec![start(), text(), close(0), more()], GrammarError::BlockNotOpen { choice: 0, block: 0 }),
        (vec![start(), text(), close(0), close(0)], GrammarError::BlockNotOpen { choice: 0, block: 0 }),
        (
            vec![start(), text(), delta(0, Delta::Thinking("a".into()))],
            GrammarError::WrongDelta { choice: 0, block: 0, delta: "thinking" },
        ),
        (
            vec![start(), text(), stop(StopReason::EndTurn)],
            GrammarError::BlockLeftOpen { choice: 0, block: 0 },
        ),
        (
            vec![start(), stop(StopReason::EndTurn), stop(StopReason::EndTurn)],
            GrammarError::AfterStop { choice: 0 },
        ),
        (vec![start(), text(), close(0), Event::End], GrammarError::ChoiceLeftOpen { choice: 0 }),
        (vec![start(), begin(0, call(""))], GrammarError::NamelessCall { choice: 0, block: 0 }),
    ] {
        assert_eq!(fault(&events), expected);
    }
}

#[test]
fn a_broken_stream_can_still_be_metered() {
    let mut assembler = Assembler::new();
    let failure = Failure::truncated(Dialect::Anthropic);
    let usage = Usage { input_uncached: 3, ..Usage::default() };
    for event in [
        start(),
        Event::Usage(usage),
        begin(0, Opening::Text),
        delta(0, Delta::Text("half".into())),
        Event::Error(failure.clone()),
    ] {
        assembler.push(&event).expect("within the grammar");
    }
    assert_eq!(assembler.usage(), Some(&usage));
    assert_eq!(assembler.partial().expect("started").choices[0].parts, [Part::text("half")]);
    assert_eq!(assembler.finish(), Err(Unfinished::Failed(failure)));
    assert_eq!(Assembler::new().finish(), Err(Unfinished::Open));
}
