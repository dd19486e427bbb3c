use std::path::Path;

use anyhow::Result;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weighbridge_crds::{ExternalProvider, ModelAccess, ModelDeployment, ResourceProfile};
use weighbridge_tests::operator::Operator;
use weighbridge_tests::testbed::{self, TestNamespace, wait};

/// An operator that looks at one namespace.
pub async fn operator(namespace: &str, identity: &str) -> Result<Operator> {
    operator_with(namespace, identity, &[]).await
}

/// An operator that looks at one namespace, with further flags.
pub async fn operator_with(namespace: &str, identity: &str, more: &[&str]) -> Result<Operator> {
    let program = Path::new(env!("CARGO_BIN_EXE_operator-under-test"));
    let scope = format!("--watch-namespace={namespace}");
    Operator::start(program, namespace, identity, [&[scope.as_str()], more].concat()).await
}

/// As [`operator`], by a ServiceAccount called like it: so the audit log knows its writes.
pub async fn operator_by_name(namespace: &TestNamespace, identity: &str) -> Result<Operator> {
    let client = testbed::client().await?;
    let name = namespace.name();
    apply(&namespace.api::<ServiceAccount>(), identity, json!({})).await?;
    let subject = json!({"kind": "ServiceAccount", "name": identity, "namespace": name});
    let role =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"});
    let owner = Api::<Namespace>::all(client.clone()).get(name).await?;
    let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": owner.uid()}]);
    let binding = json!({"metadata": {"ownerReferences": owner}, "roleRef": role, "subjects": [subject]});
    apply(&Api::<ClusterRoleBinding>::all(client.clone()), &format!("{name}-{identity}"), binding).await?;
    let program = Path::new(env!("CARGO_BIN_EXE_operator-under-test"));
    let scope = format!("--watch-namespace={name}");
    Operator::start_as(program, &client, (name, identity), identity, [scope]).await
}

/// A namespace with an operator of its own that leads.
pub struct Bench {
    pub client: Client,
    pub namespace: TestNamespace,
    pub operator: Operator,
}

impl Bench {
    pub async fn new(hint: &str) -> Result<Self> {
        let client = testbed::client().await?;
        let namespace = TestNamespace::create(&client, hint).await?;
        Self::in_namespace(client, namespace).await
    }

    /// With further flags of the operator.
    pub async fn with(hint: &str, more: &[&str]) -> Result<Self> {
        let client = testbed::client().await?;
        let namespace = TestNamespace::create(&client, hint).await?;
        let operator = operator_with(namespace.name(), "alone", more).await?;
        Ok(Bench { client, namespace, operator })
    }

    pub async fn in_namespace(client: Client, namespace: TestNamespace) -> Result<Self> {
        let operator = operator(namespace.name(), "alone").await?;
        Ok(Bench { client, namespace, operator })
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        self.namespace.api()
    }

    /// Applies a ModelDeployment as kubectl does.
    pub async fn model(&self, name: &str, spec: Value) -> Result<ModelDeployment> {
        apply(&self.api(), name, json!({"spec": spec})).await
    }

    /// Applies an ExternalProvider as kubectl does.
    pub async fn provider(&self, name: &str, spec: Value) -> Result<ExternalProvider> {
        apply(&self.api(), name, json!({"spec": spec})).await
    }

    /// Makes a ResourceProfile under the namespace's name, which goes with the namespace.
    pub async fn profile(&self, spec: Value) -> Result<String> {
        let name = self.namespace.name().to_owned();
        let namespace = Api::<Namespace>::all(self.client.clone()).get(&name).await?;
        let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": namespace.uid()}]);
        let api: Api<ResourceProfile> = Api::all(self.client.clone());
        apply(&api, &name, json!({"metadata": {"ownerReferences": owner}, "spec": spec})).await?;
        Ok(name)
    }

    /// Waits until a condition of a ModelDeployment speaks of its present spec and is as `fits` says.
    pub async fn model_says(
        &self,
        name: &str,
        type_: &str,
        what: &str,
        fits: impl Fn(&Condition) -> bool + Clone + Send + Sync + 'static,
    ) -> Result<ModelDeployment> {
        let (type_, words) = (type_.to_owned(), format!("{type_} of {name}: {what}"));
        wait::until(&self.api::<ModelDeployment>(), name, &words, move |model: &ModelDeployment| {
            let generation = model.metadata.generation;
            let conditions = model.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| {
                condition.type_ == type_ && condition.observed_generation == generation && fits(condition)
            })
        })
        .await
    }

    /// As [`Bench::model_says`], of an ExternalProvider.
    pub async fn provider_says(
        &self,
        name: &str,
        type_: &str,
        what: &str,
        fits: impl Fn(&Condition) -> bool + Clone + Send + Sync + 'static,
    ) -> Result<ExternalProvider> {
        let (type_, words) = (type_.to_owned(), format!("{type_} of {name}: {what}"));
        wait::until(&self.api::<ExternalProvider>(), name, &words, move |provider: &ExternalProvider| {
            let generation = provider.metadata.generation;
            let conditions = provider.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| {
                condition.type_ == type_ && condition.observed_generation == generation && fits(condition)
            })
        })
        .await
    }

    /// As [`Bench::model_says`], of a ModelAccess.
    pub async fn access_says(
        &self,
        name: &str,
        type_: &str,
        what: &str,
        fits: impl Fn(&Condition) -> bool + Clone + Send + Sync + 'static,
    ) -> Result<ModelAccess> {
        let (type_, words) = (type_.to_owned(), format!("{type_} of {name}: {what}"));
        wait::until(&self.api::<ModelAccess>(), name, &words, move |access: &ModelAccess| {
            let generation = access.metadata.generation;
            let conditions = access.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| {
                condition.type_ == type_ && condition.observed_generation == generation && fits(condition)
            })
        })
        .await
    }

    pub async fn model_is_ready(&self, name: &str) -> Result<ModelDeployment> {
        self.model_says(name, "Ready", "is True", |condition| condition.status == "True").await
    }
}

/// Server-side apply as a person's kubectl.
pub async fn apply<K>(api: &Api<K>, name: &str, mut object: Value) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    object["metadata"]["name"] = json!(name);
    Ok(api.patch(name, &PatchParams::apply("kubectl").force(), &Patch::Apply(object)).await?)
}

/// Changes a field as a person's `kubectl patch`.
pub async fn merge<K>(api: &Api<K>, name: &str, patch: impl Serialize + std::fmt::Debug) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    Ok(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

/// A source that every test may name: nothing is fetched by simulated pods.
pub const SOURCE: &str = "hf://org/repo/file.gguf";
