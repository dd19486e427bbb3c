//! From bytes to a checked header.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use super::reader::Reader;
use super::tensor::{SUPPORTED, tensor_bytes, unsupported_name};
use super::{Array, GgufError, Metadata, TensorInfo, TensorType, Value, ValueType};

/// Deepest nesting of arrays: real files hold none at all.
const MAX_NESTING: usize = 4;
/// Longest key; the format's own limit.
const MAX_KEY: u64 = 65_535;
/// Longest tensor name; ggml's own limit is 64.
const MAX_TENSOR_NAME: u64 = 256;
/// Longest string value. Chat templates reach 100 KiB; embedded JSON tokenizers some MiB.
const MAX_STRING: u64 = 1 << 28;
/// ggml's `GGML_MAX_DIMS`.
const MAX_DIMENSIONS: u32 = 4;
/// Most memory that a header may take, by what its values are in memory: an empty string has 8 bytes in a file and 24
/// here, and a sparse file has any number of them for nothing. The largest vocabularies take some 60 MB.
const MAX_MEMORY: u64 = 1 << 28;
/// Where `general.alignment` is missing.
const DEFAULT_ALIGNMENT: u64 = 32;
/// No writer aligns tensors to more than a huge page.
const MAX_ALIGNMENT: u64 = 1 << 21;

/// A file's header, every tensor of which lies inside the file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<TensorInfo>,
}

/// Parses and checks the header of a GGUF file of `length` bytes that begins with `file`. No tensor is read.
pub(super) fn parse(file: impl Read, length: u64) -> Result<Header, GgufError> {
    parse_within(MAX_MEMORY, file, length)
}

/// Whether the header of a file of `length` bytes ends within its `beginning`, or is wrong there already.
pub(crate) fn header_ends_within(beginning: &[u8], length: u64) -> bool {
    !matches!(parse(beginning, length), Err(GgufError::Truncated { .. }))
}

/// The same in `limit` bytes of memory.
pub(super) fn parse_within(limit: u64, file: impl Read, length: u64) -> Result<Header, GgufError> {
    let mut reader = Reader::new(file, length, limit);
    magic_and_version(&mut reader)?;

    // A tensor's header takes at least 24 bytes (name length, dimensions, one dimension, type, offset
    // without a name would take more), a pair at least 13.
    let tensor_count = reader.u64(&|| "tensor count".to_owned())?;
    let pair_count = reader.count(13, &|| "metadata count".to_owned())?;
    let tensor_count = reader.bounded(tensor_count, 24, &|| "tensor count".to_owned())?;

    let metadata = metadata(&mut reader, pair_count)?;
    let alignment = alignment(&metadata)?;
    let raw = tensor_headers(&mut reader, tensor_count)?;

    let data_start = reader.position().next_multiple_of(alignment);
    let available = length.saturating_sub(data_start);
    let mut tensors = Vec::with_capacity(raw.len());
    for tensor in raw {
        tensors.push(place(tensor, data_start, available, alignment)?);
    }
    refuse_overlap(&tensors)?;
    Ok(Header { metadata, tensors })
}

fn magic_and_version(reader: &mut Reader<impl Read>) -> Result<(), GgufError> {
    if reader.remaining() == 0 {
        return Err(GgufError::Empty);
    }
    let length = reader.remaining().min(4);
    let magic = reader.take(length, &|| "magic".to_owned())?;
    if magic != b"GGUF" {
        return Err(GgufError::Magic { found: magic });
    }
    match reader.u32(&|| "version".to_owned())? {
        2 | 3 => Ok(()),
        version if version & 0xFFFF == 0 => Err(GgufError::BigEndian),
        version => Err(GgufError::Version { version }),
    }
}

fn metadata(reader: &mut Reader<impl Read>, count: usize) -> Result<Metadata, GgufError> {
    let mut entries = BTreeMap::new();
    for index in 0..count {
        let key = reader.string(MAX_KEY, &|| format!("metadata key {index}"))?;
        let field = || format!("metadata key {key}");
        reader.charge::<(String, Value)>(1, &field)?;
        let kind = value_type(reader, &field)?;
        let value = value(reader, kind, &field)?;
        if entries.contains_key(&key) {
            return Err(GgufError::Duplicate { kind: "metadata key", name: key });
        }
        entries.insert(key, value);
    }
    Ok(Metadata::new(entries))
}

fn value_type(reader: &mut Reader<impl Read>, field: &dyn Fn() -> String) -> Result<ValueType, GgufError> {
    let number = reader.u32(field)?;
    ValueType::from_number(number).ok_or_else(|| GgufError::UnknownType { field: field(), value: number })
}

fn value(
    reader: &mut Reader<impl Read>,
    kind: ValueType,
    field: &dyn Fn() -> String,
) -> Result<Value, GgufError> {
    Ok(match kind {
        ValueType::U8 => Value::U8(u8::from_le_bytes(reader.array(field)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(reader.array(field)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(reader.array(field)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(reader.array(field)?)),
        ValueType::U32 => Value::U32(reader.u32(field)?),
        ValueType::I32 => Value::I32(i32::from_le_bytes(reader.array(field)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(reader.array(field)?)),
        ValueType::Bool => Value::Bool(boolean(reader, field)?),
        ValueType::String => Value::String(reader.string(MAX_STRING, field)?),
        ValueType::Array => Value::Array(array(reader, field, 1)?),
        ValueType::U64 => Value::U64(reader.u64(field)?),
        ValueType::I64 => Value::I64(i64::from_le_bytes(reader.array(field)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(reader.array(field)?)),
    })
}

fn boolean(reader: &mut Reader<impl Read>, field: &dyn Fn() -> String) -> Result<bool, GgufError> {
    match reader.array::<1>(field)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [value] => Err(GgufError::Boolean { field: field(), value }),
    }
}

fn array(
    reader: &mut Reader<impl Read>,
    field: &dyn Fn() -> String,
    depth: usize,
) -> Result<Array, GgufError> {
    if depth > MAX_NESTING {
        return Err(GgufError::Nesting { field: field(), limit: MAX_NESTING });
    }
    let kind = value_type(reader, field)?;
    let count = reader.count(kind.least_bytes(), &|| format!("array length of {}", field()))?;

    /// `count` values, each read by `read`, their memory counted before it is reserved.
    fn collect<R: Read, T>(
        reader: &mut Reader<R>,
        field: &dyn Fn() -> String,
        count: usize,
        mut read: impl FnMut(&mut Reader<R>) -> Result<T, GgufError>,
    ) -> Result<Vec<T>, GgufError> {
        reader.charge::<T>(count, field)?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(read(reader)?);
        }
        Ok(values)
    }
    macro_rules! values {
        ($variant:ident, $read:expr) => {
            Array::$variant(collect(reader, field, count, $read)?)
        };
    }
    macro_rules! numbers {
        ($variant:ident, $number:ty) => {
            values!($variant, |reader| Ok(<$number>::from_le_bytes(reader.array(field)?)))
        };
    }
    Ok(match kind {
        ValueType::U8 => numbers!(U8, u8),
        ValueType::I8 => numbers!(I8, i8),
        ValueType::U16 => numbers!(U16, u16),
        ValueType::I16 => numbers!(I16, i16),
        ValueType::U32 => numbers!(U32, u32),
        ValueType::I32 => numbers!(I32, i32),
        ValueType::F32 => numbers!(F32, f32),
        ValueType::U64 => numbers!(U64, u64),
        ValueType::I64 => numbers!(I64, i64),
        ValueType::F64 => numbers!(F64, f64),
        ValueType::Bool => values!(Bool, |reader| boolean(reader, field)),
        ValueType::String => values!(String, |reader| reader.string(MAX_STRING, field)),
        ValueType::Array => values!(Array, |reader| array(reader, field, depth + 1)),
    })
}

fn alignment(metadata: &Metadata) -> Result<u64, GgufError> {
    let value = match metadata.get("general.alignment") {
        None => return Ok(DEFAULT_ALIGNMENT),
        Some(value) => value.as_u64().unwrap_or(0),
    };
    if value.is_power_of_two() && value <= MAX_ALIGNMENT {
        Ok(value)
    } else {
        Err(GgufError::Alignment { value, limit: MAX_ALIGNMENT })
    }
}

/// A tensor's header before its place was checked.
pub(super) struct RawTensor {
    name: String,
    shape: Vec<u64>,
    kind: TensorType,
    offset: u64,
}

fn tensor_headers(reader: &mut Reader<impl Read>, count: usize) -> Result<Vec<RawTensor>, GgufError> {
    let mut names = HashSet::new();
    // Once by name and once by place.
    reader.charge::<[RawTensor; 2]>(count, &|| "tensor count".to_owned())?;
    let mut tensors = Vec::new();
    for index in 0..count {
        let name = reader.string(MAX_TENSOR_NAME, &|| format!("name of tensor {index}"))?;
        if !names.insert(name.clone()) {
            return Err(GgufError::Duplicate { kind: "tensor", name });
        }
        let dimensions = reader.u32(&|| format!("dimension count of tensor {name}"))?;
        if dimensions > MAX_DIMENSIONS {
            return Err(GgufError::Count {
                field: format!("dimension count of tensor {name}"),
                count: dimensions.into(),
                limit: MAX_DIMENSIONS.into(),
            });
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            shape.push(reader.u64(&|| format!("shape of tensor {name}"))?);
        }
        let number = reader.u32(&|| format!("type of tensor {name}"))?;
        let kind = match (TensorType::from_number(number), unsupported_name(number)) {
            (Some(kind), _) => kind,
            (None, Some(kind)) => {
                return Err(GgufError::UnsupportedTensorType {
                    tensor: name,
                    name: kind,
                    supported: SUPPORTED,
                });
            }
            (None, None) => {
                return Err(GgufError::UnknownType { field: format!("tensor {name}"), value: number });
            }
        };
        let offset = reader.u64(&|| format!("offset of tensor {name}"))?;
        tensors.push(RawTensor { name, shape, kind, offset });
    }
    Ok(tensors)
}

/// Checks that `tensor` lies wholly inside the `available` bytes that begin at `data_start`.
fn place(
    tensor: RawTensor,
    data_start: u64,
    available: u64,
    alignment: u64,
) -> Result<TensorInfo, GgufError> {
    let RawTensor { name, shape, kind, offset } = tensor;
    let bytes = tensor_bytes(&name, &shape, kind)?;
    if offset % alignment != 0 {
        return Err(GgufError::TensorAlignment { tensor: name, offset, alignment });
    }
    // Ollama CVE-2026-7482: an offset past the end was read as if it were weights.
    let inside = offset.checked_add(bytes).is_some_and(|end| end <= available);
    let start = usize::try_from(data_start.saturating_add(offset)).ok();
    let size = usize::try_from(bytes).ok();
    let dimensions = shape.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<usize>>>();
    match (inside, start, size, dimensions) {
        (true, Some(offset), Some(bytes), Some(shape)) => {
            Ok(TensorInfo { name, shape, kind: kind.into(), offset, bytes })
        }
        _ => Err(GgufError::TensorBounds { tensor: name, offset, size: bytes, available }),
    }
}

fn refuse_overlap(tensors: &[TensorInfo]) -> Result<(), GgufError> {
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_by_key(|tensor| tensor.offset);
    for pair in by_offset.windows(2) {
        if let [first, second] = pair
            && first.offset + first.bytes > second.offset
        {
            return Err(GgufError::TensorOverlap { first: first.name.clone(), second: second.name.clone() });
        }
    }
    Ok(())
}

/// Metadata and tensors of the file, for [`crate::fuzzing`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_header(file: impl Read, length: u64) -> Result<(Metadata, Vec<TensorInfo>), GgufError> {
    parse(file, length).map(|Header { metadata, tensors }| (metadata, tensors))
}
