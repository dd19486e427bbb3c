//! Who gets in, who does not, and what is seen of it.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod authority;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authority::{Authority, client_files, pair_files, replace, server_files};
use prometheus_client::registry::Registry;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use weighbridge_tls::{
    Certified, ClientTls, Handshakes, Identity, NamedFile, PairFiles, ServerFiles, ServerTls, register,
};

fn engine() -> Identity {
    Identity::Engine { namespace: "team".to_owned(), name: "m".to_owned() }
}

/// A server that says hello to whoever gets in.
async fn serve(tls: ServerTls) -> (SocketAddr, Arc<ServerTls>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let tls = Arc::new(tls);
    let server = Arc::clone(&tls);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                if let Ok(mut stream) = server.accept(stream).await {
                    stream.write_all(b"hello").await.expect("written");
                    stream.shutdown().await.expect("closed");
                }
            });
        }
    });
    (address, tls)
}

/// What the server at `address` says, to a client of `config` that looks for `name`.
async fn hear(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await?;
    Ok(heard)
}

fn loaded(files: ServerFiles) -> ServerTls {
    ServerTls::load(files, Handshakes::default()).expect("loaded")
}

/// A client that shows nothing, and trusts `authority`.
fn anonymous(authority: &str, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM")).expect("an authority");
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

fn metrics(certified: Vec<Arc<dyn Certified>>, server: &ServerTls) -> String {
    let mut registry = Registry::with_prefix("weighbridge");
    register(&mut registry, certified, Some(server));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
    text
}

async fn counted(server: &ServerTls, line: &str) {
    let there = async {
        while !metrics(Vec::new(), server).lines().any(|seen| seen == line) {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), there).await;
    assert!(waited.is_ok(), "{line} is not in {}", metrics(Vec::new(), server));
}

#[tokio::test]
async fn only_a_gateway_of_our_authority_gets_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let shown = ours.pair(&engine().to_string());
    let (address, server) = serve(loaded(server_files(folder.path(), &shown, &ours.pem()))).await;
    let client = |pair: &(String, String)| {
        let files = client_files(folder.path(), pair, &ours.pem());
        ClientTls::load(files).expect("loaded").current()
    };
    let gateway = Identity::Gateway.to_string();
    let name = engine().to_string();
    assert_eq!(hear(address, client(&ours.pair(&gateway)), &name).await.expect("let in"), "hello");
    let long_ago = ours.pair_until(&gateway, (2020, 1, 1));
    for (who, config) in [
        ("an engine", client(&ours.pair(&engine().to_string()))),
        ("a name that ends likewise", client(&ours.pair(&format!("x.{gateway}")))),
        ("a gateway of others", client(&others.pair(&gateway))),
        ("a gateway of yesterday", client(&long_ago)),
        ("nobody", anonymous(&ours.pem(), &[])),
    ] {
        let refused = hear(address, config, &name).await.expect_err(who);
        let said = refused.to_string();
        assert!(said.contains("received fatal alert"), "{who}: {said}");
    }
    counted(&server, "weighbridge_tls_handshake_failures_total{reason=\"refused\"} 5").await;
}

#[tokio::test]
async fn a_client_talks_to_nobody_but_whom_it_looks_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let gateway = ours.pair(&Identity::Gateway.to_string());
    let client = ClientTls::load(client_files(folder.path(), &gateway, &ours.pem())).expect("loaded");
    let other_model = Identity::Engine { namespace: "team".to_owned(), name: "other".to_owned() };
    let proxy = Identity::Proxy { namespace: "team".to_owned(), name: "m".to_owned() };
    for (authority, shown, said) in [
        (&ours, engine(), None),
        (&ours, other_model, Some("not valid for name")),
        (&ours, proxy, Some("not valid for name")),
        (&ours, Identity::Gateway, Some("not valid for name")),
        (&others, engine(), Some("UnknownIssuer")),
    ] {
        let shown = authority.pair(&shown.to_string());
        let files = server_files(folder.path(), &shown, &ours.pem());
        let (address, _) = serve(loaded(files)).await;
        let heard = hear(address, client.current(), &engine().to_string()).await;
        match said {
            None => assert_eq!(heard.expect("the right one"), "hello"),
            Some(said) => {
                let refused = heard.expect_err("not the right one").to_string();
                assert!(refused.contains(said), "{refused}");
            }
        }
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (first, second) = (old.pair_until("door.test", (2098, 1, 1)), new.pair("door.test"));
    let files = ServerFiles { pair: pair_files(folder.path(), "door", &first), clients: None };
    let PairFiles { cert, key } = files.pair.clone();
    let (address, server) = serve(loaded(files)).await;
    let trusts = |authority: &Authority| anonymous(&authority.pem(), &[b"h2", b"http/1.1"]);

    // An open connection stays as it is.
    let stream = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("door.test").expect("a name");
    let mut open = TlsConnector::from(trusts(&old)).connect(name, stream).await.expect("let in");
    assert_eq!(open.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let seconds = |year: i64| (year - 1970) * 31_556_952;
    let ends = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("weighbridge_certificate_expiry_timestamp"));
        line.expect("a line").rsplit(' ').next().expect("a value").parse::<f64>().expect("a number") as i64
    };
    let seen = || metrics(vec![Arc::clone(&server) as _], &server);
    let near = |year: i64| (ends(&seen()) - seconds(year)).abs() < 10 * 86_400;
    assert!(near(2098), "{}", seen());

    // Key first: in between, the two are no pair.
    replace(&key.path, &second.1);
    assert_eq!(hear(address, trusts(&old), "door.test").await.expect("the old one"), "hello");
    assert!(seen().contains("certificate_reload_failures_total{use=\"server\"} 1"), "{}", seen());
    replace(&cert.path, &second.0);
    assert_eq!(hear(address, trusts(&new), "door.test").await.expect("the new one"), "hello");
    assert!(hear(address, trusts(&old), "door.test").await.is_err());
    assert!(near(2100), "{}", seen());
    for (file, content) in [(&cert, "nonsense"), (&key, ""), (&cert, &first.0)] {
        replace(&file.path, content);
        assert_eq!(hear(address, trusts(&new), "door.test").await.expect("the last good one"), "hello");
    }
    assert!(seen().contains("certificate_reload_failures_total{use=\"server\"} 4"), "{}", seen());

    let mut heard = String::new();
    open.read_to_string(&mut heard).await.expect("whole");
    assert_eq!(heard, "hello");
}

#[tokio::test]
async fn whoever_speaks_plain_text_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Authority::new("ours");
    let shown = ours.pair(&engine().to_string());
    let (address, server) = serve(loaded(server_files(folder.path(), &shown, &ours.pem()))).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "y".repeat(20_000));
    stream.write_all(long.as_bytes()).await.expect("written");
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.expect("whole, and no reset");
    assert!(heard.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{heard}");
    let (head, body) = heard.split_once("\r\n\r\n").expect("a body");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{heard}");
    assert!(body.contains("use https"), "{heard}");
    drop(stream);
    counted(&server, "weighbridge_tls_handshake_failures_total{reason=\"plain_text\"} 1").await;
}

#[tokio::test]
async fn handshakes_are_bounded_in_time_and_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Authority::new("ours");
    let shown = ours.pair("door.test");
    let files = ServerFiles { pair: pair_files(folder.path(), "door", &shown), clients: None };
    let quick = Handshakes { at_once: 0, time: Duration::from_millis(20) };
    let (address, server) = serve(ServerTls::load(files, quick).expect("loaded")).await;
    // Nothing, and half a record: no place is taken for either.
    for begun in [&b""[..], &[22, 3, 1, 2, 0, 1]] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(begun).await.expect("written");
        let mut rest = Vec::new();
        // A reset is a close as well.
        let _ = stream.read_to_end(&mut rest).await;
    }
    counted(&server, "weighbridge_tls_handshake_failures_total{reason=\"slow\"} 2").await;
    counted(&server, "weighbridge_tls_handshakes_full_total 0").await;
    // A whole greeting needs a place, and there is none.
    assert!(hear(address, anonymous(&ours.pem(), &[]), "door.test").await.is_err());
    counted(&server, "weighbridge_tls_handshake_failures_total{reason=\"slow\"} 3").await;
    counted(&server, "weighbridge_tls_handshakes_full_total 1").await;
    drop(TcpStream::connect(address).await.expect("connected"));
    counted(&server, "weighbridge_tls_handshake_failures_total{reason=\"left\"} 1").await;
}

fn in_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

#[test]
fn a_bad_file_is_named_with_its_flag_and_nothing_of_a_key_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Authority::new("ours");
    let (good, other) = (ours.pair("door.test"), ours.pair("door.test"));
    let canary = good.1.lines().nth(1).expect("a line of base64").to_owned();
    // One line, as a careless `echo` leaves it: the library repeats the line that it can't read.
    let flat = good.1.replace('\n', "");
    let cases: [(&str, &str, &str, &[&str]); 7] = [
        ("", &good.1, &ours.pem(), &["--tls-cert-file", "BEGIN CERTIFICATE"]),
        (&good.1, &good.1, &ours.pem(), &["--tls-cert-file", "BEGIN CERTIFICATE"]),
        (&good.0, "", &ours.pem(), &["--tls-key-file", "BEGIN PRIVATE KEY"]),
        (&good.0, &good.0, &ours.pem(), &["--tls-key-file", "BEGIN PRIVATE KEY"]),
        (&good.0, &flat, &ours.pem(), &["--tls-key-file", "BEGIN PRIVATE KEY"]),
        (&good.0, &other.1, &ours.pem(), &["--tls-key-file", "does not belong"]),
        (&good.0, &good.1, "", &["--client-ca-file", "BEGIN CERTIFICATE"]),
    ];
    for (certificate, key, authority, said) in cases {
        let files = server_files(folder.path(), &(certificate.to_owned(), key.to_owned()), authority);
        let error = ServerTls::load(files, Handshakes::default()).expect_err("refused");
        let words = format!("{} {error:?}", in_words(&error));
        for part in said {
            assert!(words.contains(part), "{part} is not in {words}");
        }
        assert!(!words.contains(&canary) && !words.contains(&canary[10..40]), "{words}");
    }
    let missing = NamedFile::new("--tls-key-file", Path::new("/nowhere/key"));
    let files = ServerFiles {
        pair: PairFiles { key: missing, ..pair_files(folder.path(), "door", &good) },
        clients: None,
    };
    let words = in_words(&ServerTls::load(files, Handshakes::default()).expect_err("refused"));
    assert!(words.contains("--tls-key-file /nowhere/key: it can't be read"), "{words}");

    let files = server_files(folder.path(), &good, &ours.pem());
    let printed = format!("{:?}", loaded(files));
    assert!(!printed.contains(&canary) && !printed.contains("PRIVATE"), "{printed}");
}
