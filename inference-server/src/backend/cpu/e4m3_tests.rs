//! Models whose matrices are 8-bit floats, against the same models dequantised by hand.

use std::path::Path;

use super::*;
use crate::backend::{Logits, LogitsWanted, SequenceChunk};
use crate::gguf::TensorType;
use crate::kv::BlockId;
use crate::model::{ModelError, plan_decoder};
use crate::safetensors::SafetensorsFolder;
use crate::synth::{E4m3, Family};
use crate::testing::{dequantize_e4m3, write_e4m3};

/// Logits of 48 tokens, and the bytes of the weights.
fn logits(path: &Path, quantize: Option<TensorType>) -> (Vec<f32>, u64) {
    let source = SafetensorsFolder::open(path).unwrap().quantized(quantize);
    let options =
        CpuOptions { threads: NonZeroUsize::new(2), kv: KvMemory::Blocks(8), ..CpuOptions::default() };
    let mut backend = CpuBackend::load(&source, &options, &mut |_| ()).unwrap();
    let tokens: Vec<u32> = (0..48).map(|i| (i * 37 + 5) % 512).collect();
    let blocks: Vec<BlockId> = (0..3).map(BlockId).collect();
    let chunk = SequenceChunk {
        tokens: &tokens,
        start: 0,
        blocks: &blocks,
        logits: LogitsWanted::All,
        adapter: None,
    };
    let mut logits = Logits::default();
    backend.forward(&[chunk], &mut logits).unwrap();
    let rows = (0..logits.rows()).flat_map(|row| logits.row(row).unwrap().to_vec()).collect();
    (rows, backend.description().weight_bytes)
}

#[test]
fn what_is_computed_is_the_dequantised_models() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Llama, Family::Phi3, Family::Qwen3Moe] {
        for e4m3 in E4m3::ALL {
            let what = format!("{}-{}", family.name(), e4m3.name());
            let (path, twin) = (folder.path().join(&what), folder.path().join(format!("{what}-bf16")));
            write_e4m3(&path, family, e4m3);
            dequantize_e4m3(&path, &twin);
            let (found, bytes) = logits(&path, None);
            let (expected, twins) = logits(&twin, None);
            assert!(found.iter().all(|x| x.is_finite()), "{what}");
            assert!(found == expected, "{what}: the logits are others than those of the dequantised model");
            // What it takes in memory, which is planned with, is what it becomes.
            assert_eq!(bytes, twins, "{what}");
        }
    }
}

/// No bfloat16 lies between what is stored and what is quantised further, so that the two differ by that rounding.
#[test]
fn what_is_quantised_further_is_near_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, twin) = (folder.path().join("m"), folder.path().join("twin"));
    write_e4m3(&path, Family::Llama, E4m3::Blocks);
    dequantize_e4m3(&path, &twin);
    let (found, bytes) = logits(&path, Some(TensorType::Q8_0));
    let (expected, twins) = logits(&twin, Some(TensorType::Q8_0));
    let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let worst = found.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(worst / largest < 0.02, "{worst} of {largest}");
    assert_eq!(bytes, twins);
}

#[test]
fn the_plan_says_what_matrices_become() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    write_e4m3(&path, Family::Llama, E4m3::Channels);
    let source = SafetensorsFolder::open(&path).unwrap();
    assert_eq!(plan_decoder(&source, None).unwrap().plan.types(), "BF16 2, BF16 14 (from E4M3)");
    let source = source.quantized(Some(TensorType::Q8_0));
    let types = plan_decoder(&source, None).unwrap().plan.types();
    assert_eq!(types, "Q8_0 2 (from BF16), Q8_0 14 (from E4M3)");
}

#[test]
fn a_scale_that_is_no_positive_number_ends_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    write_e4m3(&path, Family::Llama, E4m3::Blocks);
    let name = "model.layers.1.mlp.down_proj.weight_scale_inv";
    let weights = path.join("model.safetensors");
    let mut file = std::fs::read(&weights).unwrap();
    let at = {
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        tensors.tensor(name).unwrap().data().as_ptr() as usize - file.as_ptr() as usize
    };
    file[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&weights, file).unwrap();
    let source = SafetensorsFolder::open(&path).unwrap();
    let options = CpuOptions { kv: KvMemory::Blocks(8), ..CpuOptions::default() };
    let error = CpuBackend::load(&source, &options, &mut |_| ()).unwrap_err();
    assert!(
        matches!(&error, LoadError::Model(ModelError::Scale { tensor, index: 0, .. }) if tensor == name),
        "{error}"
    );
}
