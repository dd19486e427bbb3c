//! The apiserver that the operator is swept against (`weighbridge_tests::faults`) behaves as a real one: writes that are drawn at
//! random are sent to both, and each must do the same to both.
//!
//! The same numbers are drawn in every run. `PROPTEST_RNG_SEED` and `PROPTEST_CASES` look further, on a cluster where no operator
//! runs.
//!
//! Not drawn, for nothing that is swept leans on it: the status of kinds that Kubernetes brings, whose path writes some of the
//! metadata too; rules of a kind's own schema; a list's item that two managers own in part; strategic merge; JSON patches but of a
//! status; dry runs; propagation other than each kind's own; and what an answer to a deletion holds.

mod draw;
mod side;
mod statuses;

use std::collections::BTreeSet;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Client, ResourceExt};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use weighbridge_tests::faults;
use weighbridge_tests::testbed::{self, TestNamespace};

use draw::{MODEL, OWNERS, POLICY, SERVICE, Subject, Write};
use side::Side;

/// Sequences of writes to one kind.
const CASES: u32 = 20;

#[test]
fn a_service_is_written_to_as_on_the_real_apiserver() -> Result<()> {
    alike(&SERVICE, &[200, 201, 404, 409, 422, 500])
}

#[test]
fn a_network_policy_is_written_to_as_on_the_real_apiserver() -> Result<()> {
    alike(&POLICY, &[200, 201, 404, 409, 422])
}

#[test]
fn a_model_is_written_to_as_on_the_real_apiserver() -> Result<()> {
    alike(&MODEL, &[200, 201, 404, 409, 422, 500])
}

/// Every sequence does the same to both, and each of `codes` is answered in some.
fn alike(subject: &'static Subject, codes: &[u16]) -> Result<()> {
    let runtime = Runtime::new()?;
    let bed = runtime.block_on(Bed::new(subject))?;
    let config = Config { failure_persistence: None, max_shrink_iters: 100, ..Config::default() };
    let config = match config.rng_seed {
        RngSeed::Random => Config { rng_seed: RngSeed::Fixed(1), cases: CASES, ..config },
        RngSeed::Fixed(_) => config,
    };
    let found = TestRunner::new(config).run(&draw::sequence(subject), |writes| {
        runtime.block_on(bed.both(&writes)).map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    found.map_err(|error| anyhow!("{error}"))?;
    let answered = bed.answered.lock().map_err(|error| anyhow!("{error}"))?;
    let missing: Vec<_> = codes.iter().filter(|code| !answered.contains(code)).collect();
    ensure!(missing.is_empty(), "nothing was answered by {missing:?}");
    Ok(())
}

/// A namespace of the real apiserver, for one sequence after another.
struct Bed {
    subject: &'static Subject,
    client: Client,
    namespace: TestNamespace,
    /// UIDs of objects that may own others: the garbage collector takes what nothing owns any more.
    owners: Vec<String>,
    answered: Mutex<BTreeSet<u16>>,
}

impl Bed {
    async fn new(subject: &'static Subject) -> Result<Self> {
        let client = testbed::client().await?;
        let namespace = TestNamespace::create(&client, "conformance").await?;
        let mut owners = Vec::new();
        for name in OWNERS {
            let owner: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}}))?;
            let made = namespace.api::<ConfigMap>().create(&PostParams::default(), &owner).await?;
            owners.push(made.uid().context("a UID")?);
        }
        Ok(Bed { subject, client, namespace, owners, answered: Mutex::default() })
    }

    /// Sends `writes` to both.
    async fn both(&self, writes: &[Write]) -> Result<()> {
        let side = |client| Side::new(client, self.subject, self.namespace.name(), &self.owners);
        let (mut real, mut fake) = (side(self.client.clone()).await?, side(faults::apiserver()).await?);
        let mut told = String::new();
        for write in writes {
            let (expected, found) = (real.send(write).await?, fake.send(write).await?);
            told += &format!("\n{write}\n  -> {expected}");
            ensure!(expected.is_like(&found), "{told}\n  and ours:\n  -> {found}\n");
            self.answered.lock().map_err(|error| anyhow!("{error}"))?.insert(expected.code);
        }
        let (expected, found) = (real.end().await?, fake.end().await?);
        let told_of = |events: &[(&str, Value)]| -> String {
            events.iter().map(|(type_, object)| format!("\n  {type_} {object}")).collect()
        };
        ensure!(expected == found, "{told}\nevents:{}\n  and ours:{}\n", told_of(&expected), told_of(&found));
        Ok(())
    }
}
