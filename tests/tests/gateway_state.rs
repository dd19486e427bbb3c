//! What a gateway tells the operator of where calls go: to whom, and what readers that misbehave can do to it.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use weighbridge_crds::{GatewayState, ModelRoutes};
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::directory::{Directory, Entry, Seen, World};
use weighbridge_tests::certificates::{Installation, anonymous};
use weighbridge_tests::door::{Client, Door, entry};
use weighbridge_tls::{Handshakes, Identity, ServerTls};

/// For what comes at once; nothing waits for its end.
const DEADLINE: Duration = Duration::from_secs(60);

fn model(name: &str, generation: i64, ports: &[u16]) -> Entry {
    let addresses: Vec<_> = ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
    let seen = Seen { uid: format!("uid-{name}"), generation };
    Entry { seen, ..entry(name, World::Open, &addresses) }
}

/// A gateway over `directory` whose port for the operator speaks plain http.
async fn gateway(directory: &Directory) -> Result<(Door, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(Door::telling(GatewayConfig::default(), directory.clone(), listener, None).await?)
}

async fn ask(client: &mut Client, after: Option<u64>) -> Result<GatewayState> {
    let path = after.map_or_else(|| "/state".to_owned(), |after| format!("/state?after={after}"));
    let answer = tokio::time::timeout(DEADLINE, client.get(&path)).await.context("no answer")??;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(serde_json::from_slice(&answer.body)?)
}

fn names(models: &[ModelRoutes]) -> Vec<&str> {
    let mut names: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// Everybody else could learn which models there are, and where.
#[tokio::test]
async fn the_operator_is_told_and_nobody_else() -> Result<()> {
    let ours = Installation::new()?;
    let files = ours.server_files("gateway", &Identity::Gateway)?;
    let directory = Directory::from_entries(vec![model("m", 1, &[1])]);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let tls = ServerTls::load(files, Handshakes::default())?;
    let (_door, address) = Door::telling(GatewayConfig::default(), directory, listener, Some(tls)).await?;
    let name = Identity::Gateway.to_string();

    let operator = ours.client("operator", &Identity::Operator)?.current();
    let mut client = Client::connect_tls(address, operator, &name).await?;
    let state = ask(&mut client, None).await?;
    ensure!(names(&state.models) == ["m"] && state.models[0].uid == "uid-m", "{state:?}");
    let elsewhere = client.get("/metrics").await?;
    ensure!(elsewhere.status == 404, "{elsewhere:?}");
    ensure!(client.post("/state", "{}").await?.status == 404);

    let trusted = &ours.issuer.trust().bundle;
    let engine = Identity::Engine { namespace: "team".to_owned(), name: "m".to_owned() };
    for (who, config) in [
        ("nobody", anonymous(ours.folder(), trusted, &[])?),
        ("a gateway", ours.client("another", &Identity::Gateway)?.current()),
        ("an engine", ours.client("engine", &engine)?.current()),
        (
            "an operator of others",
            Installation::new()?.client_trusting("operator", &Identity::Operator, trusted)?.current(),
        ),
    ] {
        let heard = async { Client::connect_tls(address, config, &name).await?.get("/state").await };
        ensure!(heard.await.is_err(), "{who} got an answer");
    }
    let plain = Client::connect(address).await?.get("/state").await?;
    ensure!(plain.status == 400 && plain.text()?.contains("use https"), "{plain:?}");
    Ok(())
}

/// A thousand models, and one of them changes: the others are not sent again.
#[tokio::test]
async fn of_many_models_only_the_changed_one_is_sent() -> Result<()> {
    let all = |changed: i64| -> Vec<Entry> {
        (0..1000).map(|at| model(&format!("m{at}"), if at == 500 { changed } else { 1 }, &[7])).collect()
    };
    let directory = Directory::from_entries(all(1));
    let (_door, address) = gateway(&directory).await?;
    let mut client = Client::connect(address).await?;
    let first = ask(&mut client, None).await?;
    ensure!(
        first.whole && first.models.len() + usize::from(first.more) * 1000 >= 1000,
        "{}",
        first.models.len()
    );
    let mut version = first.version;
    let mut told = first.models.len();
    let mut more = first.more;
    while more {
        let next = ask(&mut client, Some(version)).await?;
        ensure!(!next.whole);
        told += next.models.len();
        (version, more) = (next.version, next.more);
    }
    ensure!(told == 1000, "{told}");
    let waiting = tokio::spawn(async move {
        let state = ask(&mut client, Some(version)).await?;
        anyhow::Ok((client, state))
    });
    directory.replace(all(2));
    let (mut client, next) = waiting.await??;
    ensure!(names(&next.models) == ["m500"] && next.models[0].generation == 2, "{:?}", next.models);
    // Gone is told as such, once.
    directory.replace(all(2).into_iter().skip(1).collect());
    let gone = ask(&mut client, Some(next.version)).await?;
    ensure!(gone.models.is_empty() && gone.gone.len() == 1 && gone.gone[0].name == "m0", "{gone:?}");
    Ok(())
}

/// Readers that ask and never read, that wait for ever, and that leave in between hold up neither each other nor calls.
#[tokio::test]
async fn readers_that_misbehave_hold_nobody_up() -> Result<()> {
    let directory = Directory::from_entries((0..2000).map(|at| model(&format!("m{at}"), 1, &[7])).collect());
    let (door, address) = gateway(&directory).await?;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await?;
        // Many questions at once, whose answers nobody takes.
        stream.write_all("GET /state HTTP/1.1\r\nhost: g\r\n\r\n".repeat(50).as_bytes()).await?;
        silent.push(stream);
    }
    let mut client = Client::connect(address).await?;
    let version = {
        let mut state = ask(&mut client, None).await?;
        while state.more {
            state = ask(&mut client, Some(state.version)).await?;
        }
        state.version
    };
    // As many who wait as may, and more: those are told at once that nothing is new.
    let waiting: Vec<_> = (0..30)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(address).await?;
                ask(&mut client, Some(version)).await
            })
        })
        .collect();
    let full = "weighbridge_gateway_state_waiting_full_total";
    let turned_away = async || {
        let answer = Client::connect(door.admin).await?.get("/metrics").await?;
        let count =
            answer.text()?.lines().find_map(|line| line.strip_prefix(full)?.trim().parse::<usize>().ok());
        count.context("no such metric")
    };
    let some = async {
        while turned_away().await? < 14 {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(DEADLINE, some).await.context("nobody was turned away")??;
    let called = Client::connect(door.address).await?.get("/v1/models").await?;
    ensure!(called.status == 200, "{called:?}");
    directory.replace(vec![model("m0", 2, &[])]);
    let mut told = 0;
    for waiter in waiting {
        let state = waiter.await??;
        ensure!(state.models.is_empty() || names(&state.models) == ["m0"], "{:?}", state.models.len());
        told += usize::from(!state.models.is_empty());
    }
    ensure!(told > 0 && told + turned_away().await? == 30, "{told} of those who waited were told");
    drop(silent);
    Ok(())
}

/// Who waits is not waited for, and who drains tells nobody any more: no call that counts comes there.
#[tokio::test]
async fn a_gateway_that_drains_lets_go_of_who_waits() -> Result<()> {
    let directory = Directory::from_entries(vec![model("m", 1, &[1])]);
    let (door, address) = gateway(&directory).await?;
    let mut client = Client::connect(address).await?;
    let version = ask(&mut client, None).await?.version;
    let waiting = tokio::spawn(async move { client.get(&format!("/state?after={version}")).await });
    door.shutdown.drain();
    let told = tokio::time::timeout(DEADLINE, waiting).await.context("it waits on")??;
    ensure!(told.map_or(true, |answer| answer.status == 503));
    tokio::time::timeout(DEADLINE, door.ended()).await.context("it does not end")??;
    ensure!(TcpStream::connect(address).await.is_err());
    Ok(())
}

/// A gateway that knows of nothing yet says nothing, and not that nothing is there.
#[tokio::test]
async fn before_the_first_list_nothing_is_told() -> Result<()> {
    let directory = Directory::unsynced();
    let (_door, address) = gateway(&directory).await?;
    let waiting = tokio::spawn(async move {
        let mut client = Client::connect(address).await?;
        ask(&mut client, None).await
    });
    directory.replace(vec![model("m", 3, &[])]);
    let state = waiting.await??;
    ensure!(state.whole && names(&state.models) == ["m"], "{state:?}");
    Ok(())
}
