//! Writes GGUF v3 files: for tests, and for synthetic models, whose tensors are never in memory.

use std::io::{self, Write};

use super::tensor::tensor_bytes;
use super::{Array, GgufError, TensorType, Value};

const ALIGNMENT: usize = 32;

/// What comes before the tensors: pairs, and the tensors' names, shapes and places.
#[derive(Debug, Default)]
pub struct GgufHeader {
    pairs: Vec<(String, Value)>,
    tensors: Vec<(String, Vec<u64>, TensorType, u64)>,
}

impl GgufHeader {
    /// The header of an empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key. Keys are written in the order they were added, repeated ones too.
    pub fn pair(&mut self, key: &str, value: Value) -> &mut Self {
        self.pairs.push((key.to_owned(), value));
        self
    }

    /// Adds a tensor of `shape`, columns first, and gives its length in bytes.
    ///
    /// # Errors
    /// [`GgufError::Shape`] when no tensor has that shape.
    pub fn tensor(&mut self, name: &str, shape: &[usize], kind: TensorType) -> Result<u64, GgufError> {
        let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
        let bytes = tensor_bytes(name, &shape, kind)?;
        self.tensors.push((name.to_owned(), shape, kind, bytes));
        Ok(bytes)
    }

    /// The header's bytes, up to where the first tensor begins.
    pub fn bytes(&self) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend_from_slice(b"GGUF");
        header.extend_from_slice(&3u32.to_le_bytes());
        header.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        header.extend_from_slice(&(self.pairs.len() as u64).to_le_bytes());
        for (key, value) in &self.pairs {
            string(&mut header, key);
            header.extend_from_slice(&value_number(value).to_le_bytes());
            write_value(&mut header, value);
        }
        for ((name, shape, kind, _), offset) in self.tensors.iter().zip(self.offsets()) {
            string(&mut header, name);
            header.extend_from_slice(&(shape.len() as u32).to_le_bytes());
            for dimension in shape {
                header.extend_from_slice(&dimension.to_le_bytes());
            }
            header.extend_from_slice(&kind.number().to_le_bytes());
            header.extend_from_slice(&offset.to_le_bytes());
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
        header
    }

    /// Where each tensor begins, counted from the end of the header, and after them the end of all.
    pub fn offsets(&self) -> Vec<u64> {
        let mut end = 0u64;
        let mut place = |bytes: u64| {
            let start = end;
            end = start + bytes.next_multiple_of(ALIGNMENT as u64);
            start
        };
        let mut offsets: Vec<u64> = self.tensors.iter().map(|(_, _, _, bytes)| place(*bytes)).collect();
        offsets.push(end);
        offsets
    }
}

/// Collects pairs and tensors, then writes them as one file.
#[derive(Debug, Default)]
pub struct GgufWriter {
    header: GgufHeader,
    data: Vec<Vec<u8>>,
}

impl GgufWriter {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key, as [`GgufHeader::pair`].
    pub fn pair(&mut self, key: &str, value: Value) -> &mut Self {
        self.header.pair(key, value);
        self
    }

    /// Adds a tensor of `shape`, columns first, whose `data` is already stored as `kind`.
    ///
    /// # Errors
    /// [`GgufError::Shape`] when `data` is not as long as shape and type say.
    pub fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        kind: TensorType,
        data: Vec<u8>,
    ) -> Result<&mut Self, GgufError> {
        if self.header.tensor(name, shape, kind)? != data.len() as u64 {
            return Err(GgufError::Shape {
                tensor: name.to_owned(),
                shape: shape.iter().map(|&n| n as u64).collect(),
                problem: "its data has another length",
            });
        }
        self.data.push(data);
        Ok(self)
    }

    /// Writes the file to `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.header.bytes())?;
        for data in &self.data {
            out.write_all(data)?;
            pad(out, data.len())?;
        }
        Ok(())
    }
}

fn pad(out: &mut impl Write, length: usize) -> io::Result<()> {
    out.write_all(&[0; ALIGNMENT][..length.next_multiple_of(ALIGNMENT) - length])
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn value_number(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => string(out, v),
        Value::Array(v) => write_array(out, v),
        Value::U64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F64(v) => out.extend_from_slice(&v.to_le_bytes()),
    }
}

fn write_array(out: &mut Vec<u8>, array: &Array) {
    macro_rules! numbers {
        ($number:expr, $values:expr) => {{
            head(out, $number, $values.len());
            for value in $values {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }};
    }
    fn head(out: &mut Vec<u8>, number: u32, count: usize) {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&(count as u64).to_le_bytes());
    }
    match array {
        Array::U8(v) => numbers!(0, v),
        Array::I8(v) => numbers!(1, v),
        Array::U16(v) => numbers!(2, v),
        Array::I16(v) => numbers!(3, v),
        Array::U32(v) => numbers!(4, v),
        Array::I32(v) => numbers!(5, v),
        Array::F32(v) => numbers!(6, v),
        Array::U64(v) => numbers!(10, v),
        Array::I64(v) => numbers!(11, v),
        Array::F64(v) => numbers!(12, v),
        Array::Bool(v) => {
            head(out, 7, v.len());
            out.extend(v.iter().map(|&value| u8::from(value)));
        }
        Array::String(v) => {
            head(out, 8, v.len());
            v.iter().for_each(|text| string(out, text));
        }
        Array::Array(v) => {
            head(out, 9, v.len());
            v.iter().for_each(|inner| write_array(out, inner));
        }
    }
}
