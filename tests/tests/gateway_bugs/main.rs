//! One test for each bug of other gateways that takes a whole gateway to have (the table of all of them is in
//! tests/README.md). Those of translation are in `wire`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod access;
mod bounds;
mod streams;

use std::time::Duration;

use weighbridge_gateway::directory::{Directory, World};
use weighbridge_gateway::{GatewayConfig, Limits};
use weighbridge_tests::door::{Answer, Client, Door, Form, entry};
use weighbridge_tests::simulator::Simulator;

/// Longer than anything here takes: what is still not there will not come.
const NEVER: Duration = Duration::from_secs(30);

/// What comes, or the test fails.
async fn comes<T>(future: impl Future<Output = T>, what: &str) -> T {
    match tokio::time::timeout(NEVER, future).await {
        Ok(come) => come,
        Err(_) => panic!("it never comes: {what}"),
    }
}

/// A model of open weights that answers as `model` does, at each of `simulators`.
async fn open(models: &[&str], simulators: &[&Simulator], limits: Limits) -> Door {
    let at: Vec<_> = simulators.iter().map(|simulator| simulator.address()).collect();
    let entries = models.iter().map(|model| entry(model, World::Open, &at)).collect();
    let config = GatewayConfig { limits, ..GatewayConfig::default() };
    Door::gateway(config, Directory::from_entries(entries)).await.expect("a gateway")
}

async fn ask(door: &Door, form: Form, model: &str, stream: bool) -> Answer {
    say(door, form, model, stream, "hi").await
}

async fn say(door: &Door, form: Form, model: &str, stream: bool, question: &str) -> Answer {
    let mut client = Client::connect(door.address).await.expect("connected");
    let body = form.body(model, stream, question);
    client.post(&form.path(model, stream), body).await.expect("answered")
}

async fn metrics(door: &Door) -> String {
    let mut client = Client::connect(door.admin).await.expect("connected");
    client.get("/metrics").await.expect("metrics").text().expect("text").to_owned()
}

/// The sum of the series of `name` whose labels hold `label`.
async fn metric(door: &Door, name: &str, label: &str) -> f64 {
    let text = metrics(door).await;
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum()
}
