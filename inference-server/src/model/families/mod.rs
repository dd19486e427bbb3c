//! One file a family. What they share are the steps of [`super::pass`], not a description of a graph.

mod bert;
mod experts;
mod gemma2;
mod gemma3;
mod llama;
mod mixtral;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod shared;

use super::dimensions::context_length as trained_context;
use super::keys::Keys;
use super::pass::{EncoderPass, Pass};
use super::plan::PackPlan;
use super::variants::{self, DECODERS};
use super::{Dimensions, ModelError, TensorSource};
use crate::kernels::pool::WorkerPanicked;

/// What is served of GGUF, for messages; Mistral and Mixtral are `llama` there.
const SERVED_GGUF: &str =
    "llama, qwen2, qwen3, qwen3moe, gemma2, gemma3, phi3; of encoders, folders with a config.json";

/// What is served of folders, for messages.
const SERVED_FOLDERS: &str = "llama, mistral, mixtral, qwen2, qwen3, qwen3_moe, gemma2, gemma3, gemma3_text, phi3, \
                              bert, roberta, xlm-roberta";

/// A decoder whose weights are packed, or will be when its plan's arena is filled.
pub trait DecoderModel: Send + std::fmt::Debug {
    /// Its dimensions.
    fn dimensions(&self) -> &Dimensions;

    /// Length of a row of logits.
    fn vocabulary(&self) -> usize;

    /// Takes `pass` through the model, from the tokens' embeddings to the logits.
    ///
    /// # Errors
    /// [`WorkerPanicked`], as the pass.
    fn forward(&self, pass: &mut dyn Pass) -> Result<(), WorkerPanicked>;
}

/// A model, and what is to be packed before it can run.
#[derive(Debug)]
pub struct PlannedModel<M: ?Sized> {
    /// What to pack.
    pub plan: PackPlan,
    /// The model.
    pub model: Box<M>,
}

/// Plans the decoder that `source` holds, to be served with a context of `context`, the model's own when `None`.
///
/// # Errors
/// [`ModelError`]: it is not served, or incomplete.
pub fn plan_decoder(
    source: &dyn TensorSource,
    context: Option<usize>,
) -> Result<PlannedModel<dyn DecoderModel>, ModelError> {
    let keys = source.keys()?;
    let context = match context {
        Some(context) => context,
        None => context_length(source)?,
    };
    let family = family(&keys)?;
    variants::refuse(&keys, DECODERS)?;
    match family {
        Family::Llama => llama::plan(source, &keys, context),
        Family::Mixtral => mixtral::plan(source, &keys, context),
        Family::Qwen2 => qwen2::plan(source, &keys, context),
        Family::Qwen3 => qwen3::plan(source, &keys, context),
        Family::Qwen3Moe => qwen3_moe::plan(source, &keys, context),
        Family::Gemma2 => gemma2::plan(source, &keys, context),
        Family::Gemma3 => gemma3::plan(source, &keys, context),
        Family::Phi3 => phi3::plan(source, &keys, context),
    }
}

/// The longest context of the model that `source` holds.
///
/// # Errors
/// [`ModelError`], naming the key that does not say it.
pub fn context_length(source: &dyn TensorSource) -> Result<usize, ModelError> {
    let keys = source.keys()?;
    family(&keys)?;
    trained_context(&keys)
}

/// An encoder: every token sees every other.
pub trait EncoderModel: Send + std::fmt::Debug {
    /// Its dimensions.
    fn dimensions(&self) -> &Dimensions;

    /// Tokens that it knows.
    fn vocabulary(&self) -> usize;

    /// Token types that it knows.
    fn token_types(&self) -> usize;

    /// What [`Self::forward`] gives.
    fn output(&self) -> EncoderOutput;

    /// Takes `pass` through the model. It gives `[rows, embedding]` hidden states, or `[sequences, labels]` scores.
    ///
    /// # Errors
    /// [`WorkerPanicked`], as the pass.
    fn forward(&self, pass: &mut dyn EncoderPass) -> Result<(), WorkerPanicked>;
}

/// What an encoder gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderOutput {
    /// A hidden state for each token, to be pooled.
    HiddenStates,
    /// This many scores for each sequence.
    Scores(usize),
}

/// Plans the encoder that `source` holds.
///
/// # Errors
/// [`ModelError`]: it is not served, or incomplete.
pub fn plan_encoder(source: &dyn TensorSource) -> Result<PlannedModel<dyn EncoderModel>, ModelError> {
    let keys = source.keys()?;
    match (keys, keys.architecture()) {
        (Keys::Gguf { .. }, found) => Err(unserved(&keys, found)),
        (Keys::Json { .. }, "bert") => bert::plan(source, &keys, bert::Kind::Bert),
        (Keys::Json { .. }, "roberta" | "xlm-roberta") => bert::plan(source, &keys, bert::Kind::Roberta),
        (Keys::Json { .. }, found) => Err(unserved(&keys, found)),
    }
}

/// True for a model that [`plan_encoder`] plans, and not [`plan_decoder`].
///
/// # Errors
/// As [`TensorSource::keys`].
pub fn is_encoder(source: &dyn TensorSource) -> Result<bool, ModelError> {
    Ok(matches!(source.keys()?.architecture(), "bert" | "roberta" | "xlm-roberta"))
}

fn unserved(keys: &Keys<'_>, found: &str) -> ModelError {
    let (key, served) = match keys {
        Keys::Gguf { .. } => ("general.architecture", SERVED_GGUF),
        Keys::Json { .. } => ("model_type", SERVED_FOLDERS),
    };
    ModelError::Architecture { key, found: found.to_owned(), served }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Llama,
    Mixtral,
    Qwen2,
    Qwen3,
    Qwen3Moe,
    Gemma2,
    Gemma3,
    Phi3,
}

/// GGUF calls Mistral and Mixtral `llama` too.
fn family(keys: &Keys<'_>) -> Result<Family, ModelError> {
    let experts = keys.optional_u32(("expert_count", "num_local_experts"))?.unwrap_or(0);
    Ok(match keys.architecture() {
        "llama" if experts > 0 => Family::Mixtral,
        "llama" | "mistral" => Family::Llama,
        "mixtral" => Family::Mixtral,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        "qwen3moe" | "qwen3_moe" => Family::Qwen3Moe,
        "gemma2" => Family::Gemma2,
        "gemma3" | "gemma3_text" => Family::Gemma3,
        "phi3" => Family::Phi3,
        found => return Err(unserved(keys, found)),
    })
}
