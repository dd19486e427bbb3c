//! A status is written to the object that it speaks of, and to no other of that name: on the real apiserver as on ours.

use anyhow::{Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};
use weighbridge_crds::{ModelDeployment, ModelDeploymentStatus};
use weighbridge_operator::apply::{CallError, Caller, Means, Settled};
use weighbridge_operator::leader::Candidate;
use weighbridge_operator::{Events, Metrics, status as written};
use weighbridge_tests::faults;
use weighbridge_tests::testbed::{self, TestNamespace};

const NAME: &str = "m";

#[tokio::test]
async fn a_status_is_written_to_the_model_that_it_speaks_of_on_the_real_apiserver() -> Result<()> {
    let client = testbed::client().await?;
    let namespace = TestNamespace::create(&client, "statuses").await?;
    Bed::new(client, namespace.name()).await.statuses().await
}

#[tokio::test]
async fn a_status_is_written_to_the_model_that_it_speaks_of_on_ours() -> Result<()> {
    Bed::new(faults::apiserver(), "n").await.statuses().await
}

struct Bed {
    means: Means,
    models: Api<ModelDeployment>,
}

impl Bed {
    /// Leads as a real candidate does, with a Lease elsewhere.
    async fn new(client: Client, namespace: &str) -> Self {
        let candidate =
            Candidate::new(faults::apiserver(), "n", "lease", "me".to_owned(), Metrics::default());
        let leadership = candidate.leadership();
        tokio::spawn(candidate.run(std::future::pending()));
        leadership.gained().await;
        let caller = Caller::new(leadership, Metrics::default());
        let events = Events::new(client.clone(), caller.clone(), "test".to_owned());
        let models = Api::namespaced(client.clone(), namespace);
        Bed { means: Means { client, caller, settled: Settled::default(), events }, models }
    }

    async fn statuses(&self) -> Result<()> {
        // As a version that applied its statuses left it.
        self.make().await?;
        self.applied("weighbridge", &status(1, Some("old"), &[("Accepted", "old")])).await?;
        let before = self.models.get(NAME).await?;

        let said = status(1, Some("a"), &[("Accepted", "a"), ("Ready", "a")]);
        self.write(&before, &said).await?;
        let first = self.models.get(NAME).await?;
        ensure!(told(&first) == said, "{first:?}");
        self.write(&before, &said).await?;
        ensure!(self.is_still(&first).await?, "a version without news");

        // Others' conditions stay as they are by now, and where they are not where they were, nothing is written.
        self.applied("somebody", &json!({"conditions": [condition("Theirs", "1")]})).await?;
        let seen = self.models.get(NAME).await?;
        self.applied("somebody", &json!({"conditions": [condition("Theirs", "2")]})).await?;
        self.write(&seen, &status(0, None, &[("Accepted", "b")])).await?;
        let second = self.models.get(NAME).await?;
        ensure!(told(&second) == status(0, None, &[("Accepted", "b"), ("Theirs", "2")]), "{second:?}");
        let late = self.write(&seen, &status(0, None, &[("Accepted", "c")])).await;
        ensure!(late.as_ref().is_err_and(CallError::is_conflict), "{late:?}");
        ensure!(self.is_still(&second).await?, "written over what was not seen");

        self.models.delete(NAME, &DeleteParams::default()).await?;
        let anew = self.make().await?;
        let late = self.write(&first, &status(0, None, &[("Accepted", "d")])).await;
        ensure!(late.as_ref().is_err_and(CallError::is_conflict), "{late:?}");
        ensure!(self.is_still(&anew).await?, "the status of another model of that name");
        self.trials(&anew).await
    }

    /// A trial goes on from where it was seen to be, and nothing that arrives late begins, ends or sets one back.
    async fn trials(&self, unseen: &ModelDeployment) -> Result<()> {
        let edited = Patch::Merge(json!({"spec": {"external": {"model": "larger"}}}));
        self.models.patch(NAME, &PatchParams::default(), &edited).await?;
        let plain = status(1, Some("a"), &[("Accepted", "a")]);
        self.is_late(unseen, &plain, "the first word on a spec that is another by now").await?;
        let at = |step: i32| {
            let mut status = plain.clone();
            status["rollout"] = json!({"phase": "Preparing", "stable": "a", "canary": "b", "step": step,
                "traffic": 10 * step, "progress": format!("step {step}")});
            status
        };
        let mut seen = vec![];
        for said in [&plain, &at(1), &at(2), &plain] {
            let live = self.models.get(NAME).await?;
            self.write(&live, said).await?;
            seen.push(live);
            ensure!(told(&self.models.get(NAME).await?) == *said, "{said}");
        }
        let [_, before, first, second] = seen.as_slice() else { anyhow::bail!("four were seen") };
        // The trial is over.
        self.is_late(first, &at(2), "a trial that is over").await?;
        self.is_late(second, &plain, "the end of a trial that is over").await?;
        let live = self.models.get(NAME).await?;
        self.write(&live, &at(1)).await?;
        self.is_late(before, &status(0, None, &[("Accepted", "late")]), "what was before a trial").await?;
        self.is_late(second, &at(3), "a step of a trial that is elsewhere").await
    }

    async fn is_late(&self, seen: &ModelDeployment, said: &Value, what: &str) -> Result<()> {
        let live = self.models.get(NAME).await?;
        let late = self.write(seen, said).await;
        ensure!(late.as_ref().is_err_and(CallError::is_conflict), "{what}: {late:?}");
        ensure!(self.is_still(&live).await?, "{what} was written");
        Ok(())
    }

    async fn make(&self) -> Result<ModelDeployment> {
        let spec = json!({"external": {"provider": "acme", "model": "large"}});
        let model = serde_json::from_value(json!({"metadata": {"name": NAME}, "spec": spec}))?;
        Ok(self.models.create(&PostParams::default(), &model).await?)
    }

    async fn is_still(&self, seen: &ModelDeployment) -> Result<bool> {
        let live = self.models.get(NAME).await?;
        Ok(live.metadata.resource_version == seen.metadata.resource_version)
    }

    /// As the operator writes a status that it takes for news of `seen`.
    async fn write(&self, seen: &ModelDeployment, said: &Value) -> Result<(), CallError> {
        let said: ModelDeploymentStatus = serde_json::from_value(said.clone()).unwrap_or_default();
        written::write_model(&self.means, seen, &said).await.map(drop)
    }

    async fn applied(&self, by: &str, said: &Value) -> Result<()> {
        let (api_version, kind) = (ModelDeployment::api_version(&()), ModelDeployment::kind(&()));
        let body = json!({"apiVersion": api_version, "kind": kind, "status": said});
        self.models.patch_status(NAME, &PatchParams::apply(by).force(), &Patch::Apply(body)).await?;
        Ok(())
    }
}

fn condition(type_: &str, message: &str) -> Value {
    json!({"type": type_, "status": "True", "reason": "Tried", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn status(ready: i32, revision: Option<&str>, conditions: &[(&str, &str)]) -> Value {
    let conditions: Vec<_> = conditions.iter().map(|(type_, message)| condition(type_, message)).collect();
    let mut status = json!({"replicas": 1, "readyReplicas": ready, "conditions": conditions});
    if let Some(revision) = revision {
        status["revision"] = json!(revision);
    }
    status
}

fn told(model: &ModelDeployment) -> Value {
    json!(model.status)
}
