//! `s3:` and `gs:` sources: addresses, signatures, checksums and regions; the transfer itself is that of every other kind.

use weighbridge_crds::condition::Reason;
use weighbridge_inference_server::artifact::{ArtifactRequest, CheckedAgainst, Credentials};

use crate::hub::{Hub, HubFile, Reply};
use crate::world::{World, content};

fn plain(bytes: &[u8]) -> HubFile {
    HubFile { large: false, ..HubFile::large(bytes) }
}

fn request(world: &World, hub: &Hub, source: &str) -> ArtifactRequest {
    let mut request = ArtifactRequest::new(source.parse().unwrap(), world.cache.path().to_owned());
    request.storage.endpoint = Some(hub.url());
    request
}

fn signed(world: &World, hub: &Hub) -> ArtifactRequest {
    let mut request = request(world, hub, "s3://models/folder/a b+c.gguf");
    let value = |key: &str| match key {
        "AWS_ACCESS_KEY_ID" => Some("AKIA1".to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some("canary".to_owned()),
        _ => Some("session".to_owned()),
    };
    let credentials = Credentials::read(&request.source, |key| Ok::<_, ()>(value(key)));
    request.storage.credentials = credentials.unwrap().unwrap();
    request.storage.region = Some("eu-west-1".to_owned());
    request
}

#[tokio::test]
async fn an_object_comes_in_ranges_each_signed_and_nothing_to_sign_with_is_sent() {
    let world = World::new();
    let file = plain(&content(4321, 1));
    let hub = Hub::start(file.clone());
    let found = world.resolve(signed(&world, &hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), file.content);
    assert_eq!((found.fetched_bytes, hub.count("GET")), (4321, 5));
    for asked in hub.asked() {
        assert_eq!(asked.path, "/models/folder/a%20b%2Bc.gguf");
        let shown = asked.header("authorization").unwrap();
        assert!(
            shown.starts_with("AWS4-HMAC-SHA256 Credential=AKIA1/19700101/eu-west-1/s3/aws4_request"),
            "{shown}"
        );
        assert!(
            shown.contains("x-amz-security-token") && asked.header("x-amz-security-token") == Some("session")
        );
        let is_head = asked.method == "HEAD";
        assert_eq!(shown.contains("x-amz-checksum-mode"), is_head, "what is asked for is signed: {shown}");
        assert!(!format!("{asked:?}").contains("canary"));
    }
}

#[tokio::test]
async fn the_next_process_goes_on_with_what_the_last_one_got_of_an_object() {
    let world = World::new();
    let file = plain(&content(5000, 1));
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let switch = std::sync::Arc::clone(&broken);
    let hub = Hub::with(file.clone(), move |asked, _, reply| {
        let far = asked.header("range").is_some_and(|range| !range.starts_with("bytes=0-"));
        if far && switch.load(std::sync::atomic::Ordering::Relaxed) { Reply::status(503) } else { reply }
    });
    world.resolve(signed(&world, &hub)).await.unwrap_err();
    broken.store(false, std::sync::atomic::Ordering::Relaxed);
    let found = world.resolve(signed(&world, &hub)).await.unwrap();
    assert_eq!((std::fs::read(&found.path).unwrap(), found.fetched_bytes), (file.content, 4000));
}

#[tokio::test]
async fn what_anybody_may_read_needs_no_secret() {
    for source in ["s3://models/m.gguf", "gs://models/m.gguf"] {
        let world = World::new();
        let hub = Hub::start(plain(&content(1500, 1)));
        world.resolve(request(&world, &hub, source)).await.unwrap();
        assert!(hub.asked().iter().all(|asked| asked.header("authorization").is_none()), "{source}");
        assert_eq!(hub.asked()[0].path, "/models/m.gguf");
    }
}

#[tokio::test]
async fn the_sha256_that_the_bucket_keeps_is_held_against_what_came() {
    use base64::Engine as _;
    let file = plain(&content(2500, 1));
    let of = |bytes: &[u8]| {
        let hash = <sha2::Sha256 as sha2::Digest>::digest(bytes);
        base64::engine::general_purpose::STANDARD.encode(hash)
    };
    for (checksum, is_whole) in [(of(&file.content), true), (of(b"another"), false)] {
        let world = World::new();
        let hub = Hub::with(file.clone(), move |_, _, reply| reply.with("x-amz-checksum-sha256", &checksum));
        match world.resolve(signed(&world, &hub)).await {
            Ok(found) => assert!(is_whole && found.checked_against == CheckedAgainst::Source),
            Err(error) => assert!(!is_whole && error.reason() == Reason::DigestMismatch, "{error}"),
        }
        assert_eq!(world.has_blob(), is_whole);
    }
    // Of an object in parts it is the digest of their digests.
    let world = World::new();
    let parts = format!("{}-3", of(b"parts"));
    let hub = Hub::with(file, move |_, _, reply| reply.with("x-amz-checksum-sha256", &parts));
    let found = world.resolve(signed(&world, &hub)).await.unwrap();
    assert_eq!(found.checked_against, CheckedAgainst::Nothing);
}

#[tokio::test]
async fn each_refusal_of_a_bucket_names_its_field() {
    let region = |status: u16| Reply::status(status).with("x-amz-bucket-region", "ap-south-1");
    for (source, reply, field, words) in [
        ("s3", region(301), "storage.region", "ap-south-1"),
        ("s3", region(400), "storage.region", "ap-south-1"),
        ("s3", Reply::status(403), "storage.credentialsSecret", "403"),
        ("s3", Reply::status(404), "source", "no such bucket or object"),
        ("gs", Reply::status(401), "storage.credentialsSecret", "name a Secret there"),
        ("gs", Reply::status(403), "storage.credentialsSecret", "service account"),
    ] {
        let world = World::new();
        let hub = Hub::with(plain(b"x"), move |_, _, _| reply.clone());
        let asking = if source == "s3" { signed(&world, &hub) } else { request(&world, &hub, "gs://b1/o") };
        let error = world.resolve(asking).await.unwrap_err();
        assert_eq!((error.reason(), error.field()), (Reason::DownloadFailed, Some(field)), "{error}");
        assert!(error.in_words().contains(words), "{}", error.in_words());
        assert_eq!(hub.asked().len(), 1);
    }
}
