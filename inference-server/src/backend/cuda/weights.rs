//! Where each matrix lies on the card, and how it gets there.

use std::collections::HashMap;

use half::f16;
use weighbridge_cuda::device::{Device, DeviceError};
use weighbridge_cuda::form::{Form, Matrix, STRIP_ROWS};
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::Repack;

use crate::kernels::TensorType;
use crate::kernels::packed::PackedMatrix;
use crate::kernels::quantize::quantize_row;
use crate::kernels::reference::dequantize;
use crate::model::TensorSource;
use crate::model::plan::{PackPlan, Packing};

/// Matrices begin where a vector of the widest load does.
const ALIGNMENT: u64 = 16;
/// Bytes of stored rows that are on their way at once, where a card has room for it.
const STAGING: u64 = 32 << 20;

/// Bytes that loading takes for a while on a card with `free` bytes.
pub(super) fn staging(free: u64) -> u64 {
    STAGING.min(free / 16)
}

/// The place of every matrix, by its place in the CPU's arena, which planning gave it.
#[derive(Clone, Debug, Default)]
pub(super) struct WeightsPlan {
    places: HashMap<usize, Matrix>,
    bytes: u64,
}

impl WeightsPlan {
    /// Places for all of `plan`.
    pub(super) fn new(plan: &PackPlan) -> Self {
        let mut weights = Self::default();
        for Packing { layout, offset, tensor: _, bytes: _ } in &plan.matrices {
            // Types without a form of their own become halves.
            let form = Form::of(layout.kind()).unwrap_or(Form::F16);
            let (rows, columns) = (layout.rows(), layout.columns());
            let matrix = Matrix { form, rows, columns, at: Address(weights.bytes) };
            weights.bytes = (weights.bytes + matrix.bytes()).next_multiple_of(ALIGNMENT);
            weights.places.insert(*offset, matrix);
        }
        weights
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The matrix that the model knows as `packed`; its address is its place.
    pub(super) fn matrix(&self, packed: &PackedMatrix) -> Option<Matrix> {
        self.places.get(&packed.offset()).copied()
    }

    /// What stands for a matrix that is not there.
    pub(super) fn any(&self) -> Matrix {
        Matrix { form: Form::F16, rows: 1, columns: 1, at: Address(0) }
    }

    /// Copies every matrix of `plan` to the memory at `base`, packed there, through `staging` bytes. `progress` hears of
    /// bytes.
    pub(super) fn load(
        &self,
        device: &mut dyn Device,
        base: Address,
        staging_bytes: u64,
        source: &dyn TensorSource,
        plan: &PackPlan,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), LoadProblem> {
        let staging = device.allocate(staging_bytes)?;
        let room = usize::try_from(staging_bytes).unwrap_or(usize::MAX);
        let mut rows_of = Rows::default();
        for packing in &plan.matrices {
            let Packing { tensor, bytes, layout, offset } = packing;
            let lost = || LoadProblem::Tensor(tensor.name().to_owned());
            let place = self.places.get(offset).ok_or_else(lost)?;
            let stored = source.bytes(tensor).get(bytes.clone()).ok_or_else(lost)?;
            let row = stored.len() / layout.rows().max(1);
            let step =
                (room / rows_of.largest(packing, place.form, row) / STRIP_ROWS * STRIP_ROWS).max(STRIP_ROWS);
            for first in (0..layout.rows()).step_by(step) {
                let count = step.min(layout.rows() - first);
                let part = stored.get(first * row..(first + count) * row).ok_or_else(lost)?;
                let converted = rows_of.converted(packing, place.form, part);
                if converted.len() > room {
                    let (wanted, free) = (converted.len() as u64, staging_bytes);
                    return Err(DeviceError::OutOfMemory { wanted, free }.into());
                }
                device.upload(staging, converted)?;
                let strip = place.form.bytes(first, place.columns);
                let at = base.offset(place.at.0 + strip);
                let out = &Matrix { rows: count, at, ..*place };
                device.launch(&Repack { out, stored: staging, scales: None }.launch())?;
                source.release(tensor, bytes.start + first * row..bytes.start + (first + count) * row);
                progress(place.at.0 + strip + place.form.bytes(count, place.columns));
            }
        }
        device.synchronize()?;
        device.free(staging)?;
        Ok(())
    }
}

/// Weights that did not get to the card.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadProblem {
    /// The card's word.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A tensor that is not what the plan says.
    #[error("{0} is not as it was planned; this is a defect of the server")]
    Tensor(String),
}

/// Rows on their way: as they are stored, unless they are kept as another type.
#[derive(Debug, Default)]
struct Rows {
    bytes: Vec<u8>,
    floats: Vec<f32>,
}

impl Rows {
    /// Bytes of a row as it is stored or as it is sent, whichever is more.
    fn largest(&self, packing: &Packing, form: Form, stored: usize) -> usize {
        let columns = packing.layout.columns();
        let kind = form.stored().unwrap_or(TensorType::F16);
        stored.max(columns / kind.block_elements() * kind.block_bytes()).max(1)
    }

    /// `stored`, whole rows of it, as `form` is packed from.
    fn converted<'a>(&'a mut self, packing: &Packing, form: Form, stored: &'a [u8]) -> &'a [u8] {
        let (from, kept, columns) = (packing.tensor.kind(), packing.layout.kind(), packing.layout.columns());
        if from == kept && Form::of(kept) == Some(form) {
            return stored;
        }
        self.bytes.clear();
        self.floats.resize(columns, 0.0);
        let row = columns / from.block_elements() * from.block_bytes();
        for stored in stored.chunks_exact(row.max(1)) {
            dequantize(from, stored, &mut self.floats);
            if Form::of(kept) == Some(form) {
                // Quantised while loading, as it was asked for.
                let start = self.bytes.len();
                self.bytes.resize(start + packing.layout.stored_row_bytes(), 0);
                quantize_row(kept, &self.floats, &mut self.bytes[start..]);
            } else {
                self.bytes.extend(self.floats.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()));
            }
        }
        &self.bytes
    }
}
