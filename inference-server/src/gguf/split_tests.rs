//! Split models: all parts are one model, and what is wrong with a part is said of that part.

use std::path::{Path, PathBuf};

use super::write::GgufWriter;
use super::{GgufFile, TensorType, Value};

/// `split.no`, `split.count` and `split.tensors.count` of a part, and its tensors.
struct Part(u16, u16, i32, &'static [&'static str]);

fn write(folder: &Path, name: &str, part: &Part) -> PathBuf {
    let Part(number, count, total, tensors) = part;
    let mut file = GgufWriter::new();
    file.pair("split.no", Value::U16(*number)).pair("split.count", Value::U16(*count));
    file.pair("split.tensors.count", Value::I32(*total));
    if *number == 0 {
        file.pair("general.architecture", Value::String("llama".to_owned()));
    }
    for name in *tensors {
        file.tensor(name, &[2], TensorType::F32, name.repeat(8).into_bytes()).unwrap();
    }
    let path = folder.join(name);
    file.write(&mut std::fs::File::create(&path).unwrap()).unwrap();
    path
}

fn opened(parts: &[Part]) -> Result<GgufFile, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (number, part) in (1..).zip(parts) {
        paths.push(write(folder.path(), &format!("m-{number:05}-of-{:05}.gguf", parts.len()), part));
    }
    let file = GgufFile::open(&paths[0]).map_err(|error| error.to_string())?;
    file.map().unwrap();
    Ok(file)
}

#[test]
fn the_first_part_opens_them_all() {
    let file = opened(&[Part(0, 3, 4, &[]), Part(1, 3, 4, &["a", "b"]), Part(2, 3, 4, &["c", "d"])]).unwrap();
    let names: Vec<&str> = file.tensors().iter().map(super::TensorInfo::name).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(file.metadata().string("general.architecture").unwrap(), "llama");
    for name in names {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(file.bytes(tensor), name.repeat(8).as_bytes(), "{name}");
        assert_eq!(file.read(tensor).unwrap(), name.repeat(8).as_bytes(), "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_part_is_said_of_it() {
    let second = "m-00002-of-00002.gguf: ";
    let cases: [(&[Part], [&str; 2]); 7] = [
        (&[Part(0, 2, 2, &["a"]), Part(1, 2, 2, &["a"])], [second, "tensor a is in an earlier part too"]),
        (
            &[Part(0, 2, 2, &["a"]), Part(0, 2, 2, &["b"])],
            [second, "split.no says part 1, and its name says part 2"],
        ),
        (&[Part(1, 2, 2, &["a"]), Part(0, 2, 2, &["b"])], ["00001-of-00002.gguf: ", "split.no says part 2"]),
        (
            &[Part(0, 2, 2, &["a"]), Part(1, 3, 2, &["b"])],
            [second, "split.count says 3 parts, and the files' names say 2"],
        ),
        (
            &[Part(0, 2, 3, &["a"]), Part(1, 2, 3, &["b"])],
            ["00001-of-00002", "split.tensors.count says 3 tensors, and the parts hold 2"],
        ),
        (
            &[Part(1, 3, 3, &["a"])],
            ["00001-of-00001", "split.count says 3 parts, and only one is named: name the first"],
        ),
        (&[Part(0, 0, 2, &["a"]), Part(1, 2, 2, &["b"])], ["00001-of-00002", "split.count says 0 parts"]),
    ];
    for (parts, words) in cases {
        let said = opened(parts).unwrap_err();
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not in: {said}");
    }
}

#[test]
fn a_part_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "m-00001-of-00002.gguf", &Part(0, 2, 1, &["a"]));
    let said = GgufFile::open(&path).unwrap_err().to_string();
    assert!(said.contains("m-00002-of-00002.gguf"), "{said}");
}
