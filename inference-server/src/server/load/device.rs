//! Which device a model is loaded onto: a GPU where it can be had, else the CPU, with the reason.

use std::path::PathBuf;
use std::time::Duration;

use weighbridge_crds::Sleep;
use weighbridge_cuda::device::{Card, CardGauges, Cards, CudaDevice, Device, DeviceError, NoDevice};
use weighbridge_cuda::pack::{Places, find};

use super::source::Opened;
use crate::backend::cpu::{KvMemory, LoadError, LoadProgress};
use crate::backend::cuda::{CacheKind, CudaBackend, CudaOptions};
use crate::http::{AppState, Phase};
use crate::kv::blocks_for;
use crate::model::adapter::AdapterFile;
use crate::server::ServerConfig;
use crate::server::config::{CARD_STEP, DeviceSetting, kv_kind_on_card};

/// Between two looks whether another model sleeps now.
const PAUSE: Duration = Duration::from_secs(2);

/// What chooses, and who is told.
#[derive(Clone, Copy)]
pub(super) struct Devices<'a> {
    pub(super) config: &'a ServerConfig,
    pub(super) state: &'a AppState,
}

/// Cards with their kernels, and the gauges of those that NVML has some of.
type OpenedCards = (Vec<Box<dyn Device>>, Vec<Box<dyn CardGauges>>);

/// A model on a card, with the tokens of its steps.
type OnCard = (CudaBackend, usize);

impl Devices<'_> {
    /// Loads the model onto a GPU; `None` where the CPU is to serve, for a reason that log and `/readyz` have. One that is to
    /// sleep waits for others to do so.
    ///
    /// # Errors
    /// [`LoadError`] of what the CPU could not load either.
    pub(super) fn load(
        &self,
        source: &Opened,
        adapters: &[(String, AdapterFile)],
        context: usize,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Option<OnCard>, LoadError> {
        let named = match &self.config.device {
            DeviceSetting::Cpu => return Ok(None),
            DeviceSetting::Auto => &[][..],
            DeviceSetting::Cuda(named) => named,
        };
        loop {
            let reason = match self.load_once(named, source, adapters, context, progress)? {
                Ok(loaded) => return Ok(Some(loaded)),
                Err(reason) => reason,
            };
            match reason {
                // Others have the card by turns: the CPU would be this model's for good.
                Reason::NoRoom(reason) if self.config.sleep.is_some() => {
                    if self.state.phase() == Phase::Draining {
                        return Err(LoadError::Card { problem: "the server ends".to_owned() });
                    }
                    tracing::info!(reason, "waiting for other models to sleep");
                    std::thread::sleep(PAUSE);
                }
                reason => {
                    self.stay(reason);
                    return Ok(None);
                }
            }
        }
    }

    fn load_once(
        &self,
        named: &[String],
        source: &Opened,
        adapters: &[(String, AdapterFile)],
        context: usize,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Result<OnCard, Reason>, LoadError> {
        let opened = self.cache_kind().and_then(|cache| Ok((self.open(named)?, cache)));
        let ((devices, gauges), cache) = match opened {
            Ok(opened) => opened,
            Err(reason) => return Ok(Err(reason)),
        };
        let step = self.config.tokens_per_step.unwrap_or(CARD_STEP);
        let options = CudaOptions {
            kv: match self.config.kv_memory {
                Some(bytes) => Some(KvMemory::Bytes(bytes)),
                None if self.config.whole_card => None,
                None => Some(KvMemory::Blocks(blocks_for(self.config.kv_tokens(context)))),
            },
            cache,
            step_tokens: step,
            sequences: self.config.max_sequences,
            context_length: Some(context),
            sleeps: self.config.sleep.is_some(),
        };
        match CudaBackend::load_on(devices, source.tensors(), adapters, &options, progress) {
            Ok(backend) => {
                self.state.metrics.watch(gauges);
                let backend = match self.config.sleep {
                    Some(Sleep { after_seconds: _, weights }) => backend.with_sleep(source.shared(), weights),
                    None => backend,
                };
                Ok(Ok((backend, step)))
            }
            Err(error @ LoadError::Memory { .. }) => Ok(Err(Reason::NoRoom(error.to_string()))),
            Err(error @ LoadError::Card { .. }) => Ok(Err(Reason::Refused(error.to_string()))),
            Err(error) => Err(error),
        }
    }

    /// What a card keeps keys and values as.
    fn cache_kind(&self) -> Result<CacheKind, Reason> {
        let asked = self.config.kv_cache_type;
        kv_kind_on_card(asked).ok_or_else(|| {
            Reason::Refused(format!("keys and values as {asked} are the CPU's; a GPU has them as f16 or fp8"))
        })
    }

    /// The cards with their kernels, one or as many as share the model, and what they say of themselves.
    fn open(&self, named: &[String]) -> Result<OpenedCards, Reason> {
        let count = self.config.tensor_parallel.get();
        let mut cards = Cards::probe().and_then(|cards| cards.open_several(named, count)).map_err(
            |reason| match reason {
                NoDevice::NoRoom { problem: _ } => Reason::NoRoom(reason.to_string()),
                other => Reason::None(other),
            },
        )?;
        let refused = |error: &dyn std::fmt::Display| Reason::Refused(error.to_string());
        let places = Places { pack: self.pack(), cache: self.config.kernel_cache.clone() };
        // All are alike.
        let capability = cards.first().map_or((0, 0), |card| card.description().capability);
        let (code, found) = find(&places, capability).map_err(|error| refused(&error))?;
        for card in &cards {
            tracing::info!(card = ?card.description(), kernels = %code.architecture, ?found, "a GPU computes");
        }
        let gauges = cards.iter().filter_map(Card::gauges).collect();
        let opened = match cards.pop() {
            Some(card) if cards.is_empty() => CudaDevice::open(card, &code).map(|device| vec![device]),
            last => {
                cards.extend(last);
                CudaDevice::open_group(cards, &code)
            }
        };
        let devices = opened.map_err(|error| match error {
            DeviceError::OutOfMemory { .. } | DeviceError::Full { .. } => Reason::NoRoom(error.to_string()),
            other => refused(&other),
        })?;
        Ok((devices.into_iter().map(|device| Box::new(device) as Box<dyn Device>).collect(), gauges))
    }

    fn pack(&self) -> PathBuf {
        let beside = || std::env::current_exe().ok()?.parent().map(|folder| folder.join("kernels"));
        self.config.kernels.clone().or_else(beside).unwrap_or_default()
    }

    /// Says why the CPU serves. That a machine has no GPU is nothing to tell, unless one was asked for.
    fn stay(&self, reason: Reason) {
        let asked =
            matches!(self.config.device, DeviceSetting::Cuda(_)) || self.config.tensor_parallel.get() > 1;
        match reason {
            Reason::None(NoDevice::NoDriver | NoDevice::NoCard) if !asked => {
                tracing::debug!("there is no GPU");
            }
            Reason::None(reason) => self.tell(&format!("no CUDA backend: {reason}")),
            Reason::Refused(reason) | Reason::NoRoom(reason) => {
                self.tell(&format!("no CUDA backend: {reason}"));
            }
        }
    }

    fn tell(&self, reason: &str) {
        tracing::warn!(reason, "the CPU computes");
        self.state.computes_without_gpu(reason.to_owned());
    }
}

/// Why a GPU is not used.
enum Reason {
    /// There is none to use.
    None(NoDevice),
    /// It, its kernels or its settings are of no use.
    Refused(String),
    /// It has too little memory now.
    NoRoom(String),
}
