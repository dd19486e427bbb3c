use std::path::Path;

use half::bf16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::synth::{E4m3, Family, Format, Shape, SynthSpec, WriteOptions};

/// A tiny model of `family` whose matrices are E4M3, at `path`. Its blocks at the ends are smaller than the others.
pub(crate) fn write_e4m3(path: &Path, family: Family, e4m3: E4m3) {
    write_e4m3_of(path, family, e4m3, 320);
}

/// The same with feed-forward parts of `columns` columns.
pub(crate) fn write_e4m3_of(path: &Path, family: Family, e4m3: E4m3, columns: usize) {
    let mut shape = Shape { feed_forward: columns, ..Shape::named("tiny", family).unwrap() };
    if family.is_mixture() {
        (shape.expert_feed_forward, shape.experts) = (columns, 4);
    }
    let spec = SynthSpec::new(family, shape, Format::Safetensors, crate::gguf::TensorType::BF16);
    SynthSpec { e4m3: Some(e4m3), seed: 7, ..spec }.write(path, WriteOptions::default()).unwrap();
}

/// Makes blocks of 128 x `columns` of the model at `path`, which has blocks of 128 x 128: each has the scale of its first.
pub(crate) fn widen_blocks(path: &Path, columns: usize) {
    let config = path.join("config.json");
    let mut said: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    said["quantization_config"]["weight_block_size"][1] = columns.into();
    std::fs::write(config, said.to_string()).unwrap();
    let weights = path.join("model.safetensors");
    let file = std::fs::read(&weights).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let written = tensors.tensors().into_iter().map(|(name, tensor)| match tensor.shape() {
        &[rows, across] if name.ends_with("_scale_inv") => {
            let row = tensor.data().chunks_exact(across * 4);
            let kept = row.flat_map(|row| row.chunks_exact(4).step_by(columns / 128).flatten().copied());
            (name, tensor.dtype(), vec![rows, across.div_ceil(columns / 128)], kept.collect())
        }
        shape => (name, tensor.dtype(), shape.to_vec(), tensor.data().to_vec()),
    });
    save(&weights, &written.collect::<Vec<_>>());
}

/// Puts a code that is no number into the middle of the matrix `name` of the model at `path`.
pub(crate) fn damage(path: &Path, name: &str) {
    let weights = path.join("model.safetensors");
    let mut file = std::fs::read(&weights).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let data = tensors.tensor(name).unwrap().data();
    let at = data.as_ptr().addr() - file.as_ptr().addr() + data.len() / 2;
    file[at] = 0x7F;
    std::fs::write(weights, file).unwrap();
}

/// A tensor's name, type, shape and bytes.
type Written = (String, Dtype, Vec<usize>, Vec<u8>);

fn save(path: &Path, tensors: &[Written]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The model at `from` again at `to`, its E4M3 times their scales as bfloat16: what transformers dequantises it to. By the
/// standard's formula, and nothing of ours.
pub(crate) fn dequantize_e4m3(from: &Path, to: &Path) {
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("quantization_config").unwrap();
    let file = std::fs::read(from.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let mut written: Vec<Written> = Vec::new();
    for (name, tensor) in tensors.tensors().into_iter().filter(|(name, _)| !name.contains("_scale")) {
        let (dtype, bytes) = match tensor.dtype() {
            Dtype::F8_E4M3 => {
                let scales = ["_scale_inv", "_scale"];
                let scales = scales.iter().find_map(|end| tensors.tensor(&format!("{name}{end}")).ok());
                (Dtype::BF16, multiplied(&tensor, &scales.unwrap()))
            }
            dtype => (dtype, tensor.data().to_vec()),
        };
        written.push((name, dtype, tensor.shape().to_vec(), bytes));
    }
    std::fs::create_dir(to).unwrap();
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();
    save(&to.join("model.safetensors"), &written);
}

fn multiplied(matrix: &TensorView<'_>, scales: &TensorView<'_>) -> Vec<u8> {
    let &[rows, columns] = matrix.shape() else { panic!("{:?}", matrix.shape()) };
    let (blocks, _) = scales.data().as_chunks::<2>();
    let scales: Vec<f32> = match scales.dtype() {
        Dtype::BF16 => blocks.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        _ => scales.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    };
    let scale = |row: usize, column: usize| match scales.len() {
        1 => scales[0],
        count if count == rows => scales[row],
        _ => scales[row / 128 * columns.div_ceil(128) + column / 128],
    };
    let value = |byte: u8| {
        let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7) / 8.0);
        let magnitude =
            if exponent == 0 { fraction * 2f32.powi(-6) } else { (1.0 + fraction) * 2f32.powi(exponent - 7) };
        if byte & 0x80 == 0 { magnitude } else { -magnitude }
    };
    let weights =
        matrix.data().iter().enumerate().map(|(at, byte)| value(*byte) * scale(at / columns, at % columns));
    weights.flat_map(|weight| bf16::from_f32(weight).to_le_bytes()).collect()
}
