use std::num::NonZeroU16;

use http::Request;
use weighbridge_wire::provider::Kind;

use super::*;
use crate::metrics::Registry;

/// A panic's text, an error's and a log's come to what `Debug` shows. Everything that holds a key is shown here at once, in a
/// panic while it is held.
#[test]
fn a_panic_that_shows_everything_that_holds_a_key_shows_none() {
    const CANARY: &str = "sk-canary-8e41";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    std::fs::write(&path, CANARY).expect("written");
    let source = KeySource { path, weight: NonZeroU16::MIN };
    let metrics = KeyMetrics::register(&mut Registry::default(), "team", "acme");
    let keys = Keys::new(std::slice::from_ref(&source), metrics);
    let chosen = keys.choose(&[]).expect("a key");
    let held = keys.held();
    let mut said = String::new();
    for kind in Kind::ALL {
        let (name, value) = chosen.key.header(kind.profile().key).expect("a header");
        let mut request = Request::new(());
        request.headers_mut().insert(name, value);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            std::panic::panic_any(format!(
                "{keys:?} {chosen:?} {held:?} {source:?} {request:?} {:?}",
                chosen.key
            ))
        }));
        let payload = panicked.expect_err("it panics");
        said += payload.downcast_ref::<String>().expect("text");
    }
    assert!(said.contains("Ring") && said.contains("Chosen"), "they are shown: {said}");
    assert!(!said.contains("canary"), "{said}");
}
