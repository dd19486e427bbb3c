//! Tokens from logits on the card: penalties, the draw, log probabilities. A row of a vocabulary stays there.

use weighbridge_cuda::device::DeviceError;
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::{Edit, LogProbabilities, NOTHING, Sample, Settings, edit_logits};

use super::CudaBackend;
use super::memory::{EDITS, MOST_ALTERNATIVES};
use crate::backend::Drawn;
use crate::sampling::{Draw, NoFiniteLogit, Sampled, TokenLogprobs};

impl CudaBackend {
    /// A token of each row of logits that the step left.
    pub(super) fn draw(&mut self, draws: &[Draw]) -> Result<Vec<Drawn>, DeviceError> {
        if draws.is_empty() {
            // What went wrong is this step's to tell.
            self.device.synchronize()?;
            return Ok(Vec::new());
        }
        let (rows, vocabulary) = (draws.len(), self.limits.vocabulary);
        let (scratch, inputs) = (self.memory.layout.scratch, self.memory.layout.inputs.clone());
        let at = |place: Address| self.memory.scratch.offset(place.0);
        let (logits, tokens) = (at(scratch.logits), at(scratch.drawn));
        let (logprobs, top_ids, top_logprobs) =
            (at(scratch.logprobs), at(scratch.top_ids), at(scratch.top_logprobs));
        let told = draws.iter().any(|draw| draw.top_logprobs.is_some());
        let edited = draws.iter().any(|draw| !draw.edits.is_empty());
        let untouched = if told && edited { at(scratch.untouched) } else { logits };
        if untouched != logits {
            self.device.copy(logits, untouched, (4 * rows * vocabulary) as u64)?;
        }
        let settings_at = self.memory.inputs.offset(inputs.settings.0);
        let edits_at = self.memory.inputs.offset(inputs.edits.0);
        for edits in edits(draws).chunks(EDITS) {
            self.device.upload(edits_at, bytemuck::cast_slice(edits))?;
            self.device.launch(&edit_logits(logits, vocabulary, edits_at, edits.len()))?;
        }
        let settings: Vec<Settings> = draws.iter().map(settings).collect();
        self.device.upload(settings_at, bytemuck::cast_slice(&settings))?;
        self.device.launch(&Sample { logits, rows, vocabulary, settings: settings_at, tokens }.launch())?;
        let top = draws.iter().filter_map(|draw| draw.top_logprobs).max().unwrap_or(0) as usize;
        let top = top.min(MOST_ALTERNATIVES).min(vocabulary);
        if told {
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
        let tokens: Vec<u32> = self.device.read(tokens, rows)?;
        let (mut own, mut ids, mut alternatives) = (Vec::new(), Vec::new(), Vec::new());
        if told {
            own = self.device.read::<f32>(logprobs, rows)?;
            ids = self.device.read::<u32>(top_ids, rows * top)?;
            alternatives = self.device.read::<f32>(top_logprobs, rows * top)?;
        }
        let drawn = draws.iter().zip(tokens).enumerate().map(|(row, (draw, token))| {
            if token == NOTHING {
                return Err(NoFiniteLogit);
            }
            let logprobs = draw.top_logprobs.and_then(|count| {
                let range = row * top..row * top + top.min(count as usize);
                let best =
                    ids.get(range.clone())?.iter().copied().zip(alternatives.get(range)?.iter().copied());
                Some(TokenLogprobs { logprob: *own.get(row)?, top: best.collect() })
            });
            Ok(Sampled { token, logprobs })
        });
        Ok(drawn.collect())
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
