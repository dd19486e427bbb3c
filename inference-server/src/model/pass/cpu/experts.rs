//! A mixture of experts: a router sends each row to a few of many feed-forward parts (arXiv 2101.03961).

use super::super::super::profile::Operation;
use super::super::Experts;
use super::CpuPass;
use super::products::{kinds, of_products, project, resize, side_by_side};
use crate::kernels::activations::Activations;
use crate::kernels::elementwise::{Activation, gate};
use crate::kernels::matmul::{Output, matmul};
use crate::kernels::packed::PackedMatrix;
use crate::kernels::pool::WorkerPanicked;

/// Intermediate values of a mixture.
#[derive(Debug, Default)]
pub(super) struct ExpertBuffers {
    /// `[rows, experts]`.
    scores: Vec<f32>,
    /// `[rows of one expert, embedding]`.
    input: Activations,
    gate_up: Vec<f32>,
    gated: Activations,
    out: Vec<f32>,
}

impl CpuPass<'_> {
    /// Adds each row's chosen experts, weighted, to the stream.
    pub(super) fn add_routed(
        &mut self,
        weights: &Experts,
        activation: Activation,
    ) -> Result<(), WorkerPanicked> {
        let began = self.device.profile.begin();
        let (rows, count) = (self.rows, weights.experts.len());
        let columns = weights.router.layout().columns();
        let mut b = std::mem::take(&mut self.buffers.experts);
        resize(&mut b.scores, rows * count);
        project(self.device, &weights.router, &self.buffers.input, &mut b.scores, Output::Replace)?;
        let mut places: Vec<Vec<(usize, f32)>> = vec![Vec::new(); count];
        for (row, scores) in b.scores.chunks_exact(count).enumerate() {
            for (expert, weight) in route(scores, weights.chosen, weights.normalized) {
                places[expert].push((row, weight));
            }
        }
        for (expert, places) in weights.experts.iter().zip(&places).filter(|(_, places)| !places.is_empty()) {
            let (pool, isa) = (&mut self.device.pool, self.device.isa);
            b.input.reset(places.len(), columns, &kinds(&expert.gate_up));
            let rows = places.iter().map(|&(row, _)| row);
            b.input.gather(isa, self.buffers.input.floats(), rows);
            let inner = expert.down.layout().columns();
            resize(&mut b.gate_up, places.len() * 2 * inner);
            let products = side_by_side(&expert.gate_up);
            matmul(pool, isa, &products, &b.input, &mut b.gate_up, 2 * inner, Output::Replace)?;
            b.gated.reset(places.len(), inner, &kinds(std::slice::from_ref(&expert.down)));
            gate(pool, isa, activation, &b.gate_up, &mut b.gated)?;
            resize(&mut b.out, places.len() * columns);
            project(self.device, &expert.down, &b.gated, &mut b.out, Output::Replace)?;
            let stream = &mut self.buffers.stream;
            for (&(row, weight), out) in places.iter().zip(b.out.chunks_exact(columns)) {
                let stream = &mut stream[row * columns..(row + 1) * columns];
                stream.iter_mut().zip(out).for_each(|(to, more)| *to += weight * more);
            }
        }
        self.buffers.experts = b;
        self.device.profile.end(Operation::Experts, began, || {
            let of = |matrices: &[PackedMatrix], rows| of_products(matrices, rows);
            let mut work = of(std::slice::from_ref(&weights.router), rows);
            for (expert, places) in
                weights.experts.iter().zip(&places).filter(|(_, places)| !places.is_empty())
            {
                for part in
                    [of(&expert.gate_up, places.len()), of(std::slice::from_ref(&expert.down), places.len())]
                {
                    work.bytes += part.bytes;
                    work.multiplications += part.multiplications;
                }
            }
            work
        });
        Ok(())
    }
}

/// The `chosen` likeliest of `scores`, with their share of the softmax over all.
fn route(scores: &[f32], chosen: usize, normalized: bool) -> Vec<(usize, f32)> {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = scores.iter().map(|score| (score - highest).exp()).sum();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // Of equal ones the first, as torch's topk on the CPU.
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(chosen);
    let share = |expert: usize| (scores[expert] - highest).exp() / total;
    let sum: f32 = if normalized { order.iter().map(|&expert| share(expert)).sum() } else { 1.0 };
    order.into_iter().map(|expert| (expert, share(expert) / sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::route;

    #[test]
    fn the_likeliest_are_chosen_with_their_shares() {
        let scores = [0.0, 2.0f32.ln(), 4.0f32.ln(), 0.0];
        let shares = route(&scores, 2, false);
        assert_eq!(shares.iter().map(|(expert, _)| *expert).collect::<Vec<_>>(), [2, 1]);
        assert!((shares[0].1 - 0.5).abs() < 1e-6 && (shares[1].1 - 0.25).abs() < 1e-6);
        let normalized = route(&scores, 2, true);
        assert!((normalized.iter().map(|(_, share)| share).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
