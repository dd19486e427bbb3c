//! What the hub refuses, in words that name the field to fix; and tokens that stay where they belong.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weighbridge_crds::condition::Reason;
use weighbridge_inference_server::artifact::{ArtifactError, FetchError};

use crate::hub::{Hub, HubFile, Reply};
use crate::world::{World, content};

fn refusing(status: u16, code: &'static str) -> Hub {
    Hub::with(HubFile::large(b"x"), move |_, _, _| Reply::status(status).with("x-error-code", code))
}

#[tokio::test]
async fn each_refusal_names_its_field_and_is_not_repeated() {
    let world = World::new();
    for (status, code, field, words) in [
        (401, "GatedRepo", "hub.tokenSecret", "set hub.tokenSecret or HF_TOKEN"),
        (403, "GatedRepo", "hub.tokenSecret", "ask for access"),
        (404, "RevisionNotFound", "revision", "\"v9\""),
        (404, "EntryNotFound", "source", "file name"),
        (404, "RepoNotFound", "source", "organisation"),
    ] {
        let hub = refusing(status, code);
        let mut request = world.request(&hub);
        request.revision = Some("v9".to_owned());
        let error = world.resolve(request).await.unwrap_err();
        assert_eq!((error.reason(), error.field()), (Reason::DownloadFailed, Some(field)), "{error}");
        let said = error.in_words();
        assert!(said.contains(words) && said.contains("hf://org/repo/folder/model.gguf"), "{said}");
        assert_eq!(hub.asked().len(), 1, "{status} is final");
    }
    let hub = refusing(401, "");
    let error = world.resolve(world.with_token(&hub)).await.unwrap_err();
    assert!(error.in_words().contains("refused the token"), "{}", error.in_words());
    assert_eq!(hub.asked()[0].header("authorization"), Some("Bearer hf_canary_4711"));
    assert!(!world.has_blob());
}

#[tokio::test]
async fn a_busy_hub_is_waited_for_as_long_as_it_asks() {
    let world = World::new();
    let mut refusals = 2;
    let hub = Hub::with(HubFile::large(&content(2500, 1)), move |asked, _, reply| {
        if asked.method == "GET" && refusals > 0 {
            refusals -= 1;
            return Reply::status(429).with("retry-after", 7);
        }
        reply
    });
    world.resolve(world.request(&hub)).await.unwrap();
    let waits = world.clock.waits();
    assert_eq!(waits.len(), 2);
    assert!(waits.iter().all(|wait| *wait >= Duration::from_secs(7)), "{waits:?}");
}

#[tokio::test]
async fn a_hub_that_asks_for_an_hour_is_not_waited_for() {
    let world = World::new();
    let hub = Hub::with(HubFile::large(b"x"), |_, _, _| Reply::status(429).with("retry-after", 3600));
    let error = world.resolve(world.request(&hub)).await.unwrap_err();
    assert!(error.in_words().contains("429 and asked to wait 3600 s"), "{}", error.in_words());
    assert!(world.clock.waits().is_empty());
    assert_eq!(hub.asked().len(), 1);
}

#[tokio::test]
async fn a_broken_hub_is_asked_a_bounded_number_of_times_with_growing_waits() {
    let world = World::new();
    let hub = Hub::with(HubFile::large(b"x"), |_, _, _| Reply::status(503));
    let error = world.resolve(world.request(&hub)).await.unwrap_err();
    let ArtifactError::Fetch { source: FetchError::GaveUp { attempts: 4, .. }, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(hub.asked().len(), 4);
    let waits = world.clock.waits();
    assert_eq!(waits.len(), 3);
    for (wait, grown) in waits.iter().zip([500, 1000, 2000].map(Duration::from_millis)) {
        assert!(*wait >= grown / 2 && *wait <= grown, "{waits:?}");
    }
}

#[tokio::test]
async fn the_token_goes_to_the_hub_and_nowhere_else() {
    let world = World::new();
    let file = HubFile::large(&content(3500, 1));
    let storage = Hub::start(file.clone());
    let target = storage.url();
    let hub = Hub::with(file.clone(), move |asked, file, reply| {
        if asked.path.starts_with("/renamed") {
            let elsewhere = Reply::status(302).with("location", format!("{target}blob?signature=s3cret"));
            let digest = format!("\"{}\"", file.digest());
            return elsewhere.with("x-linked-size", file.content.len()).with("x-linked-etag", digest);
        }
        // A renamed repository: a relative redirect inside the hub.
        drop(reply);
        Reply::status(307).with("location", "/renamed/repo/resolve/main/model.gguf")
    });

    let found = world.resolve(world.with_token(&hub)).await.unwrap();
    assert_eq!(std::fs::read(found.path).unwrap(), file.content);
    let at_hub = hub.asked();
    assert!(at_hub.iter().all(|asked| asked.header("authorization") == Some("Bearer hf_canary_4711")));
    assert_eq!(hub.count("GET"), 2, "the hub is asked for the address once, not for every range");
    let at_storage = storage.asked();
    assert_eq!(at_storage.len(), 4);
    for asked in at_storage {
        assert!(asked.header("authorization").is_none(), "{asked:?}");
        assert!(!format!("{asked:?}").contains("canary"), "{asked:?}");
    }
}

#[tokio::test]
async fn redirects_end() {
    let world = World::new();
    let hub = Hub::with(HubFile::large(b"x"), |_, _, _| Reply::status(302).with("location", "/round"));
    let error = world.resolve(world.request(&hub)).await.unwrap_err();
    assert!(error.in_words().contains("more than 5 redirects"), "{}", error.in_words());
    assert_eq!(hub.asked().len(), 6);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn neither_token_nor_signed_address_is_ever_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // One thread, so that every line of this test and no other lands here.
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let storage = refusing(500, "");
            let target = storage.url();
            let hub =
                Hub::with(HubFile::large(b"weights"), move |asked, _, reply| match asked.method.as_str() {
                    "GET" => Reply::status(302).with("location", format!("{target}blob?signature=s3cret")),
                    _ => reply,
                });
            let request = world.with_token(&hub);
            tracing::debug!(?request, "asking");
            let error = world.resolve(request).await.unwrap_err();
            tracing::error!(?error, "{}", error.in_words());
        });
    });
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("fetching again") && logged.contains("Token(redacted)"), "{logged}");
    assert!(!logged.contains("canary"), "{logged}");
    let ours = logged.lines().filter(|line| line.contains("weighbridge") || line.contains("artifact"));
    for line in ours {
        assert!(!line.contains("s3cret"), "{line}");
    }
}
