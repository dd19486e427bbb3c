//! The CUDA backend: a model's written pass, its weights and cache on a card, behind [`Backend`].
//!
//! - `record` writes down what a family calls, as a `program`; `execute` makes launches of it.
//! - `part` is what one card has of a model, before anything is known of the card; `memory` plans the card's memory before a
//!   byte is reserved; `load` and `fill` fill it with `weights`, `adapters` beside them; `sleep` gives it back for a while.
//! - `shard` says what each of several cards holds; `parallel` makes them do each step together.
//! - `inputs` is a step as the card reads it; steps that decode are recorded by shape (`recordings`) and replayed; `draw`
//!   makes tokens of the logits where they are.
//!
//! No arithmetic and no `unsafe`: both are `weighbridge_cuda`'s.

mod adapters;
mod draw;
mod execute;
mod fill;
mod inputs;
mod load;
mod memory;
mod parallel;
mod part;
mod program;
mod record;
mod recordings;
mod shard;
mod sleep;
#[cfg(test)]
mod tests;
mod weights;

pub use load::CudaOptions;
pub(crate) use part::card_facts;
use weighbridge_cuda::device::{Device, DeviceError, Recording};
pub use weighbridge_cuda::operations::attention::CacheKind;

use super::step::StepLimits;
use super::{Backend, BackendDescription, BackendError, Drawing, Drawn, Logits, SequenceChunk, Sleeping};
use crate::sampling::Draw;
use draw::DrawnThere;
use execute::{Execution, Memory};
use fill::Fill;
use inputs::{Shape, StepInputs};
use memory::LOGIT_ROWS;
use parallel::Role;
use program::Program;
use recordings::{Recorded, Recordings};
use sleep::Sleeper;

/// What the backend calls its device.
pub const CUDA: &str = "cuda";

/// A model on a card, or on several.
pub struct CudaBackend {
    device: Box<dyn Device>,
    /// The card's part among several.
    role: Role,
    program: Program,
    memory: Memory,
    limits: StepLimits,
    /// Rows of a step.
    rows: usize,
    /// Rows of logits that there is room for.
    logit_rows: usize,
    recordings: Recordings,
    /// What is drawn of the step that runs.
    drawing: Option<DrawnThere>,
    /// A block that is no sequence's.
    spare: u32,
    /// What is where on the card.
    fill: Fill,
    /// What it takes to fill the card again, where it may sleep.
    sleeper: Option<Sleeper>,
    description: BackendDescription,
}

impl std::fmt::Debug for CudaBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaBackend").field("description", &self.description).finish_non_exhaustive()
    }
}

impl Backend for CudaBackend {
    fn description(&self) -> BackendDescription {
        self.description.clone()
    }

    fn vocabulary_size(&self) -> usize {
        self.limits.vocabulary
    }

    fn context_length(&self) -> usize {
        self.limits.context
    }

    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Logits) -> Result<(), BackendError> {
        let (inputs, wanted) = self.step(batch)?;
        let out = logits.reset(wanted, self.limits.vocabulary);
        match inputs {
            Some(inputs) => {
                let fits = inputs.shape.wanted() <= self.logit_rows;
                let computed = self.together(&inputs, fits, |backend| backend.compute(&inputs, out));
                computed.map_err(|error| failed(&error))
            }
            None => Ok(()),
        }
    }

    fn drawing(&mut self) -> Option<&mut dyn Drawing> {
        Some(self)
    }

    fn sleeping(&mut self) -> Option<&mut dyn Sleeping> {
        if self.can_sleep() { Some(self) } else { None }
    }
}

impl Drawing for CudaBackend {
    fn begin(&mut self, batch: &[SequenceChunk<'_>], draws: &[Draw]) -> Result<(), BackendError> {
        self.drawing = None;
        let (inputs, wanted) = self.step(batch)?;
        if wanted != draws.len() || wanted > self.logit_rows {
            let problem =
                format!("{wanted} rows are wanted, {} are drawn from, {} fit", draws.len(), self.logit_rows);
            return Err(BackendError::InvalidChunk { chunk: 0, problem });
        }
        let Some(inputs) = inputs else { return Ok(()) };
        let begun = self.begin_together(&inputs, true, |backend| {
            backend.tell_draws(draws)?;
            backend.run(&inputs, true)?;
            backend.draw(draws)
        });
        self.drawing = Some(begun.map_err(|error| failed(&error))?);
        Ok(())
    }

    fn fetch(&mut self) -> Result<Vec<Drawn>, BackendError> {
        let Some(drawing) = self.drawing.take() else { return Ok(Vec::new()) };
        self.end_together(|backend| backend.fetch_drawn(&drawing)).map_err(|error| failed(&error))
    }
}

impl CudaBackend {
    /// `batch` as the card reads it, if it holds anything, and the rows that it wants.
    fn step(&self, batch: &[SequenceChunk<'_>]) -> Result<(Option<StepInputs>, usize), BackendError> {
        let step = self.limits.lay_out(batch)?;
        let rows = step.tokens.len();
        if rows > self.rows {
            let problem =
                format!("with it the step has {rows} rows, more than the {} planned for", self.rows);
            return Err(BackendError::InvalidChunk { chunk: batch.len().saturating_sub(1), problem });
        }
        let inputs = (rows > 0).then(|| {
            StepInputs::new(&step, &self.program, &self.memory.layout.inputs, self.rows, self.spare)
        });
        Ok((inputs, step.wanted.len()))
    }

    /// Uploads the step and runs it, its logits too where they `fit`.
    fn run(&mut self, inputs: &StepInputs, fit: bool) -> Result<(), DeviceError> {
        for (place, bytes) in &inputs.uploads {
            self.device.upload(self.memory.inputs.offset(place.0), bytes)?;
        }
        if inputs.decodes && fit {
            return self.replay(&inputs.shape);
        }
        Execution::new(&mut *self.device, &self.program, &self.memory, &inputs.shape).run(fit)
    }

    /// Runs the step, and copies its logits to `out`.
    fn compute(&mut self, inputs: &StepInputs, out: &mut [f32]) -> Result<(), DeviceError> {
        let vocabulary = self.limits.vocabulary;
        let fits = inputs.shape.wanted() <= self.logit_rows;
        self.run(inputs, fits)?;
        let logits = self.memory.scratch.offset(self.memory.layout.scratch.logits.0);
        if out.is_empty() {
            // What went wrong is this step's to tell.
            return self.device.synchronize();
        }
        if fits {
            return self.device.download(logits, bytemuck::cast_slice_mut(out));
        }
        for (index, part) in out.chunks_mut(LOGIT_ROWS * vocabulary).enumerate() {
            Execution::new(&mut *self.device, &self.program, &self.memory, &inputs.shape)
                .logits_of(index * LOGIT_ROWS, part.len() / vocabulary)?;
            self.device.download(logits, bytemuck::cast_slice_mut(part))?;
        }
        Ok(())
    }

    /// Replays a step whose shape was recorded; records one that ran before.
    fn replay(&mut self, shape: &Shape) -> Result<(), DeviceError> {
        match self.recordings.find(shape) {
            Some(Recorded::As(recording)) => return self.device.replay(recording),
            Some(Recorded::Ran) => {
                let mine = self.record(shape);
                let made = mine.as_ref().ok().copied();
                match self.role.agree(mine) {
                    Ok(recording) => {
                        self.recordings.note(shape, Recorded::As(recording));
                        return self.device.replay(recording);
                    }
                    Err(error @ DeviceError::Lost { .. }) => return Err(error),
                    Err(error) => {
                        tracing::warn!(%error, "a step is not recorded, and runs as it is written");
                        self.recordings.note(shape, Recorded::Refused);
                        if let Some(unused) = made {
                            self.device.forget(unused)?;
                        }
                    }
                }
            }
            Some(Recorded::Refused) => {}
            None => {
                Execution::new(&mut *self.device, &self.program, &self.memory, shape).run(true)?;
                // Only now: one that did not run has not brought its kernels.
                if let Some(given_up) = self.recordings.add(shape) {
                    self.device.forget(given_up)?;
                }
                return Ok(());
            }
        }
        Execution::new(&mut *self.device, &self.program, &self.memory, shape).run(true)
    }

    fn record(&mut self, shape: &Shape) -> Result<Recording, DeviceError> {
        self.device.begin_recording()?;
        let written = Execution::new(&mut *self.device, &self.program, &self.memory, shape).run(true);
        // Ended in any case, or nothing would run any more.
        let recorded = self.device.end_recording();
        match (written, recorded) {
            (Ok(()), recorded) => recorded,
            (Err(error), Ok(unused)) => {
                self.device.forget(unused)?;
                Err(error)
            }
            (Err(error), Err(_)) => Err(error),
        }
    }
}

impl Drop for CudaBackend {
    fn drop(&mut self) {
        // Others that wait for this card on theirs end first, and then their threads.
        let panicked = std::thread::panicking();
        self.device.abandon(if panicked { "its thread panicked" } else { "it is not needed any more" });
        self.role.dismiss();
    }
}

fn failed(error: &DeviceError) -> BackendError {
    let (device, problem) = (CUDA.to_owned(), error.to_string());
    match error {
        DeviceError::Lost { act: _, problem: _ } => BackendError::Lost { device, problem },
        DeviceError::OutOfMemory { wanted: _, free: _ } | DeviceError::Full { act: _, problem: _ } => {
            BackendError::NoRoom { device, problem }
        }
        DeviceError::Launch { kernel: _, problem: _ } | DeviceError::Failed { act: _, problem: _ } => {
            BackendError::Device { device, problem }
        }
    }
}
