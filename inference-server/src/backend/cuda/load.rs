//! From a file to a backend: plan, see that it fits, reserve once, copy.

use weighbridge_cuda::device::{Device, DeviceError};
use weighbridge_cuda::operations::attention::{CacheKind, HeadShape};
use weighbridge_fit::MemoryPlan;
use weighbridge_fit::rules::{card_reserve, staging};

use super::adapters::size_of_all;
use super::fill::{Fill, Fit};
use super::memory::{Layout, Limits, block_bytes, in_words, logit_rows};
use super::parallel::Role;
use super::part::Part;
use super::program::Program;
use super::recordings::Recordings;
use super::shard::Shard;
use super::sleep::Sleeper;
use super::weights::WeightsPlan;
use super::{BackendDescription, CudaBackend, StepLimits};
use crate::backend::cpu::{KvMemory, LoadError, LoadPhase, LoadProgress};
use crate::kv::blocks_for;
use crate::model::adapter::{Adapter, AdapterFile, AdapterPlan, Base};
use crate::model::plan::PackPlan;
use crate::model::{DecoderModel, PlannedModel, TensorSource, plan_decoder};

/// Blocks that are no sequence's: one is for rows that fill up a recorded step.
pub(super) const SPARE_BLOCKS: u64 = 1;

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
    /// True where the model is to [sleep](CudaBackend::with_sleep): then what it was loaded from is kept.
    pub sleeps: bool,
}

impl CudaBackend {
    /// Loads the model of `source`, with `adapters` by name, onto `device`.
    ///
    /// # Errors
    /// [`LoadError`]: the model is not served on a card, does not fit, or the card refused.
    pub fn load(
        device: Box<dyn Device>,
        source: &dyn TensorSource,
        adapters: &[(String, AdapterFile)],
        options: &CudaOptions,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, LoadError> {
        Self::load_on(vec![device], source, adapters, options, progress)
    }

    /// The same onto `devices`: one, or a group, of which each gets its part.
    ///
    /// # Errors
    /// As [`Self::load`], and where the model can't be shared out.
    pub fn load_on(
        devices: Vec<Box<dyn Device>>,
        source: &dyn TensorSource,
        adapters: &[(String, AdapterFile)],
        options: &CudaOptions,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, LoadError> {
        let PlannedModel { plan: packing, model } = plan_decoder(source, options.context_length)?;
        if devices.len() > 1 && !adapters.is_empty() {
            return Err(card(
                "adapters are served on one card, not on several: leave out the one or the other",
            ));
        }
        let base = Base::new(source, &packing, model.dimensions())?;
        let mut loaded: Vec<Adapter> = Vec::with_capacity(adapters.len());
        for (name, file) in adapters {
            let of_adapter = |source| LoadError::Adapter { name: name.clone(), source };
            loaded.push(AdapterPlan::new(file, &base).and_then(AdapterPlan::load).map_err(of_adapter)?);
        }
        let of = devices.len();
        let planned = devices.into_iter().enumerate().map(|(rank, device)| {
            Planned::new(device, Shard { rank, of }, &*model, &packing, &loaded, options)
        });
        let mut planned: Vec<Planned> = planned.collect::<Result<_, _>>()?;
        // All have the same blocks: as many as the fullest card.
        let blocks = planned.iter().map(|planned| planned.fit.blocks).min().unwrap_or(0);
        for planned in &mut planned {
            planned.fit = planned.fit(Wanted::Memory(KvMemory::Blocks(blocks)))?;
            let memory = in_words(&planned.fit.plan, planned.free, planned.program.shard);
            tracing::info!(memory, blocks, "the card's memory");
        }
        let total_bytes = planned.first().map_or(0, |planned| planned.weights.bytes());
        progress(LoadProgress { phase: LoadPhase::Map, bytes: 0, total_bytes });
        let mapping = |source| LoadError::System { what: "mapping the weights", source };
        source.map().map_err(mapping)?;
        let mut told = |bytes| progress(LoadProgress { phase: LoadPhase::Repack, bytes, total_bytes });
        told(0);
        let mut filled = fill_all(planned, source, &packing, &loaded, &mut told)?.into_iter();
        let mut backend = filled.next().ok_or_else(|| card("there is none"))?;
        let others: Vec<Self> = filled.collect();
        for other in &others {
            backend.description.weight_bytes += other.description.weight_bytes;
            backend.description.kv_bytes += other.description.kv_bytes;
        }
        if of > 1 {
            backend.description.kernels = format!("{of} x {}", backend.description.kernels);
        }
        backend.sleeper = options.sleeps.then(|| Sleeper::new(packing, loaded));
        let starting = |source| LoadError::System { what: "starting a thread for each card", source };
        backend.role = Role::lead(others).map_err(starting)?;
        Ok(backend)
    }
}

/// One card's part of a model, before a byte of it is reserved.
struct Planned {
    device: Box<dyn Device>,
    program: Program,
    weights: WeightsPlan,
    heads: HeadShape,
    layers: usize,
    limits: Limits,
    steps: StepLimits,
    /// What does not depend on blocks.
    fixed: MemoryPlan,
    free: u64,
    fit: Fit,
}

impl Planned {
    fn new(
        device: Box<dyn Device>,
        shard: Shard,
        model: &dyn DecoderModel,
        packing: &PackPlan,
        adapters: &[Adapter],
        options: &CudaOptions,
    ) -> Result<Self, LoadError> {
        let part = Part::new(model, packing, options.cache, shard);
        let part = part.map_err(|unserved| card(unserved.to_string()))?;
        let (adapter_bytes, rank) = size_of_all(adapters);
        let limits = Limits {
            adapters: adapters.len(),
            rank,
            multiplies: device.multiplies(),
            ..Limits::of_steps(options.step_tokens, options.sequences)
        };
        let free = device.free_memory().map_err(|error| refused(&error))?;
        let fixed = MemoryPlan {
            weights: part.weight_bytes(),
            adapters: adapter_bytes,
            kv: 0,
            scratch: 0,
            reserve: card_reserve(free, options.sleeps) + staging(free),
        };
        let dimensions = model.dimensions();
        let context = options.context_length.unwrap_or(dimensions.context_length);
        let wanted = match options.kv {
            // Of all cards together.
            Some(KvMemory::Bytes(bytes)) => Wanted::Memory(KvMemory::Bytes(bytes / shard.of.max(1) as u64)),
            Some(blocks @ KvMemory::Blocks(_)) => Wanted::Memory(blocks),
            None => Wanted::AllThatIsLeft { least: blocks_for(context) },
        };
        let Part { program, weights, heads, layers } = part;
        let fit = fit(&program, &heads, layers, &limits, wanted, fixed, free)?;
        let steps = StepLimits {
            vocabulary: model.vocabulary(),
            context,
            blocks: fit.blocks,
            adapters: adapters.len(),
        };
        Ok(Self { device, program, weights, heads, layers, limits, steps, fixed, free, fit })
    }

    fn fit(&self, wanted: Wanted) -> Result<Fit, LoadError> {
        fit(&self.program, &self.heads, self.layers, &self.limits, wanted, self.fixed, self.free)
    }

    /// Reserves all memory, and copies the weights. `told` hears of their bytes.
    fn fill(
        self,
        source: &dyn TensorSource,
        packing: &PackPlan,
        adapters: &[Adapter],
        told: &mut dyn FnMut(u64),
    ) -> Result<CudaBackend, LoadError> {
        let Self { mut device, program, weights, heads, layers, limits, steps, fixed: _, free, fit } = self;
        let fill = Fill { weights, fit, heads, layers, staging: staging(free) };
        let memory = fill.reserve(&mut *device, &program, adapters).map_err(|error| refused(&error))?;
        fill.load(&mut *device, &memory, source, packing, told)?;
        let description = BackendDescription {
            device: super::CUDA.to_owned(),
            kernels: device.description().name.clone(),
            weight_bytes: fill.weights.bytes(),
            kv_bytes: fill.fit.plan.kv,
            kv_blocks: fill.fit.blocks,
        };
        Ok(CudaBackend {
            device,
            role: Role::Alone,
            program,
            memory,
            limits: StepLimits { blocks: fill.fit.blocks, ..steps },
            rows: limits.rows,
            logit_rows: logit_rows(&limits),
            recordings: Recordings::default(),
            drawing: None,
            // One more than sequences are given.
            spare: u32::try_from(fill.fit.blocks).unwrap_or(u32::MAX),
            fill,
            sleeper: None,
            description,
        })
    }
}

/// Fills all cards at once, each in a thread of its own but for the first.
fn fill_all(
    planned: Vec<Planned>,
    source: &dyn TensorSource,
    packing: &PackPlan,
    adapters: &[Adapter],
    told: &mut dyn FnMut(u64),
) -> Result<Vec<CudaBackend>, LoadError> {
    std::thread::scope(|scope| {
        let mut planned = planned.into_iter();
        let Some(first) = planned.next() else { return Ok(Vec::new()) };
        let others: Vec<_> = planned
            .map(|other| scope.spawn(move || other.fill(source, packing, adapters, &mut |_| ())))
            .collect();
        let mut filled = vec![first.fill(source, packing, adapters, told)];
        filled.extend(others.into_iter().map(|thread| {
            let panicked = |_| Err(card("the thread that filled a card panicked"));
            thread.join().unwrap_or_else(panicked)
        }));
        filled.into_iter().collect()
    })
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
        let kv = block.saturating_mul(blocks as u64 + SPARE_BLOCKS);
        let plan = MemoryPlan { kv, scratch: layout.bytes(), ..fixed };
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
            let arithmetic = format!("the model does not fit: {}", in_words(&fit.plan, free, program.shard));
            return Err(LoadError::Memory { arithmetic });
        }
        // What tiles and tables take grows with the blocks, and is small: a few rounds are enough.
        let over = (fit.plan.total() - free).div_ceil(block.max(1)).max(1);
        blocks = blocks.saturating_sub(usize::try_from(over).unwrap_or(usize::MAX)).max(least);
    }
}

pub(super) fn card(problem: impl Into<String>) -> LoadError {
    LoadError::Card { problem: problem.into() }
}

/// The device's word; that it is full is known as such, for others may leave it.
pub(super) fn refused(error: &DeviceError) -> LoadError {
    match error {
        DeviceError::OutOfMemory { wanted: _, free: _ } | DeviceError::Full { act: _, problem: _ } => {
            LoadError::Memory { arithmetic: error.to_string() }
        }
        DeviceError::Launch { kernel: _, problem: _ }
        | DeviceError::Failed { act: _, problem: _ }
        | DeviceError::Lost { act: _, problem: _ } => card(error.to_string()),
    }
}
