//! A model described by its header alone: what hardware must hold, before there is any.

use std::collections::BTreeMap;

use weighbridge_crds::{KvCacheType, Quantization};
use weighbridge_fit::{DeviceFacts, ModelFacts};

use super::source::{Found, Opened};
use crate::artifact::{self, ArtifactRequest};
use crate::backend::cpu::{LoadError, decoder_facts, encoder_facts};
use crate::backend::cuda::card_facts;
use crate::gguf::header_ends_within;
use crate::model::{
    Dimensions, HeaderOnly, PlannedModel, TensorSource, context_length, is_encoder, plan_decoder,
    plan_encoder,
};
use crate::server::config::{CARD_STEP, DECODER_STEP, ENCODER_STEP, kv_kind_on_card, kv_kind_on_cpu};
use crate::server::{ServeError, ServerConfig};

/// More cards than one machine has.
const MOST_CARDS: u32 = 16;

/// A model to describe, with the settings that it is to be served with.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Where it is.
    pub request: ArtifactRequest,
    /// As [`ServerConfig::context_length`].
    pub context_length: Option<usize>,
    /// As [`ServerConfig::max_sequences`].
    pub max_sequences: usize,
    /// As [`ServerConfig::kv_cache_type`].
    pub kv_cache_type: KvCacheType,
    /// As [`ServerConfig::quantize`].
    pub quantize: Option<Quantization>,
}

/// Reads the model's header, and of a hub's file nothing else; says what an engine would reserve for it. No digest is compared:
/// nothing is served by this.
///
/// # Errors
/// [`ServeError`], as the engine would end with.
pub async fn inspect(inspection: Inspection) -> Result<ModelFacts, ServeError> {
    let artifact::Artifact { path, further, .. } =
        artifact::beginning(inspection.request.clone(), &header_ends_within).await?;
    let described =
        move || describe(&Opened::at(&Found { path, further }, inspection.quantize)?, &inspection);
    tokio::task::spawn_blocking(described).await.map_err(|_| ServeError::Panicked)?
}

fn describe(opened: &Opened, inspection: &Inspection) -> Result<ModelFacts, ServeError> {
    let source = HeaderOnly(opened.tensors());
    let unserved = |error| ServeError::Load(LoadError::from(error));
    if is_encoder(&source).map_err(unserved)? {
        return encoder(opened, &source);
    }
    let built = context_length(&source).map_err(unserved)?;
    let context = ServerConfig::served_context(inspection.context_length, built)?;
    let planned = plan_decoder(&source, Some(context)).map_err(unserved)?;
    let PlannedModel { plan, model } = &planned;
    let steps = (CARD_STEP, inspection.max_sequences);
    let mut devices = Vec::new();
    if let Some(kind) = kv_kind_on_cpu(inspection.kv_cache_type) {
        devices.push(decoder_facts(plan, &**model, kind, DECODER_STEP)?);
    }
    let mut not_on_cards = None;
    match kv_kind_on_card(inspection.kv_cache_type) {
        Some(cache) => {
            let on = |cards| card_facts(&**model, plan, cache, cards, context, steps);
            match on(1) {
                Ok(alone) => devices.push(alone),
                Err(why) => not_on_cards = Some(why),
            }
            // What one can't compute, several can't.
            let several = (2..=MOST_CARDS).filter(|_| not_on_cards.is_none());
            devices.extend(several.filter_map(|cards| on(cards).ok()));
        }
        None => {
            let kind = inspection.kv_cache_type;
            not_on_cards =
                Some(format!("keys and values as {kind} are a CPU's, and a GPU has them as f16 or fp8"));
        }
    }
    let served = (built, context, inspection.max_sequences);
    Ok(facts(&source, model.dimensions(), model.vocabulary(), served, devices, not_on_cards)?)
}

fn encoder(opened: &Opened, source: &HeaderOnly<'_>) -> Result<ModelFacts, ServeError> {
    let Opened::Folder { .. } = opened else {
        let problem = "an encoder in GGUF, which is not served: use its folder with config.json, \
                       model.safetensors and tokenizer.json";
        return Err(ServeError::Config { field: "model", problem: problem.to_owned() });
    };
    let PlannedModel { plan, model } =
        plan_encoder(source).map_err(|error| ServeError::Load(error.into()))?;
    let dimensions = model.dimensions();
    let devices = vec![encoder_facts(&plan, dimensions, ENCODER_STEP)];
    let built = dimensions.context_length;
    let why = "embedders and rerankers compute on the CPU".to_owned();
    Ok(facts(source, dimensions, model.vocabulary(), (built, built, 1), devices, Some(why))?)
}

fn facts(
    source: &HeaderOnly<'_>,
    dimensions: &Dimensions,
    vocabulary: usize,
    (built, context, sequences): (usize, usize, usize),
    devices: Vec<DeviceFacts>,
    not_on_cards: Option<String>,
) -> Result<ModelFacts, LoadError> {
    let tensors = || source.names().filter_map(|name| source.tensor(name));
    let mut bytes_by_type = BTreeMap::new();
    for tensor in tensors() {
        *bytes_by_type.entry(tensor.kind().name().to_owned()).or_insert(0) += tensor.bytes() as u64;
    }
    let elements = |shape: &[usize]| shape.iter().fold(1_u64, |all, one| all.saturating_mul(*one as u64));
    let kv = devices.iter().max_by_key(|device| device.cards == 1);
    Ok(ModelFacts {
        architecture: source.keys()?.architecture().to_owned(),
        parameters: tensors().map(|tensor| elements(tensor.shape())).sum(),
        bytes: bytes_by_type.values().sum(),
        bytes_by_type,
        layers: dimensions.layers as u64,
        heads: dimensions.heads as u64,
        kv_heads: dimensions.kv_heads as u64,
        head_length: dimensions.head as u64,
        vocabulary: vocabulary as u64,
        built_context: built as u64,
        context_length: context as u64,
        max_sequences: sequences as u64,
        kv_bytes_per_token: kv.map_or(0, |device| device.kv_block / weighbridge_fit::rules::BLOCK_TOKENS),
        devices,
        not_on_cards,
    })
}
