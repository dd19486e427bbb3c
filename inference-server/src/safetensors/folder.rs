//! A folder, its headers in memory, its tensors mapped when they are asked for.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Component, Path};

use safetensors::Dtype;
use serde_json::{Map, Value};

use super::SafetensorsError;
use super::header::{Header, read_header};
use super::json::read_object;
use super::quantization::{self, Scheme};
use super::scales::Scales;
use crate::gguf::{FileBytes, Shards, StoredType, TensorInfo, TensorType};
use crate::kernels::e4m3::BlockScales;
use crate::model::keys::Keys;
use crate::model::{ModelError, Naming, TensorSource};

const CONFIG: &str = "config.json";
const WHOLE: &str = "model.safetensors";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER: &str = "adapter_model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What old checkpoints keep beside weights, computed anew by whoever needs it.
const BUFFERS: &[&str] = &[".position_ids", ".inv_freq", ".masked_bias", ".attention.bias"];
/// What quantised checkpoints keep for activations, keys and values, which are quantised otherwise here, or not at all.
const OF_ACTIVATIONS: &[&str] = &[
    ".input_scale",
    ".input_scale_ub",
    ".activation_scale",
    ".output_scale",
    ".q_scale",
    ".k_scale",
    ".v_scale",
    ".kv_scale",
];

/// What chooses experts: small, and wrong choices cost more than a few bits of a sum.
const ROUTER: &str = ".gate.weight";

/// A model's folder, its headers checked. Its tensors are mapped read-only, once it is known that they fit in memory.
#[derive(Debug)]
pub struct SafetensorsFolder {
    config: Map<String, Value>,
    shards: Shards,
    /// How 8-bit floats are scaled, where there may be any.
    scheme: Option<Scheme>,
    scales: Scales,
    /// What matrices are quantised to.
    quantize: Option<TensorType>,
    /// What is in the files and not in the model; known, so that the index is right about it.
    buffers: HashSet<String>,
}

impl SafetensorsFolder {
    /// Opens and checks the folder at `path`. Reads headers and maps nothing.
    ///
    /// # Errors
    /// [`SafetensorsError`], naming the file that is wrong and what to do.
    pub fn open(path: &Path) -> Result<Self, SafetensorsError> {
        let config_path = path.join(CONFIG);
        let config = read_object(&config_path)?;
        let scheme = quantization::scheme(&config)
            .map_err(|source| SafetensorsError::Quantization { path: config_path, source })?;
        let index = path.join(INDEX);
        let listed = if index.is_file() { Some(weight_map(&index)?) } else { None };
        let names: BTreeSet<String> = match &listed {
            Some(listed) => listed.values().cloned().collect(),
            None => BTreeSet::from([WHOLE.to_owned()]),
        };
        let mut folder = Self { scheme, ..Self::of(config) };
        for name in &names {
            folder.add(&path.join(name), name, listed.as_ref())?;
        }
        let absent = |name: &&String| folder.shards.tensor(name).is_none() && !folder.buffers.contains(*name);
        if let Some(tensor) = listed.iter().flat_map(HashMap::keys).find(absent) {
            let problem = "the index names it, but its file does not hold it".to_owned();
            return Err(SafetensorsError::Contradiction { tensor: tensor.clone(), problem });
        }
        folder.with_scales()
    }

    /// A folder of nothing but `config`.
    fn of(config: Map<String, Value>) -> Self {
        Self {
            config,
            shards: Shards::default(),
            scheme: None,
            scales: Scales::default(),
            quantize: None,
            buffers: HashSet::new(),
        }
    }

    /// The same, once all its files are known.
    fn with_scales(self) -> Result<Self, SafetensorsError> {
        let scales = Scales::find(&self.shards, self.scheme.as_ref())?;
        Ok(Self { scales, ..self })
    }

    /// The same, its matrices quantised to `kind` while loading: to Q8_0 where a row is no whole number of `kind`'s blocks,
    /// and kept, 8-bit floats as bfloat16, where it is not of that either. Routers stay as they are, as in llama.cpp.
    #[must_use]
    pub fn quantized(self, kind: Option<TensorType>) -> Self {
        Self { quantize: kind, ..self }
    }

    /// Opens and checks the adapter at `path`, a folder as PEFT writes it. Reads headers and maps nothing.
    ///
    /// # Errors
    /// [`SafetensorsError`], naming the file that is wrong and what to do.
    pub fn open_adapter(path: &Path) -> Result<Self, SafetensorsError> {
        let missing = [
            (ADAPTER_CONFIG, "this is no folder of a PEFT adapter; name one, or an adapter in GGUF"),
            (ADAPTER, "save the adapter as safetensors, with PEFT's save_pretrained"),
        ];
        for (name, fix) in missing {
            if !path.join(name).is_file() {
                return Err(SafetensorsError::Missing { path: path.join(name), fix });
            }
        }
        let config = read_object(&path.join(ADAPTER_CONFIG))?;
        let mut folder = Self::of(config);
        folder.add(&path.join(ADAPTER), ADAPTER, None)?;
        folder.with_scales()
    }

    /// The folder's `config.json`, or an adapter's `adapter_config.json`.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    fn add(
        &mut self,
        path: &Path,
        name: &str,
        listed: Option<&HashMap<String, String>>,
    ) -> Result<(), SafetensorsError> {
        let io = |source| SafetensorsError::Io { path: path.to_owned(), source };
        let bytes = FileBytes::new(File::open(path).map_err(io)?).map_err(io)?;
        let Header { data, metadata } = read_header(&mut bytes.file(), bytes.len())
            .map_err(|source| SafetensorsError::Header { path: path.to_owned(), source })?;
        self.shards.add_file(bytes);
        for (tensor, info) in metadata.tensors() {
            if listed.is_some_and(|listed| listed.get(&tensor).is_some_and(|file| file != name)) {
                let problem = format!("{name} holds it, but the index names another file");
                return Err(SafetensorsError::Contradiction { tensor, problem });
            }
            let mut unread = BUFFERS.iter().chain(OF_ACTIVATIONS.iter().filter(|_| self.scheme.is_some()));
            if unread.any(|ending| tensor.ends_with(ending)) {
                self.buffers.insert(tensor);
                continue;
            }
            let kind = kind(&tensor, info.dtype)?;
            let (start, end) = info.data_offsets;
            // The contiguous dimension first, as GGUF orders them.
            let shape = info.shape.iter().rev().copied().collect();
            let info = TensorInfo::new(tensor.clone(), shape, kind, data + start, end - start);
            if !self.shards.add_tensor(info) {
                let problem = "two files hold it".to_owned();
                return Err(SafetensorsError::Contradiction { tensor, problem });
            }
        }
        Ok(())
    }

    /// Whether any file is mapped.
    pub fn is_mapped(&self) -> bool {
        self.shards.is_mapped()
    }
}

fn kind(tensor: &str, dtype: Dtype) -> Result<StoredType, SafetensorsError> {
    Ok(match dtype {
        Dtype::F32 => TensorType::F32.into(),
        Dtype::F16 => TensorType::F16.into(),
        Dtype::BF16 => TensorType::BF16.into(),
        Dtype::F8_E4M3 => StoredType::E4M3,
        other => {
            let found = format!("{other:?}");
            return Err(SafetensorsError::Type { tensor: tensor.to_owned(), found });
        }
    })
}

/// Which file of the folder holds which tensor.
fn weight_map(index: &Path) -> Result<HashMap<String, String>, SafetensorsError> {
    let wrong =
        |problem: &str| SafetensorsError::Json { path: index.to_owned(), problem: problem.to_owned() };
    let object = read_object(index)?;
    let map = object.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| wrong("it has no object weight_map"))?;
    map.iter()
        .map(|(tensor, file)| {
            let file = file.as_str().ok_or_else(|| wrong("weight_map must map names to names"))?;
            let mut components = Path::new(file).components();
            let plain =
                matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none();
            if plain {
                Ok((tensor.clone(), file.to_owned()))
            } else {
                let (tensor, file) = (tensor.clone(), file.to_owned());
                Err(SafetensorsError::Outside { index: index.to_owned(), tensor, file })
            }
        })
        .collect()
}

impl TensorSource for SafetensorsFolder {
    fn naming(&self) -> Naming {
        Naming::HuggingFace
    }

    fn keys(&self) -> Result<Keys<'_>, ModelError> {
        Keys::of_json(&self.config)
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.shards.tensor(name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        let names = self.shards.tensors().iter().map(TensorInfo::name);
        Box::new(names.filter(|name| !self.scales.holds(name)))
    }

    fn kept_as(&self, tensor: &TensorInfo, columns: usize) -> TensorType {
        let wanted = self.quantize.filter(|_| !tensor.name().ends_with(ROUTER));
        let mut kinds = wanted.into_iter().flat_map(|wanted| [wanted, TensorType::Q8_0]);
        kinds.find(|kind| columns.is_multiple_of(kind.block_elements())).unwrap_or(tensor.kind().kept())
    }

    fn read(&self, tensor: &TensorInfo) -> io::Result<Vec<u8>> {
        self.shards.read(tensor)
    }

    fn map(&self) -> io::Result<()> {
        self.shards.map()
    }

    fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.shards.bytes(tensor)
    }

    fn scale_columns(&self, tensor: &TensorInfo) -> Option<usize> {
        self.scales.columns(tensor)
    }

    fn scales(&self, tensor: &TensorInfo) -> Result<Option<BlockScales>, ModelError> {
        self.scales.read(&self.shards, tensor)
    }

    fn release(&self, tensor: &TensorInfo, bytes: Range<usize>) {
        self.shards.release(tensor, bytes);
    }
}
