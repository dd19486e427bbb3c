//! A model that gives its card back and takes it again. What it needs for that is kept from its loading.

use std::sync::Arc;

use weighbridge_crds::SleepingWeights;
use weighbridge_cuda::device::DeviceError;

use super::parallel::Role;
use super::{CUDA, CudaBackend, failed};
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

    /// Copies the weights to memory of the host.
    fn hold(&mut self) -> Result<Vec<u8>, DeviceError> {
        let bytes = usize::try_from(self.fill.weights.bytes()).unwrap_or(usize::MAX);
        let mut held = Vec::new();
        let refused = |_| DeviceError::Failed {
            act: "keeping weights in the host's memory",
            problem: format!("there are no {bytes} bytes"),
        };
        held.try_reserve_exact(bytes).map_err(refused)?;
        held.resize(bytes, 0);
        self.device.download(self.memory.weights, &mut held)?;
        Ok(held)
    }
}

impl Sleeping for CudaBackend {
    fn sleep(&mut self) -> Result<u64, BackendError> {
        self.drawing = None;
        let in_host =
            self.sleeper.as_ref().and_then(|sleeper| sleeper.source.as_ref()).map(|(_, weights)| *weights)
                == Some(SleepingWeights::Host);
        // Weights that could not be kept are read again.
        let held = if in_host { self.hold().map(Some) } else { Ok(None) };
        let forgotten =
            self.recordings.clear().into_iter().try_for_each(|recording| self.device.forget(recording));
        let freed = self.device.free_all();
        if let (Some(sleeper), Ok(held)) = (&mut self.sleeper, &held) {
            sleeper.held.clone_from(held);
        }
        held.and(forgotten).and(freed).map_err(|error| failed(&error))?;
        Ok(self.fill.needs() - self.fill.staging)
    }

    fn wake(&mut self) -> Result<(), BackendError> {
        let refused = |problem: String| BackendError::Device { device: CUDA.to_owned(), problem };
        let Self { device, program, memory, fill, sleeper, .. } = self;
        let Some(Sleeper { packing, adapters, source: Some((source, _)), held }) = sleeper else {
            return Err(refused("it was not loaded to sleep".to_owned()));
        };
        let free = device.free_memory().map_err(|error| failed(&error))?;
        if fill.needs() > free {
            let problem = fill.fit.plan.in_words(free, program.shard);
            return Err(BackendError::NoRoom { device: CUDA.to_owned(), problem });
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
                        loaded.map_err(|error| refused(error.to_string()))
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
