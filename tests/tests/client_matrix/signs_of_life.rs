//! What every official client makes of a sign of life in the middle of an answer.

use std::net::SocketAddr;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use weighbridge_gateway::{GatewayConfig, Timeouts};
use weighbridge_tests::door::TwoHops;
use weighbridge_tests::matrix::{Ability, CLIENTS, Clients, Server, Table, Upstream};
use weighbridge_wire::provider::Kind;

/// Of each dialect, within a chunk of its own.
const SIGNS: [&[u8]; 3] = [b": ping\n\n", b"event: ping\n", b"1\r\n\n\r\n"];

/// A way to a gateway. The provider goes on with an answer once a sign of life has passed here.
struct Lookout {
    address: SocketAddr,
    seen: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

impl Lookout {
    async fn before(hops: Arc<TwoHops>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (hops, seen) = (Arc::clone(&hops), Arc::clone(&counted));
                tokio::spawn(pass(near, hops.door.address, move || {
                    seen.fetch_add(1, Ordering::Relaxed);
                    hops.simulator.release(1);
                }));
            }
        });
        Self { address, seen, _accepting: AbortOnDropHandle::new(accepting) }
    }
}

/// Passes one connection's bytes on, and tells of the first sign of life in what comes back.
async fn pass(near: TcpStream, gateway: SocketAddr, seen: impl FnOnce()) {
    let far = TcpStream::connect(gateway).await.expect("a gateway");
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let there = async {
        let _ = tokio::io::copy(&mut from_near, &mut to_far).await;
        let _ = to_far.shutdown().await;
    };
    let back = async {
        let (mut seen, mut said, mut piece) = (Some(seen), Vec::new(), [0; 4096]);
        while let Ok(bytes @ 1..) = from_far.read(&mut piece).await {
            said.extend_from_slice(&piece[..bytes]);
            let has_sign = SIGNS.iter().any(|sign| said.windows(sign.len()).any(|window| window == *sign));
            if has_sign && let Some(seen) = seen.take() {
                seen();
            }
            if to_near.write_all(&piece[..bytes]).await.is_err() {
                return;
            }
        }
        let _ = to_near.shutdown().await;
    };
    tokio::join!(there, back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_reads_on_past_a_sign_of_life() {
    let clients = Clients::install().await.expect("the clients");
    let timeouts = Timeouts { keep_alive: Duration::from_millis(5), ..Timeouts::default() };
    let config = GatewayConfig { timeouts, ..GatewayConfig::default() };
    let hops = Arc::new(TwoHops::with(Kind::Anthropic, &["stall"], config).await.expect("two hops"));
    let lookout = Lookout::before(Arc::clone(&hops)).await;
    let server = Server { base_url: format!("http://{}", lookout.address), key: "wb-anybody".to_owned() };
    let mut table = Table::default();
    for client in &CLIENTS {
        // This SDK takes a name with a slash for a path.
        let model = if client.name == "ai-sdk google" { "stall" } else { "team/stall" };
        let upstream = Upstream {
            name: "a provider that waits".to_owned(),
            model: model.to_owned(),
            abilities: vec![Ability::Text],
            simulated: true,
            signed: true,
            ..Upstream::default()
        };
        let before = lookout.seen.load(Ordering::Relaxed);
        let run = clients.run(client, &server, slice::from_ref(&upstream)).await;
        table.add(run.expect("it runs"));
        assert_eq!(
            lookout.seen.load(Ordering::Relaxed) - before,
            1,
            "{}: signs of life\n{table}\n{}",
            client.name,
            table.failures()
        );
    }
    let failures = table.failures();
    assert!(failures.is_empty(), "{table}\n{failures}");
    assert_eq!(table.cells(), 2 * CLIENTS.len(), "each whole and as a stream");
}
