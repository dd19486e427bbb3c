//! Private keys of certificates are on no surface: errors, logs at every level, metrics, `Debug`, panics.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tracing_subscriber::util::SubscriberInitExt;
use weighbridge_gateway::cli::Cli;
use weighbridge_gateway::directory::{Directory, World};
use weighbridge_gateway::{GatewayConfig, access::Access};
use weighbridge_operator::certificates::Authority;
use weighbridge_tests::certificates::{Installation, anonymous, front_door, lifetimes};
use weighbridge_tests::door::{Client, Door, entry};
use weighbridge_tests::simulator::Simulator;
use weighbridge_tls::{Handshakes, Identity, ServerTls};

const CHAT: &str = "/v1/chat/completions";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unpoisoned").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The ways in which somebody might write the key of `pem`: whole lines, its bytes as numbers, as hexadecimal digits, and as
/// base64 that begins elsewhere.
fn written(pem: &str) -> Vec<String> {
    let mut ways: Vec<String> =
        pem.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect();
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key");
    // In PKCS#8 of P-256 the number itself; what is before it is the same in every key.
    let number = &der.secret_der()[36..68];
    ways.push(number.iter().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "));
    ways.push(number.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")));
    ways.extend((0..3).map(|skip| STANDARD.encode(&number[skip..])[..32].to_owned()));
    ways.extend(pem.lines().filter(|line| line.len() == 64).map(|line| line[8..40].to_owned()));
    // A Secret's value is base64 of the PEM.
    ways.extend((0..3).map(|skip| STANDARD.encode(&pem.as_bytes()[28 + skip..])[..80].to_owned()));
    ways
}

#[tokio::test]
async fn the_keys_are_on_no_surface() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Of the whole process, which is why this test has one to itself; rustls' own words included.
    subscriber.try_init().expect("the only one");
    let panics = Log::default();
    let said = panics.clone();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        write!(said.clone(), "{panic}").expect("written");
        hook(panic);
    }));

    let ours = Installation::new().expect("an installation");
    let identity = Identity::Engine { namespace: "team".to_owned(), name: "m".to_owned() };
    let now = Timestamp::now();
    let mut surfaces = String::new();
    let mut show = |text: String| writeln!(surfaces, "{text}").expect("written");

    // The operator's side.
    let authority = Authority::create(&lifetimes().expect("lifetimes"), now).expect("made");
    let flat =
        "-----BEGIN PRIVATE KEY-----".to_owned() + &ours.issuer.issue(&identity, now).expect("issued").key;
    for bad in ["", "nonsense", flat.as_str()] {
        let refused = Authority::read(authority.certificate.clone(), bad).err().expect("refused");
        show(format!("{refused} {refused:?}"));
    }
    show(format!("{:?} {:?}", ours.issuer, ours.issuer.trust()));
    let leaf = ours.issuer.issue(&identity, now).expect("issued");
    show(format!("{:?}", leaf.facts));
    let mut keys = vec![leaf.key.clone()];

    // A pod and a front door, with everything that can go wrong.
    let simulator = Simulator::start().await.expect("a simulator");
    let files = ours.server_files("pod", &identity).expect("files");
    keys.push(fs::read_to_string(&files.pair.key.path).expect("readable"));
    show(format!("{files:?}"));
    let upstream = ours.client("gateway", &Identity::Gateway).expect("a certificate");
    keys.push(fs::read_to_string(ours.folder().join("gateway/tls.key")).expect("readable"));
    let (door_files, trusted) = front_door(&ours.folder().join("door"), "door.test").expect("a certificate");
    let door_key = fs::read_to_string(&door_files.pair.key.path).expect("readable");
    keys.push(door_key.clone());
    let pod = Arc::new(ServerTls::load(files.clone(), Handshakes::default()).expect("loaded"));
    let front = Arc::new(ServerTls::load(door_files.clone(), Handshakes::default()).expect("loaded"));
    show(format!("{pod:?} {front:?} {upstream:?}"));
    let config = GatewayConfig { upstream: Some(upstream), ..GatewayConfig::default() };
    show(format!("{config:?}"));
    let mut model = entry("normal", World::Open, &[simulator.address()]);
    model.endpoints[0].identity = Some(identity.clone());
    let directory = Directory::from_entries(vec![model]);
    let door = Door::secure(config, directory, Access::open("team"), Some(front)).await.expect("a gateway");
    let browser = anonymous(ours.folder(), &trusted, &[]).expect("a client");
    let address: SocketAddr = door.address;
    let ask = async |config: Arc<rustls::ClientConfig>, name: &str| {
        let mut client = Client::connect_tls(address, config, name).await?;
        client.post(CHAT, r#"{"model":"normal","messages":[]}"#).await
    };
    // The upstream speaks no TLS.
    show(format!("{:?}", ask(Arc::clone(&browser), "door.test").await));
    show(format!("{:?}", ask(browser, "other.test").await));
    let stranger = anonymous(ours.folder(), &ours.issuer.trust().bundle, &[]).expect("a client");
    show(format!("{:?}", ask(stranger, "door.test").await.err()));
    let key_path = fs::canonicalize(&door_files.pair.key.path).expect("there");
    // In one line, as an `echo` leaves it, with its end cut off, and another's.
    for bad in [door_key.replace('\n', ""), door_key[..100].to_owned(), leaf.key.clone(), door_key.repeat(2)]
    {
        fs::write(&key_path, &bad).expect("written");
        let refused = ServerTls::load(door_files.clone(), Handshakes::default()).err();
        show(format!("{refused:?} {}", refused.as_ref().map(ToString::to_string).unwrap_or_default()));
        let mut scrape = Client::connect(door.admin).await.expect("connected");
        show(scrape.get("/metrics").await.expect("answered").text().expect("text").to_owned());
        show(scrape.get("/readyz").await.expect("answered").text().expect("text").to_owned());
    }
    // Flags, and a key where a certificate or a path belongs.
    let args = |more: &[&str]| Cli::try_parse_from([&["gateway", "serve"], more].concat());
    let key_file = door_files.pair.key.path.to_str().expect("text");
    let both = ["--tls-cert-file", key_file, "--tls-key-file", key_file];
    show(format!("{:?} {:?}", args(&both), args(&["--tls-key-file", key_file]).err()));
    let panicked = tokio::spawn({
        let pod = Arc::clone(&pod);
        async move { panic!("{pod:?}") }
    });
    show(format!("{:?}", panicked.await.err()));

    surfaces += &String::from_utf8_lossy(&log.0.lock().expect("unpoisoned"));
    surfaces += &String::from_utf8_lossy(&panics.0.lock().expect("unpoisoned"));
    for there in [
        "a changed certificate can't be used",
        "weighbridge_certificate_reload_failures_total{use=\"server\"}",
        "it holds no private key in PEM",
        "Reloaded",
        "rustls",
    ] {
        assert!(surfaces.contains(there), "{there} is on no surface: nothing was looked at");
    }
    for key in &keys {
        for way in written(key) {
            let found = surfaces.find(&way).map(|at| &surfaces[at.saturating_sub(200)..at]);
            assert_eq!(found, None, "a key is there");
        }
    }
    let leaked = format!("{:?}", keys[0]);
    assert!(written(&keys[0]).iter().any(|way| leaked.contains(way)), "a leak is not seen");
}
