//! From a file to a backend: plan, see that it fits, reserve once, copy.

use weighbridge_cuda::device::{Device, DeviceError};
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::attention::{CacheKind, HeadShape};

use super::adapters::{AdapterTables, size_of_all};
use super::execute::Memory;
use super::memory::{Layout, Limits, MemoryPlan, block_bytes, logit_rows};
use super::program::Program;
use super::record::record;
use super::recordings::Recordings;
use super::weights::{LoadProblem, WeightsPlan, staging};
use super::{BackendDescription, CudaBackend, StepLimits};
use crate::backend::cpu::{KvMemory, LoadError, LoadPhase, LoadProgress};
use crate::kv::blocks_for;
use crate::model::adapter::{Adapter, AdapterFile, AdapterPlan, Base};
use crate::model::{PlannedModel, TensorSource, plan_decoder};

/// What is left of a card: recordings, and the driver's own.
const RESERVE: u64 = 256 << 20;

/// How to load and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaOptions {
    /// KV memory to reserve; all that is left of the card when `None`.
    pub kv: Option<KvMemory>,
    /// What keys and values are kept as.
    pub cache: CacheKind,
    /// Most tokens of a step.
    pub step_tokens: usize,
    /// Most sequences of a step.
    pub sequences: usize,
    /// The longest context that will be served; the model's own when `None`.
    pub context_length: Option<usize>,
}

impl CudaBackend {
    /// Loads the model of `source`, with `adapters` by name, onto `device`.
    ///
    /// # Errors
    /// [`LoadError`]: the model is not served on a card, does not fit, or the card refused.
    pub fn load(
        mut device: Box<dyn Device>,
        source: &dyn TensorSource,
        adapters: &[(String, AdapterFile)],
        options: &CudaOptions,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, LoadError> {
        let PlannedModel { plan: packing, model } = plan_decoder(source, options.context_length)?;
        let dimensions = model.dimensions();
        let base = Base::new(source, &packing, dimensions)?;
        let mut loaded: Vec<Adapter> = Vec::with_capacity(adapters.len());
        for (name, file) in adapters {
            let of_adapter = |source| LoadError::Adapter { name: name.clone(), source };
            loaded.push(AdapterPlan::new(file, &base).and_then(AdapterPlan::load).map_err(of_adapter)?);
        }
        let weights = WeightsPlan::new(&packing);
        let program = record(&*model, &weights, options.cache)
            .map_err(|unserved| LoadError::Card { problem: unserved.to_string() })?;
        let heads = program.heads.ok_or_else(|| card("the model has no attention"))?;
        let (adapter_bytes, rank) = size_of_all(&loaded);
        let limits = Limits {
            rows: options.step_tokens.max(options.sequences.next_multiple_of(8)),
            sequences: options.sequences,
            adapters: loaded.len(),
            rank,
            multiplies: device.multiplies(),
        };
        let free = device.free_memory().map_err(|error| card(error.to_string()))?;
        let fixed = MemoryPlan {
            weights: weights.bytes() + (4 * program.vectors.len() + 8 * program.frequencies.len()) as u64,
            adapters: adapter_bytes,
            kv: 0,
            scratch: 0,
            reserve: RESERVE.min(free / 16) + staging(free),
        };
        let context = options.context_length.unwrap_or(dimensions.context_length);
        let wanted = match options.kv {
            Some(memory) => Wanted::Memory(memory),
            None => Wanted::AllThatIsLeft { least: blocks_for(context) },
        };
        let fit = fit(&program, &heads, dimensions.layers, &limits, wanted, fixed, free)?;
        tracing::info!(memory = fit.plan.in_words(free), blocks = fit.blocks, "the card's memory");
        progress(LoadProgress { phase: LoadPhase::Map, bytes: 0, total_bytes: weights.bytes() });
        let mapping = |source| LoadError::System { what: "mapping the weights", source };
        source.map().map_err(mapping)?;
        let total_bytes = weights.bytes();
        let reserved = reserve(&mut *device, &program, &fit, total_bytes, heads, dimensions.layers, &loaded);
        let memory = reserved.map_err(|error| card(error.to_string()))?;
        let mut told = |bytes| progress(LoadProgress { phase: LoadPhase::Repack, bytes, total_bytes });
        told(0);
        weights.load(&mut *device, memory.weights, staging(free), source, &packing, &mut told).map_err(
            |problem| match problem {
                LoadProblem::Device(error) => card(error.to_string()),
                LoadProblem::Tensor(tensor) => LoadError::Pack { tensor },
            },
        )?;
        let limits_of_steps = StepLimits {
            vocabulary: model.vocabulary(),
            context,
            blocks: fit.blocks,
            adapters: loaded.len(),
        };
        let description = BackendDescription {
            device: super::CUDA.to_owned(),
            kernels: device.description().name.clone(),
            weight_bytes: total_bytes,
            kv_bytes: fit.plan.kv,
            kv_blocks: fit.blocks,
        };
        Ok(Self {
            device,
            program,
            memory,
            limits: limits_of_steps,
            rows: limits.rows,
            logit_rows: logit_rows(&limits),
            recordings: Recordings::default(),
            drawing: None,
            // One more than sequences are given.
            spare: u32::try_from(fit.blocks).unwrap_or(u32::MAX),
            description,
        })
    }
}

/// A plan that fits.
struct Fit {
    plan: MemoryPlan,
    layout: Layout,
    blocks: usize,
}

/// KV blocks that are to be had.
#[derive(Clone, Copy)]
enum Wanted {
    /// So much, and no less.
    Memory(KvMemory),
    /// What the rest leaves, which must hold one context.
    AllThatIsLeft { least: usize },
}

/// As many blocks as were asked for, or as are left; refused where they are too few.
fn fit(
    program: &Program,
    heads: &HeadShape,
    layers: usize,
    limits: &Limits,
    wanted: Wanted,
    fixed: MemoryPlan,
    free: u64,
) -> Result<Fit, LoadError> {
    let block = block_bytes(heads, layers);
    let plan_of = |blocks: usize| {
        let layout = Layout::new(program, limits, blocks);
        // One block is for rows that fill up a recorded step.
        let kv = block.saturating_mul(blocks as u64 + 1);
        let plan = MemoryPlan { kv, scratch: layout.scratch_bytes + layout.input_bytes, ..fixed };
        Fit { plan, layout, blocks }
    };
    let most = usize::try_from(free / block.max(1)).unwrap_or(usize::MAX).min(u32::MAX as usize - 1);
    let (mut blocks, least) = match wanted {
        Wanted::Memory(KvMemory::Blocks(blocks)) => (blocks, blocks),
        Wanted::Memory(KvMemory::Bytes(bytes)) => {
            let blocks = usize::try_from(bytes / block.max(1)).unwrap_or(usize::MAX);
            (blocks, blocks)
        }
        Wanted::AllThatIsLeft { least } => (most.max(least), least),
    };
    if blocks == 0 || blocks > u32::MAX as usize - 1 {
        let problem = format!("it makes {blocks} blocks of {block} bytes; it must make 1 to 2^32 - 2");
        return Err(LoadError::Option { option: "kv", problem });
    }
    loop {
        let fit = plan_of(blocks);
        if fit.plan.total() <= free {
            return Ok(fit);
        }
        if blocks <= least {
            let arithmetic = format!("the model does not fit: {}", fit.plan.in_words(free));
            return Err(LoadError::Memory { arithmetic });
        }
        // What tiles and tables take grows with the blocks, and is small: a few rounds are enough.
        let over = (fit.plan.total() - free).div_ceil(block.max(1)).max(1);
        blocks = blocks.saturating_sub(usize::try_from(over).unwrap_or(usize::MAX)).max(least);
    }
}

/// Takes all memory at once, and copies what is small.
fn reserve(
    device: &mut dyn Device,
    program: &Program,
    fit: &Fit,
    weight_bytes: u64,
    heads: HeadShape,
    layers: usize,
    adapters: &[Adapter],
) -> Result<Memory, DeviceError> {
    let layer_bytes = heads.block_bytes(crate::kv::BLOCK_SIZE) * (fit.blocks as u64 + 1);
    let mut region = |bytes: u64, cleared: bool| -> Result<Address, DeviceError> {
        let at = device.allocate(bytes.max(1))?;
        if cleared {
            device.fill(at, 0, bytes.max(1))?;
        }
        Ok(at)
    };
    let weights = region(weight_bytes, false)?;
    // Values of slots that were never stored are multiplied with 0, and what fills up rows is read.
    let cache = region(2 * layer_bytes * layers as u64, true)?;
    let scratch = region(fit.layout.scratch_bytes, true)?;
    let inputs = region(fit.layout.input_bytes, true)?;
    let vectors = device.allocate_with(&program.vectors)?;
    let frequencies = device.allocate_with(&program.frequencies)?;
    let adapters = AdapterTables::load(device, adapters)?;
    let layout = fit.layout.clone();
    Ok(Memory { weights, vectors, frequencies, cache, layer_bytes, scratch, inputs, layout, adapters })
}

fn card(problem: impl Into<String>) -> LoadError {
    LoadError::Card { problem: problem.into() }
}
