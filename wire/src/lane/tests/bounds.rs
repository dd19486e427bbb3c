//! What an upstream may send without end.

use super::{LIMIT, SSE, failed, lane, stamp};
use crate::gemini::Upstream;
use crate::lane::{Operation, Speaks};

/// What is small and valid, and without end: who keeps an answer whole must not keep that.
#[test]
fn an_answer_without_end_ends_at_a_bound() {
    let text = "a".repeat(1 << 16);
    for (upstream, more) in [
        (
            Speaks::engine(),
            format!(
                r#"data: {{"id":"1","model":"up","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#
            ),
        ),
        (
            Speaks::engine(),
            format!(
                r#"data: {{"id":"1","model":"up","choices":[{{"index":0,"delta":{{"reasoning_content":"{text}"}}}}]}}"#
            ),
        ),
        (
            Speaks::gemini(Upstream::default()),
            format!(
                r#"data: {{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{text}"}}]}}}}]}}"#
            ),
        ),
    ] {
        for door in [Operation::Responses, Operation::Messages, Operation::ChatCompletions, SSE] {
            if upstream.takes(door) {
                continue;
            }
            let mut stream = lane(door, true, &upstream).stream(&stamp(), LIMIT);
            let mut out = Vec::new();
            let mut pushed = 0;
            let ended = loop {
                out.clear();
                let observed = stream.push(format!("{more}\n\n").as_bytes(), &mut out);
                pushed += text.len();
                if observed.ended.is_some() || pushed > 2 * LIMIT.answer_bytes {
                    break observed;
                }
            };
            let failure = failed(&ended);
            assert!(failure.message.contains("larger than"), "{door}: {failure}");
        }
    }
}
