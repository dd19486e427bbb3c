//! Models whose matrices are 8-bit floats, which keep their bytes on a card, against the CPU backend.

use std::path::Path;

use weighbridge_cuda::form::Form;

use super::super::shard::Slices;
use super::super::weights::WeightsPlan;
use super::*;
use crate::model::plan_decoder;
use crate::safetensors::SafetensorsFolder;
use crate::synth::E4m3;
use crate::testing::{damage, dequantize_e4m3, widen_blocks, write_e4m3, write_e4m3_of};

/// As of the families' goldens on a card: of the next token, in nats.
const MEAN_DIVERGENCE: f64 = 1e-3;
const MOST_DIVERGENCE: f64 = 2e-2;

const OPTIONS: CudaOptions = CudaOptions { kv: Some(KvMemory::Blocks(16)), ..super::OPTIONS };

fn card(source: &dyn TensorSource) -> CudaBackend {
    super::card(source, &OPTIONS).unwrap()
}

fn cpu(source: &dyn TensorSource) -> CpuBackend {
    let options =
        CpuOptions { threads: NonZeroUsize::new(1), kv: KvMemory::Blocks(16), ..CpuOptions::default() };
    CpuBackend::load(source, &options, &mut |_| ()).unwrap()
}

fn on_two(source: &dyn TensorSource) -> Result<CudaBackend, LoadError> {
    let devices = EmulatedDevice::group(2, 1 << 30);
    let devices = devices.into_iter().map(|device| Box::new(device) as Box<dyn Device>).collect();
    CudaBackend::load_on(devices, source, &[], &OPTIONS, &mut |_| ())
}

/// Logits of a prompt, which the library multiplies on a card, and of a step, which our own kernels do.
fn logits(backend: &mut dyn Backend) -> Vec<Vec<f32>> {
    let tokens: Vec<u32> = (0..71).map(|i| (i * 37 + i * i * 11 + 5) % 512).collect();
    let blocks: Vec<BlockId> = (0..5).map(BlockId).collect();
    let mut rows = Vec::new();
    for part in [0..70, 70..71] {
        let chunk = SequenceChunk {
            tokens: &tokens[part.clone()],
            start: part.start,
            blocks: &blocks,
            logits: LogitsWanted::All,
            adapter: None,
        };
        let mut logits = Logits::default();
        backend.forward(&[chunk], &mut logits).unwrap();
        rows.extend((0..logits.rows()).map(|row| logits.row(row).unwrap().to_vec()));
    }
    rows
}

/// Kullback-Leibler divergence of the distribution of `found` from that of `expected`.
fn divergence(found: &[f32], expected: &[f32]) -> f64 {
    let logarithms = |row: &[f32]| -> Vec<f64> {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
        row.iter().map(|x| f64::from(x - most) - sum.ln()).collect()
    };
    logarithms(expected).iter().zip(logarithms(found)).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn hold(what: &str, found: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let all: Vec<f64> = found.iter().zip(expected).map(|(a, b)| divergence(a, b)).collect();
    let (mean, most) = (all.iter().sum::<f64>() / all.len() as f64, all.iter().copied().fold(0.0, f64::max));
    println!("{what} on the emulated card: {mean:.1e}, at most {most:.1e}");
    assert!(mean < MEAN_DIVERGENCE && most < MOST_DIVERGENCE, "{what}: {mean:e}, at most {most:e}");
}

#[test]
fn a_card_computes_with_the_bytes_of_the_file_what_the_cpu_does() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Llama, Family::Phi3, Family::Qwen3Moe] {
        for e4m3 in E4m3::ALL {
            let what = format!("{}-{}", family.name(), e4m3.name());
            let path = folder.path().join(&what);
            write_e4m3(&path, family, e4m3);
            let source = SafetensorsFolder::open(&path).unwrap();
            hold(&what, &logits(&mut card(&source)), &logits(&mut cpu(&source)));
        }
    }
}

/// Each card has the scales of its rows and columns.
#[test]
fn two_cards_share_the_bytes_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Llama, Family::Phi3] {
        for e4m3 in E4m3::ALL {
            let what = format!("{}-{} on two", family.name(), e4m3.name());
            let path = folder.path().join(&what);
            write_e4m3_of(&path, family, e4m3, 512);
            let source = SafetensorsFolder::open(&path).unwrap();
            hold(&what, &logits(&mut on_two(&source).unwrap()), &logits(&mut card(&source)));
        }
    }
}

/// Columns of a card that begin in the middle of what shares a scale would be multiplied by others' scales.
#[test]
fn columns_that_share_a_scale_are_not_parted() {
    let folder = tempfile::tempdir().unwrap();
    let written = |feed_forward: usize, block: usize| {
        let path = folder.path().join(format!("{feed_forward}-{block}"));
        write_e4m3_of(&path, Family::Llama, E4m3::Blocks, feed_forward);
        widen_blocks(&path, block);
        SafetensorsFolder::open(&path).unwrap()
    };
    // Cards that begin with a block, and a scale for all of a row.
    for (feed_forward, block) in [(1024, 256), (768, 768)] {
        let what = format!("{feed_forward} columns in blocks of {block} on two");
        let source = written(feed_forward, block);
        hold(&what, &logits(&mut on_two(&source).unwrap()), &logits(&mut cpu(&source)));
    }
    let source = written(768, 256);
    hold("768 columns in blocks of 256", &logits(&mut card(&source)), &logits(&mut cpu(&source)));
    assert_eq!(
        on_two(&source).unwrap_err().to_string(),
        "the GPU: each of 2 cards would have 384 columns of model.layers.0.mlp.down_proj.weight, of which 256 share a \
         scale: take fewer cards, or another type of weights"
    );
}

#[test]
fn what_is_quantised_while_loading_is_what_the_cpu_makes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    write_e4m3(&path, Family::Llama, E4m3::Blocks);
    let source = SafetensorsFolder::open(&path).unwrap().quantized(Some(TensorType::Q8_0));
    hold("llama-e4m3 as Q8_0", &logits(&mut card(&source)), &logits(&mut cpu(&source)));
}

#[test]
fn a_card_has_room_for_half_of_what_bfloat16_takes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, twin) = (folder.path().join("m"), folder.path().join("twin"));
    write_e4m3(&path, Family::Llama, E4m3::Blocks);
    dequantize_e4m3(&path, &twin);
    let bytes = |path: &Path| {
        let source = SafetensorsFolder::open(path).unwrap();
        let plan = plan_decoder(&source, None).unwrap().plan;
        let scaled = |form: Form| {
            let matrices = plan.matrices.iter().filter(|packing| packing.tensor.name().contains("layers"));
            matrices.map(|packing| form.bytes(packing.layout.rows(), packing.layout.columns())).sum::<u64>()
        };
        (WeightsPlan::new(&plan, &Slices::Whole).bytes(), scaled(Form::E4m3), scaled(Form::Bf16))
    };
    let ((found, as_e4m3, as_bf16), (whole, ..)) = (bytes(&path), bytes(&twin));
    assert_eq!(whole - found, as_bf16 - as_e4m3);
    assert!(as_e4m3 * 10 < as_bf16 * 6, "{as_e4m3} of {as_bf16}");
}

/// Parts begin in the middle of a block's rows, and each row has its block's scale.
#[test]
fn weights_are_the_same_in_however_many_parts_they_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    for e4m3 in E4m3::ALL {
        let path = folder.path().join(e4m3.name());
        write_e4m3(&path, Family::Llama, e4m3);
        let source = SafetensorsFolder::open(&path).unwrap();
        source.map().unwrap();
        let plan = plan_decoder(&source, None).unwrap().plan;
        let weights = WeightsPlan::new(&plan, &Slices::Whole);
        let load = |staging: u64| {
            let mut device = EmulatedDevice::new(1 << 26);
            let base = device.allocate(weights.bytes()).unwrap();
            weights.load(&mut device, base, staging, &source, &plan, &mut |_| ()).unwrap();
            let mut bytes = vec![0; weights.bytes() as usize];
            device.download(base, &mut bytes).unwrap();
            bytes
        };
        // Room for 176 rows of 256 columns, no multiple of a block's 128.
        assert!(load(48 << 10) == load(1 << 22), "{}", e4m3.name());
    }
}

/// As on a CPU, logits are no numbers, so that requests fail in words; also where keys and values are kept as E4M3.
#[test]
fn a_damaged_matrix_gives_no_text() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Llama, Family::Qwen3, Family::Qwen3Moe] {
        let of_layer: &[&str] = if family.is_mixture() {
            &["self_attn.v_proj", "self_attn.o_proj"]
        } else {
            &[
                "self_attn.q_proj",
                "self_attn.k_proj",
                "self_attn.v_proj",
                "self_attn.o_proj",
                "mlp.up_proj",
                "mlp.down_proj",
            ]
        };
        for part in of_layer {
            let what = format!("{}-{part}", family.name());
            let path = folder.path().join(&what);
            write_e4m3(&path, family, E4m3::Channels);
            damage(&path, &format!("model.layers.0.{part}.weight"));
            let source = SafetensorsFolder::open(&path).unwrap();
            let hold = |on: &str, backend: &mut dyn Backend| {
                let rows = logits(backend);
                assert!(rows.iter().flatten().all(|logit| logit.is_nan()), "{what} on the {on}");
            };
            hold("CPU", &mut cpu(&source));
            for cache in [CacheKind::F16, CacheKind::E4m3] {
                let options = CudaOptions { cache, ..OPTIONS };
                hold(&format!("card, {cache:?}"), &mut super::card(&source, &options).unwrap());
            }
        }
    }
}
