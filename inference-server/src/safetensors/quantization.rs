//! What `quantization_config` of a `config.json` says of weights: how 8-bit floats are scaled, or that they are stored in
//! a way that is not served.
//!
//! What it says of activations is left alone: ours are bfloat16, nearer to the model as it was trained. Which matrices are
//! quantised is known by their stored type, so that its lists of those that are not are left alone too.
//!
//! Source of the fields: transformers' `quantizers` and `compressed_tensors.quantization.QuantizationArgs`.

use serde_json::{Map, Value};

/// Where the object lies; the second is compressed-tensors' older name.
const KEYS: [&str; 2] = ["quantization_config", "compression_config"];
const INSTEAD: &str = "name the model in BF16, which `quantize` makes smaller, in FP8, or as GGUF";
/// Columns that our scales are for, or a multiple, or all of a row.
const COLUMNS: usize = 128;

/// A quantisation that is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct QuantizationError {
    /// The field of `config.json`.
    field: String,
    /// What is wrong, and what to use instead.
    problem: String,
}

/// Where the scales of matrices in 8-bit floats lie, and what each is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scheme {
    /// What the names of scales end in where those of matrices end in `weight`: the first that is there counts.
    pub(super) endings: &'static [&'static str],
    /// What shares a scale: one of these.
    pub(super) shares: Vec<Share>,
}

/// What shares a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// All of a matrix.
    Tensor,
    /// A row.
    Channel,
    /// So many rows and columns.
    Block([usize; 2]),
}

impl Share {
    /// Rows and columns that share a scale.
    pub(super) fn block(self, [rows, columns]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Tensor => [rows, columns],
            Self::Channel => [1, columns],
            Self::Block(block) => block,
        }
    }

    /// The shape of the scales of a `[rows, columns]` matrix.
    pub(super) fn scales(self, [rows, columns]: [usize; 2]) -> [usize; 2] {
        let [of_rows, of_columns] = self.block([rows, columns]);
        [rows.div_ceil(of_rows.max(1)), columns.div_ceil(of_columns.max(1))]
    }

    /// Whether scales of `shape` are such; one for all of a matrix may have fewer dimensions.
    pub(super) fn has(self, shape: &[usize], of: [usize; 2]) -> bool {
        shape == self.scales(of) || self == Self::Tensor && shape.iter().all(|&length| length == 1)
    }
}

/// How `config` says that weights are scaled; `None` where it says nothing.
pub(crate) fn scheme(config: &Map<String, Value>) -> Result<Option<Scheme>, QuantizationError> {
    let said = |key: &&'static str| Some((*key, config.get(*key)?)).filter(|(_, value)| !value.is_null());
    let Some((key, value)) = KEYS.iter().find_map(said) else { return Ok(None) };
    let object = value.as_object().ok_or_else(|| QuantizationError {
        field: key.to_owned(),
        problem: "it must be an object".to_owned(),
    })?;
    let said = Said { path: key.to_owned(), object };
    match said.text("quant_method")? {
        Some("fp8") => fp8(&said).map(Some),
        Some("fbgemm_fp8") => Ok(Some(Scheme { endings: &["weight_scale"], shares: vec![Share::Channel] })),
        Some("compressed-tensors") => compressed_tensors(&said).map(Some),
        Some(other) => {
            let served = "fp8, fbgemm_fp8 and compressed-tensors in 8-bit floats are";
            Err(said.refuse("quant_method", format!("{other:?} is not served; {served}: {INSTEAD}")))
        }
        None => Err(said.refuse("quant_method", format!("it is missing: {INSTEAD}"))),
    }
}

/// As DeepSeek, Qwen and AutoFP8 write it.
fn fp8(said: &Said<'_>) -> Result<Scheme, QuantizationError> {
    said.one_of("fmt", &["e4m3"], Some("e4m3"))?;
    let endings = &["weight_scale_inv", "weight_scale"];
    let share = match said.object.get("weight_block_size") {
        None | Some(Value::Null) => Share::Tensor,
        Some(block) => Share::Block(said.block("weight_block_size", block)?),
    };
    Ok(Scheme { endings, shares: vec![share] })
}

/// As llm-compressor writes it.
fn compressed_tensors(said: &Said<'_>) -> Result<Scheme, QuantizationError> {
    const FORMATS: &[&str] = &["float-quantized", "naive-quantized"];
    said.one_of("format", FORMATS, None)?;
    if let Some(sparsity) = said.object_at("sparsity_config")? {
        sparsity.one_of("format", &["dense"], Some("dense"))?;
    }
    if let Some(transforms) = said.object_at("transform_config")?
        && !transforms.object.values().all(is_empty)
    {
        let problem =
            format!("weights that were turned before they were quantised are not served: {INSTEAD}");
        return Err(said.refuse("transform_config", problem));
    }
    let groups = said.object_at("config_groups")?.filter(|groups| !groups.object.is_empty());
    let groups = groups.ok_or_else(|| said.refuse("config_groups", "it must name a group".to_owned()))?;
    let mut shares = Vec::new();
    for name in groups.object.keys() {
        let missing = |field: &str| groups.refuse(field, "it must be an object".to_owned());
        let group = groups.object_at(name)?.ok_or_else(|| missing(name))?;
        group.one_of("format", FORMATS, Some("float-quantized"))?;
        let weights = group.object_at("weights")?.ok_or_else(|| {
            let problem = format!("a group that quantises activations alone is not served: {INSTEAD}");
            group.refuse("weights", problem)
        })?;
        shares.push(share(&weights)?);
    }
    Ok(Scheme { endings: &["weight_scale"], shares })
}

/// What shares a scale among the weights of a group.
fn share(weights: &Said<'_>) -> Result<Share, QuantizationError> {
    weights.one_of("type", &["float"], None)?;
    if weights.object.get("num_bits").and_then(Value::as_u64) != Some(8) {
        let found = weights.object.get("num_bits").cloned().unwrap_or_default();
        let problem = format!("{found} is not served with floats; 8 is: {INSTEAD}");
        return Err(weights.refuse("num_bits", problem));
    }
    for (field, served) in [("symmetric", true), ("dynamic", false)] {
        match weights.object.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::Bool(found)) if *found == served => {}
            Some(found) => {
                let problem = format!("{found} is not served; {served} is: {INSTEAD}");
                return Err(weights.refuse(field, problem));
            }
        }
    }
    let group_size = weights.object.get("group_size").and_then(Value::as_i64);
    let usual = match group_size {
        None => "tensor",
        Some(-1) => "channel",
        Some(_) => "group",
    };
    match weights.one_of("strategy", &["tensor", "channel", "block"], Some(usual))? {
        "tensor" => Ok(Share::Tensor),
        "channel" => Ok(Share::Channel),
        _ => {
            let block = weights.object.get("block_structure").unwrap_or(&Value::Null);
            weights.block("block_structure", block).map(Share::Block)
        }
    }
}

/// Nothing, however it is written.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// An object of the config, and where it lies.
struct Said<'a> {
    path: String,
    object: &'a Map<String, Value>,
}

impl<'a> Said<'a> {
    fn refuse(&self, field: &str, problem: String) -> QuantizationError {
        QuantizationError { field: format!("{}.{field}", self.path), problem }
    }

    fn text(&self, field: &str) -> Result<Option<&'a str>, QuantizationError> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.refuse(field, "it must be a string".to_owned())),
        }
    }

    /// The text of `field`, which must be one of `served`, or `absent` where it is not there.
    fn one_of(
        &self,
        field: &str,
        served: &[&'static str],
        absent: Option<&'static str>,
    ) -> Result<&'static str, QuantizationError> {
        let found = self.text(field)?.or(absent);
        if let Some(known) = served.iter().copied().find(|known| Some(*known) == found) {
            return Ok(known);
        }
        let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("{found:?}"));
        let problem = format!("{found} is not served; served: {}: {INSTEAD}", served.join(", "));
        Err(self.refuse(field, problem))
    }

    fn object_at(&self, field: &str) -> Result<Option<Said<'a>>, QuantizationError> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Said { path: format!("{}.{field}", self.path), object })),
            Some(_) => Err(self.refuse(field, "it must be an object".to_owned())),
        }
    }

    /// Rows and columns of a block: `[128, 128]` or `"128x128"`.
    fn block(&self, field: &str, value: &Value) -> Result<[usize; 2], QuantizationError> {
        let numbers: Option<Vec<u64>> = match value {
            Value::Array(numbers) => numbers.iter().map(Value::as_u64).collect(),
            Value::String(text) => text.split('x').map(|number| number.parse().ok()).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        };
        let sizes: Option<Vec<usize>> = numbers
            .and_then(|numbers| numbers.into_iter().map(|number| usize::try_from(number).ok()).collect());
        match sizes.as_deref() {
            Some(&[rows, columns]) if rows > 0 && columns > 0 => {
                if columns.is_multiple_of(COLUMNS) {
                    return Ok([rows, columns]);
                }
                let problem = format!(
                    "blocks of {columns} columns are not served, whose columns must be a multiple of {COLUMNS}: {INSTEAD}"
                );
                Err(self.refuse(field, problem))
            }
            _ => Err(self.refuse(field, "it must be rows and columns of a block, as [128, 128]".to_owned())),
        }
    }
}
