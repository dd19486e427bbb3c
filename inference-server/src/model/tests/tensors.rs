//! Tensors: each is needed, each has one shape, and none is left over.

use std::collections::BTreeMap;

use super::Changed;
use crate::model::ModelError;
use crate::model::plan::{Names, Planner};

/// What a file may lack: GGUF has no other way to say that there is none.
fn is_optional(model: &str, tensor: &str) -> bool {
    matches!(tensor, "rope_freqs.weight" | "output.weight")
        || tensor.ends_with("o_proj.bias")
        || (!model.contains("reranker") && tensor.starts_with("pooler."))
}

/// What a file is known by: without it, what comes with it is what is refused.
fn is_mark(tensor: &str) -> bool {
    matches!(tensor, "rope_factors_short.weight" | "classifier.weight" | "classifier.out_proj.weight")
        || tensor.ends_with("q_proj.bias")
}

/// The tensor that is said to be missing.
fn missing(said: &str) -> Option<&str> {
    said.strip_prefix("tensor ")?
        .split_once(" is missing; the file is incomplete: fetch")
        .map(|(name, _)| name)
}

#[test]
fn each_is_needed() {
    for (model, source) in Changed::every() {
        for name in source.tensors.keys() {
            match source.clone().without_tensor(name).refusal() {
                None => assert!(is_optional(&model, name), "{model} without {name}"),
                // Without the prefix of encoders that have heads.
                Some(said) => assert!(
                    is_mark(name) || missing(&said).is_some_and(|missing| name.ends_with(missing)),
                    "{model} without {name}: {said}"
                ),
            }
        }
    }
}

#[test]
fn each_has_one_shape() {
    for (model, source) in Changed::every() {
        for tensor in source.tensors.values() {
            let mut shape = tensor.shape().to_vec();
            shape[0] += 1;
            let said = source.clone().with_tensor(tensor.name(), &shape).refusal();
            let words = format!("tensor {} has shape {shape:?}, but the metadata makes it [", tensor.name());
            match said {
                None => {
                    assert!(tensor.name().starts_with("pooler."), "{model}: {} of {shape:?}", tensor.name())
                }
                Some(said) => assert!(said.contains(&words), "{model}: {said}"),
            }
        }
    }
}

#[test]
fn none_is_left_over() {
    for (model, source) in Changed::every() {
        let said = source.with_tensor("layers.0.gate.weight", &[4, 4]).refusal().unwrap_or_default();
        assert!(said.starts_with("tensor layers.0.gate.weight has no place in a "), "{model}: {said}");
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let said = Changed { is_readable: false, ..Changed::folder("llama2") }.refusal().unwrap();
    let words =
        "tensor model.layers.0.input_layernorm.weight could not be read: a bad sector; check the disk";
    assert!(said.starts_with(words), "{said}");
}

#[test]
fn sizes_that_overflow_are_no_model() {
    let side = 1 << 24;
    let empty = Changed { tensors: BTreeMap::new(), ..Changed::folder("llama2") };
    let source = empty.with_tensor("lm_head.weight", &[side, side]);
    let mut planner = Planner::new(&source, Names::decoder(&[]));
    // Each is a petabyte: somewhere before 2^16 of them 64 bits are full.
    let refused = (0..1 << 16).find_map(|_| planner.matrix("output.weight", side, side).err());
    assert_eq!(refused, Some(ModelError::TooLarge));
    assert_eq!(planner.finish().map(|_| ()), Err(ModelError::TooLarge));
}
