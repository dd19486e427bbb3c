//! A cache that several pods share: filled once, read where nothing may be written, and made room in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use weighbridge_inference_server::artifact::{
    ArtifactRequest, EntryName, Evicted, Filled, HeldError, Resolver, SystemClock, evict, silent,
};

use crate::hub::{Hub, HubFile};
use crate::world::{NoWaiting, World, content};

fn entry(name: &str) -> EntryName {
    name.parse().unwrap()
}

async fn fill(world: &World, request: &ArtifactRequest, name: &str) -> Result<Filled, HeldError> {
    world.resolver().fill(request.clone(), &entry(name), silent()).await
}

/// Somebody else's request for the same, with no way to a hub that answers.
fn reading(request: &ArtifactRequest) -> ArtifactRequest {
    let mut request = request.clone();
    request.hub.token = None;
    request
}

async fn take_out(world: &World, names: &[&str]) -> Evicted {
    let names: Vec<_> = names.iter().map(|name| entry(name)).collect();
    evict(world.cache.path(), &names, &[], &SystemClock).await.unwrap()
}

fn writable(folder: &Path, mode: u32) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            writable(&entry.path(), mode);
        }
        let execute = if entry.file_type().unwrap().is_dir() { 0o111 } else { 0 };
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode | execute)).unwrap();
    }
}

#[tokio::test]
async fn what_is_fetched_once_is_read_without_a_hub_a_token_or_a_write() {
    let world = World::new();
    let file = HubFile::large(&content(5000, 1));
    let (hub, digest) = (Hub::start(file.clone()), file.digest());
    let request = world.with_token(&hub);
    let filled = fill(&world, &request, "one").await.unwrap();
    let digest = format!("sha256:{digest}");
    assert_eq!((filled.digest.as_ref(), filled.bytes, filled.fetched_bytes), (Some(&digest), 5000, 5000));
    assert_eq!(fill(&world, &request, "one").await.unwrap().fetched_bytes, 0, "it is there");
    let asked = hub.asked().len();
    let files = world.files();
    assert!(files.iter().any(|file| file == "entries/one.json"), "{files:?}");

    writable(world.cache.path(), 0o444);
    let resolver = Resolver::default();
    let (found, reader) = resolver.held(&reading(&request), &entry("one"), silent()).await.unwrap();
    writable(world.cache.path(), 0o644);
    assert_eq!(fs::read(&found.path).unwrap(), file.content);
    assert_eq!((found.bytes, found.digest.map(|digest| digest.to_string())), (5000, Some(digest)));
    assert_eq!(hub.asked().len(), asked, "nobody was asked");
    assert_eq!(world.files(), files, "nothing was written");
    drop(reader);

    let missing = resolver.held(&request, &entry("two"), silent()).await.unwrap_err();
    assert!(missing.to_string().contains("does not hold hf://org/repo/folder/model.gguf"), "{missing}");
    let other = ArtifactRequest { revision: Some("v2".to_owned()), ..reading(&request) };
    let other = resolver.held(&other, &entry("one"), silent()).await.unwrap_err();
    assert!(matches!(other, HeldError::Another { .. }) && other.to_string().contains("at v2"), "{other}");
    fs::write(&found.path, content(5000, 2)).unwrap();
    let damaged = resolver.held(&request, &entry("one"), silent()).await.unwrap_err();
    assert!(matches!(damaged, HeldError::Damaged { .. }), "{damaged}");
    // As a condition's reason is found by it.
    assert!(damaged.to_string().starts_with("digest: "), "{damaged}");
    assert_eq!(fill(&world, &request, "one").await.unwrap().fetched_bytes, 5000, "a fetch mends it");
    assert!(resolver.held(&request, &entry("one"), silent()).await.is_ok());
}

#[tokio::test]
async fn parts_are_one_entry_and_go_together() {
    let world = World::new();
    let hub = Hub::with(HubFile::large(&content(900, 1)), |asked, file, _| {
        let part = asked.path.contains("m-00002").into();
        *file = HubFile::large(&content(900, part));
        file.reply_to(asked)
    });
    let mut request = world.request(&hub);
    request.source = "hf://org/repo/m-00001-of-00002.gguf".parse().unwrap();
    let filled = fill(&world, &request, "parts").await.unwrap();
    assert_eq!((filled.digest, filled.bytes), (None, 1800));
    let (found, reader) = world.resolver().held(&request, &entry("parts"), silent()).await.unwrap();
    assert_eq!((found.further.len(), found.bytes), (1, 1800));
    drop(reader);
    let gone = take_out(&world, &["parts"]).await;
    assert_eq!((gone.evicted.len(), gone.freed_bytes), (1, 1800));
    assert!(!world.has_blob());
}

#[tokio::test]
async fn what_is_read_or_named_by_another_stays() {
    let world = World::new();
    let hub = Hub::start(HubFile::large(&content(700, 1)));
    let (main, pinned) =
        (world.request(&hub), world.pinned(&hub, &HubFile::large(&content(700, 1)).digest()));
    fill(&world, &main, "main").await.unwrap();
    fill(&world, &pinned, "pinned").await.unwrap();
    let (found, reader) = world.resolver().held(&main, &entry("main"), silent()).await.unwrap();

    let kept = take_out(&world, &["main", "pinned"]).await;
    assert_eq!(
        (kept.evicted, kept.kept, kept.freed_bytes),
        (vec!["pinned".to_owned()], vec!["main".to_owned()], 0)
    );
    assert!(found.path.exists(), "both were made of it");
    drop(reader);
    let gone = take_out(&world, &["main", "absent"]).await;
    assert_eq!((gone.evicted.len(), gone.kept.len(), gone.freed_bytes), (2, 0, 700));
    assert!(!world.has_blob() && !world.files().iter().any(|file| file.starts_with("sources/")));
    assert!(world.resolver().held(&main, &entry("main"), silent()).await.is_err());
    assert_eq!(fill(&world, &main, "main").await.unwrap().fetched_bytes, 700);
}

#[tokio::test]
async fn what_was_abandoned_goes_too_and_what_is_under_way_does_not() {
    let world = World::new();
    let hub = Hub::start(HubFile::large(&content(700, 1)));
    fill(&world, &world.request(&hub), "main").await.unwrap();
    let folder = world.cache.path();
    let orphan = folder.join("blobs").join("0".repeat(64));
    fs::create_dir(&orphan).unwrap();
    fs::write(orphan.join("content"), [0; 50]).unwrap();
    fs::write(folder.join("partial/x.part"), [0; 30]).unwrap();
    assert_eq!(take_out(&world, &["none"]).await.freed_bytes, 0, "they are a moment old");

    #[derive(Clone)]
    struct Tomorrow;
    impl weighbridge_inference_server::artifact::Clock for Tomorrow {
        fn pause(&self, duration: Duration) -> futures::future::BoxFuture<'static, ()> {
            NoWaiting::default().pause(duration)
        }
        fn now(&self) -> SystemTime {
            SystemTime::now() + Duration::from_secs(25 * 3600)
        }
    }
    let gone = evict(folder, &[entry("none")], &[], &Tomorrow).await.unwrap();
    assert_eq!(gone.freed_bytes, 80);
    let known = evict(folder, &[entry("none")], &[entry("main")], &Tomorrow).await.unwrap();
    assert_eq!(known.freed_bytes, 0);
    let held = async || world.resolver().held(&world.request(&hub), &entry("main"), silent()).await.is_ok();
    assert!(held().await);
    let unknown = evict(folder, &[entry("none")], &[entry("other")], &SystemClock).await.unwrap();
    assert_eq!(unknown.freed_bytes, 0, "it is a moment old");
    let unknown = evict(folder, &[entry("none")], &[entry("other")], &Tomorrow).await.unwrap();
    assert_eq!((unknown.evicted.len(), unknown.freed_bytes), (2, 700));
    assert!(!held().await);
}

#[tokio::test]
async fn what_is_taken_out_while_it_is_fetched_is_fetched_again() {
    let world = World::new();
    let blobs = world.cache.path().join("blobs");
    let file = HubFile::large(&content(700, 1));
    let hub = Hub::start(file);
    let lost = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let (count, folder) = (Arc::clone(&lost), blobs.clone());
    // The last word of a fetch is that of its verification: what is there goes before its entry is written.
    let request = world.request(&hub);
    let sink = Arc::new(move |_| {
        if folder.read_dir().is_ok_and(|mut blobs| blobs.next().is_some())
            && count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0
        {
            fs::remove_dir_all(&folder).unwrap();
            fs::create_dir(&folder).unwrap();
        }
    });
    // A second fetch finds the file, verifies it, and loses it meanwhile.
    fill(&world, &request, "main").await.unwrap();
    let filled = world.resolver().fill(request.clone(), &entry("main"), sink).await.unwrap();
    assert_eq!(filled.fetched_bytes, 700);
    assert!(world.resolver().held(&request, &entry("main"), silent()).await.is_ok());
}

#[test]
fn a_name_of_an_entry_can_t_leave_its_folder() {
    for bad in ["", "../x", "A", "a/b", "a.b", &"a".repeat(65)] {
        assert!(bad.parse::<EntryName>().is_err(), "{bad}");
    }
    assert_eq!(entry("0a9").to_string(), "0a9");
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge-inference-server"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The sample model that `make sample` fetches, as `tests/serving` has it.
fn sample() -> PathBuf {
    let cache = std::env::var_os("WEIGHBRIDGE_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/weighbridge"),
        PathBuf::from,
    );
    cache.join("models/smollm2-135m-instruct-q4_1.gguf")
}

/// As a Job and then an engine run it: the engine has a read-only store, no hub and no token.
#[tokio::test]
async fn the_program_fetches_serves_from_the_store_and_makes_room() {
    let world = World::new();
    let bytes = fs::read(sample()).unwrap();
    let hub = Hub::start(HubFile::large(&bytes));
    let endpoint = format!("--hub-endpoint={}", hub.url());
    let located = ["--source=hf://org/repo/m.gguf", endpoint.as_str()];
    let folder = world.cache.path().join("store");
    let cache = format!("--cache-folder={}", folder.display());
    let words = world.cache.path().join("words");
    let output = format!("--output={}", words.display());
    let fetched = program(&["fetch", &cache, "--entry=0a", "--admin-listen=127.0.0.1:0", &output])
        .args(located)
        .output()
        .await
        .unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let said: Value = serde_json::from_slice(&fs::read(&words).unwrap()).unwrap();
    assert_eq!(said["bytes"], json!(bytes.len()));
    assert!(said["digest"].as_str().unwrap().starts_with("sha256:"), "{said}");
    drop(hub);

    let refused =
        program(&["fetch", &cache, "--entry=0a", "--source=pvc://c/m.gguf"]).output().await.unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("no source that is fetched"), "{told}");

    writable(&folder, 0o444);
    let store = format!("--store={}", folder.display());
    let own = format!("--cache-folder={}", world.cache.path().join("own").display());
    let mut engine = program(&[
        "serve",
        "--model-name=m",
        "--listen=127.0.0.1:0",
        "--device=cpu",
        &own,
        &store,
        "--entry=0a",
    ])
    .args(located)
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(engine.stderr.take().unwrap()).lines();
    let mut log = String::new();
    while !log.contains("\"message\":\"ready\"") {
        match lines.next_line().await.unwrap() {
            Some(line) => log.push_str(&line),
            None => panic!("the engine ended: {log}"),
        }
    }
    writable(&folder, 0o644);
    // As long as it runs, what it reads stays.
    let room = async || {
        let out = program(&["evict", &cache, "--entry=0a"]).stderr(Stdio::null()).output().await.unwrap();
        serde_json::from_slice::<Value>(&out.stdout).unwrap()
    };
    assert_eq!(room().await["kept"], json!(["0a"]));
    engine.kill().await.unwrap();
    assert_eq!(room().await, json!({"evicted": ["0a"], "kept": [], "freedBytes": bytes.len()}));
}
