//! The clouds' own clients against the simulators, and AWS's through the gateway.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::process::Command;
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::access::Access;
use weighbridge_gateway::directory::{Directory, Entry, World};
use weighbridge_tests::certificates::front_door;
use weighbridge_tests::door::cloud::token_uri;
use weighbridge_tests::door::{Door, entry, proxy_config, write_keys};
use weighbridge_tests::matrix::Clients;
use weighbridge_tests::simulator::{Simulator, bedrock, vertex};
use weighbridge_tls::{Handshakes, ServerTls};
use weighbridge_wire::provider::Kind;

use super::bed::{Bed, Maker, entries, upstream};

/// Runs `client` and fails with what it found; it must have run as many `scenarios`.
async fn run(client: &str, base_url: &str, key: &str, more: &[&str], scenarios: usize) {
    let clients = Clients::install().await.expect("the clients");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python/clouds.py");
    let mut command = Command::new(clients.python());
    command.args([program, "--client", client, "--base-url", base_url, "--key", key]).args(more);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*").env("no_proxy", "*");
    // Nothing of this machine's own accounts.
    for name in ["AWS_PROFILE", "AWS_REGION", "AWS_ACCESS_KEY_ID", "GOOGLE_APPLICATION_CREDENTIALS"] {
        command.env_remove(name);
    }
    let run = command.kill_on_drop(true).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&run.stdout);
    let lines: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let failed: Vec<&Value> = lines.iter().filter(|line| line["detail"] != "").collect();
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(failed.is_empty(), "{client}: {failed:#?}\n{error}");
    assert!(run.status.success(), "{client}: {}\n{error}", run.status);
    assert_eq!(
        lines.len(),
        scenarios,
        "{client} has a scenario more or less than this test knows of: {said}"
    );
}

async fn against_the_simulator(client: &str, key: impl Fn(&Simulator) -> String, scenarios: usize) {
    let simulator = Simulator::start().await.expect("a simulator");
    let key = key(&simulator);
    run(client, &format!("http://{}", simulator.address()), &key, &[], scenarios).await;
}

fn account(simulator: &Simulator) -> String {
    vertex::service_account(&token_uri(simulator.address())).to_string()
}

#[tokio::test]
async fn aws_client_finds_converse_as_bedrock_makes_it() {
    against_the_simulator("boto3", |_| bedrock::access_key(true).to_string(), 43).await;
}

#[tokio::test]
async fn anthropics_client_finds_claude_as_bedrock_makes_it() {
    for key in [bedrock::access_key(false).to_string(), bedrock::API_KEY.to_owned()] {
        against_the_simulator("anthropic-bedrock", |_| key.clone(), 29).await;
    }
}

#[tokio::test]
async fn anthropics_client_finds_claude_as_vertex_makes_it() {
    against_the_simulator("anthropic-vertex", account, 30).await;
}

#[tokio::test]
async fn googles_client_finds_gemini_as_vertex_makes_it() {
    against_the_simulator("google-genai-vertex", account, 31).await;
}

/// What AWS's client says of models at a gateway that has a certificate: without one it shows no key of this kind.
async fn through_a_gateway(entries: Vec<Entry>, model: &str, only: &str, scenarios: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let (files, trusted) = front_door(folder.path(), "localhost").expect("a certificate");
    let tls = Arc::new(ServerTls::load(files, Handshakes::default()).expect("loaded"));
    let (access, directory) = (Access::open("team"), Directory::from_entries(entries));
    let door = Door::secure(GatewayConfig::default(), directory, access, Some(tls)).await;
    let door = door.expect("a gateway");
    let ca = folder.path().join("trusted.pem");
    std::fs::write(&ca, trusted).expect("written");
    let base = format!("https://localhost:{}", door.address.port());
    let ca = ca.to_str().expect("text");
    run("boto3", &base, "weighbridge-test", &["--ca", ca, "--model", model, "--only", only], scenarios).await;
}

/// Where translation is at work, what it loses is not asked for: the door's own tests have that.
#[tokio::test]
async fn aws_client_finds_converse_at_the_gateway_whoever_answers() {
    const EVERYWHERE: &str = "text,tools,parallel,structured,thinking";
    for (kind, maker, only, scenarios) in [
        (
            Kind::Bedrock,
            Maker::Own,
            "text,stop,tools,parallel,structured,thinking,cached,signature,count",
            16,
        ),
        (Kind::Bedrock, Maker::Anthropic, EVERYWHERE, 10),
        (Kind::Vertex, Maker::Own, EVERYWHERE, 10),
        (Kind::Vertex, Maker::Anthropic, EVERYWHERE, 10),
    ] {
        let bed = Bed::new(kind).await;
        let model = match maker {
            Maker::Anthropic => "claude-{}",
            Maker::Own => "own-{}",
        };
        through_a_gateway(entries(kind, &bed.proxy), model, only, scenarios).await;
    }
}

/// The other kinds of models behind the same door.
#[tokio::test]
async fn aws_client_finds_converse_in_front_of_every_other_dialect() {
    let (simulator, folder) = (Simulator::start().await.expect("a simulator"), tempfile::tempdir());
    let folder = folder.expect("a folder");
    for (kind, base) in [(Kind::OpenAi, "/v1"), (Kind::Anthropic, ""), (Kind::Gemini, "")] {
        let keys = write_keys(folder.path(), &[("sk-test", 1)]).expect("written");
        let config = proxy_config(kind, &format!("http://{}{base}", simulator.address()), keys);
        let proxy = Door::proxy(config).await.expect("a proxy");
        let model = entry("own-faithful", World::Closed, &[proxy.address]);
        let model = Entry { upstream_model: "faithful".to_owned(), speaks: kind.speaks("faithful"), ..model };
        through_a_gateway(vec![model], "own-{}", "text,tools,parallel,structured", 8).await;
    }
}

/// Two clients of one API may not share a mistake: what the proxy signs is what AWS's own client signs.
#[tokio::test]
async fn an_id_with_every_odd_character_is_signed_as_it_is_sent() {
    let mut bed = Bed::new(Kind::Bedrock).await;
    let message = json!({"model": "own-faithful", "messages": [{"role": "user", "content": "hi"}]});
    let answer = bed.post("/v1/chat/completions", &message).await;
    assert_eq!(answer.status, 200, "{:?}", answer.text());
    let seen = bed.simulator.seen();
    let path = &seen.last().expect("a request").path;
    let model = upstream(Kind::Bedrock, Maker::Own, "faithful").replace(':', "%3A");
    assert_eq!(*path, format!("/model/{model}/converse"));
}
