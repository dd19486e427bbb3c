//! The tensors that lie beside a `config.json`, for whoever plans a model and reads no weights.

use super::{Family, Format, Shape, SynthSpec, names, tensors};
use crate::gguf::TensorType;

/// Names and shapes of the tensors of a model of `shape` whose config says `model_type`: a Llama's where no family is
/// called that.
pub(crate) fn tensors_beside(model_type: &str, shape: Shape) -> Vec<(String, Vec<usize>)> {
    let named = Family::ALL.into_iter().find(|family| family.transformers(false).0 == model_type);
    let family = match (named, model_type) {
        (Some(family), _) => family,
        (None, "roberta") => Family::XlmRoberta,
        (None, _) => Family::Llama,
    };
    let spec = SynthSpec::new(family, shape, Format::Safetensors, TensorType::F32);
    let stored =
        tensors::tensors(&spec).iter().flat_map(|tensor| names::stored(&spec, tensor)).collect::<Vec<_>>();
    stored.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect()
}
