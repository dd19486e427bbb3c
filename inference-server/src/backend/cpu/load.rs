//! From a file to a backend: plan, check the memory, reserve, pack.

use std::num::NonZeroUsize;

use weighbridge_fit::{DeviceFacts, MemoryPlan};

use super::memory::{Admitted, available, check};
use super::{CpuBackend, CpuOptions, KvMemory, LoadError};
use crate::kernels::attention::{KvCache, KvKind, KvShape};
use crate::kernels::buffer::Buffer;
use crate::kernels::packed::{PANEL_ROWS, pack};
use crate::kernels::pool::Pool;
use crate::kernels::{Isa, StoredRows};
use crate::model::adapter::{AdapterFile, AdapterPlan, Base};
use crate::model::pass::cpu::{Buffers, Device};
use crate::model::plan::{PackPlan, Packing};
use crate::model::profile::Profile;
use crate::model::{DecoderModel, Dimensions, PlannedModel, TensorSource, plan_decoder};

/// Bytes of a matrix, stored or packed, that are packed before their pages are given back: bounds what loading needs
/// on top.
const PACK_STEP: usize = 32 << 20;

/// What loading is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPhase {
    /// Reading and packing adapters, where there are any.
    Adapters,
    /// Mapping the files, reserving memory, starting threads.
    Map,
    /// Reading and repacking weights.
    Repack,
    /// What comes after the last weight: memory for keys and values.
    Reserve,
}

impl LoadPhase {
    /// The phase as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Adapters => "adapters",
            Self::Map => "map",
            Self::Repack => "repack",
            Self::Reserve => "reserve",
        }
    }
}

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// What it is doing.
    pub phase: LoadPhase,
    /// Bytes of packed weights so far.
    pub bytes: u64,
    /// Bytes of packed weights in the end.
    pub total_bytes: u64,
}

impl CpuBackend {
    /// Loads the model of `source`. `progress` is called on this thread, some times a tensor at most.
    ///
    /// The source's pages are given back as they are packed, and the mapping is not needed afterwards.
    ///
    /// # Errors
    /// [`LoadError`]: the model is not served, does not fit, or the system refused.
    pub fn load(
        source: &dyn TensorSource,
        options: &CpuOptions,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, LoadError> {
        Self::load_with(source, &[], options, progress)
    }

    /// As [`Self::load`], with `adapters` by name; chunks name them by index.
    ///
    /// # Errors
    /// As [`Self::load`]; [`LoadError::Adapter`], before the model is mapped, when one does not fit it or holds what is no
    /// number.
    pub fn load_with(
        source: &dyn TensorSource,
        adapters: &[(String, AdapterFile)],
        options: &CpuOptions,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, LoadError> {
        // Asked before planning, which reads what the plan counts.
        Self::load_within(available(), source, adapters, options, progress)
    }

    /// The same in `room` bytes of memory; `None` is no known limit.
    pub(super) fn load_within(
        room: Option<u64>,
        source: &dyn TensorSource,
        adapters: &[(String, AdapterFile)],
        options: &CpuOptions,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self, LoadError> {
        let PlannedModel { plan: packing, model } = plan_decoder(source, options.context_length)?;
        let dimensions = model.dimensions();
        let kv_shape = kv_shape(dimensions, options.kv_kind, options.kv)?;
        let kv_bytes = kv_shape
            .block_bytes()
            .and_then(|block| block.checked_mul(kv_shape.blocks))
            .ok_or(LoadError::Overflow { what: "the KV memory's size" })?;
        let base = Base::new(source, &packing, dimensions)?;
        let of_adapter = |name: &String| {
            let name = name.clone();
            move |source| LoadError::Adapter { name, source }
        };
        let mut planned = Vec::with_capacity(adapters.len());
        for (name, file) in adapters {
            planned.push((name, AdapterPlan::new(file, &base).map_err(of_adapter(name))?));
        }
        let adapter_bytes = planned.iter().map(|(_, plan)| plan.bytes()).sum();
        let weight_bytes = packing.bytes as u64;
        let scratch = scratch_bytes(dimensions, model.vocabulary(), options.step_tokens);
        let weights = packing.held_bytes();
        let memory =
            MemoryPlan { weights, adapters: adapter_bytes, kv: kv_bytes as u64, scratch, reserve: 0 };
        let admitted = check(&memory, room)?;
        if !planned.is_empty() {
            progress(LoadProgress { phase: LoadPhase::Adapters, bytes: 0, total_bytes: weight_bytes });
        }
        let load = |(name, plan): (&String, AdapterPlan<'_>)| plan.load().map_err(of_adapter(name));
        let adapters = planned.into_iter().map(load).collect::<Result<_, _>>()?;
        let device = reserve(admitted, source, packing, options, progress)?;
        let cache = KvCache::new(kv_shape)
            .map_err(|source| LoadError::System { what: "reserving KV memory", source })?;
        let context = options.context_length.unwrap_or(model.dimensions().context_length);
        Ok(Self { model, adapters, cache, device, buffers: Buffers::default(), weight_bytes, context })
    }
}

/// What a CPU would hold of a planned decoder, with keys and values as `kv_kind` and steps of `step_tokens`.
pub(crate) fn decoder_facts(
    packing: &PackPlan,
    model: &dyn DecoderModel,
    kv_kind: KvKind,
    step_tokens: usize,
) -> Result<DeviceFacts, LoadError> {
    let block = kv_shape(model.dimensions(), kv_kind, KvMemory::Blocks(1))?.block_bytes();
    let scratch = scratch_bytes(model.dimensions(), model.vocabulary(), step_tokens);
    Ok(DeviceFacts {
        cards: 0,
        weights: packing.held_bytes(),
        kv_block: block.ok_or(LoadError::Overflow { what: "a KV block's size" })? as u64,
        spare_blocks: 0,
        scratch,
        full_scratch: scratch,
    })
}

/// Maps the source, reserves, starts threads and packs `packing`.
pub(super) fn reserve(
    _admitted: Admitted,
    source: &dyn TensorSource,
    packing: PackPlan,
    options: &CpuOptions,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<Device, LoadError> {
    let weights = packing.bytes as u64;
    tracing::info!(matrices = packing.types(), bytes = weights, "weights as they will be kept");
    progress(LoadProgress { phase: LoadPhase::Map, bytes: 0, total_bytes: weights });
    let isa = isa(options.isa)?;
    let system = |what| move |source| LoadError::System { what, source };
    source.map().map_err(system("mapping the weights"))?;
    let mut pool = Pool::new(threads(options.threads)).map_err(system("starting threads"))?;
    let memory = Buffer::zeroed(packing.bytes).map_err(system("reserving memory for the weights"))?;
    pack_all(source, packing, memory, &mut pool, PACK_STEP, progress)?;
    progress(LoadProgress { phase: LoadPhase::Reserve, bytes: weights, total_bytes: weights });
    Ok(Device { pool, isa, order: options.order, profile: Profile::default() })
}

fn threads(wanted: Option<NonZeroUsize>) -> NonZeroUsize {
    wanted.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

fn isa(wanted: Option<Isa>) -> Result<Isa, LoadError> {
    let found = Isa::available();
    match wanted {
        None => Ok(Isa::detect()),
        Some(isa) if found.contains(&isa) => Ok(isa),
        Some(isa) => Err(LoadError::Option {
            option: "isa",
            problem: format!("this CPU has no {}; leave it out, or use {}", isa.name(), Isa::detect().name()),
        }),
    }
}

fn kv_shape(config: &Dimensions, kind: KvKind, memory: KvMemory) -> Result<KvShape, LoadError> {
    if !kind.suits(config.head) {
        return Err(LoadError::KvHead { head: config.head });
    }
    let one = KvShape { kind, layers: config.layers, blocks: 1, heads: config.kv_heads, head: config.head };
    let block = one.block_bytes().ok_or(LoadError::Overflow { what: "a KV block's size" })?;
    let blocks = match memory {
        KvMemory::Blocks(blocks) => blocks,
        KvMemory::Bytes(bytes) => usize::try_from(bytes / block as u64).unwrap_or(usize::MAX),
    };
    if blocks == 0 || u32::try_from(blocks).is_err() {
        return Err(LoadError::Option {
            option: "kv",
            problem: format!("it makes {blocks} blocks of {block} bytes; it must make 1 to 2^32 - 1"),
        });
    }
    Ok(KvShape { blocks, ..one })
}

/// Intermediate values of a step of `tokens`, all of them f32 or less, each at most twice.
pub(super) fn scratch_bytes(config: &Dimensions, vocabulary: usize, tokens: usize) -> u64 {
    let row =
        4 * config.embedding + 4 * config.query_width() + 2 * config.kv_width() + 4 * config.feed_forward;
    let rows = (row as u64).saturating_mul(tokens as u64);
    // Logits: a row for each of up to 64 sequences that decode together.
    rows.saturating_add((vocabulary as u64).saturating_mul(tokens.min(64) as u64)).saturating_mul(4)
}

/// Packs `plan` into `memory`, and gives back what was read after at most `step` bytes, or a panel.
pub(super) fn pack_all(
    source: &dyn TensorSource,
    plan: PackPlan,
    mut memory: Buffer,
    pool: &mut Pool,
    step: usize,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<(), LoadError> {
    let total_bytes = plan.bytes as u64;
    progress(LoadProgress { phase: LoadPhase::Repack, bytes: 0, total_bytes });
    for Packing { tensor, bytes, layout, scale_columns: _, offset } in &plan.matrices {
        let failed = || LoadError::Pack { tensor: tensor.name().to_owned() };
        let stored = source.bytes(tensor).get(bytes.clone()).ok_or_else(failed)?;
        let scales = source.scales(tensor)?;
        let rows_stored = StoredRows::new(tensor.kind(), stored, scales.as_ref()).ok_or_else(failed)?;
        let (panel, row) = (layout.panel_bytes(), stored.len() / layout.rows());
        let step = (step / panel.max(PANEL_ROWS * row)).max(1);
        for first in (0..layout.panels()).step_by(step) {
            let panels = first..layout.panels().min(first + step);
            let rows = first * PANEL_ROWS..layout.rows().min(panels.end * PANEL_ROWS);
            let packed = offset + first * panel..offset + panels.end * panel;
            let end = packed.end as u64;
            let out = memory.bytes_mut().get_mut(packed).ok_or_else(failed)?;
            pack(pool, *layout, rows_stored, panels, out).map_err(|_| failed())?;
            source.release(tensor, bytes.start + rows.start * row..bytes.start + rows.end * row);
            progress(LoadProgress { phase: LoadPhase::Repack, bytes: end, total_bytes });
        }
    }
    plan.arena.fill(memory);
    Ok(())
}
