//! Where each matrix lies on the card, and how it gets there.

use std::collections::HashMap;

use half::f16;
use weighbridge_cuda::device::{Device, DeviceError};
use weighbridge_cuda::form::{Form, Matrix, STRIP_ROWS};
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::{Repack, Scales};

use super::shard::{FileRows, Slice, Slices};
use crate::kernels::e4m3::BlockScales;
use crate::kernels::packed::PackedMatrix;
use crate::kernels::quantize::quantize_row;
use crate::kernels::{StoredRows, StoredType, TensorType};
use crate::model::plan::{PackPlan, Packing};
use crate::model::{ModelError, TensorSource};

/// Matrices begin where a vector of the widest load does.
const ALIGNMENT: u64 = 16;
/// The place of every matrix, by its place in the CPU's arena, which planning gave it.
#[derive(Clone, Debug, Default)]
pub(super) struct WeightsPlan {
    places: HashMap<usize, Place>,
    bytes: u64,
}

/// A matrix on the card, and what of the model's it is.
#[derive(Clone, Debug)]
struct Place {
    matrix: Matrix,
    slice: Slice,
}

impl WeightsPlan {
    /// Places for those `slices` of `plan` that the card holds.
    pub(super) fn new(plan: &PackPlan, slices: &Slices) -> Self {
        let mut weights = Self::default();
        for packing in &plan.matrices {
            let Packing { layout, offset, tensor, bytes: _, scale_columns: _ } = packing;
            let Some(slice) = slices.of(packing) else { continue };
            let form = form_of(tensor.kind(), layout.kind());
            let (rows, columns) = (slice.row_count(), slice.columns.len());
            let matrix = Matrix { form, rows, columns, at: Address(weights.bytes) };
            weights.bytes = (weights.bytes + matrix.bytes()).next_multiple_of(ALIGNMENT);
            weights.places.insert(*offset, Place { matrix, slice });
        }
        weights
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The matrix that the model knows as `packed`; its address is its place.
    pub(super) fn matrix(&self, packed: &PackedMatrix) -> Option<Matrix> {
        self.places.get(&packed.offset()).map(|place| place.matrix)
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
        let mut sliced = Vec::new();
        for packing in &plan.matrices {
            let Packing { tensor, bytes, layout, scale_columns: _, offset } = packing;
            let lost = || LoadProblem::Tensor(tensor.name().to_owned());
            // What other cards have alone has no place here.
            let Some(Place { matrix, slice }) = self.places.get(offset) else { continue };
            let kind = tensor.kind();
            let stored = FileRows {
                bytes: source.bytes(tensor).get(bytes.clone()).ok_or_else(lost)?,
                columns: layout.columns(),
                block: (kind.block_elements(), kind.block_bytes()),
            };
            let scales = source.scales(tensor)?;
            let row = stored.row_bytes(matrix.columns);
            let largest = rows_of.largest(matrix, row) + scales.as_ref().map_or(0, scale_bytes);
            let step =
                (room.saturating_sub(ALIGNMENT as usize) / largest / STRIP_ROWS * STRIP_ROWS).max(STRIP_ROWS);
            for first in (0..matrix.rows).step_by(step) {
                let count = step.min(matrix.rows - first);
                let part = stored.of(slice, first..first + count, &mut sliced).ok_or_else(lost)?;
                // Each row with its own, wherever a part begins.
                let own = |scales: &BlockScales| {
                    let rows = slice.places(first..first + count).flatten();
                    scales.part(rows, slice.columns.clone()).ok_or_else(lost)
                };
                let scales = scales.as_ref().map(own).transpose()?;
                let part = StoredRows::new(kind, part, scales.as_ref()).ok_or_else(lost)?;
                let converted = rows_of.converted(packing, matrix, part);
                let scales = scales.as_ref().filter(|_| matrix.form == Form::E4m3);
                let beside = (converted.len() as u64).next_multiple_of(ALIGNMENT);
                let wanted = beside + scales.map_or(0, |scales| size_of_val(scales.values()) as u64);
                if wanted > staging_bytes {
                    return Err(DeviceError::OutOfMemory { wanted, free: staging_bytes }.into());
                }
                device.upload(staging, converted)?;
                let at = staging.offset(beside);
                if let Some(scales) = scales {
                    device.upload(at, bytemuck::cast_slice(scales.values()))?;
                }
                let scales = scales.map(|scales| Scales { at, of_rows: 1, of_columns: scales.of_columns() });
                let strip = matrix.form.bytes(first, matrix.columns);
                let at = base.offset(matrix.at.0 + strip);
                let out = &Matrix { rows: count, at, ..*matrix };
                device.launch(&Repack { out, stored: staging, scales }.launch())?;
                for taken in stored.taken(slice, first..first + count) {
                    source.release(tensor, bytes.start + taken.start..bytes.start + taken.end);
                }
                progress(matrix.at.0 + strip + matrix.form.bytes(count, matrix.columns));
            }
        }
        device.synchronize()?;
        device.free(staging)?;
        Ok(())
    }
}

/// E4M3 keeps its bytes, unless it is quantised while loading. Types without a form of their own become halves.
fn form_of(stored: StoredType, kept: TensorType) -> Form {
    match stored {
        StoredType::E4M3 if kept == stored.kept() => Form::E4m3,
        StoredType::E4M3 | StoredType::Ggml(_) => Form::of(kept).unwrap_or(Form::F16),
    }
}

/// Bytes of a row's scales.
fn scale_bytes(scales: &BlockScales) -> usize {
    scales.across() * size_of::<f32>()
}

/// Weights that did not get to the card.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadProblem {
    /// The card's word.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A tensor that holds what no model does.
    #[error(transparent)]
    Model(#[from] ModelError),
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
    fn largest(&self, matrix: &Matrix, stored: usize) -> usize {
        let Matrix { form, columns, rows: _, at: _ } = *matrix;
        let sent = form.stored().map_or(columns, |kind| columns / kind.block_elements() * kind.block_bytes());
        stored.max(sent).max(1)
    }

    /// `stored`, whole rows of `matrix`, as its form is packed from.
    fn converted<'a>(&'a mut self, packing: &Packing, matrix: &Matrix, stored: StoredRows<'a>) -> &'a [u8] {
        let Matrix { form, columns, rows: _, at: _ } = *matrix;
        let kept = packing.layout.kind();
        match stored {
            StoredRows::E4M3 { bytes, scales: _ } if form == Form::E4m3 => return bytes,
            StoredRows::Ggml { kind, bytes } if kind == kept && Form::of(kept) == Some(form) => return bytes,
            StoredRows::E4M3 { .. } | StoredRows::Ggml { .. } => {}
        }
        self.bytes.clear();
        self.floats.resize(columns, 0.0);
        let mut row = 0;
        while stored.dequantize_row(row, &mut self.floats) {
            row += 1;
            if Form::of(kept) == Some(form) {
                // Quantised while loading, as it was asked for.
                let start = self.bytes.len();
                self.bytes.resize(start + columns / kept.block_elements() * kept.block_bytes(), 0);
                quantize_row(kept, &self.floats, &mut self.bytes[start..]);
            } else {
                self.bytes.extend(self.floats.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()));
            }
        }
        &self.bytes
    }
}
