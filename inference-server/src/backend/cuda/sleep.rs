//! A model that gives its card back and takes it again. What it needs for that is kept from its loading.

use std::sync::Arc;

use weighbridge_crds::SleepingWeights;
use weighbridge_cuda::device::DeviceError;

use super::memory::in_words;
use super::parallel::Role;
use super::{CUDA, CudaBackend, failed};
use crate::backend::cpu::{LoadError, available_memory};
use crate::backend::{BackendError, Sleeping};
use crate::model::TensorSource;
use crate::model::adapter::Adapter;
use crate::model::plan::PackPlan;

/// What the card is filled from.
pub(super) struct Sleeper {
    packing: PackPlan,
    adapters: Vec<Adapter>,
    source: Option<(Arc<dyn TensorSource + Send>, SleepingWeights)>,
    /// The weights as they lie on the card, while it sleeps; none where they are read from the source.
    held: Option<Vec<u8>>,
}

impl Sleeper {
    pub(super) fn new(packing: PackPlan, adapters: Vec<Adapter>) -> Self {
        Self { packing, adapters, source: None, held: None }
    }
}

impl CudaBackend {
    /// The same, that sleeps when it is told to; `source` is what it was loaded from. One that was not loaded for it, or lies
    /// on several cards, never sleeps.
    #[must_use]
    pub fn with_sleep(mut self, source: Arc<dyn TensorSource + Send>, weights: SleepingWeights) -> Self {
        if let Some(sleeper) = &mut self.sleeper {
            sleeper.source = Some((source, weights));
        }
        self
    }

    pub(super) fn can_sleep(&self) -> bool {
        matches!(self.role, Role::Alone)
            && self.sleeper.as_ref().is_some_and(|sleeper| sleeper.source.is_some())
    }

    /// The weights in memory of the host, where they are to be there and find room.
    fn hold(&mut self) -> Result<Option<Vec<u8>>, DeviceError> {
        let source = self.sleeper.as_ref().and_then(|sleeper| sleeper.source.as_ref());
        match source {
            Some((_, SleepingWeights::Host)) => {}
            Some((_, SleepingWeights::Dropped)) | None => return Ok(None),
        }
        let bytes = self.fill.weights.bytes();
        if let Some(available) = available_memory().filter(|available| *available < bytes) {
            tracing::warn!(bytes, available, "too little memory to keep the weights: they are read again");
            return Ok(None);
        }
        let mut held = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        self.device.download(self.memory.weights, &mut held)?;
        Ok(Some(held))
    }
}

impl Sleeping for CudaBackend {
    fn sleep(&mut self) -> Result<u64, BackendError> {
        self.drawing = None;
        // Weights that could not be kept are read again.
        let (held, kept) = match self.hold() {
            Ok(held) => (held, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let forgotten =
            self.recordings.clear().into_iter().try_for_each(|recording| self.device.forget(recording));
        let freed = self.device.free_all();
        if let Some(sleeper) = &mut self.sleeper {
            sleeper.held = held;
        }
        kept.and(forgotten).and(freed).map_err(|error| failed(&error))?;
        Ok(self.fill.needs() - self.fill.staging)
    }

    fn wake(&mut self) -> Result<(), BackendError> {
        let device_of = || CUDA.to_owned();
        let refused = |error: LoadError| match error {
            LoadError::Memory { arithmetic: problem } => {
                BackendError::NoRoom { device: device_of(), problem }
            }
            other => BackendError::Device { device: device_of(), problem: other.to_string() },
        };
        let Self { device, program, memory, fill, sleeper, .. } = self;
        let Some(Sleeper { packing, adapters, source: Some((source, _)), held }) = sleeper else {
            let problem = "it was not loaded to sleep".to_owned();
            return Err(BackendError::Device { device: device_of(), problem });
        };
        let free = device.free_memory().map_err(|error| failed(&error))?;
        if fill.needs() > free {
            let problem = in_words(&fill.fit.plan, free, program.shard);
            return Err(BackendError::NoRoom { device: device_of(), problem });
        }
        let woken = match fill.reserve(&mut **device, program, adapters) {
            Ok(reserved) => {
                let filled = match held {
                    Some(held) => {
                        let uploaded = device.upload(reserved.weights, held);
                        uploaded.and_then(|()| device.synchronize()).map_err(|error| failed(&error))
                    }
                    None => {
                        let loaded = fill.load(&mut **device, &reserved, &**source, packing, &mut |_| ());
                        loaded.map_err(refused)
                    }
                };
                filled.map(|()| *memory = reserved)
            }
            // Others were faster.
            Err(error) => Err(failed(&error)),
        };
        match woken {
            Ok(()) => *held = None,
            // What was taken is given back, or it would be taken twice.
            Err(_) => device.free_all().map_err(|error| failed(&error))?,
        }
        woken
    }
}
