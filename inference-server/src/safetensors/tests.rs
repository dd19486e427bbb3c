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
