//! A card filled by a plan that fits: all memory at once, then what goes there.

use weighbridge_cuda::device::{Device, DeviceError};
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::attention::HeadShape;
use weighbridge_fit::MemoryPlan;

use super::adapters::AdapterTables;
use super::execute::Memory;
use super::load::refused;
use super::memory::Layout;
use super::program::Program;
use super::weights::{LoadProblem, WeightsPlan};
use crate::backend::cpu::LoadError;
use crate::model::TensorSource;
use crate::model::adapter::Adapter;
use crate::model::plan::PackPlan;

/// A plan that fits.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) plan: MemoryPlan,
    pub(super) layout: Layout,
    pub(super) blocks: usize,
}

/// What is to be where on a card.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) weights: WeightsPlan,
    pub(super) fit: Fit,
    pub(super) heads: HeadShape,
    pub(super) layers: usize,
    /// Bytes that loading takes for a while.
    pub(super) staging: u64,
}

impl Fill {
    /// Takes all memory at once, and copies what is small. After an error some of it may be taken.
    pub(super) fn reserve(
        &self,
        device: &mut dyn Device,
        program: &Program,
        adapters: &[Adapter],
    ) -> Result<Memory, DeviceError> {
        let Self { weights, fit, heads, layers, staging: _ } = self;
        let layer_bytes = heads.block_bytes(crate::kv::BLOCK_SIZE) * (fit.blocks as u64 + 1);
        let mut region = |bytes: u64, cleared: bool| -> Result<Address, DeviceError> {
            let at = device.allocate(bytes.max(1))?;
            if cleared {
                device.fill(at, 0, bytes.max(1))?;
            }
            Ok(at)
        };
        let weights = region(weights.bytes(), false)?;
        // Values of slots that were never stored are multiplied with 0, and what fills up rows is read.
        let cache = region(2 * layer_bytes * *layers as u64, true)?;
        let scratch = region(fit.layout.scratch_bytes, true)?;
        let inputs = region(fit.layout.input_bytes, true)?;
        let vectors = device.allocate_with(&program.vectors)?;
        let frequencies = device.allocate_with(&program.frequencies)?;
        let adapters = AdapterTables::load(device, adapters)?;
        let layout = fit.layout.clone();
        Ok(Memory { weights, vectors, frequencies, cache, layer_bytes, scratch, inputs, layout, adapters })
    }

    /// Copies the weights. `told` hears of their bytes.
    pub(super) fn load(
        &self,
        device: &mut dyn Device,
        memory: &Memory,
        source: &dyn TensorSource,
        packing: &PackPlan,
        told: &mut dyn FnMut(u64),
    ) -> Result<(), LoadError> {
        let loaded = self.weights.load(device, memory.weights, self.staging, source, packing, told);
        loaded.map_err(|problem| match problem {
            LoadProblem::Device(error) => refused(&error),
            LoadProblem::Model(error) => error.into(),
            LoadProblem::Tensor(tensor) => LoadError::Pack { tensor },
        })
    }

    /// Bytes that must be free for all of it: less than was kept free when it was planned, for what the driver took since.
    pub(super) fn needs(&self) -> u64 {
        let MemoryPlan { weights, adapters, kv, scratch, reserve: _ } = self.fit.plan;
        weights + adapters + kv + scratch + self.staging
    }
}
