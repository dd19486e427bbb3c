//! Requests that nobody would write: whatever the bytes, the answer is a request or a 4xx, never a panic.

use proptest::prelude::*;
use serde_json::json;

use super::support::{TestServer, chat, completion};
use crate::http::ServedModel;
use crate::http::chat::request::Chat;
use crate::http::completions::request::Completing;
use crate::http::exchange::Endpoint;

fn bodies() -> Vec<Vec<u8>> {
    let fields = json!({"n": 2, "stop": ["ab"], "max_tokens": 5, "top_p": 0.5, "seed": 1, "stream": true,
                        "stream_options": {"include_usage": true}, "logit_bias": {"1": 2}, "top_k": 3,
                        "min_p": 0.1, "repetition_penalty": 1.1, "user": "u"});
    vec![
        chat("hé", fields.clone()).to_string().into_bytes(),
        completion(json!(["a", "b"]), fields.clone()).to_string().into_bytes(),
        completion(json!([[1, 2], [3]]), fields).to_string().into_bytes(),
    ]
}

fn prepare<E: Endpoint>(model: &ServedModel, body: &[u8]) -> Result<(), TestCaseError> {
    if let Err(refused) = E::prepare(model, body) {
        prop_assert!((400..500).contains(&refused.status), "{}", refused);
        prop_assert!(!refused.body.error.message.is_empty());
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Change {
    Replace(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let words =
        ["-", "0", "1e999", "null", "[", "]", "{}", "\"", "\\u0000", "18446744073709551616", "true", ","];
    prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        any::<prop::sample::Index>().prop_map(Change::Remove),
        (any::<prop::sample::Index>(), prop::sample::select(words.to_vec()))
            .prop_map(|(at, word)| Change::Insert(at, word)),
    ]
}

fn apply(body: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Replace(at, byte) if !body.is_empty() => {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        Change::Remove(at) if !body.is_empty() => {
            body.remove(at.index(body.len()));
        }
        Change::Insert(at, word) => {
            let at = at.index(body.len() + 1);
            body.splice(at..at, word.bytes());
        }
        _ => {}
    }
}

fn with_model(test: impl FnOnce(&ServedModel)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(TestServer::start());
    test(server.state.model().unwrap());
    drop(server);
}

#[test]
fn mutated_requests_are_answered_with_4xx_at_worst() {
    with_model(|model| {
        let cases = (prop::sample::select(bodies()), prop::collection::vec(change(), 1..6));
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2000));
        let outcome = runner.run(&cases, |(mut body, changes)| {
            changes.iter().for_each(|change| apply(&mut body, change));
            prepare::<Chat>(model, &body)?;
            prepare::<Completing>(model, &body)
        });
        outcome.unwrap();
    });
}
