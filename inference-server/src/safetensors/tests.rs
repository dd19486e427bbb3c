//! Folders that are not what they say.

use std::path::Path;

use super::{SafetensorsError, SafetensorsFolder};

/// A `.safetensors` file of `header` and `data`.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// The error of a folder with these files, beside a config.
fn refusal(files: &[(&str, Vec<u8>)]) -> SafetensorsError {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("config.json", br#"{"model_type":"llama"}"#);
    files.iter().for_each(|(name, bytes)| write(name, bytes));
    SafetensorsFolder::open(folder.path()).unwrap_err()
}

const ONE: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

#[test]
fn a_missing_file_is_named() {
    let missing = SafetensorsFolder::open(Path::new("/nowhere")).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/config.json"), "{missing}");
    let error = refusal(&[]).to_string();
    assert!(error.contains("model.safetensors"), "{error}");
}

/// Guard: `LIMIT`, looked at before anything is read.
#[test]
fn a_json_file_of_more_than_64_mib_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = std::fs::File::create(folder.path().join("config.json")).unwrap();
    config.set_len((64 << 20) + 1).unwrap();
    let error = SafetensorsFolder::open(folder.path()).unwrap_err();
    assert!(
        matches!(error, SafetensorsError::TooLong { bytes: 67_108_865, limit: 67_108_864, .. }),
        "{error}"
    );
    config.set_len(64 << 20).unwrap();
    let error = SafetensorsFolder::open(folder.path()).unwrap_err();
    assert!(matches!(error, SafetensorsError::Json { .. }), "{error}");
}

#[test]
fn hostile_headers_are_refused() {
    let cases: &[(&str, Vec<u8>)] = &[
        ("empty", Vec::new()),
        ("length past the end", u64::MAX.to_le_bytes().to_vec()),
        ("no JSON", file("{", &[])),
        ("data cut short", file(ONE, &[0; 4])),
        ("offsets past the end", file(&ONE.replace("[0,8]", "[0,16]"), &[0; 8])),
        ("offsets backwards", file(&ONE.replace("[0,8]", "[8,0]"), &[0; 8])),
        ("shape and bytes differ", file(&ONE.replace("[2]", "[3]"), &[0; 8])),
        ("shape overflows", file(&ONE.replace("[2]", "[4294967296,4294967296,8]"), &[0; 8])),
        ("bytes that belong to nothing", file(ONE, &[0; 12])),
    ];
    for (what, bytes) in cases {
        let error = refusal(&[("model.safetensors", bytes.clone())]);
        assert!(matches!(error, SafetensorsError::Header { .. }), "{what}: {error}");
        assert!(error.to_string().contains("fetch it again"), "{what}: {error}");
    }
}

/// The refusal of a file with these tensors and so many bytes.
fn header_refusal(tensors: &str, bytes: usize) -> safetensors::SafeTensorError {
    match refusal(&[("model.safetensors", file(tensors, &vec![0; bytes]))]) {
        SafetensorsError::Header { source, .. } => source,
        other => panic!("{other}"),
    }
}

/// Guard: the crate's `Metadata`, which is only ever made by reading it, and a test here because all that follows takes
/// it for granted.
#[test]
fn tensors_that_overlap_leave_a_hole_or_belie_their_type_are_refused() {
    let two = |second: &str| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"F32","shape":[2],"data_offsets":{second}}}}}"#
        )
    };
    for (header, bytes, problem) in [
        (two("[4,12]"), 12, "invalid offset for tensor `b`"),
        (two("[12,20]"), 20, "invalid offset for tensor `b`"),
        (two("[18446744073709551612,4]"), 8, "invalid offset for tensor `b`"),
        (ONE.replace("F32", "F64"), 8, "invalid shape, data type, or offset"),
        (ONE.replace("[2]", "[4294967296,4294967296,8]"), 8, "overflow computing buffer size"),
    ] {
        let said = header_refusal(&header, bytes).to_string();
        assert!(said.contains(problem), "{header}: {said}");
    }
}

/// Guard: `read_header` compares the end of the last tensor with the end of the file.
#[test]
fn tensors_end_where_the_file_does() {
    use safetensors::SafeTensorError;
    assert!(matches!(header_refusal(ONE, 12), SafeTensorError::MetadataIncompleteBuffer));
    assert!(matches!(header_refusal(ONE, 4), SafeTensorError::MetadataIncompleteBuffer));
}

/// Guard: `MAX_HEADER`, looked at before anything is reserved.
#[test]
fn a_header_of_more_than_100_mb_is_refused() {
    use safetensors::SafeTensorError;
    let refused = |length: u64| match refusal(&[("model.safetensors", length.to_le_bytes().to_vec())]) {
        SafetensorsError::Header { source, .. } => source,
        other => panic!("{other}"),
    };
    for length in [100_000_001, 1 << 40, u64::MAX] {
        assert!(matches!(refused(length), SafeTensorError::HeaderTooLarge), "{length}");
    }
    assert!(matches!(refused(100_000_000), SafeTensorError::InvalidHeaderLength));
}

/// SGLang CVE-2026-3059 and its like: weights in pickles run code. Guard: nothing but `.safetensors` is read, whatever
/// an index calls it.
#[test]
fn cve_2026_3059_pickles_are_not_read() {
    let pickle = b"\x80\x04\x95cposix\nsystem\n.".to_vec();
    let error = refusal(&[("pytorch_model.bin", pickle.clone())]).to_string();
    assert!(error.contains("model.safetensors"), "{error}");
    let index = br#"{"weight_map":{"a":"pytorch_model.bin"}}"#.to_vec();
    let error = refusal(&[("model.safetensors.index.json", index), ("pytorch_model.bin", pickle)]);
    assert!(matches!(error, SafetensorsError::Header { .. }), "{error}");
}

#[test]
fn a_stored_type_that_is_not_read_is_named() {
    let header = ONE.replace("F32", "I64").replace("[2]", "[1]");
    let error = refusal(&[("model.safetensors", file(&header, &[0; 8]))]).to_string();
    assert!(error.contains("tensor a is stored as I64"), "{error}");
}

#[test]
fn an_index_stays_in_its_folder() {
    for outside in ["../model.safetensors", "/etc/passwd", "sub/model.safetensors", "", "."] {
        let index = format!(r#"{{"weight_map":{{"a":"{outside}"}}}}"#);
        let error = refusal(&[("model.safetensors.index.json", index.into_bytes())]);
        assert!(matches!(error, SafetensorsError::Outside { .. }), "{outside:?}: {error}");
    }
}

#[test]
fn an_index_and_its_files_agree() {
    let index = |map: &str| format!(r#"{{"weight_map":{map}}}"#).into_bytes();
    let missing = refusal(&[
        ("model.safetensors.index.json", index(r#"{"a":"x.safetensors","b":"x.safetensors"}"#)),
        ("x.safetensors", file(ONE, &[0; 8])),
    ]);
    assert!(missing.to_string().contains("tensor b"), "{missing}");
    let twice = refusal(&[
        ("model.safetensors.index.json", index(r#"{"a":"x.safetensors","c":"y.safetensors"}"#)),
        ("x.safetensors", file(ONE, &[0; 8])),
        ("y.safetensors", file(ONE, &[0; 8])),
    ]);
    assert!(matches!(twice, SafetensorsError::Contradiction { .. }), "{twice}");
}

#[test]
fn a_row_that_is_no_whole_number_of_blocks_falls_back() {
    use crate::gguf::TensorType::{F32, Q4K, Q8_0};
    use crate::model::TensorSource as _;

    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, columns) in [("wide", 256), ("narrow", 64), ("odd", 40), ("mlp.gate.weight", 256)] {
        let start = end;
        end += columns * 4;
        let tensor = serde_json::json!({"dtype": "F32", "shape": [1, columns], "data_offsets": [start, end]});
        header.insert(name.to_owned(), tensor);
    }
    let folder = tempfile::tempdir().unwrap();
    let header = serde_json::Value::Object(header).to_string();
    std::fs::write(folder.path().join("config.json"), br#"{"model_type":"llama"}"#).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), file(&header, &vec![0; end])).unwrap();
    for (wanted, kinds) in [
        (None, [F32, F32, F32, F32]),
        (Some(Q8_0), [Q8_0, Q8_0, F32, F32]),
        (Some(Q4K), [Q4K, Q8_0, F32, F32]),
    ] {
        let folder = SafetensorsFolder::open(folder.path()).unwrap().quantized(wanted);
        for (name, kind) in ["wide", "narrow", "odd", "mlp.gate.weight"].into_iter().zip(kinds) {
            let tensor = folder.tensor(name).unwrap();
            assert_eq!(folder.kept_as(tensor, tensor.shape()[0]), kind, "{name} as {wanted:?}");
        }
    }
}
