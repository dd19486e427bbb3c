//! A model of the cluster that kubectl would talk to.

use kube::{Api, Client, Config};
use weighbridge_crds::ModelDeployment;

/// Why it was not found, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No address or no credentials of an apiserver.
    #[error("no cluster is configured: set KUBECONFIG, as for kubectl")]
    Config(#[source] kube::config::InferConfigError),
    /// The client could not be built.
    #[error("the client of the apiserver could not be built")]
    Client(#[source] Box<kube::Error>),
    /// The apiserver's refusal, or no answer.
    #[error("{what}")]
    Api {
        /// What could not be done.
        what: String,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// No such model.
    #[error(
        "there is no ModelDeployment {name:?} in namespace {namespace:?}: `kubectl get mdep -A` lists them"
    )]
    NoModel {
        /// The namespace that was looked in.
        namespace: String,
        /// The name that was given.
        name: String,
    },
}

/// A model, and the way to it.
pub struct Found {
    /// The way to everything.
    pub client: Client,
    /// The way to it.
    pub models: Api<ModelDeployment>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// It, as it is now.
    pub model: ModelDeployment,
}

impl Found {
    /// The model called `given`: bare in kubectl's own namespace, or `namespace/name`.
    ///
    /// # Errors
    /// No cluster, or no such model in it.
    pub async fn named(given: &str) -> Result<Self, ClusterError> {
        let config = Config::infer().await.map_err(ClusterError::Config)?;
        let (namespace, name) = match given.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (config.default_namespace.clone(), given.to_owned()),
        };
        let client = Client::try_from(config).map_err(|error| ClusterError::Client(Box::new(error)))?;
        let models: Api<ModelDeployment> = Api::namespaced(client.clone(), &namespace);
        let found = models.get_opt(&name).await.map_err(api("the ModelDeployment can't be read"))?;
        match found {
            Some(model) => Ok(Self { client, models, namespace, name, model }),
            None => Err(ClusterError::NoModel { namespace, name }),
        }
    }

    /// Its canonical name.
    pub fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// What the apiserver did not do.
pub fn api(what: &str) -> impl Fn(kube::Error) -> ClusterError {
    move |error| ClusterError::Api { what: what.to_owned(), source: Box::new(error) }
}
