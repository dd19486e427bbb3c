//! `oci:` sources: manifests, tokens and blobs; the transfer itself is that of every other kind.

use sha2::{Digest as _, Sha256};
use weighbridge_crds::condition::Reason;
use weighbridge_inference_server::artifact::{ArtifactRequest, CheckedAgainst, Credentials};

use crate::hub::{Asked, Hub, HubFile, Reply};
use crate::world::{World, content};

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An artefact with one file, as `oras push` writes it.
fn manifest(file: &HubFile, name: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:{}","size":2}},
        "layers":[{{"mediaType":"application/octet-stream","digest":"sha256:{}","size":{},
        "annotations":{{"org.opencontainers.image.title":"{name}"}}}}]}}"#,
        "0".repeat(64),
        file.digest(),
        file.content.len()
    )
}

/// A registry that holds `manifest` under every reference, and the hub's file as every blob.
fn registry(manifest: &str) -> impl Fn(&Asked, Reply) -> Reply + Send + use<> {
    let manifest = manifest.to_owned();
    move |asked, reply| match asked.path.contains("/manifests/") {
        true => {
            let digest = format!("sha256:{}", hex(manifest.as_bytes()));
            Reply {
                body: manifest.clone().into_bytes(),
                ..Reply::status(200).with("docker-content-digest", digest)
            }
        }
        false => reply,
    }
}

fn request(world: &World, hub: &Hub, source: &str) -> ArtifactRequest {
    let mut request = ArtifactRequest::new(source.parse().unwrap(), world.cache.path().to_owned());
    request.storage.endpoint = Some(hub.url());
    request
}

#[tokio::test]
async fn a_file_of_an_artefact_comes_in_ranges_and_is_held_against_the_manifest() {
    let world = World::new();
    let file = HubFile { large: false, ..HubFile::large(&content(4321, 1)) };
    let of_registry = registry(&manifest(&file, "m.gguf"));
    let hub = Hub::with(file.clone(), move |asked, _, reply| of_registry(asked, reply));
    let found = world.resolve(request(&world, &hub, "oci://r.example/team/small:v1/m.gguf")).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), file.content);
    assert_eq!((found.fetched_bytes, found.checked_against), (4321, CheckedAgainst::Source));
    let paths: Vec<_> = hub.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths[0], "/v2/team/small/manifests/v1");
    assert_eq!(paths[1..], vec![format!("/v2/team/small/blobs/sha256:{}", file.digest()); 5]);
    assert!(hub.asked()[0].header("accept").unwrap().contains("application/vnd.oci.image.manifest.v1+json"));

    // A tag is asked for again, a digest is not.
    let fixed = format!("oci://r.example/team/small@{}/m.gguf", found.commit.unwrap());
    world.resolve(request(&world, &hub, &fixed)).await.unwrap();
    let asked = hub.asked().len();
    assert_eq!(world.resolve(request(&world, &hub, &fixed)).await.unwrap().fetched_bytes, 0);
    assert_eq!(hub.asked().len(), asked);
    let again = world.resolve(request(&world, &hub, "oci://r.example/team/small:v1")).await.unwrap();
    assert_eq!((again.fetched_bytes, hub.asked().len()), (0, asked + 1));

    let world = World::new();
    let looked = world.resolver().beginning(request(&world, &hub, &fixed), &|_, _| true).await.unwrap();
    assert_eq!((looked.bytes, looked.digest), (4321, None));
}

#[tokio::test]
async fn the_next_process_goes_on_with_what_the_last_one_got_of_a_blob() {
    let world = World::new();
    let file = HubFile { large: false, ..HubFile::large(&content(5000, 1)) };
    let of_registry = registry(&manifest(&file, "m.gguf"));
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let switch = std::sync::Arc::clone(&broken);
    let hub = Hub::with(file.clone(), move |asked, _, reply| {
        let far = asked.header("range").is_some_and(|range| !range.starts_with("bytes=0-"));
        if far && switch.load(std::sync::atomic::Ordering::Relaxed) {
            Reply::status(500)
        } else {
            of_registry(asked, reply)
        }
    });
    let source = "oci://r.example/small:v1";
    world.resolve(request(&world, &hub, source)).await.unwrap_err();
    broken.store(false, std::sync::atomic::Ordering::Relaxed);
    let found = world.resolve(request(&world, &hub, source)).await.unwrap();
    assert_eq!((std::fs::read(&found.path).unwrap(), found.fetched_bytes), (file.content, 4000));
}

#[tokio::test]
async fn tokens_come_from_whom_the_registry_names_and_blobs_from_storage_without_them() {
    let file = HubFile { large: false, ..HubFile::large(&content(2500, 1)) };
    for with_login in [false, true] {
        let world = World::new();
        let storage = Hub::start(file.clone());
        let auth = Hub::with(file.clone(), |_, _, _| Reply {
            body: br#"{"token":"handed-out"}"#.to_vec(),
            ..Reply::status(200)
        });
        let of_registry = registry(&manifest(&file, "m.gguf"));
        let (realm, elsewhere) = (auth.url(), storage.url());
        let hub = Hub::with(file.clone(), move |asked, _, reply| {
            if asked.header("authorization") != Some("Bearer handed-out") {
                let scope = "repository:team/small:pull";
                let challenge =
                    format!("Bearer realm=\"{realm}token\",service=\"r.example\",scope=\"{scope}\"");
                return Reply::status(401).with("www-authenticate", challenge);
            }
            match asked.path.contains("/blobs/") {
                true => Reply::status(307).with("location", format!("{elsewhere}signed")),
                false => of_registry(asked, reply),
            }
        });
        let mut asking = request(&world, &hub, "oci://r.example/team/small:v1");
        if with_login {
            let config = r#"{"auths":{"r.example":{"username":"user","password":"canary"}}}"#;
            let read = Credentials::read(&asking.source, |_| Ok::<_, ()>(Some(config.to_owned())));
            asking.storage.credentials = read.unwrap().unwrap();
        }
        let found = world.resolve(asking).await.unwrap();
        assert_eq!(std::fs::read(&found.path).unwrap(), file.content);
        assert_eq!(auth.asked().len(), 1, "one token for all");
        let asked = &auth.asked()[0];
        assert_eq!(asked.path, "/token?service=r.example&scope=repository%3Ateam%2Fsmall%3Apull");
        let shown = with_login.then_some("Basic dXNlcjpjYW5hcnk=");
        assert_eq!(asked.header("authorization"), shown);
        assert!(
            hub.asked().iter().all(|asked| asked.header("authorization") != Some("Basic dXNlcjpjYW5hcnk="))
        );
        assert!(storage.asked().iter().all(|asked| asked.header("authorization").is_none()));
        assert_eq!(storage.count("GET"), 3);
    }
}

#[tokio::test]
async fn manifests_and_blobs_that_are_not_what_they_are_called_are_refused() {
    let file = HubFile { large: false, ..HubFile::large(&content(1500, 1)) };
    // Another blob than the manifest's.
    let world = World::new();
    let of_registry = registry(&manifest(&HubFile::large(&content(1500, 2)), "m.gguf"));
    let hub = Hub::with(file.clone(), move |asked, _, reply| of_registry(asked, reply));
    let error = world.resolve(request(&world, &hub, "oci://r.example/small:v1")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DigestMismatch, "{error}");
    assert!(!world.has_blob());
    // Another manifest than the one that is named.
    let world = World::new();
    let named = format!("oci://r.example/small@sha256:{}", "0".repeat(64));
    let error = world.resolve(request(&world, &hub, &named)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DigestMismatch);
    assert!(error.in_words().contains("the manifest has sha256:"), "{}", error.in_words());
    // A pin of another file.
    let mut pinned = request(&world, &hub, "oci://r.example/small:v1");
    pinned.digest = Some("1".repeat(64).parse().unwrap());
    let error = world.resolve(pinned).await.unwrap_err();
    assert_eq!((error.reason(), error.field()), (Reason::DigestMismatch, Some("digest")));
}

#[tokio::test]
async fn each_refusal_of_a_registry_names_its_field() {
    let image = r#"{"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:aa","size":1}]}"#;
    let body = |text: &str| Reply { body: text.as_bytes().to_vec(), ..Reply::status(200) };
    let one = manifest(&HubFile::large(b"x"), "other.gguf");
    for (reply, field, words) in [
        (Reply::status(401), Some("storage.credentialsSecret"), ".dockerconfigjson"),
        (Reply::status(403), Some("storage.credentialsSecret"), "403"),
        (Reply::status(404), Some("source"), "no such repository, tag or digest"),
        (body(image), Some("source"), "archives"),
        (body(&one), Some("source"), "no file \"m.gguf\", it has \"other.gguf\""),
        (body("<html>"), Some("source"), "can't be read"),
        (body(&"x".repeat(5 << 20)), None, "more than"),
    ] {
        let world = World::new();
        let hub = Hub::with(HubFile::large(b"x"), move |_, _, _| reply.clone());
        let error =
            world.resolve(request(&world, &hub, "oci://r.example/small:v1/m.gguf")).await.unwrap_err();
        assert_eq!((error.reason(), error.field()), (Reason::DownloadFailed, field), "{error}");
        assert!(error.in_words().contains(words), "{}", error.in_words());
        assert_eq!(hub.asked().len(), 1);
    }
}

#[tokio::test]
async fn parts_of_a_split_model_are_all_of_the_manifest_that_the_tag_meant_first() {
    let world = World::new();
    let file = HubFile { large: false, ..HubFile::large(&content(1500, 1)) };
    let layer = |name: &str| {
        format!(
            r#"{{"mediaType":"x","digest":"sha256:{}","size":1500,"annotations":{{"org.opencontainers.image.title":"{name}"}}}}"#,
            file.digest()
        )
    };
    let both =
        format!(r#"{{"layers":[{},{}]}}"#, layer("m-00001-of-00002.gguf"), layer("m-00002-of-00002.gguf"));
    let of_registry = registry(&both);
    let hub = Hub::with(file.clone(), move |asked, _, reply| of_registry(asked, reply));
    let source = "oci://r.example/small:v1/m-00001-of-00002.gguf";
    let found = world.resolve(request(&world, &hub, source)).await.unwrap();
    assert_eq!((found.further.len(), found.bytes), (1, 3000));
    let second = format!("/v2/small/manifests/sha256:{}", hex(both.as_bytes()));
    assert!(hub.asked().iter().any(|asked| asked.path == second), "{:?}", hub.asked());
}
