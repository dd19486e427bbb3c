//! A file that is only looked at: its beginning and no more comes over the network.

use std::os::unix::fs::MetadataExt as _;

use weighbridge_inference_server::artifact::{
    Artifact, ArtifactError, ArtifactRequest, CheckedAgainst, Enough,
};

use crate::hub::{Hub, HubFile, Reply};
use crate::world::{World, content};

const MIB: usize = 1 << 20;

async fn look(world: &World, request: ArtifactRequest, enough: &Enough) -> Result<Artifact, ArtifactError> {
    world.resolver().beginning(request, enough).await
}

#[tokio::test]
async fn the_beginning_comes_and_the_rest_is_a_hole() {
    let world = World::new();
    let bytes = content(80 * MIB, 1);
    let hub = Hub::start(HubFile::large(&bytes));
    let found = look(&world, world.request(&hub), &|_, length| length == 80 << 20).await.unwrap();
    assert_eq!((found.bytes, found.fetched_bytes), (80 << 20, 16 << 20));
    assert_eq!((found.digest, found.checked_against), (None, CheckedAgainst::Nothing));
    let written = std::fs::read(&found.path).unwrap();
    assert!(written[..16 * MIB] == bytes[..16 * MIB] && written[16 * MIB..].iter().all(|byte| *byte == 0));
    assert!(std::fs::metadata(&found.path).unwrap().blocks() * 512 < 20 << 20, "no more is on the disk");
    let asked: Vec<_> =
        hub.asked().iter().filter_map(|asked| Some(asked.header("range")?.to_owned())).collect();
    assert_eq!(asked, ["bytes=0-16777215"]);
    assert!(!world.has_blob(), "what was only looked at is never taken for the file");
}

#[tokio::test]
async fn more_is_asked_for_until_it_is_enough() {
    let world = World::new();
    let hub = Hub::start(HubFile::large(&content(80 * MIB, 2)));
    let found = look(&world, world.request(&hub), &|beginning, _| beginning.len() > 20 * MIB).await.unwrap();
    assert_eq!(found.fetched_bytes, 64 << 20);
    let found = look(&world, world.request(&hub), &|_, _| false).await.unwrap();
    assert_eq!(found.fetched_bytes, 80 << 20, "all of it, and then whoever reads it says what is wrong");
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_left_after_the_beginning() {
    let world = World::new();
    let bytes = content(40 * MIB, 3);
    let whole = bytes.clone();
    let hub = Hub::with(HubFile::large(&bytes), move |asked, _, reply| match asked.header("range") {
        Some(_) => Reply { body: whole.clone(), ..Reply::status(200) },
        None => reply,
    });
    let found = look(&world, world.request(&hub), &|_, _| true).await.unwrap();
    assert_eq!(std::fs::read(found.path).unwrap()[..16 * MIB], bytes[..16 * MIB]);
}

#[tokio::test]
async fn what_is_not_there_or_not_the_pinned_file_is_refused_as_when_it_is_fetched() {
    let world = World::new();
    let hub = Hub::with(HubFile::large(b"small"), |_, _, _| Reply::status(404));
    let error = look(&world, world.request(&hub), &|_, _| true).await.unwrap_err();
    assert!(error.in_words().contains("can't fetch "), "{}", error.in_words());
    let hub = Hub::start(HubFile::large(b"small"));
    let pinned = world.pinned(&hub, &format!("sha256:{}", "0".repeat(64)));
    let error = look(&world, pinned, &|_, _| true).await.unwrap_err();
    assert!(matches!(error, ArtifactError::DigestMismatch { .. }), "{error}");
    let found = look(&world, world.request(&hub), &|_, _| false).await.unwrap();
    assert_eq!(std::fs::read(found.path).unwrap(), b"small");
}
