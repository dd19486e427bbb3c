//! The examples of clouds, from the file to an answer: planned by the operator, served by the proxy with the planned flags.

use clap::Parser;
use serde_json::{Value, json};
use weighbridge_crds::manifest::{Manifest, parse};
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::cli::{Cli, Role};
use weighbridge_gateway::directory::{Directory, Entry, World, kind};
use weighbridge_operator::plan::{Bounds, Images, Proxies, PullPolicy, plan_offline};
use weighbridge_tests::door::{Client, Door, entry};
use weighbridge_tests::simulator::{Simulator, bedrock, vertex};

use super::bed::key;

const EXAMPLES: [&str; 2] = [
    include_str!("../../../examples/external-vertex.yaml"),
    include_str!("../../../examples/external-bedrock.yaml"),
];

fn images() -> Images {
    Images {
        inference_server: "images.example/inference-server:1".to_owned(),
        gateway: "images.example/gateway:1".to_owned(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: Vec::new(),
        gateway_namespace: "weighbridge-system".to_owned(),
        operator_namespace: "weighbridge-system".to_owned(),
        bounds: Bounds::default(),
        proxies: Proxies::default(),
    }
}

/// The arguments of the proxy in a plan.
fn arguments(plan: &[Value]) -> Vec<String> {
    let deployment = plan.iter().find(|object| object["kind"] == "Deployment").expect("a Deployment");
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    serde_json::from_value(arguments.clone()).expect("arguments")
}

#[tokio::test]
async fn an_example_is_served_as_it_is_planned() {
    for text in EXAMPLES {
        let simulator = Simulator::start().await.expect("a simulator");
        let mut manifests = parse(text).expect("a valid example");
        let mut models = Vec::new();
        let mut of = None;
        for manifest in &mut manifests {
            match manifest {
                // The simulator in place of the cloud, with its project and region.
                Manifest::ExternalProvider(provider) => {
                    let spec = &mut provider.spec;
                    of = Some(kind(spec.kind));
                    spec.base_url = Some(format!("http://{}", simulator.address()));
                    spec.allow_private = true;
                    if let Some(place) = &mut spec.vertex {
                        place.project = vertex::PROJECT.to_owned();
                        place.location = vertex::LOCATION.to_owned();
                    }
                    if let Some(place) = &mut spec.bedrock {
                        place.region = bedrock::REGION.to_owned();
                    }
                }
                Manifest::ModelDeployment(model) => {
                    models.push(model.spec.external.as_ref().expect("a closed model").model.clone());
                }
                other => panic!("{other:?}"),
            }
        }
        let of = of.expect("a provider");
        let planned = plan_offline(&manifests, &images(), &mut |_| Ok(None)).expect("planned");
        let proxy = planned.iter().find(|plan| plan.kind == "ExternalProvider").expect("a plan of the proxy");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        std::fs::write(&file, key(of, &simulator)).expect("written");
        let arguments = arguments(&proxy.objects).into_iter().map(|argument| {
            match argument.strip_prefix("--key-file=") {
                Some(_) => format!("--key-file={}", file.display()),
                None => argument,
            }
        });
        let cli = Cli::try_parse_from(std::iter::once("weighbridge-gateway".to_owned()).chain(arguments));
        let Role::Proxy(flags) = cli.expect("flags of the proxy").role else { panic!("another role") };
        let proxy = Door::proxy(flags.config().expect("bounds")).await.expect("a proxy");
        for model in models {
            // Its dialect is by the example's name; who answers is the simulator's.
            let speaks = of.speaks(&model);
            let upstream_model = simulated(&model);
            let entry = entry("example", World::Closed, &[proxy.address]);
            let entry = Entry { upstream_model, speaks, ..entry };
            let door = Door::gateway(GatewayConfig::default(), Directory::from_entries(vec![entry]));
            let door = door.await.expect("a gateway");
            let mut client = Client::connect(door.address).await.expect("connected");
            let question = json!({"model": "example", "messages": [{"role": "user", "content": "hi"}]});
            let answer = client.post("/v1/chat/completions", question.to_string()).await.expect("answered");
            assert_eq!(answer.status, 200, "{model}: {:?}", answer.text());
        }
    }
}

/// The simulator's faithful model of the same maker.
fn simulated(model: &str) -> String {
    let name = if model.contains("claude") { "claude-faithful" } else { "faithful" };
    if model.starts_with("us.") { format!("us.{name}-v1:0") } else { name.to_owned() }
}
