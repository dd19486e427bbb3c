use std::path::Path;

use half::bf16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::synth::{E4m3, Family, Format, Shape, SynthSpec, WriteOptions};

/// A tiny model of `family` whose matrices are E4M3, at `path`. Its blocks at the ends are smaller than the others.
pub(crate) fn write_e4m3(path: &Path, family: Family, e4m3: E4m3) {
    let mut shape = Shape { feed_forward: 320, ..Shape::named("tiny", family).unwrap() };
    if family.is_mixture() {
        (shape.expert_feed_forward, shape.experts) = (320, 4);
    }
    let spec = SynthSpec::new(family, shape, Format::Safetensors, crate::gguf::TensorType::BF16);
    SynthSpec { e4m3: Some(e4m3), seed: 7, ..spec }.write(path, WriteOptions::default()).unwrap();
}

/// The model at `from` again at `to`, its E4M3 times their scales as bfloat16: what transformers dequantises it to. By the
/// standard's formula, and nothing of ours.
pub(crate) fn dequantize_e4m3(from: &Path, to: &Path) {
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("quantization_config").unwrap();
    let file = std::fs::read(from.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let mut written: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
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
    let views = written.iter().map(|(name, dtype, shape, bytes)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::create_dir(to).unwrap();
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();
    std::fs::write(to.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
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
