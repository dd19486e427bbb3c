//! Every door at every upstream, over answers of any shape.

use proptest::prelude::*;

use super::{ARRAY, SSE, everyone, framed, lane, streamed_bytes};
use crate::canonical::{Dialect, Part, Response, Text, play};
use crate::crossing::{any_response, assembled, pieces, read_stream, write_stream};
use crate::gemini::Framing;
use crate::lane::{Ended, Operation};

const DOORS: [Operation; 6] = [
    Operation::ChatCompletions,
    Operation::Responses,
    Operation::Messages,
    SSE,
    ARRAY,
    Operation::ConverseStream,
];

fn framing(operation: Operation) -> Framing {
    if operation == ARRAY { Framing::Array } else { Framing::Sse }
}

/// All words of an answer, which are the same however its dialect cuts it.
fn words(response: &Response) -> String {
    let parts = response.choices.iter().flat_map(|choice| &choice.parts);
    let said = parts.map(|part| match part {
        Part::Text(Text { text, .. }) | Part::Refusal(text) => text.clone(),
        _ => String::new(),
    });
    said.collect()
}

fn calls(response: &Response) -> Vec<String> {
    let parts = response.choices.iter().flat_map(|choice| &choice.parts);
    let call = |part: &Part| match part {
        Part::ToolCall(call) => Some(call.arguments.split_whitespace().collect()),
        _ => None,
    };
    parts.filter_map(call).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A stream as the upstream's writer makes it is read by the door's reader, with the same words, calls and counts; and
    /// it comes to the same however it is cut.
    #[test]
    fn a_stream_says_the_same_through_every_door(response in any_response(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..9)) {
        for door in DOORS {
            for speaks in everyone() {
                let lane = lane(door, true, &speaks);
                let there = lane.upstream();
                let (bytes, _) = write_stream(there.dialect(), framing(there), &play(&response)).expect("expressible");
                let bytes = framed(&lane, bytes);
                let (out, observed) = streamed_bytes(lane.clone(), &[&bytes]);
                let text = String::from_utf8_lossy(&out);
                prop_assert_eq!(&observed.ended, &Some(Ended::Whole), "{} at {}: {}", door, there, text);
                let back = assembled(&read_stream(door.dialect(), &[&out]));
                prop_assert_eq!(words(&back), words(&response), "{} at {}", door, there);
                prop_assert_eq!(calls(&back), calls(&response), "{} at {}", door, there);
                let sums = |response: &Response| response.usage.map(|usage| (usage.input(), usage.output(), usage.cache_read));
                prop_assert_eq!(sums(&back), sums(&response), "{} at {}", door, there);
                prop_assert_eq!(observed.usage.map(|usage| usage.total()), response.usage.map(|usage| usage.total()));
                let unnamed = matches!(door.dialect(), Dialect::OpenAiResponses | Dialect::Converse);
                prop_assert!(unnamed || text.contains("ns/m"));
                prop_assert_eq!(streamed_bytes(lane, &pieces(&bytes, &cuts)), (out, observed), "{} at {}", door, there);
            }
        }
    }
}
