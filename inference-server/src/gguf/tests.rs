//! What the writer writes is read back; what a hostile file says is refused, by name.
//!
//! Tests named after a known defect fail when the guard they name is taken out.

use std::io::{self, Read};

use super::parse::{self, Header};
use super::reader::Reader;
use super::write::GgufWriter;
use super::*;
use crate::synth::{Shape, SynthSpec, WriteOptions};

/// The header of `file`.
fn parse(file: &[u8]) -> Result<Header, GgufError> {
    parse::parse(file, file.len() as u64)
}

/// A model of so many tokens.
fn small(vocabulary: usize) -> SynthSpec {
    let spec = SynthSpec::default();
    SynthSpec { shape: Shape { vocabulary, ..spec.shape }, ..spec }
}

/// A header written field by field, so that it can say anything.
struct Raw(Vec<u8>);

impl Raw {
    fn new(version: u32, tensors: u64, pairs: u64) -> Self {
        let mut raw = Self(b"GGUF".to_vec());
        raw.u32(version).u64(tensors).u64(pairs);
        raw
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn string(&mut self, text: &[u8]) -> &mut Self {
        self.u64(text.len() as u64);
        self.0.extend(text);
        self
    }

    fn tensor(&mut self, name: &str, shape: &[u64], kind: u32, offset: u64) -> &mut Self {
        self.string(name.as_bytes()).u32(shape.len() as u32);
        for &dimension in shape {
            self.u64(dimension);
        }
        self.u32(kind).u64(offset)
    }

    /// Pads to the tensor data and adds `bytes` of it.
    fn data(&mut self, bytes: usize) -> &mut Self {
        let length = self.0.len().next_multiple_of(32) + bytes;
        self.0.resize(length, 0);
        self
    }

    fn parse(&self) -> Result<Header, GgufError> {
        parse(&self.0)
    }

    /// The refusal, in words.
    fn refusal(&self) -> String {
        self.parse().unwrap_err().to_string()
    }
}

fn one_tensor(shape: &[u64], kind: u32, offset: u64, data: usize) -> Raw {
    let mut raw = Raw::new(3, 1, 0);
    raw.tensor("w", shape, kind, offset).data(data);
    raw
}

#[test]
fn every_value_and_tensor_type_survives_a_round_trip() {
    let values = [
        ("a", Value::U8(1)),
        ("b", Value::I8(-1)),
        ("c", Value::U16(2)),
        ("d", Value::I16(-2)),
        ("e", Value::U32(3)),
        ("f", Value::I32(-3)),
        ("g", Value::F32(0.5)),
        ("h", Value::Bool(true)),
        ("i", Value::String("naïve".to_owned())),
        ("j", Value::U64(1 << 60)),
        ("k", Value::I64(-(1 << 60))),
        ("l", Value::F64(0.25)),
        ("m", Value::Array(Array::U8(vec![1, 2]))),
        ("n", Value::Array(Array::I8(vec![-1]))),
        ("o", Value::Array(Array::U16(vec![7]))),
        ("p", Value::Array(Array::I16(vec![-7]))),
        ("q", Value::Array(Array::U32(vec![1, 2, 3]))),
        ("r", Value::Array(Array::I32(vec![-1, 2]))),
        ("s", Value::Array(Array::F32(vec![1.5]))),
        ("t", Value::Array(Array::Bool(vec![true, false]))),
        ("u", Value::Array(Array::String(vec!["x".to_owned(), String::new()]))),
        ("v", Value::Array(Array::U64(vec![9]))),
        ("w", Value::Array(Array::I64(vec![-9]))),
        ("x", Value::Array(Array::F64(vec![2.5]))),
        ("y", Value::Array(Array::Array(vec![Array::U8(vec![1]), Array::String(vec![])]))),
    ];
    let mut writer = GgufWriter::new();
    for (key, value) in &values {
        writer.pair(key, value.clone());
    }
    for kind in TensorType::ALL {
        let bytes = kind.block_bytes() * 2 * 3;
        let data = (0..bytes).map(|i| i as u8).collect();
        writer.tensor(kind.name(), &[kind.block_elements() * 2, 3], kind, data).unwrap();
    }
    let mut file = Vec::new();
    writer.write(&mut file).unwrap();
    let header = parse(&file).unwrap();
    for (key, value) in &values {
        assert_eq!(header.metadata.get(key), Some(value), "{key}");
    }
    assert_eq!(header.tensors.len(), TensorType::ALL.len());
    for (tensor, kind) in header.tensors.iter().zip(TensorType::ALL) {
        assert_eq!((tensor.name(), tensor.kind()), (kind.name(), kind.into()));
        let bytes = &file[tensor.offset..tensor.offset + tensor.bytes];
        assert!(bytes.iter().enumerate().all(|(i, &byte)| byte == i as u8), "{kind}");
    }
}

#[test]
fn a_file_is_mapped_and_its_pages_can_be_given_back() {
    let path = std::env::temp_dir().join(format!("weighbridge-{}-mapped.gguf", std::process::id()));
    small(9000).write(&path, WriteOptions { force: true, ..WriteOptions::default() }).unwrap();
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.metadata().string("general.architecture").unwrap(), "llama");
    let table = file.tensor("token_embd.weight").unwrap().clone();
    assert!(file.bytes(&table).is_empty() && !file.is_mapped());
    let before = file.read(&table).unwrap();
    file.map().unwrap();
    assert_eq!(file.bytes(&table), before);
    file.release(&table, 0..table.bytes());
    assert_eq!(file.bytes(&table), before);
    std::fs::remove_file(&path).unwrap();
    let error = GgufFile::open(&path).unwrap_err().to_string();
    assert!(error.contains("mapped.gguf") && error.contains("check the path"), "{error}");
}

#[test]
fn an_empty_file_is_refused() {
    let path = std::env::temp_dir().join(format!("weighbridge-{}-empty.gguf", std::process::id()));
    std::fs::write(&path, []).unwrap();
    assert!(GgufFile::open(&path).is_err());
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_file_cut_anywhere_is_refused_without_a_panic() {
    let file = small(3).bytes().unwrap();
    let data = parse(&file).unwrap().tensors.iter().map(|t| t.offset).min().unwrap();
    for length in (0..data).chain((data..file.len() - 32).step_by(61)) {
        assert!(parse(&file[..length]).is_err(), "{length} of {} bytes", file.len());
    }
}

#[test]
fn magic_version_and_byte_order() {
    assert!(matches!(parse(b"GGML....").unwrap_err(), GgufError::Magic { .. }));
    assert!(matches!(parse(b"GG").unwrap_err(), GgufError::Magic { .. }));
    assert_eq!(parse(b"").unwrap_err().to_string(), "the file is empty: fetch it again");
    assert!(matches!(Raw::new(1, 0, 0).parse(), Err(GgufError::Version { version: 1 })));
    assert!(matches!(Raw::new(4, 0, 0).parse(), Err(GgufError::Version { version: 4 })));
    assert!(matches!(Raw::new(3u32.swap_bytes(), 0, 0).parse(), Err(GgufError::BigEndian)));
    assert!(Raw::new(2, 0, 0).parse().is_ok());
}

/// Ollama CVE-2026-7482 "Bleeding Llama": an offset past the end of the file was read as weights.
/// Guard: `place` compares offset + size with the bytes of tensor data.
#[test]
fn cve_2026_7482_offset_past_end() {
    for offset in [32, 64, 1 << 40, u64::MAX - 31] {
        let refusal = one_tensor(&[8], 0, offset, 32).refusal();
        assert!(refusal.contains("tensor w") && refusal.contains("outside the 32 bytes"), "{refusal}");
    }
    assert!(one_tensor(&[8], 0, 0, 32).parse().is_ok());
    let refusal = one_tensor(&[9], 0, 0, 32).refusal();
    assert!(refusal.contains("outside the 32 bytes"), "{refusal}");
}

/// llama.cpp CVE-2026-27940 (and CVE-2025-53630): a product of dimensions wrapped to a small allocation.
/// Guard: `tensor_bytes` multiplies with `checked_mul`. Each shape wraps to at most the 32 bytes that are there.
#[test]
fn cve_2026_27940_size_overflow() {
    for shape in [
        [1 << 62, 1, 1, 1],
        [1 << 31, 1 << 31, 1, 1],
        [1 << 16, 1 << 16, 1 << 16, 1 << 16],
        [u64::MAX, 2, 1, 1],
        [8, 1 << 61, 1, 1],
        [1 << 32, 1 << 32, 1 << 32, 1],
    ] {
        let refusal = one_tensor(&shape, 0, 0, 32).refusal();
        assert!(refusal.contains("size overflows"), "{shape:?}: {refusal}");
    }
    // What fits in 64 bits lies outside any file. Guard: `place`.
    let refusal = one_tensor(&[1 << 61], 0, 0, 32).refusal();
    assert!(refusal.contains("outside the 32 bytes"), "{refusal}");
    // A block type: blocks times bytes wraps where elements do not.
    let refusal = one_tensor(&[1 << 60, 32], 8, 0, 32).refusal();
    assert!(refusal.contains("size overflows"), "{refusal}");
}

/// Huge counts made a parser allocate for them before reading. Guard: `Reader::bounded`.
#[test]
fn counts_are_bounded_by_the_bytes_that_are_left() {
    for (tensors, pairs, field) in [(u64::MAX, 0, "tensor count"), (0, 1 << 40, "metadata count")] {
        let refusal = Raw::new(3, tensors, pairs).refusal();
        assert!(refusal.contains(field), "{refusal}");
    }
    let mut raw = Raw::new(3, 0, 1);
    raw.string(b"tokens").u32(9).u32(8).u64(1 << 61);
    assert!(raw.refusal().contains("array length of metadata key tokens"), "{}", raw.refusal());
}

/// A sparse file is as long as it likes, so that the bytes that are left bound nothing. Guard: `Reader::charge`, with
/// `MAX_MEMORY`, before an array's room is reserved.
#[test]
fn a_long_files_arrays_are_bounded_by_the_memory_that_they_would_take() {
    for (kind, elements) in
        [(0, 1 << 28), (8, (1 << 28) / 24), (9, (1 << 28) / size_of::<Array>() as u64), (12, 1 << 25)]
    {
        let said = |count: u64| {
            let mut raw = Raw::new(3, 0, 1);
            raw.string(b"tokens").u32(9).u32(kind).u64(count);
            parse::parse(&raw.0[..], 1 << 50).unwrap_err().to_string()
        };
        for count in [elements, 1 << 45] {
            let said = said(count);
            assert!(
                said.starts_with("metadata key tokens makes the header take more than 268435456"),
                "{said}"
            );
        }
        let said = said(elements / 2);
        assert!(said.contains("metadata key tokens needs "), "{said}");
    }
}

/// Guard: `Reader::charge` for pairs, text and tensors, whose counts are small and whose sum is not.
#[test]
fn all_that_a_header_holds_counts_for_its_memory() {
    let within = |limit, raw: &Raw| {
        parse::parse_within(limit, &raw.0[..], 1 << 20).map(drop).map_err(|error| error.to_string())
    };
    let pair = size_of::<(String, Value)>() as u64;
    let mut strings = Raw::new(3, 0, 1);
    strings.string(b"k").u32(9).u32(8).u64(2).string(&[b'x'; 100]).string(&[b'x'; 100]);
    let mut pairs = Raw::new(3, 0, 2);
    pairs.string(b"k").u32(4).u32(1).string(b"l").u32(4).u32(1);
    let mut tensors = Raw::new(3, 2, 0);
    tensors.tensor("v", &[8], 0, 0).tensor("w", &[8], 0, 32);
    for (raw, needed, field) in [
        (&strings, 1 + pair + 2 * 24 + 200, "metadata key k makes"),
        (&pairs, 2 * (1 + pair), "metadata key l makes"),
        (&tensors, 2 + 4 * size_of::<parse::RawTensor>() as u64, "name of tensor 1 makes"),
    ] {
        let said = within(needed - 1, raw).unwrap_err();
        assert!(said.starts_with(field), "{said}");
        within(needed, raw).unwrap();
    }
}

/// llama.cpp GHSA-7rxv-5jhh-j6xx compared lengths signed. Guard: `Reader::string` has a limit, and looks before it reads.
#[test]
fn ghsa_7rxv_string_lengths_are_unsigned_and_bounded() {
    for length in [u64::MAX, 1 << 63, (1 << 31) + 1, 65_536] {
        let mut raw = Raw::new(3, 0, 1);
        raw.u64(length).u64(0).u64(0);
        assert!(raw.refusal().starts_with("length of metadata key 0 says"), "{}", raw.refusal());
    }
    for length in [u64::MAX, 1 << 63, (1 << 31) + 1, (1 << 28) + 1] {
        let mut value = Raw::new(3, 0, 1);
        value.string(b"name").u32(8).u64(length).u64(0);
        assert!(value.refusal().starts_with("length of metadata key name says"), "{}", value.refusal());
    }
}

/// Guard: `MAX_TENSOR_NAME`.
#[test]
fn a_tensors_name_is_bounded() {
    let named = |length: usize| {
        let mut raw = Raw::new(3, 1, 0);
        raw.tensor(&"w".repeat(length), &[8], 0, 0).data(32);
        raw
    };
    named(256).parse().unwrap();
    let refusal = named(257).refusal();
    assert!(refusal.starts_with("length of name of tensor 0 says 257, but only 256"), "{refusal}");
}

/// A disk that fails is not a file that ends.
#[test]
fn what_cannot_be_read_on_is_said_with_the_systems_words() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no such sector"))
        }
    }
    let file = small(3).bytes().unwrap();
    let error = parse::parse(file[..20].chain(Broken), file.len() as u64).unwrap_err();
    assert!(matches!(error, GgufError::Read { .. }), "{error}");
    let said = error.to_string();
    assert!(said.starts_with("metadata count could not be read: no such sector; check the disk"), "{said}");
}

#[test]
fn arrays_nest_no_deeper_than_the_limit() {
    let mut raw = Raw::new(3, 0, 1);
    raw.string(b"deep").u32(9);
    for _ in 0..1000 {
        raw.u32(9).u64(1);
    }
    assert!(matches!(raw.parse(), Err(GgufError::Nesting { limit: 4, .. })));
}

#[test]
fn alignment_is_a_power_of_two_in_bounds() {
    for alignment in [0u32, 3, 33, 1 << 22, u32::MAX] {
        let mut raw = Raw::new(3, 0, 1);
        raw.string(b"general.alignment").u32(4).u32(alignment);
        assert!(matches!(raw.parse(), Err(GgufError::Alignment { .. })), "{alignment}");
    }
    let mut raw = Raw::new(3, 0, 1);
    raw.string(b"general.alignment").u32(8).string(b"32");
    assert!(matches!(raw.parse(), Err(GgufError::Alignment { value: 0, .. })));
    assert!(matches!(
        one_tensor(&[8], 0, 16, 64).parse(),
        Err(GgufError::TensorAlignment { offset: 16, .. })
    ));
}

#[test]
fn names_appear_once() {
    let mut keys = Raw::new(3, 0, 2);
    keys.string(b"k").u32(0).0.push(1);
    keys.string(b"k").u32(0).0.push(2);
    keys.data(0);
    assert!(keys.refusal().contains("metadata key \"k\" appears twice"));
    let mut tensors = Raw::new(3, 2, 0);
    tensors.tensor("w", &[8], 0, 0).tensor("w", &[8], 0, 32).data(64);
    assert!(tensors.refusal().contains("tensor \"w\" appears twice"));
}

#[test]
fn tensors_do_not_share_bytes() {
    let mut raw = Raw::new(3, 2, 0);
    raw.tensor("late", &[8], 0, 32).tensor("early", &[16], 0, 0).data(64);
    assert!(raw.refusal().contains("early and late overlap"), "{}", raw.refusal());
}

#[test]
fn shapes_that_make_no_tensor_are_named() {
    for (shape, kind, problem) in [
        (vec![], 0, "no dimension"),
        (vec![0], 0, "zero"),
        (vec![8, 0], 0, "zero"),
        (vec![33], 8, "multiple of the type's block"),
        (vec![128], 12, "multiple of the type's block"),
    ] {
        let refusal = one_tensor(&shape, kind, 0, 4096).refusal();
        assert!(refusal.contains(problem), "{refusal}");
    }
    assert!(matches!(one_tensor(&[1; 5], 0, 0, 32).parse(), Err(GgufError::Count { count: 5, .. })));
}

#[test]
fn unserved_and_unknown_types_are_told_apart() {
    let refusal = one_tensor(&[256], 16, 0, 4096).refusal();
    assert!(refusal.contains("tensor w is IQ2_XXS") && refusal.contains("requantise"), "{refusal}");
    assert!(matches!(one_tensor(&[32], 4, 0, 64).parse(), Err(GgufError::UnknownType { value: 4, .. })));
    let mut raw = Raw::new(3, 0, 1);
    raw.string(b"key").u32(13).u64(0);
    assert!(matches!(raw.parse(), Err(GgufError::UnknownType { value: 13, .. })));
}

#[test]
fn text_is_utf8_and_booleans_are_two() {
    let mut raw = Raw::new(3, 0, 1);
    raw.string(b"\xff\xfe").u32(0).u64(0);
    assert!(matches!(raw.parse(), Err(GgufError::Utf8 { .. })));
    let mut raw = Raw::new(3, 0, 1);
    raw.string(b"flag").u32(7).0.push(2);
    raw.data(32);
    assert!(matches!(raw.parse(), Err(GgufError::Boolean { value: 2, .. })));
}

#[test]
fn metadata_is_read_in_any_integer_width_and_refused_with_what_is_there() {
    let mut writer = GgufWriter::new();
    writer.pair("small", Value::U8(7)).pair("wide", Value::U64(1 << 40)).pair("negative", Value::I32(-1));
    writer.pair("text", Value::String("x".to_owned())).pair("nan", Value::F32(f32::NAN));
    let mut file = Vec::new();
    writer.write(&mut file).unwrap();
    let metadata = parse(&file).unwrap().metadata;
    assert_eq!(metadata.u32("small"), Ok(7));
    assert_eq!(metadata.optional_u32("absent"), Ok(None));
    let said = |error: MetadataError| error.to_string();
    assert!(said(metadata.u32("absent").unwrap_err()).contains("absent is missing"));
    assert!(said(metadata.u32("wide").unwrap_err()).contains("u64 1099511627776"));
    assert!(said(metadata.u32("negative").unwrap_err()).contains("i32 -1"));
    assert!(said(metadata.u32("text").unwrap_err()).contains("string \"x\""));
    assert!(metadata.f32("nan").is_err());
    assert!(metadata.strings("text").is_err());
}

/// Guard: the comparison in `Reader::take`, before anything is reserved.
#[test]
fn the_reader_never_passes_the_end() {
    let mut reader = Reader::new(&[1, 2, 3][..], 3, 3);
    assert!(reader.u32(&|| "x".to_owned()).is_err());
    assert_eq!(reader.take(3, &|| "x".to_owned()).unwrap(), [1, 2, 3]);
    assert!(reader.take(u64::MAX, &|| "x".to_owned()).is_err());
    assert_eq!(reader.remaining(), 0);
}

proptest::proptest! {
    /// Any byte of a real header changed to anything: parsed or refused, never a panic, and what is
    /// parsed lies inside the file.
    #[test]
    fn a_changed_byte_never_panics(at in 0usize..2400, byte: u8) {
        let mut file = small(3).bytes().unwrap();
        file[at] = byte;
        if let Ok(header) = parse(&file) {
            proptest::prop_assert!(header.tensors.iter().all(|t| t.offset + t.bytes <= file.len()));
        }
    }
}
