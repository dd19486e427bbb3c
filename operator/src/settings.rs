use std::net::SocketAddr;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use jiff::SignedDuration;
use weighbridge_crds::labels;

use crate::certificates::{LifetimeError, Lifetimes, Places, lifetime};
use crate::gateways::Place;
use crate::plan::{Bounds, Images, Proxies, PullPolicy};

/// Runs open weights and closed APIs as ModelDeployments ask for them.
#[derive(Clone, Debug, Parser)]
#[command(name = "weighbridge-operator", version)]
pub struct Settings {
    /// Image of the open-weights server that engine pods run.
    #[arg(long, env = "WEIGHBRIDGE_INFERENCE_SERVER_IMAGE")]
    pub inference_server_image: String,
    /// Image of the gateway, which provider proxies run.
    #[arg(long, env = "WEIGHBRIDGE_GATEWAY_IMAGE")]
    pub gateway_image: String,
    /// When nodes pull the two images for engine and proxy pods.
    #[arg(long, env = "WEIGHBRIDGE_IMAGE_PULL_POLICY", value_enum, default_value_t)]
    pub image_pull_policy: PullPolicy,
    /// Secret for pulling them, by name: it must be in each namespace that has models. May be given again.
    #[arg(long = "image-pull-secret", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub image_pull_secrets: Vec<String>,
    /// Namespace of the operator's own pod, where its Lease is.
    #[arg(long, env = "POD_NAMESPACE", default_value = "weighbridge-system")]
    pub namespace: String,
    /// Namespace of the gateway's pods, the only ones that may call a provider proxy. Default: the operator's.
    #[arg(long, env = "WEIGHBRIDGE_GATEWAY_NAMESPACE")]
    pub gateway_namespace: Option<String>,
    /// Name of the Service in front of the gateways, there: those that are ready behind it say whether a model's calls go where
    /// they are to. Default: nobody says, and `Routable` is not known.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub gateway_service: Option<String>,
    /// Port on which each gateway says it, as its --state-listen has it.
    #[arg(long, value_name = "PORT", default_value_t = labels::GATEWAY_STATE_PORT)]
    pub gateway_state_port: u16,
    /// Only this namespace is looked at, so that a Role is enough for everything but ResourceProfiles. Default: all.
    #[arg(long, env = "WEIGHBRIDGE_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// Name of this process in the Lease and in Events; unique among replicas.
    #[arg(long, env = "POD_NAME", default_value_t = default_identity())]
    pub identity: String,
    /// Name of the Lease that one of several operators holds.
    #[arg(long, default_value = "weighbridge-operator")]
    pub lease_name: String,
    /// Secret in the operator's namespace with the authority that signs the certificates of gateways, engines and proxies;
    /// made where it is not there.
    #[arg(long, value_name = "NAME", default_value = "weighbridge-authority")]
    pub authority_secret: String,
    /// Secret in the gateways' namespace with their certificate.
    #[arg(long, value_name = "NAME", default_value = "weighbridge-gateway-certificate")]
    pub gateway_certificate_secret: String,
    /// How long certificates of gateways, engines and proxies hold. Each is renewed when two thirds are over, so that the
    /// last third is how long the operator may be away.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = lifetime)]
    pub certificate_lifetime: SignedDuration,
    /// How long an authority holds; the next one is made when two thirds are over.
    #[arg(long, value_name = "TIME", default_value = "1825d", value_parser = lifetime)]
    pub authority_lifetime: SignedDuration,
    /// What engines and proxies share with gateways.
    #[command(flatten)]
    pub bounds: Bounds,
    /// Proxies between engines and what they fetch.
    #[command(flatten)]
    pub proxies: Proxies,
    /// Address of /metrics, /livez and /readyz.
    #[arg(long, default_value = "0.0.0.0:9090")]
    pub metrics_listen: SocketAddr,
    /// Form of log lines.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a terminal.
    Text,
}

impl Settings {
    /// How long certificates hold.
    ///
    /// # Errors
    /// Lifetimes with which a rotation would cut something.
    pub fn lifetimes(&self) -> Result<Lifetimes, LifetimeError> {
        Lifetimes::new(self.authority_lifetime, self.certificate_lifetime)
    }

    /// Where the installation's own certificates are.
    pub fn places(&self) -> Places {
        Places {
            namespace: self.namespace.clone(),
            authority: self.authority_secret.clone(),
            gateway_namespace: self.gateway_namespace(),
            gateway: self.gateway_certificate_secret.clone(),
        }
    }

    /// Where the gateways are; none where nobody says.
    pub fn gateways(&self) -> Option<Place> {
        let service = self.gateway_service.clone()?;
        Some(Place { namespace: self.gateway_namespace(), service, port: self.gateway_state_port })
    }

    fn gateway_namespace(&self) -> String {
        self.gateway_namespace.clone().unwrap_or_else(|| self.namespace.clone())
    }

    /// What every plan leans on.
    pub fn images(&self) -> Images {
        Images {
            inference_server: self.inference_server_image.clone(),
            gateway: self.gateway_image.clone(),
            pull_policy: self.image_pull_policy,
            pull_secrets: self.image_pull_secrets.clone(),
            gateway_namespace: self.gateway_namespace(),
            operator_namespace: self.namespace.clone(),
            bounds: self.bounds,
            proxies: self.proxies.clone(),
        }
    }
}

/// Outside a pod nothing gives a name: the process id and a random number do.
fn default_identity() -> String {
    format!("operator-{}-{:08x}", std::process::id(), rand::random::<u32>())
}
