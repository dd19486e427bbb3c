//! Models in several files: all parts are found or fetched, and vouched for alike.

use weighbridge_crds::condition::Reason;
use weighbridge_inference_server::artifact::{ArtifactError, ArtifactRequest, CheckedAgainst};

use crate::hub::{Hub, HubFile, Reply};
use crate::world::{World, content};

const FIRST: &str = "m-00001-of-00003.gguf";

fn request(world: &World, source: &str) -> ArtifactRequest {
    ArtifactRequest::new(source.parse().unwrap(), world.cache.path().join("cache"))
}

#[tokio::test]
async fn the_parts_beside_the_first_are_found() {
    let world = World::new();
    let claim = world.cache.path().join("claim");
    std::fs::create_dir(&claim).unwrap();
    let part = |number: u32| claim.join(format!("m-{number:05}-of-00003.gguf"));
    for number in 1..=3 {
        std::fs::write(part(number), vec![0; number as usize]).unwrap();
    }
    let file = request(&world, &format!("file://{}", part(1).display()));
    let mut mounted = request(&world, &format!("pvc://c/{FIRST}"));
    mounted.claims.insert("c".to_owned(), claim.clone());
    for asked in [&file, &mounted] {
        let found = world.resolve(asked.clone()).await.unwrap();
        assert_eq!((found.path, found.further, found.bytes), (part(1), vec![part(2), part(3)], 6));
    }

    let pinned = ArtifactRequest {
        digest: Some(format!("sha256:{}", "0".repeat(64)).parse().unwrap()),
        ..file.clone()
    };
    let error = world.resolve(pinned).await.unwrap_err();
    assert_eq!(error.field(), Some("digest"));
    assert!(error.in_words().contains("one of 3 parts, and a digest pins one file"), "{error}");
    let later = request(&world, &format!("file://{}", part(2).display()));
    let error = world.resolve(later).await.unwrap_err();
    assert!(error.field() == Some("source") && error.in_words().contains(FIRST), "{error}");

    std::fs::write(world.cache.path().join("secret"), b"s").unwrap();
    std::fs::remove_file(part(3)).unwrap();
    for asked in [&file, &mounted] {
        let error = world.resolve(asked.clone()).await.unwrap_err();
        assert_eq!((error.reason(), error.field()), (Reason::DownloadFailed, Some("source")));
        assert!(error.in_words().contains("part 3 of 3 is missing"), "{error}");
        assert!(error.in_words().contains("m-00003-of-00003.gguf"), "{error}");
    }
    std::os::unix::fs::symlink("../secret", part(3)).unwrap();
    let error = world.resolve(mounted).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Escapes { .. }), "{error}");
}

#[tokio::test]
async fn every_part_is_fetched_from_the_commit_of_the_first() {
    let world = World::new();
    let hub = Hub::with(HubFile::large(&content(2500, 1)), |asked, file, _| {
        // Each part has bytes of its own, and the branch moves on after the first.
        let number =
            (1..=3).find(|number| asked.path.ends_with(&format!("m-{number:05}-of-00003.gguf"))).unwrap();
        file.content = content(2500, number);
        let reply = file.reply_to(asked);
        if number > 1 && !asked.path.contains(&format!("/resolve/{}/", "c".repeat(40))) {
            return Reply::status(404);
        }
        reply
    });
    let mut asked = world.request(&hub);
    asked.source = format!("hf://org/repo/folder/{FIRST}").parse().unwrap();
    let found = world.resolve(asked.clone()).await.unwrap();
    assert_eq!(
        (found.bytes, found.fetched_bytes, found.checked_against),
        (7500, 7500, CheckedAgainst::Source)
    );
    assert_eq!(std::fs::read(&found.path).unwrap(), content(2500, 1));
    for (path, salt) in found.further.iter().zip(2..) {
        assert_eq!(std::fs::read(path).unwrap(), content(2500, salt));
    }
    let again = world.resolve(asked).await.unwrap();
    assert_eq!((again.further.len(), again.fetched_bytes), (2, 0));
}

#[tokio::test]
async fn a_part_that_the_hub_lacks_is_named() {
    let world = World::new();
    let hub = Hub::with(HubFile::large(b"part"), |asked, _, reply| {
        if asked.path.contains("00002-of") { Reply::status(404) } else { reply }
    });
    let mut asked = world.request(&hub);
    asked.source = format!("hf://org/repo/{FIRST}").parse().unwrap();
    let error = world.resolve(asked).await.unwrap_err();
    assert!(
        error.in_words().contains("m-00002-of-00003.gguf") && error.in_words().contains("404"),
        "{error}"
    );
}
