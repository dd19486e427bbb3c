//! `file:` and `pvc:`.

use weighbridge_crds::condition::Reason;
use weighbridge_inference_server::artifact::{ArtifactError, ArtifactRequest, CheckedAgainst, Phase};

use crate::hub::HubFile;
use crate::world::World;

fn request(world: &World, source: &str) -> ArtifactRequest {
    ArtifactRequest::new(source.parse().unwrap(), world.cache.path().join("cache"))
}

#[tokio::test]
async fn a_file_is_taken_as_it_is_or_by_its_digest() {
    let world = World::new();
    let file = HubFile::large(b"weights");
    let path = world.cache.path().join("m.gguf");
    std::fs::write(&path, &file.content).unwrap();
    let source = format!("file://{}", path.display());

    let found = world.resolve(request(&world, &source)).await.unwrap();
    assert_eq!((found.bytes, found.digest, found.checked_against), (7, None, CheckedAgainst::Nothing));
    assert!(world.progress.lock().unwrap().is_empty(), "nothing was hashed");

    let mut pinned = request(&world, &source);
    pinned.digest = Some(file.digest().parse().unwrap());
    let found = world.resolve(pinned.clone()).await.unwrap();
    assert_eq!((found.path, found.checked_against), (path.clone(), CheckedAgainst::Pin));
    assert_eq!(world.progress.lock().unwrap().last().unwrap().phase, Phase::Verify);

    std::fs::write(&path, b"Weights").unwrap();
    let error = world.resolve(pinned).await.unwrap_err();
    assert_eq!((error.reason(), error.field()), (Reason::DigestMismatch, Some("digest")));
    assert!(error.in_words().contains(&file.digest()), "{}", error.in_words());
}

#[tokio::test]
async fn what_is_no_file_is_named() {
    let world = World::new();
    let folder = world.cache.path().display().to_string();
    let missing = world.resolve(request(&world, &format!("file://{folder}/absent"))).await.unwrap_err();
    assert_eq!((missing.reason(), missing.field()), (Reason::DownloadFailed, Some("source")));
    assert!(missing.in_words().contains("absent"));
    let error = world.resolve(request(&world, &format!("file://{folder}"))).await.unwrap_err();
    assert!(matches!(error, ArtifactError::NotAFile { .. }), "{error}");
    let error = world.resolve(request(&world, "file:///dev/null")).await.unwrap_err();
    assert!(matches!(error, ArtifactError::NotAFile { .. }), "{error}");
}

#[tokio::test]
async fn a_claim_is_a_folder_that_nothing_leads_out_of() {
    let world = World::new();
    let folder = world.cache.path().join("claim");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("m.gguf"), b"weights").unwrap();
    std::fs::write(world.cache.path().join("secret"), b"secret").unwrap();
    std::os::unix::fs::symlink("../secret", folder.join("link.gguf")).unwrap();

    let mut good = request(&world, "pvc://models/m.gguf");
    let error = world.resolve(good.clone()).await.unwrap_err();
    assert!(error.in_words().contains("--claim models=FOLDER"), "{error}");
    good.claims.insert("models".to_owned(), folder.clone());
    assert_eq!(world.resolve(good.clone()).await.unwrap().bytes, 7);

    let mut link = request(&world, "pvc://models/link.gguf");
    link.claims.clone_from(&good.claims);
    assert!(matches!(world.resolve(link).await.unwrap_err(), ArtifactError::Escapes { .. }));
}

#[tokio::test]
async fn a_models_folder_is_taken_whole_and_stays_in_its_claim() {
    let world = World::new();
    let claim = world.cache.path().join("claim");
    let folder = claim.join("models/m");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir(claim.join("blobs")).unwrap();
    std::fs::write(folder.join("config.json"), b"{}").unwrap();
    std::fs::write(claim.join("blobs/weights"), b"weights").unwrap();
    // How the hub's own cache keeps files.
    std::os::unix::fs::symlink("../../blobs/weights", folder.join("model.safetensors")).unwrap();

    let mut request = request(&world, "pvc://models/models/m");
    request.claims.insert("models".to_owned(), claim.clone());
    let found = world.resolve(request.clone()).await.unwrap();
    assert_eq!((found.bytes, found.checked_against), (9, CheckedAgainst::Nothing));
    assert!(found.path.ends_with("claim/models/m"));

    let mut pinned = request.clone();
    pinned.digest = Some(HubFile::large(b"weights").digest().parse().unwrap());
    let error = world.resolve(pinned).await.unwrap_err();
    assert_eq!(error.field(), Some("digest"));
    assert!(error.to_string().contains("leave digest out"), "{error}");

    std::fs::write(world.cache.path().join("secret"), b"secret").unwrap();
    std::os::unix::fs::symlink("../../../secret", folder.join("tokenizer.json")).unwrap();
    let error = world.resolve(request).await.unwrap_err();
    assert!(
        matches!(&error, ArtifactError::Escapes { path, .. } if path.ends_with("tokenizer.json")),
        "{error}"
    );
}

/// Ollama CVE-2024-37032, through a link. Guard: `stays_inside` looks as deep as `SentenceFiles` reads, and into folders
/// that are links themselves.
#[tokio::test]
async fn cve_2024_37032_no_link_in_a_modules_folder_leads_out_of_the_claim() {
    let world = World::new();
    let claim = world.cache.path().join("claim");
    let folder = claim.join("m");
    std::fs::create_dir_all(folder.join("1_Pooling")).unwrap();
    std::fs::create_dir(claim.join("shared")).unwrap();
    std::fs::write(folder.join("config.json"), b"{}").unwrap();
    std::fs::write(claim.join("shared/pooling.json"), b"{}").unwrap();
    std::fs::write(world.cache.path().join("secret"), b"secret").unwrap();
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, folder.join(at)).unwrap();
    // Links that stay, one of them round in a circle.
    link("../../shared/pooling.json", "1_Pooling/config.json");
    link(".", "here");
    let mut request = request(&world, "pvc://models/m");
    request.claims.insert("models".to_owned(), claim.clone());
    world.resolve(request.clone()).await.unwrap();

    std::fs::remove_file(folder.join("1_Pooling/config.json")).unwrap();
    link("../../../secret", "1_Pooling/config.json");
    let error = world.resolve(request.clone()).await.unwrap_err();
    let escapes = |error: &ArtifactError, end: &str| {
        assert!(matches!(error, ArtifactError::Escapes { path, .. } if path.ends_with(end)), "{error}");
    };
    escapes(&error, "m/1_Pooling/config.json");

    std::fs::remove_dir_all(folder.join("1_Pooling")).unwrap();
    link("../shared", "1_Pooling");
    std::os::unix::fs::symlink("../../secret", claim.join("shared/config.json")).unwrap();
    let error = world.resolve(request).await.unwrap_err();
    escapes(&error, "m/1_Pooling/config.json");
}
