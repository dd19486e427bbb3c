//! What encoders compute in another way than decoders.

use super::super::{EncoderPass, Linear};
use super::CpuPass;
use super::products::{kinds, project, resize};
use crate::kernels::elementwise::{
    Activation, Norm, activate, add_embeddings, add_rows, normalize_rows, quantize,
};
use crate::kernels::matmul::Output;
use crate::kernels::packed::PackedMatrix;
use crate::kernels::pool::WorkerPanicked;

impl EncoderPass for CpuPass<'_> {
    fn add_positions(&mut self, table: &PackedMatrix, first: usize) -> Result<(), WorkerPanicked> {
        let positions = self.step.positions.iter().map(|position| position + first);
        add_embeddings(table, positions, &mut self.buffers.stream);
        Ok(())
    }

    fn add_types(&mut self, table: &PackedMatrix) -> Result<(), WorkerPanicked> {
        let types = self.step.types.iter().map(|&kind| kind as usize);
        add_embeddings(table, types, &mut self.buffers.stream);
        Ok(())
    }

    fn normalize_stream(&mut self, norm: &Norm) -> Result<(), WorkerPanicked> {
        normalize_rows(&mut self.device.pool, self.device.isa, &mut self.buffers.stream, norm)
    }

    fn read_stream(&mut self, readers: &[PackedMatrix]) -> Result<(), WorkerPanicked> {
        let b = &mut *self.buffers;
        b.input.reset(self.rows, self.embedding, &kinds(readers));
        quantize(&mut self.device.pool, self.device.isa, &b.stream, &mut b.input)
    }

    fn add_plain_feed_forward(
        &mut self,
        up: &Linear,
        down: &Linear,
        activation: Activation,
    ) -> Result<(), WorkerPanicked> {
        let b = &mut *self.buffers;
        let inner = up.matrix.layout().rows();
        resize(&mut b.gate_up, self.rows * inner);
        project(self.device, &up.matrix, &b.input, &mut b.gate_up, Output::Replace)?;
        b.gated.reset(self.rows, inner, &kinds(std::slice::from_ref(&down.matrix)));
        let (pool, isa) = (&mut self.device.pool, self.device.isa);
        activate(pool, isa, activation, &b.gate_up, &up.bias, &mut b.gated)?;
        add_rows(&mut b.stream, &down.bias);
        project(self.device, &down.matrix, &b.gated, &mut b.stream, Output::Add)
    }

    fn classify(&mut self, dense: &Linear, scores: &Linear) -> Result<(), WorkerPanicked> {
        let (isa, step) = (self.device.isa, self.step);
        let count = step.sequences.len();
        let b = &mut *self.buffers;
        let firsts = step.sequences.iter().map(|sequence| sequence.first_row);
        b.input.reset(count, self.embedding, &kinds(std::slice::from_ref(&dense.matrix)));
        b.input.gather(isa, &b.stream, firsts);
        resize(&mut b.branch, count * dense.matrix.layout().rows());
        project(self.device, &dense.matrix, &b.input, &mut b.branch, Output::Replace)?;
        add_rows(&mut b.branch, &dense.bias);
        b.branch.iter_mut().for_each(|x| *x = x.tanh());
        b.input.reset(count, self.embedding, &kinds(std::slice::from_ref(&scores.matrix)));
        quantize(&mut self.device.pool, isa, &b.branch, &mut b.input)?;
        project(self.device, &scores.matrix, &b.input, self.out, Output::Replace)?;
        add_rows(self.out, &scores.bias);
        Ok(())
    }

    fn hidden_states(&mut self) -> Result<(), WorkerPanicked> {
        self.out.copy_from_slice(&self.buffers.stream);
        Ok(())
    }
}
