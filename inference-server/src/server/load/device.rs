//! Which device a model is loaded onto: a GPU where it can be had, else the CPU, with the reason.

use std::path::PathBuf;

use weighbridge_crds::KvCacheType;
use weighbridge_cuda::device::{Card, CardGauges, Cards, CudaDevice, Device, DeviceChoice, NoDevice};
use weighbridge_cuda::pack::{Places, find};

use crate::backend::cpu::{KvMemory, LoadError, LoadProgress};
use crate::backend::cuda::{CacheKind, CudaBackend, CudaOptions};
use crate::http::AppState;
use crate::kv::blocks_for;
use crate::model::TensorSource;
use crate::model::adapter::AdapterFile;
use crate::server::ServerConfig;
use crate::server::config::{CARD_STEP, DeviceSetting};

/// What chooses, and who is told.
#[derive(Clone, Copy)]
pub(super) struct Devices<'a> {
    pub(super) config: &'a ServerConfig,
    pub(super) state: &'a AppState,
}

/// A card with its kernels, and its gauges where NVML has them.
type Opened = (Box<dyn Device>, Option<Box<dyn CardGauges>>);

/// A model on a card, with the tokens of its steps.
type OnCard = (CudaBackend, usize);

impl Devices<'_> {
    /// Loads the model onto a GPU; `None` where the CPU is to serve, for a reason that log and `/readyz` have.
    ///
    /// # Errors
    /// [`LoadError`] of what the CPU could not load either.
    pub(super) fn load(
        &self,
        source: &dyn TensorSource,
        adapters: &[(String, AdapterFile)],
        context: usize,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Option<OnCard>, LoadError> {
        let choice = match &self.config.device {
            DeviceSetting::Cpu => return Ok(None),
            DeviceSetting::Auto => &DeviceChoice::First,
            DeviceSetting::Cuda(choice) => choice,
        };
        let opened = self.cache_kind().and_then(|cache| Ok((self.open(choice)?, cache)));
        let ((device, gauges), cache) = match opened {
            Ok(opened) => opened,
            Err(reason) => {
                self.stay(reason);
                return Ok(None);
            }
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
        };
        match CudaBackend::load(device, source, adapters, &options, progress) {
            Ok(backend) => {
                if let Some(gauges) = gauges {
                    self.state.metrics.watch(gauges);
                }
                Ok(Some((backend, step)))
            }
            Err(error @ (LoadError::Card { .. } | LoadError::Memory { .. })) => {
                self.stay(Reason::Refused(error.to_string()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What a card keeps keys and values as.
    fn cache_kind(&self) -> Result<CacheKind, Reason> {
        match self.config.kv_cache_type {
            KvCacheType::Auto | KvCacheType::F16 => Ok(CacheKind::F16),
            KvCacheType::Fp8 => Ok(CacheKind::E4m3),
            other @ (KvCacheType::F32 | KvCacheType::Q8_0) => Err(Reason::Refused(format!(
                "keys and values as {other} are the CPU's; a GPU has them as f16 or fp8"
            ))),
        }
    }

    /// The card with its kernels, and what it says of itself.
    fn open(&self, choice: &DeviceChoice) -> Result<Opened, Reason> {
        let card: Card = Cards::probe().and_then(|cards| cards.open(choice)).map_err(Reason::None)?;
        let refused = |error: &dyn std::fmt::Display| Reason::Refused(error.to_string());
        let places = Places { pack: self.pack(), cache: self.config.kernel_cache.clone() };
        let (code, found) = find(&places, card.description().capability).map_err(|error| refused(&error))?;
        tracing::info!(card = ?card.description(), kernels = %code.architecture, ?found, "a GPU computes");
        let gauges = card.gauges();
        let device = CudaDevice::open(card, &code).map_err(|error| refused(&error))?;
        Ok((Box::new(device), gauges))
    }

    fn pack(&self) -> PathBuf {
        let beside = || std::env::current_exe().ok()?.parent().map(|folder| folder.join("kernels"));
        self.config.kernels.clone().or_else(beside).unwrap_or_default()
    }

    /// Says why the CPU serves. That a machine has no GPU is nothing to tell, unless one was asked for.
    fn stay(&self, reason: Reason) {
        let asked = matches!(self.config.device, DeviceSetting::Cuda(_));
        match reason {
            Reason::None(NoDevice::NoDriver | NoDevice::NoCard) if !asked => {
                tracing::debug!("there is no GPU");
            }
            Reason::None(reason) => self.tell(&format!("no CUDA backend: {reason}")),
            Reason::Refused(reason) => self.tell(&format!("no CUDA backend: {reason}")),
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
}
