//! 8-bit floats and their scales: every way that is read, and what is refused by name.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{SafetensorsError, SafetensorsFolder};
use crate::gguf::{StoredType, TensorType};
use crate::kernels::e4m3::BlockScales;
use crate::model::{ModelError, TensorSource as _};

/// A tensor's name, type, shape and bytes.
type Stored<'a> = (&'a str, &'a str, &'a [usize], Vec<u8>);

/// Writes a folder whose config has `quantization`, with these tensors.
fn write(folder: &Path, quantization: &Value, tensors: &[Stored<'_>]) {
    let config = json!({"model_type": "llama", "quantization_config": quantization});
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let (start, end) = (data.len(), data.len() + bytes.len());
        data.extend_from_slice(bytes);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
        header.insert((*name).to_owned(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend(data);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
}

/// A config, scales, and what they are for the rows 0, 127 and 129.
type Case<'a> = (Value, Stored<'a>, &'a dyn Fn(usize) -> Vec<f32>);

fn open(quantization: &Value, tensors: &[Stored<'_>]) -> Result<SafetensorsFolder, SafetensorsError> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), quantization, tensors);
    SafetensorsFolder::open(folder.path())
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn halves(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect()
}

/// `quantization_config` of compressed-tensors whose weights are scaled by `strategy`.
fn compressed(strategy: &str) -> Value {
    let weights = json!({"num_bits": 8, "type": "float", "symmetric": true, "strategy": strategy, "dynamic": false,
        "block_structure": if strategy == "block" { json!([128, 128]) } else { Value::Null }});
    json!({"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": null}}})
}

fn blocks() -> Value {
    json!({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
        "modules_to_not_convert": ["lm_head"]})
}

/// Rows and columns of the matrix of these tests: two blocks each way, the last ones smaller.
const OF: [usize; 2] = [130, 200];

fn matrix() -> Stored<'static> {
    ("a.weight", "F8_E4M3", &OF, vec![0x38; OF[0] * OF[1]])
}

/// The scales of the folder's matrix, once they are found.
fn scales(folder: &SafetensorsFolder) -> Result<BlockScales, ModelError> {
    folder.map().unwrap();
    folder.scales(folder.tensor("a.weight").unwrap()).map(Option::unwrap)
}

#[test]
fn scales_are_read_as_every_quantiser_writes_them() {
    let four = [0.5, 1.0, 2.0, 4.0];
    let rows: Vec<f32> = (1..=130).map(|row| row as f32).collect();
    let per_tensor = json!({"quant_method": "fp8", "activation_scheme": "static"});
    let as_text = {
        let mut config = compressed("block");
        config["config_groups"]["group_0"]["weights"]["block_structure"] = json!("128x128");
        config
    };
    let one = |row: usize| [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]][row].to_vec();
    let by_block = |row: usize| [[0.5, 1.0], [0.5, 1.0], [2.0, 4.0]][row].to_vec();
    let by_row = |row: usize| vec![rows[[0, 127, 129][row]]];
    let cases: [Case<'_>; 12] = [
        (blocks(), ("a.weight_scale_inv", "F32", &[2, 2], floats(&four)), &by_block),
        (blocks(), ("a.weight_scale_inv", "BF16", &[2, 2], halves(&four)), &by_block),
        (compressed("block"), ("a.weight_scale", "BF16", &[2, 2], halves(&four)), &by_block),
        (as_text, ("a.weight_scale", "F32", &[2, 2], floats(&four)), &by_block),
        (compressed("channel"), ("a.weight_scale", "BF16", &[130, 1], halves(&rows)), &by_row),
        (compressed("channel"), ("a.weight_scale", "F32", &[130, 1], floats(&rows)), &by_row),
        (compressed("tensor"), ("a.weight_scale", "BF16", &[1], halves(&[0.5])), &one),
        (compressed("tensor"), ("a.weight_scale", "F32", &[], floats(&[0.5])), &one),
        (per_tensor.clone(), ("a.weight_scale", "F32", &[], floats(&[0.5])), &one),
        (per_tensor.clone(), ("a.weight_scale_inv", "F32", &[1], floats(&[0.5])), &one),
        (per_tensor, ("a.weight_scale", "F32", &[1, 1], floats(&[0.5])), &one),
        (json!({"quant_method": "fbgemm_fp8"}), ("a.weight_scale", "F32", &[130, 1], floats(&rows)), &by_row),
    ];
    for (config, stored, expected) in cases {
        let what = format!("{config} {} {:?}", stored.1, stored.2);
        let beside: Stored<'_> = ("a.input_scale", "BF16", &[1], halves(&[3.0]));
        let keys: Stored<'_> = ("self_attn.k_scale", "BF16", &[1], halves(&[3.0]));
        let folder = open(&config, &[matrix(), stored, beside, keys]).unwrap();
        let tensor = folder.tensor("a.weight").unwrap();
        assert_eq!((tensor.kind(), tensor.shape()), (StoredType::E4M3, &[200, 130][..]), "{what}");
        assert_eq!(folder.names().collect::<Vec<_>>(), ["a.weight"], "{what}");
        let scales = scales(&folder).unwrap();
        for (index, row) in [0, 127, 129].into_iter().enumerate() {
            let expected = expected(index);
            let across = scales.row(row);
            assert!(
                across.iter().zip(&expected).all(|(found, expected)| found == expected),
                "{what}: {across:?}"
            );
            assert_eq!(across.len(), 200usize.div_ceil(scales.of_columns()), "{what}");
        }
    }
}

#[test]
fn a_matrix_becomes_bfloat16_or_what_is_asked_for() {
    let scale = || -> Stored<'static> { ("a.weight_scale", "F32", &[1], floats(&[1.0])) };
    let matrix: Stored<'_> = ("a.weight", "F8_E4M3", &[16, 256], vec![0; 4096]);
    let folder = open(&compressed("tensor"), &[matrix, scale()]).unwrap();
    let kept = |folder: &SafetensorsFolder| folder.kept_as(folder.tensor("a.weight").unwrap(), 256);
    assert_eq!(kept(&folder), TensorType::BF16);
    assert_eq!(kept(&folder.quantized(Some(TensorType::Q4K))), TensorType::Q4K);
}

/// What a tensor's bytes, or its scales', may not be.
#[test]
fn scales_that_are_missing_or_do_not_fit_are_named() {
    let scale = |dtype: &'static str, shape: &'static [usize], bytes: usize| -> Stored<'static> {
        ("a.weight_scale_inv", dtype, shape, vec![0; bytes])
    };
    let sixteen = |name: &'static str, shape: &'static [usize]| -> Stored<'static> {
        (name, "F8_E4M3", shape, vec![0; 16])
    };
    for (config, tensors, words) in [
        (
            blocks(),
            vec![matrix()],
            vec!["a.weight: its scales, a.weight_scale_inv or a.weight_scale, are missing"],
        ),
        (
            compressed("channel"),
            vec![matrix(), scale("F32", &[2, 2], 16)],
            vec!["a.weight: its scales, a.weight_scale, are missing"],
        ),
        (
            blocks(),
            vec![matrix(), scale("F32", &[2, 1], 8)],
            vec![
                "tensor a.weight_scale_inv: it has shape [2, 1]",
                "a.weight, which is [130, 200], have [2, 2]",
            ],
        ),
        (blocks(), vec![matrix(), scale("F32", &[2, 2, 1], 16)], vec!["it has shape [2, 2, 1]"]),
        (
            compressed("channel"),
            vec![matrix(), ("a.weight_scale", "F32", &[1], vec![0; 4])],
            vec!["tensor a.weight_scale: it has shape [1]", "have [130, 1]"],
        ),
        (
            compressed("tensor"),
            vec![matrix(), ("a.weight_scale", "F32", &[130, 1], vec![0; 520])],
            vec!["tensor a.weight_scale: it has shape [130, 1]", "have [1, 1]"],
        ),
        (
            blocks(),
            vec![matrix(), scale("F8_E8M0", &[2, 2], 4)],
            vec!["tensor a.weight_scale_inv is stored as F8_E8M0"],
        ),
        (
            blocks(),
            vec![matrix(), scale("F8_E4M3", &[2, 2], 4)],
            vec!["a.weight_scale_inv", "are stored as F8_E4M3, and F32, F16 and BF16 are read"],
        ),
        (
            blocks(),
            vec![sixteen("norm.weight", &[16])],
            vec!["tensor norm.weight: it is stored as F8_E4M3, as only matrices"],
        ),
        (
            blocks(),
            vec![sixteen("experts.gate_up_proj", &[1, 4, 4])],
            vec!["experts.gate_up_proj: it is stored"],
        ),
        (
            Value::Null,
            vec![matrix()],
            vec!["a.weight is stored as F8_E4M3, and config.json has no quantization_config"],
        ),
        (
            blocks(),
            vec![("a.weight", "F8_E5M2", &[4, 4], vec![0; 16])],
            vec!["a.weight is stored as F8_E5M2", "with scales, F8_E4M3 are read"],
        ),
    ] {
        let error = open(&config, &tensors).unwrap_err().to_string();
        for words in words {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}

#[test]
fn scales_that_are_no_positive_numbers_are_refused() {
    for wrong in [f32::NAN, 0.0, -0.0, -1.0, f32::INFINITY] {
        let stored = ("a.weight_scale_inv", "F32", &[2, 2][..], floats(&[1.0, 1.0, wrong, 1.0]));
        let folder = open(&blocks(), &[matrix(), stored]).unwrap();
        let error = scales(&folder).unwrap_err();
        let ModelError::Scale { tensor, index, .. } = &error else { panic!("{error}") };
        assert_eq!((tensor.as_str(), *index), ("a.weight_scale_inv", 2));
        assert!(error.to_string().contains("scales are positive numbers; the file is damaged"), "{error}");
    }
}

/// Scales of a matrix that is stored in full are no part of a model, and stay to be refused as such.
#[test]
fn scales_of_nothing_stay_unknown_tensors() {
    let full: Stored<'_> = ("a.weight", "F32", &[1, 1], floats(&[1.0]));
    let scale: Stored<'_> = ("a.weight_scale_inv", "F32", &[1, 1], floats(&[1.0]));
    let folder = open(&blocks(), &[full, scale]).unwrap();
    assert_eq!(folder.names().count(), 2);
    // Where nothing is quantised, such names mean nothing.
    let folder = open(&Value::Null, &[("a.input_scale", "F32", &[1], floats(&[1.0]))]).unwrap();
    assert_eq!(folder.names().collect::<Vec<_>>(), ["a.input_scale"]);
}

#[test]
fn quantisations_that_are_not_served_are_named_by_their_field() {
    let changed = |path: &str, value: Value| {
        let mut config = compressed("tensor");
        let (parent, key) = path.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value;
        config
    };
    let weights = "/config_groups/group_0/weights";
    let of_weights = |key: &str, value: Value| changed(&format!("{weights}/{key}"), value);
    let group = "config_groups.group_0";
    for (config, field, problem) in [
        (json!({"quant_method": "awq"}), "quant_method", "\"awq\" is not served; fp8, fbgemm_fp8 and"),
        (json!({"quant_method": "gptq", "bits": 4}), "quant_method", "name the model in BF16"),
        (json!({"quant_method": "modelopt"}), "quant_method", "is not served"),
        (json!({"bits": 4}), "quant_method", "it is missing"),
        (json!({"quant_method": 8}), "quant_method", "it must be a string"),
        (json!({"quant_method": "fp8", "fmt": "e5m2"}), "fmt", "\"e5m2\" is not served; served: e4m3"),
        (
            json!({"quant_method": "fp8", "weight_block_size": [64, 64]}),
            "weight_block_size",
            "blocks of 64 columns are not served, whose columns must be a multiple of 128",
        ),
        (
            json!({"quant_method": "fp8", "weight_block_size": [0, 128]}),
            "weight_block_size",
            "it must be rows and columns",
        ),
        (json!({"quant_method": "fp8", "weight_block_size": 128}), "weight_block_size", "as [128, 128]"),
        (changed("/format", json!("pack-quantized")), "format", "\"pack-quantized\" is not served"),
        (changed("/format", json!("nvfp4-pack-quantized")), "format", "served: float-quantized"),
        (
            changed("/sparsity_config", json!({"format": "sparse-24-bitmask"})),
            "sparsity_config.format",
            "dense",
        ),
        (
            changed("/transform_config", json!({"config_groups": {"u": {"type": "hadamard"}}})),
            "transform_config",
            "turned before they were quantised",
        ),
        (changed("/config_groups", json!({})), "config_groups", "it must name a group"),
        (changed("/config_groups/group_0", json!(["Linear"])), group, "it must be an object"),
        (changed(weights, Value::Null), "config_groups.group_0.weights", "activations alone"),
        (of_weights("num_bits", json!(4)), "config_groups.group_0.weights.num_bits", "4 is not served"),
        (of_weights("type", json!("int")), "config_groups.group_0.weights.type", "\"int\" is not served"),
        (of_weights("symmetric", json!(false)), "config_groups.group_0.weights.symmetric", "true is"),
        (of_weights("dynamic", json!(true)), "config_groups.group_0.weights.dynamic", "false is"),
        (
            of_weights("strategy", json!("group")),
            "config_groups.group_0.weights.strategy",
            "tensor, channel, block",
        ),
        (
            of_weights("strategy", json!("block")),
            "config_groups.group_0.weights.block_structure",
            "[128, 128]",
        ),
        (
            changed("/config_groups/group_1", json!({"format": "int-quantized"})),
            "config_groups.group_1.format",
            "int",
        ),
    ] {
        let error = open(&config, &[]).unwrap_err().to_string();
        let named = format!("config.json: quantization_config.{field}: ");
        assert!(error.contains(&named) && error.contains(problem), "{named}{problem}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &Value::Null, &[]);
    let config = json!({"model_type": "llama", "compression_config": {"quant_method": "awq"}}).to_string();
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let error = SafetensorsFolder::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("compression_config.quant_method: \"awq\""), "{error}");
}
