//! `weighbridge plan`: the operator's own plan for a file, with no cluster.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use tokio::runtime::Runtime;
use weighbridge_fit::ModelFacts;
use weighbridge_inference_server::artifact::ArtifactRequest;
use weighbridge_inference_server::server::{Inspection, ServerConfig, inspect};
use weighbridge_operator::plan::{Images, OfflineError, Planned, plan_offline};
use weighbridge_operator::validate::{Open, Weights};

use crate::args::PlanArgs;
use crate::manifest_file::{self, FileError};
use crate::terminal::{Terminal, in_words};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file can't be used.
    #[error(transparent)]
    File(FileError),
    /// An object of it can't be served.
    #[error(transparent)]
    Refused(OfflineError),
    /// Nothing in it makes anything.
    #[error(
        "the file names no ModelDeployment, ExternalProvider, ModelAccess or ModelCache: there is nothing to plan"
    )]
    Nothing,
    /// A defect of ours: a plan that is no YAML.
    #[error("a planned object can't be written as YAML: {0}")]
    Yaml(String),
    /// The system gave no thread.
    #[error("can't start the runtime")]
    Runtime(#[source] io::Error),
    /// stdout is gone.
    #[error("can't write the plan")]
    Write(#[source] io::Error),
}

/// Prints the plan of a file.
///
/// # Errors
/// The first thing in the file that can't be planned, or a stdout that is gone.
pub fn plan(args: &PlanArgs, terminal: &Terminal) -> Result<(), PlanError> {
    let manifests = manifest_file::read(&args.file).map_err(PlanError::File)?;
    let images = Images {
        inference_server: args.inference_server_image.clone(),
        gateway: args.gateway_image.clone(),
        pull_policy: args.image_pull_policy,
        pull_secrets: args.image_pull_secrets.clone(),
        gateway_namespace: args.gateway_namespace.clone(),
        operator_namespace: args.operator_namespace.as_ref().unwrap_or(&args.gateway_namespace).clone(),
        bounds: args.bounds,
        proxies: args.proxies.clone(),
    };
    let claims: BTreeMap<String, PathBuf> = args.claim.iter().cloned().collect();
    let runtime = tokio::runtime::Runtime::new().map_err(PlanError::Runtime)?;
    let mut look = |open: &Open| looked_at(open, &claims, &runtime);
    let planned = plan_offline(&manifests, &images, &mut look).map_err(PlanError::Refused)?;
    if planned.is_empty() {
        return Err(PlanError::Nothing);
    }
    for one in &planned {
        terminal.print(&shown(one)?).map_err(PlanError::Write)?;
    }
    Ok(())
}

/// What the header of a model's weights says, where a folder stands in for their claim. Nothing is fetched.
fn looked_at(
    open: &Open,
    claims: &BTreeMap<String, PathBuf>,
    runtime: &Runtime,
) -> Result<Option<ModelFacts>, String> {
    let claim = match &open.weights {
        Weights::Claim { claim, file: _ } => claim,
        Weights::Hub(_) | Weights::Stored(_) | Weights::Image(_) | Weights::File { .. } => return Ok(None),
    };
    if !claims.contains_key(claim) {
        return Ok(None);
    }
    let source = open.source.parse().map_err(|error| format!("{error}"))?;
    let mut request = ArtifactRequest::new(source, PathBuf::new());
    request.claims.clone_from(claims);
    let inspection = Inspection {
        request,
        context_length: open.context_length.map(|tokens| tokens as usize),
        max_sequences: open.max_sequences.map_or(ServerConfig::MAX_SEQUENCES, |count| count as usize),
        kv_cache_type: open.kv_cache_type,
        quantize: open.quantize,
    };
    let found = runtime.block_on(inspect(inspection));
    found.map(Some).map_err(|error| in_words(&error))
}

/// The reasons as comments over the objects, so that the whole is YAML that kubectl takes.
fn shown(planned: &Planned) -> Result<String, PlanError> {
    let Planned { kind, namespace, name, objects, decisions } = planned;
    let mut text = format!("# {kind} {namespace}/{name}\n");
    for decision in decisions {
        text += &format!("#   {}: {}\n", one_line(&decision.what), one_line(&decision.why));
    }
    if objects.is_empty() {
        text += "#   no objects\n";
    }
    for object in objects {
        let yaml = serde_saphyr::to_string(object).map_err(|error| PlanError::Yaml(error.to_string()))?;
        text += &format!("---\n{}\n", yaml.trim_end());
    }
    text.push('\n');
    Ok(text)
}

/// A line end inside a comment would become YAML.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
