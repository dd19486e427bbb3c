//! Transfers that break in every way we know, and the cache that holds what came through.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use weighbridge_crds::condition::Reason;
use weighbridge_inference_server::artifact::{ArtifactError, CheckedAgainst, FetchError, Phase};

use crate::hub::{Hub, HubFile, Reply};
use crate::world::{World, content};

#[tokio::test]
async fn a_file_comes_in_parallel_ranges_and_is_checked_against_the_hub() {
    let world = World::new();
    let file = HubFile::large(&content(4321, 1));
    let hub = Hub::start(file.clone());
    let found = world.resolve(world.request(&hub)).await.unwrap();

    assert_eq!(std::fs::read(&found.path).unwrap(), file.content);
    assert_eq!(found.digest.unwrap().hex(), file.digest());
    assert_eq!((found.checked_against, found.fetched_bytes), (CheckedAgainst::Source, 4321));
    assert_eq!(found.commit, Some(file.commit.clone()));
    assert_eq!((hub.count("HEAD"), hub.count("GET")), (1, 5));
    assert!(hub.asked().iter().all(|asked| asked.path == "/org/repo/resolve/main/folder/model.gguf"));
    let leftovers = world.files().into_iter().filter(|path| path.starts_with("partial/")).count();
    assert_eq!(leftovers, 0);

    let told = world.progress.lock().unwrap().clone();
    let phases = told.iter().map(|progress| progress.phase).collect::<Vec<_>>();
    assert_eq!(phases[0], Phase::Lookup);
    assert_eq!(phases.last(), Some(&Phase::Verify));
    let downloaded = told.iter().filter(|progress| progress.phase == Phase::Download).collect::<Vec<_>>();
    assert!(downloaded.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes));
    assert_eq!((downloaded[0].bytes, downloaded[0].total), (0, 4321));
    assert_eq!(downloaded.last().unwrap().bytes, 4321);
}

#[tokio::test]
async fn what_is_pinned_and_there_needs_no_hub_and_a_branch_needs_one_question() {
    let world = World::new();
    let file = HubFile::large(&content(1500, 1));
    let hub = Hub::start(file.clone());
    world.resolve(world.pinned(&hub, &file.digest())).await.unwrap();
    let before = hub.asked().len();

    let again = world.resolve(world.pinned(&hub, &file.digest())).await.unwrap();
    assert_eq!((again.fetched_bytes, again.checked_against), (0, CheckedAgainst::Pin));
    assert_eq!(hub.asked().len(), before, "a pinned digest names bytes that can't have changed");

    let branch = world.resolve(world.request(&hub)).await.unwrap();
    assert_eq!((branch.fetched_bytes, branch.checked_against), (0, CheckedAgainst::Source));
    assert_eq!((hub.asked().len(), hub.count("HEAD")), (before + 1, 2));

    let mut commit = world.request(&hub);
    commit.revision = Some(file.commit.clone());
    world.resolve(commit.clone()).await.unwrap();
    let before = hub.asked().len();
    assert_eq!(world.resolve(commit).await.unwrap().fetched_bytes, 0);
    assert_eq!(hub.asked().len(), before, "a commit seen before needs no question");
}

#[tokio::test]
async fn a_connection_that_breaks_half_way_goes_on_where_it_broke() {
    let world = World::new();
    let file = HubFile::large(&content(3000, 1));
    let hub = Hub::with(file.clone(), |asked, _, mut reply| {
        if asked.method == "GET" && reply.body.len() == 1000 {
            reply.cut = Some(400);
        }
        reply
    });
    let found = world.resolve(world.request(&hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), file.content);
    assert_eq!(found.fetched_bytes, 3000, "no byte comes twice");
    let ranges: Vec<_> =
        hub.asked().iter().filter_map(|asked| asked.header("range").map(str::to_owned)).collect();
    assert!(ranges.contains(&"bytes=400-999".to_owned()), "{ranges:?}");
}

#[tokio::test]
async fn the_next_process_goes_on_with_what_the_last_one_got() {
    let world = World::new();
    let file = HubFile::large(&content(5000, 1));
    let broken = Arc::new(Mutex::new(true));
    let switch = Arc::clone(&broken);
    let hub = Hub::with(file.clone(), move |asked, _, reply| {
        let far = asked.header("range").is_some_and(|range| !range.starts_with("bytes=0-"));
        if far && *switch.lock().unwrap() { Reply::status(500) } else { reply }
    });
    world.resolve(world.request(&hub)).await.unwrap_err();
    assert!(!world.has_blob());
    *broken.lock().unwrap() = false;
    let found = world.resolve(world.request(&hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), file.content);
    assert_eq!(found.fetched_bytes, 4000);
}

#[tokio::test]
async fn dropping_the_fetch_keeps_what_came_and_frees_the_lock() {
    let world = World::new();
    let file = HubFile::large(&content(2000, 1));
    let (reached, mut stuck) = tokio::sync::mpsc::unbounded_channel();
    let broken = Arc::new(Mutex::new(true));
    let switch = Arc::clone(&broken);
    let hub = Hub::with(file.clone(), move |asked, _, mut reply| {
        if asked.header("range") == Some("bytes=1000-1999") && *switch.lock().unwrap() {
            reply.silent = true;
            let _ = reached.send(());
        }
        reply
    });
    tokio::select! {
        _ = world.resolve(world.request(&hub)) => panic!("the server was silent"),
        _ = stuck.recv() => {}
    }
    *broken.lock().unwrap() = false;
    assert_eq!(world.resolve(world.request(&hub)).await.unwrap().fetched_bytes, 1000);
}

#[tokio::test]
async fn a_file_that_changed_between_two_tries_starts_again() {
    let world = World::new();
    let (old, new) = (HubFile::large(&content(3000, 1)), HubFile::large(&content(3000, 2)));
    let (next, mut gets) = (new.clone(), 0);
    let hub = Hub::with(old, move |asked, file, reply| {
        gets += usize::from(asked.method == "GET");
        if gets == 2 {
            *file = next.clone();
            gets += 1;
            return Reply::status(404);
        }
        reply
    });
    world.resolve(world.request(&hub)).await.unwrap_err();
    let found = world.resolve(world.request(&hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), new.content);
    assert_eq!(found.fetched_bytes, 3000);
}

#[tokio::test]
async fn a_file_that_changes_under_the_download_is_never_mixed() {
    for conditional in [true, false] {
        let world = World::new();
        let (old, new) = (HubFile::large(&content(3000, 1)), HubFile::large(&content(3000, 2)));
        let (next, mut gets) = (new.clone(), 0);
        let hub = Hub::with(old, move |asked, file, reply| {
            gets += usize::from(asked.method == "GET");
            if gets == 1 {
                // From the next request on, it is another file.
                *file = next.clone();
            }
            if conditional || asked.header("if-range").is_none() {
                return reply;
            }
            // A server that does not know If-Range sends a range of the new file.
            let mut asked = asked.clone();
            asked.headers.remove("if-range");
            file.clone().reply_to(&asked)
        });
        let found = world.resolve(world.request(&hub)).await.unwrap();
        assert_eq!(std::fs::read(&found.path).unwrap(), new.content, "conditional: {conditional}");
    }
}

#[tokio::test]
async fn a_server_that_ignores_ranges_sends_it_whole() {
    let world = World::new();
    let file = HubFile::large(&content(3000, 1));
    let whole = file.clone();
    let mut cut = true;
    let hub = Hub::with(file.clone(), move |asked, _, mut reply| {
        if asked.method == "GET" {
            reply.status = 200;
            reply.headers.remove("content-range");
            reply.body.clone_from(&whole.content);
            if asked.header("range").is_none() && std::mem::take(&mut cut) {
                reply.cut = Some(1234);
            }
        }
        reply
    });
    let found = world.resolve(world.request(&hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), file.content);
    assert_eq!(hub.count("GET"), 3, "a range, a whole that broke, a whole");
}

#[tokio::test]
async fn an_address_that_expires_is_asked_for_again() {
    let world = World::new();
    let file = HubFile::large(&content(3000, 1));
    let mut served = 0;
    let storage = Hub::with(file.clone(), move |asked, _, reply| {
        served += usize::from(asked.path == "/blob?n=1");
        if asked.path == "/blob?n=1" && served > 1 { Reply::status(403) } else { reply }
    });
    let (target, mut handed) = (storage.url(), 0);
    let hub = Hub::with(file.clone(), move |asked, _, reply| {
        if asked.method == "GET" {
            handed += 1;
            return Reply::status(302).with("location", format!("{target}blob?n={handed}"));
        }
        reply
    });
    let found = world.resolve(world.request(&hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), file.content);
}

#[tokio::test]
async fn a_length_that_is_not_the_named_one_keeps_nothing() {
    let world = World::new();
    for named in [2999, 3001] {
        let hub = Hub::with(HubFile::large(&content(3000, 1)), move |_, _, reply| {
            if reply.status == 200 { reply.with("x-linked-size", named) } else { reply }
        });
        let error = world.resolve(world.request(&hub)).await.unwrap_err();
        assert_eq!(error.reason(), Reason::DownloadFailed);
        let ArtifactError::Fetch { source: FetchError::Changed { expected }, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(expected, named);
        assert!(!world.has_blob());
    }
}

#[tokio::test]
async fn more_bytes_than_asked_for_are_refused() {
    let world = World::new();
    let hub = Hub::with(HubFile::large(&content(3000, 1)), |asked, _, mut reply| {
        if asked.method == "GET" {
            reply.body.extend_from_slice(b"more");
        }
        reply
    });
    let error = world.resolve(world.request(&hub)).await.unwrap_err();
    assert!(error.in_words().contains("more bytes than were asked for"), "{}", error.in_words());
}

#[tokio::test]
async fn damaged_bytes_never_get_the_final_name_nor_are_resumed() {
    let world = World::new();
    let file = HubFile::large(&content(3000, 1));
    let damaging = Arc::new(Mutex::new(true));
    let switch = Arc::clone(&damaging);
    let hub = Hub::with(file.clone(), move |asked, _, mut reply| {
        if asked.method == "GET" && *switch.lock().unwrap() {
            reply.body[7] ^= 1;
        }
        reply
    });
    let error = world.resolve(world.request(&hub)).await.unwrap_err();
    assert_eq!((error.reason(), error.field()), (Reason::DigestMismatch, None));
    assert!(!world.has_blob());
    *damaging.lock().unwrap() = false;
    assert_eq!(world.resolve(world.request(&hub)).await.unwrap().fetched_bytes, 3000);
}

#[tokio::test]
async fn another_digest_than_the_pinned_one_costs_no_byte() {
    let world = World::new();
    let file = HubFile::large(&content(3000, 1));
    let hub = Hub::start(file.clone());
    let error = world.resolve(world.pinned(&hub, &"0".repeat(64))).await.unwrap_err();
    assert_eq!((error.reason(), error.field()), (Reason::DigestMismatch, Some("digest")));
    assert!(error.in_words().contains(&file.digest()));
    assert_eq!(hub.count("GET"), 0);
    assert!(!world.has_blob());
}

#[tokio::test]
async fn a_small_file_without_a_digest_says_that_nothing_vouches_for_it() {
    let world = World::new();
    let file = HubFile { large: false, ..HubFile::large(b"{}") };
    let hub = Hub::start(file.clone());
    let found = world.resolve(world.request(&hub)).await.unwrap();
    assert_eq!(found.checked_against, CheckedAgainst::Nothing);
    assert_eq!(found.digest.unwrap().hex(), file.digest());
    let pinned = world.resolve(world.pinned(&hub, &file.digest())).await.unwrap();
    assert_eq!((pinned.checked_against, pinned.fetched_bytes), (CheckedAgainst::Pin, 0));
}

#[tokio::test]
async fn two_at_once_fetch_once() {
    let world = World::new();
    let file = HubFile::large(&content(3000, 1));
    let hub = Hub::start(file.clone());
    let both = tokio::join!(world.resolve(world.request(&hub)), world.resolve(world.request(&hub)));
    let (first, second) = (both.0.unwrap(), both.1.unwrap());
    assert_eq!(first.path, second.path);
    assert_eq!(first.fetched_bytes + second.fetched_bytes, 3000);
    assert_eq!(hub.count("GET"), 3);
}

#[tokio::test]
async fn a_damaged_cache_heals() {
    let world = World::new();
    let file = HubFile::large(&content(3000, 1));
    let hub = Hub::start(file.clone());
    let path = world.resolve(world.request(&hub)).await.unwrap().path;
    let mut damaged = file.content.clone();
    damaged[0] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let found = world.resolve(world.pinned(&hub, &file.digest())).await.unwrap();
    assert_eq!((std::fs::read(&found.path).unwrap(), found.fetched_bytes), (file.content.clone(), 3000));

    // A file without its marker was never finished.
    std::fs::remove_file(found.path.with_file_name("complete.json")).unwrap();
    assert_eq!(world.resolve(world.request(&hub)).await.unwrap().fetched_bytes, 3000);
}

#[tokio::test]
async fn state_that_makes_no_sense_is_not_believed() {
    let world = World::new();
    let file = HubFile::large(&content(3000, 1));
    let broken = Arc::new(Mutex::new(true));
    let switch = Arc::clone(&broken);
    let hub = Hub::with(file.clone(), move |asked, _, reply| {
        let far = asked.header("range").is_some_and(|range| !range.starts_with("bytes=0-"));
        if far && *switch.lock().unwrap() { Reply::status(404) } else { reply }
    });
    world.resolve(world.request(&hub)).await.unwrap_err();
    *broken.lock().unwrap() = false;
    let state = world
        .files()
        .into_iter()
        .find(|path| path.starts_with("partial/") && path.ends_with("json"))
        .unwrap();
    let state = world.cache.path().join(state);
    let lie = std::fs::read_to_string(&state).unwrap().replace("[[0,1000]]", "[[0,3000]]");
    std::fs::write(&state, lie).unwrap();
    let found = world.resolve(world.request(&hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), file.content);
}

#[tokio::test]
async fn a_hub_that_went_away_leaves_the_last_known_file() {
    let world = World::new();
    let file = HubFile::large(&content(1500, 1));
    let gone = Arc::new(Mutex::new(false));
    let switch = Arc::clone(&gone);
    let hub = Hub::with(
        file.clone(),
        move |_, _, reply| {
            if *switch.lock().unwrap() { Reply::status(503) } else { reply }
        },
    );
    world.resolve(world.request(&hub)).await.unwrap();
    *gone.lock().unwrap() = true;
    let found = world.resolve(world.request(&hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), file.content);
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let mut world = World::new();
    world.settings.stall = Duration::from_millis(20);
    world.settings.attempts = 2;
    let hub = Hub::with(HubFile::large(b"x"), |_, _, mut reply| {
        reply.silent = true;
        reply
    });
    let error = world.resolve(world.request(&hub)).await.unwrap_err();
    // How often the hub was reached is not asked: on a busy machine a try may end before it got there.
    assert!(error.in_words().contains("sent nothing for"), "{}", error.in_words());
}

#[tokio::test]
async fn a_file_larger_than_the_disk_is_refused_before_a_byte_comes() {
    let world = World::new();
    let hub = Hub::with(HubFile::large(b"x"), |_, _, reply| reply.with("x-linked-size", 1_u64 << 60));
    let error = world.resolve(world.request(&hub)).await.unwrap_err();
    assert!(error.in_words().contains("free some space"), "{}", error.in_words());
    assert_eq!(hub.count("GET"), 0);
}
