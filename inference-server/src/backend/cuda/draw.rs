//! Tokens from logits on the card: penalties, the draw, log probabilities. A row of a vocabulary stays there.

use weighbridge_cuda::device::DeviceError;
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::{Edit, LogProbabilities, NOTHING, Sample, Settings, edit_logits};

use super::CudaBackend;
use super::memory::{EDITS, MOST_ALTERNATIVES};
use crate::backend::Drawn;
use crate::sampling::{Draw, NoFiniteLogit, Sampled, TokenLogprobs};

/// Draws that run on the card.
#[derive(Clone, Debug)]
pub(super) struct DrawnThere {
    /// Alternatives that each row tells; `None` of one that tells no log probability either.
    told: Vec<Option<u32>>,
    /// Alternatives of a row as they lie there.
    top: usize,
}

impl CudaBackend {
    /// Uploads what the draws of a step are told: before it runs, for an upload may wait for what runs. Edits that are too
    /// many for one upload go later.
    pub(super) fn tell_draws(&mut self, draws: &[Draw]) -> Result<(), DeviceError> {
        if draws.is_empty() {
            return Ok(());
        }
        let settings: Vec<Settings> = draws.iter().map(settings).collect();
        let inputs = &self.memory.layout.inputs;
        let [settings_at, edits_at] =
            [inputs.settings, inputs.edits].map(|place| self.memory.inputs.offset(place.0));
        self.device.upload(settings_at, bytemuck::cast_slice(&settings))?;
        let edits = edits(draws);
        match edits.get(..edits.len().min(EDITS)) {
            Some(first) if !first.is_empty() => self.device.upload(edits_at, bytemuck::cast_slice(first)),
            Some(_) | None => Ok(()),
        }
    }

    /// Begins to draw a token of each row of logits that the step leaves; [`Self::tell_draws`] went before it.
    pub(super) fn draw(&mut self, draws: &[Draw]) -> Result<DrawnThere, DeviceError> {
        let told: Vec<Option<u32>> = draws.iter().map(|draw| draw.top_logprobs).collect();
        if draws.is_empty() {
            return Ok(DrawnThere { told, top: 0 });
        }
        let (rows, vocabulary) = (draws.len(), self.limits.vocabulary);
        let (scratch, inputs) = (self.memory.layout.scratch, self.memory.layout.inputs.clone());
        let at = |place: Address| self.memory.scratch.offset(place.0);
        let (logits, tokens) = (at(scratch.logits), at(scratch.drawn));
        let (logprobs, top_ids, top_logprobs) =
            (at(scratch.logprobs), at(scratch.top_ids), at(scratch.top_logprobs));
        let tells = told.iter().any(Option::is_some);
        let edited = draws.iter().any(|draw| !draw.edits.is_empty());
        let untouched = if tells && edited { at(scratch.untouched) } else { logits };
        if untouched != logits {
            self.device.copy(logits, untouched, (4 * rows * vocabulary) as u64)?;
        }
        let settings_at = self.memory.inputs.offset(inputs.settings.0);
        let edits_at = self.memory.inputs.offset(inputs.edits.0);
        for (index, edits) in edits(draws).chunks(EDITS).enumerate() {
            if index > 0 {
                self.device.upload(edits_at, bytemuck::cast_slice(edits))?;
            }
            self.device.launch(&edit_logits(logits, vocabulary, edits_at, edits.len()))?;
        }
        self.device.launch(&Sample { logits, rows, vocabulary, settings: settings_at, tokens }.launch())?;
        let top = told.iter().copied().flatten().max().unwrap_or(0) as usize;
        let top = top.min(MOST_ALTERNATIVES).min(vocabulary);
        if tells {
            let probabilities = LogProbabilities {
                logits: untouched,
                rows,
                vocabulary,
                tokens,
                logprobs,
                top,
                top_ids,
                top_logprobs,
            };
            self.device.launch(&probabilities.launch())?;
        }
        Ok(DrawnThere { told, top })
    }

    /// Waits for the step and for what was drawn.
    pub(super) fn fetch_drawn(&mut self, drawn: &DrawnThere) -> Result<Vec<Drawn>, DeviceError> {
        let DrawnThere { told, top } = drawn;
        let (rows, top) = (told.len(), *top);
        if rows == 0 {
            // What went wrong is this step's to tell.
            self.device.synchronize()?;
            return Ok(Vec::new());
        }
        let scratch = self.memory.layout.scratch;
        let at = |place: Address| self.memory.scratch.offset(place.0);
        let tokens: Vec<u32> = self.device.read(at(scratch.drawn), rows)?;
        let (mut own, mut ids, mut alternatives) = (Vec::new(), Vec::new(), Vec::new());
        if told.iter().any(Option::is_some) {
            own = self.device.read::<f32>(at(scratch.logprobs), rows)?;
            ids = self.device.read::<u32>(at(scratch.top_ids), rows * top)?;
            alternatives = self.device.read::<f32>(at(scratch.top_logprobs), rows * top)?;
        }
        let of_row = told.iter().zip(tokens).enumerate().map(|(row, (told, token))| {
            if token == NOTHING {
                return Err(NoFiniteLogit);
            }
            let logprobs = told.and_then(|count| {
                let range = row * top..row * top + top.min(count as usize);
                let best =
                    ids.get(range.clone())?.iter().copied().zip(alternatives.get(range)?.iter().copied());
                Some(TokenLogprobs { logprob: *own.get(row)?, top: best.collect() })
            });
            Ok(Sampled { token, logprobs })
        });
        Ok(of_row.collect())
    }
}

fn settings(draw: &Draw) -> Settings {
    let Draw { temperature, min_p, top_k, top_p, at, edits: _, top_logprobs: _ } = *draw;
    Settings { temperature, top_p, min_p, top_k, draw: at }
}

/// All rows' edits.
fn edits(draws: &[Draw]) -> Vec<Edit> {
    let of_row = |(row, draw): (u32, &Draw)| -> Vec<Edit> {
        let edit = |edit: &crate::sampling::LogitEdit| Edit {
            row,
            token: edit.token,
            repetition: edit.repetition,
            add: edit.add,
        };
        draw.edits.iter().map(edit).collect()
    };
    (0..).zip(draws).flat_map(of_row).collect()
}
