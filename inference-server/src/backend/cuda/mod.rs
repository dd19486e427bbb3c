//! The CUDA backend: a model's written pass, its weights and cache on a card, behind [`Backend`].
//!
//! - `record` writes down what a family calls, as a `program`; `execute` makes launches of it.
//! - `memory` plans the card's memory before a byte is reserved; `load` and `weights` fill it, `adapters` beside them.
//! - `inputs` is a step as the card reads it; steps that decode are recorded by shape and replayed.
//!
//! No arithmetic and no `unsafe`: both are `weighbridge_cuda`'s.

mod adapters;
mod execute;
mod inputs;
mod load;
mod memory;
mod program;
mod record;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::HashMap;

pub use load::CudaOptions;
use weighbridge_cuda::device::{Device, DeviceError, Recording};
pub use weighbridge_cuda::operations::attention::CacheKind;

use super::step::StepLimits;
use super::{Backend, BackendDescription, BackendError, Logits, SequenceChunk};
use execute::{Execution, Memory};
use inputs::{Shape, StepInputs};
use memory::LOGIT_ROWS;
use program::Program;

/// Recordings that are kept: each is a few hundred kilobytes of the driver's memory, and shapes are few.
const MOST_RECORDINGS: usize = 256;

/// A model on a card.
pub struct CudaBackend {
    device: Box<dyn Device>,
    program: Program,
    memory: Memory,
    limits: StepLimits,
    /// Rows of a step.
    rows: usize,
    /// Rows of logits that there is room for.
    logit_rows: usize,
    recordings: HashMap<Shape, Recording>,
    /// A block that is no sequence's.
    spare: u32,
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
        let step = self.limits.lay_out(batch)?;
        let (rows, vocabulary) = (step.tokens.len(), self.limits.vocabulary);
        if rows > self.rows {
            let problem =
                format!("with it the step has {rows} rows, more than the {} planned for", self.rows);
            return Err(BackendError::InvalidChunk { chunk: batch.len().saturating_sub(1), problem });
        }
        let wanted = step.wanted.len();
        let out = logits.reset(wanted, vocabulary);
        if rows == 0 {
            return Ok(());
        }
        let inputs = StepInputs::new(&step, &self.program, &self.memory.layout.inputs, self.rows, self.spare);
        self.compute(&inputs, out).map_err(|error| failed(&error))
    }
}

impl CudaBackend {
    /// Uploads the step, runs it, and copies its logits to `out`.
    fn compute(&mut self, inputs: &StepInputs, out: &mut [f32]) -> Result<(), DeviceError> {
        let vocabulary = self.limits.vocabulary;
        for (place, bytes) in &inputs.uploads {
            self.device.upload(self.memory.inputs.offset(place.0), bytes)?;
        }
        let fits = inputs.shape.wanted() <= self.logit_rows;
        if inputs.decodes && fits {
            self.replay(&inputs.shape)?;
        } else {
            Execution::new(&mut *self.device, &self.program, &self.memory, &inputs.shape).run(fits)?;
        }
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

    /// Runs a step whose shape was recorded, or records it first.
    fn replay(&mut self, shape: &Shape) -> Result<(), DeviceError> {
        let recording = match self.recordings.get(shape) {
            Some(recording) => *recording,
            None if self.recordings.len() >= MOST_RECORDINGS => {
                return Execution::new(&mut *self.device, &self.program, &self.memory, shape).run(true);
            }
            None => {
                self.device.begin_recording()?;
                let written = Execution::new(&mut *self.device, &self.program, &self.memory, shape).run(true);
                let recording = self.device.end_recording();
                written?;
                let recording = recording?;
                self.recordings.insert(shape.clone(), recording);
                recording
            }
        };
        self.device.replay(recording)
    }
}

fn failed(error: &DeviceError) -> BackendError {
    let (device, problem) = ("cuda".to_owned(), error.to_string());
    match error {
        DeviceError::Lost { act: _, problem: _ } => BackendError::Lost { device, problem },
        DeviceError::OutOfMemory { wanted: _, free: _ }
        | DeviceError::Launch { kernel: _, problem: _ }
        | DeviceError::Failed { act: _, problem: _ } => BackendError::Device { device, problem },
    }
}
