//! Whether calls go where they are to, by the word of a real gateway.

use anyhow::{Result, ensure};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use serde_json::json;
use weighbridge_crds::ModelDeployment;
use weighbridge_tests::testbed::wait;

use super::gateway::Place;
use super::harness::{Bench, SOURCE, merge};

fn is(
    status: &'static str,
    reason: &'static str,
    words: &'static str,
) -> impl Fn(&Condition) -> bool + Clone {
    move |condition| {
        condition.status == status && condition.reason == reason && condition.message.contains(words)
    }
}

#[tokio::test]
async fn a_model_is_routable_while_every_ready_gateway_says_so() -> Result<()> {
    let place = Place::new().await?;
    let flags = place.flags();
    let bench = Bench::with("routable", &[&flags[0], &flags[1]]).await?;
    let weights = || json!({"openWeights": {"source": SOURCE}});
    bench.model("m", weights()).await?;
    bench.model_is_ready("m").await?;
    bench
        .model_says("m", "Routable", "nobody can say", is("Unknown", "NoGateway", "no gateway is ready"))
        .await?;

    let mut gateway = place.start(&bench).await?;
    place.ready(&bench, &[("gw-a", true), ("gw-b", false)]).await?;
    bench
        .model_says("m", "Routable", "the gateway's word", is("True", "Routed", "every ready gateway"))
        .await?;
    // One that begins with gateways there is ready when they say so, and that is no news beside it.
    bench.model("n", weights()).await?;
    let model = bench.model_is_ready("n").await?;
    let conditions = &model.status.as_ref().map_or(&[][..], |status| &status.conditions);
    ensure!(conditions.iter().any(|routable| routable.type_ == "Routable" && routable.status == "True"));

    // A gateway whose watch is dead goes by the old spec for ever, and is named.
    gateway.goes_deaf();
    let models = bench.api::<ModelDeployment>();
    merge(&models, "m", json!({"spec": {"hold": {"maxWait": "3s"}}})).await?;
    let behind = is("False", "AwaitingGateways", "gateway gw-a goes by generation 1 of 2");
    bench.model_says("m", "Routable", "the gateway is behind", behind.clone()).await?;
    bench.model_says("m", "Ready", "calls don't go by this spec", behind).await?;
    let of_m = kube::runtime::watcher::Config::default().fields("regarding.name=m,reason=AwaitingGateways");
    let told = wait::until_all(&bench.api::<Event>(), of_m, "an Event", |events| !events.is_empty()).await?;
    let note = told[0].note.clone().unwrap_or_default();
    ensure!(note.contains("gw-a") && note.contains("What to do: "), "{note}");

    // It is started anew: not ready meanwhile, it is nobody's gateway, and then it has caught up.
    place.ready(&bench, &[("gw-a", false)]).await?;
    bench.model_says("m", "Routable", "nobody can say", is("Unknown", "NoGateway", "")).await?;
    bench.model_is_ready("m").await?;
    gateway.ends().await?;
    let gateway = place.start(&bench).await?;
    place.ready(&bench, &[("gw-a", true)]).await?;
    bench.model_says("m", "Routable", "it has caught up", is("True", "Routed", "")).await?;

    // One that says nothing is named, and nothing is held against the model for it.
    gateway.ends().await?;
    place.ready(&bench, &[("gw-c", true)]).await?;
    let silent = is("Unknown", "GatewaysUnheard", "gateway gw-c does not say what it routes");
    bench.model_says("n", "Routable", "the gateway is silent", silent).await?;
    bench.model_is_ready("n").await?;
    let _gateway = place.start(&bench).await?;
    bench.model_says("n", "Routable", "it speaks", is("True", "Routed", "")).await?;
    Ok(())
}

#[tokio::test]
async fn who_begins_to_lead_writes_nothing_for_what_gateways_said_before() -> Result<()> {
    let place = Place::new().await?;
    let flags = place.flags();
    let mut bench = Bench::with("heard-again", &[&flags[0], &flags[1]]).await?;
    let _gateway = place.start(&bench).await?;
    place.ready(&bench, &[("gw-a", true)]).await?;
    bench.model("m", json!({"openWeights": {"source": SOURCE}})).await?;
    bench.model_says("m", "Routable", "the gateway's word", is("True", "Routed", "")).await?;
    let before = bench.model_is_ready("m").await?;
    bench.operator.signal("TERM").await?;
    bench.operator.ended().await?;
    bench.operator =
        super::harness::operator_with(bench.namespace.name(), "next", &[&flags[0], &flags[1]]).await?;
    // It has looked at the model as it began, and again when it had heard the gateway.
    let looked = async {
        while bench.operator.reconciles("ModelDeployment").await? < 2.0 {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(wait::DEADLINE, looked).await??;
    let after: ModelDeployment = bench.api().get("m").await?;
    ensure!(after.resource_version() == before.resource_version(), "{:?}", after.status);
    ensure!(bench.operator.writes().await? == 0.0);
    // And it follows what gateways say.
    place.ready(&bench, &[]).await?;
    bench.model_says("m", "Routable", "nobody can say", is("Unknown", "NoGateway", "")).await?;
    Ok(())
}
