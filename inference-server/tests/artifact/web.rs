//! `https:` sources: any server, private authorities, tokens that stay where they belong, and proxies on the way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use weighbridge_crds::condition::Reason;
use weighbridge_inference_server::artifact::{
    ArtifactError, ArtifactRequest, CheckedAgainst, Credentials, FetchError, Kind, Proxies, Token,
};

use crate::hub::{Asked, Hub, HubFile, Reply};
use crate::world::{World, content};

/// A plain web server knows nothing of large-file storage.
fn file(bytes: &[u8]) -> HubFile {
    HubFile { large: false, ..HubFile::large(bytes) }
}

fn request(world: &World, hub: &Hub) -> ArtifactRequest {
    let source = format!("https://{}/models/small%20one/m.gguf", hub.host()).parse().unwrap();
    let mut request = ArtifactRequest::new(source, world.cache.path().to_owned());
    request.network.authorities = Some(hub.authority());
    request
}

#[tokio::test]
async fn a_file_of_any_server_comes_in_ranges_and_is_kept_under_its_digest() {
    let world = World::new();
    let served = file(&content(4321, 1));
    let hub = Hub::secure(served.clone(), |_, _, reply| reply);
    let found = world.resolve(request(&world, &hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), served.content);
    assert_eq!((found.fetched_bytes, found.checked_against), (4321, CheckedAgainst::Nothing));
    assert_eq!(found.digest.unwrap().hex(), served.digest());
    assert_eq!((hub.count("HEAD"), hub.count("GET")), (1, 5));
    assert!(hub.asked().iter().all(|asked| asked.path == "/models/small%20one/m.gguf"));

    let again = world.resolve(request(&world, &hub)).await.unwrap();
    assert_eq!((again.fetched_bytes, hub.count("HEAD"), hub.count("GET")), (0, 2, 5), "its tag is known");
    let pinned = ArtifactRequest { digest: Some(served.digest().parse().unwrap()), ..request(&world, &hub) };
    let pinned = world.resolve(pinned).await.unwrap();
    assert_eq!((pinned.checked_against, hub.asked().len()), (CheckedAgainst::Pin, 7), "nobody is asked");
}

#[tokio::test]
async fn the_next_process_goes_on_with_what_the_last_one_got_by_tag_or_by_date() {
    for tagged in [true, false] {
        let world = World::new();
        let served = file(&content(5000, 1));
        let broken = Arc::new(Mutex::new(true));
        let switch = Arc::clone(&broken);
        let hub = Hub::secure(served.clone(), move |asked, _, mut reply| {
            if !tagged {
                reply.headers.remove("etag");
                reply = reply.with("last-modified", "Tue, 24 Nov 2026 10:00:00 GMT");
            }
            let far = asked.header("range").is_some_and(|range| !range.starts_with("bytes=0-"));
            if far && *switch.lock().unwrap() { Reply::status(500) } else { reply }
        });
        world.resolve(request(&world, &hub)).await.unwrap_err();
        *broken.lock().unwrap() = false;
        let found = world.resolve(request(&world, &hub)).await;
        if tagged {
            let found = found.unwrap();
            assert_eq!(std::fs::read(&found.path).unwrap(), served.content);
            assert_eq!(found.fetched_bytes, 4000);
        } else {
            // This server knows no date in If-Range, and sends all of it: one piece, and whole.
            assert_eq!(std::fs::read(&found.unwrap().path).unwrap(), served.content);
        }
    }
}

#[tokio::test]
async fn a_file_that_changes_between_two_ranges_is_never_mixed() {
    let world = World::new();
    let (old, new) = (file(&content(3000, 1)), file(&content(3000, 2)));
    let (next, mut gets) = (new.clone(), 0);
    let hub = Hub::secure(old, move |asked, file, reply| {
        gets += usize::from(asked.method == "GET");
        if gets == 1 {
            *file = next.clone();
        }
        reply
    });
    let found = world.resolve(request(&world, &hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), new.content);
}

#[tokio::test]
async fn a_server_that_knows_get_alone_and_one_without_ranges_are_served_too() {
    let world = World::new();
    let served = file(&content(2500, 1));
    let hub = Hub::secure(served.clone(), |asked, _, reply| match asked.method.as_str() {
        "HEAD" => Reply::status(405),
        _ => reply,
    });
    let found = world.resolve(request(&world, &hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), served.content);
    assert_eq!(hub.asked()[1].header("range"), Some("bytes=0-0"));

    let world = World::new();
    let hub = Hub::secure(served.clone(), |asked, file, _| {
        file.reply_to(&Asked { headers: Default::default(), ..asked.clone() })
    });
    let found = world.resolve(request(&world, &hub)).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), served.content);
}

#[tokio::test]
async fn an_authority_that_nobody_named_vouches_for_nobody() {
    let world = World::new();
    let hub = Hub::secure(file(b"x"), |_, _, reply| reply);
    let mut unknown = request(&world, &hub);
    unknown.network.authorities = None;
    let error = world.resolve(unknown).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DownloadFailed);
    assert!(error.in_words().contains("caCertificates"), "{}", error.in_words());
    assert!(hub.asked().is_empty());
    let other = Hub::secure(file(b"x"), |_, _, reply| reply);
    let mut wrong = request(&world, &hub);
    wrong.network.authorities = Some(other.authority());
    assert!(world.resolve(wrong).await.is_err());
    assert_eq!(world.clock.waits().len(), 0, "trying again mends no trust");
}

#[tokio::test]
async fn a_hub_behind_a_private_authority_is_one_like_any_other() {
    let world = World::new();
    let hub = Hub::secure(HubFile::large(&content(1500, 1)), |_, _, reply| reply);
    let mut request = world.request(&hub);
    request.hub.endpoint = Some(format!("https://{}", hub.host()).parse().unwrap());
    request.network.authorities = Some(hub.authority());
    assert_eq!(world.resolve(request).await.unwrap().checked_against, CheckedAgainst::Source);
}

#[tokio::test]
async fn a_token_is_shown_to_the_server_itself_and_each_refusal_names_its_field() {
    let world = World::new();
    let storage = Hub::secure(file(&content(1500, 1)), |_, _, reply| reply);
    let to = format!("https://{}/elsewhere", storage.host());
    let hub = Hub::secure(file(&content(1500, 1)), move |_, _, _| Reply::status(302).with("location", &to));
    let mut asking = request(&world, &hub);
    // Two servers, two authorities.
    let mut both = (*hub.authority()).clone();
    both.roots.extend(storage.authority().roots.iter().cloned());
    asking.network.authorities = Some(Arc::new(both));
    asking.storage.credentials = Some(Credentials::Token(Token::new("canary_4711").unwrap()));
    world.resolve(asking).await.unwrap();
    assert!(hub.asked().iter().all(|asked| asked.header("authorization") == Some("Bearer canary_4711")));
    assert!(storage.asked().iter().all(|asked| asked.header("authorization").is_none()));

    for (status, token, field, kind) in [
        (401, None, "storage.credentialsSecret", FetchError::Unnamed(Kind::Web)),
        (401, Some("canary"), "storage.credentialsSecret", FetchError::Refused(Kind::Web)),
        (403, None, "storage.credentialsSecret", FetchError::Forbidden(Kind::Web)),
        (404, None, "source", FetchError::NoSuchFile(Kind::Web)),
    ] {
        let world = World::new();
        let hub = Hub::secure(file(b"x"), move |_, _, _| Reply::status(status));
        let mut asking = request(&world, &hub);
        asking.storage.credentials = token.map(|token| Credentials::Token(Token::new(token).unwrap()));
        let error = world.resolve(asking).await.unwrap_err();
        assert_eq!((error.reason(), error.field()), (Reason::DownloadFailed, Some(field)));
        let ArtifactError::Fetch { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.to_string(), kind.to_string());
        assert!(!error.in_words().contains("canary"));
        assert_eq!(hub.asked().len(), 1, "{status} is final");
    }
}

#[tokio::test]
async fn what_is_not_the_pinned_file_is_not_kept() {
    let world = World::new();
    let hub = Hub::secure(file(&content(1500, 1)), |_, _, reply| reply);
    let mut pinned = request(&world, &hub);
    pinned.digest = Some("0".repeat(64).parse().unwrap());
    let error = world.resolve(pinned).await.unwrap_err();
    assert_eq!((error.reason(), error.field()), (Reason::DigestMismatch, Some("digest")));
    assert!(!world.has_blob());
    assert!(!world.files().iter().any(|path| path.starts_with("partial/")), "{:?}", world.files());
}

#[tokio::test]
async fn a_split_model_comes_part_by_part_and_of_a_file_that_is_looked_at_the_beginning_alone() {
    let world = World::new();
    let hub = Hub::secure(file(&content(2500, 1)), |_, _, reply| reply);
    let mut split = request(&world, &hub);
    split.source = format!("https://{}/a/m-00001-of-00003.gguf", hub.host()).parse().unwrap();
    let found = world.resolve(split.clone()).await.unwrap();
    assert_eq!((found.further.len(), found.bytes), (2, 7500));
    assert!(hub.asked().iter().any(|asked| asked.path == "/a/m-00003-of-00003.gguf"));

    let looked = world.resolver().beginning(request(&world, &hub), &|_, _| true).await.unwrap();
    assert_eq!((looked.bytes, looked.digest), (2500, None));
}

/// Listens, takes CONNECT or a whole address, remembers it, and passes bytes on.
pub fn proxy(heads: &Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Arc::clone(heads);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let heads = Arc::clone(&heads);
            std::thread::spawn(move || pass(stream, &heads));
        }
    });
    address
}

fn pass(mut stream: TcpStream, heads: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    heads.lock().unwrap().push(head.join("\n"));
    let target = head[0].split(' ').nth(1).unwrap();
    let to = match head[0].starts_with("CONNECT ") {
        true => target.to_owned(),
        false => url::Url::parse(target).unwrap().socket_addrs(|| None).unwrap()[0].to_string(),
    };
    let mut server = TcpStream::connect(to).unwrap();
    if head[0].starts_with("CONNECT ") {
        write!(stream, "HTTP/1.1 200 OK\r\n\r\n").unwrap();
    } else {
        let path = url::Url::parse(target).unwrap().path().to_owned();
        let first = head[0].replacen(target, &path, 1);
        write!(server, "{first}\r\n{}\r\n\r\n", head[1..].join("\r\n")).unwrap();
    }
    let (mut from, mut to) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
    });
    let _ = std::io::copy(&mut server, &mut stream);
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

#[tokio::test]
async fn servers_are_reached_through_the_proxy_but_for_those_that_are_not_to_be() {
    let heads = Arc::default();
    let proxy = proxy(&heads);
    let proxies =
        |no: &str| Proxies::new(&format!("http://u:p@{proxy}"), &format!("http://u:p@{proxy}"), no).unwrap();

    let world = World::new();
    let hub = Hub::secure(file(&content(1500, 1)), |_, _, reply| reply);
    let mut tunnelled = request(&world, &hub);
    tunnelled.network.proxies = proxies("");
    world.resolve(tunnelled.clone()).await.unwrap();
    let seen = heads.lock().unwrap().join("\n");
    assert!(seen.starts_with(&format!("CONNECT {} ", hub.host())), "{seen}");
    assert!(seen.to_lowercase().contains("proxy-authorization: basic dtpw"), "{seen}");
    assert!(!seen.contains("m.gguf"), "what is inside is TLS: {seen}");

    let world = World::new();
    let hub = Hub::start(HubFile::large(&content(1500, 1)));
    heads.lock().unwrap().clear();
    let mut forwarded = world.request(&hub);
    forwarded.network.proxies = proxies("");
    world.resolve(forwarded.clone()).await.unwrap();
    let seen = heads.lock().unwrap().join("\n");
    assert!(seen.contains(&format!("{}org/repo/resolve/main/", hub.url())), "{seen}");
    assert!(seen.to_lowercase().contains("proxy-authorization: basic dtpw"), "{seen}");

    let world = World::new();
    heads.lock().unwrap().clear();
    let mut direct = world.request(&hub);
    direct.network.proxies = proxies("example.com,127.0.0.0/8");
    world.resolve(direct).await.unwrap();
    assert!(heads.lock().unwrap().is_empty());
}
