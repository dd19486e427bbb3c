//! The scales of matrices in 8-bit floats: found and checked by the headers, read when they are asked for.

use std::collections::{HashMap, HashSet};

use super::SafetensorsError;
use super::quantization::Scheme;
use crate::gguf::{Shards, StoredType, TensorInfo};
use crate::kernels::e4m3::BlockScales;
use crate::kernels::reference::dequantize;
use crate::model::ModelError;

/// What names of quantised matrices end in.
const MATRIX: &str = "weight";

/// The scales of a folder's matrices, none of which is read.
#[derive(Debug, Default)]
pub(super) struct Scales {
    of: HashMap<String, Scaling>,
    names: HashSet<String>,
}

/// The scales of one matrix.
#[derive(Debug)]
struct Scaling {
    tensor: TensorInfo,
    /// Rows and columns of the matrix.
    shape: [usize; 2],
    /// Rows and columns that share one.
    block: [usize; 2],
}

impl Scales {
    /// Finds the scales of every matrix that `shards` hold in 8-bit floats.
    ///
    /// # Errors
    /// [`SafetensorsError`], naming a tensor that has none, or none that fit it.
    pub(super) fn find(shards: &Shards, scheme: Option<&Scheme>) -> Result<Self, SafetensorsError> {
        let mut found = Self::default();
        let is_scale = |tensor: &TensorInfo| {
            scheme.is_some_and(|scheme| scheme.endings.iter().any(|ending| tensor.name().ends_with(ending)))
        };
        let stored = shards.tensors().iter().filter(|tensor| tensor.kind() == StoredType::E4M3);
        for matrix in stored.filter(|tensor| !is_scale(tensor)) {
            let name = || matrix.name().to_owned();
            let scheme = scheme.ok_or_else(|| SafetensorsError::NoScheme { tensor: name() })?;
            let wrong = |problem: String| SafetensorsError::Scales { tensor: name(), problem };
            let (Some(stem), &[columns, rows]) = (matrix.name().strip_suffix(MATRIX), matrix.shape()) else {
                let problem = "it is stored as F8_E4M3, as only matrices called …weight may be: convert the model again";
                return Err(wrong(problem.to_owned()));
            };
            let mut names = scheme.endings.iter().map(|ending| format!("{stem}{ending}"));
            let tensor = names.find_map(|name| shards.tensor(&name)).ok_or_else(|| {
                let expected = scheme.endings.iter().map(|ending| format!("{stem}{ending}"));
                let expected = expected.collect::<Vec<_>>().join(" or ");
                wrong(format!(
                    "its scales, {expected}, are missing; the folder is incomplete: fetch it again"
                ))
            })?;
            let scaling = scaling(scheme, matrix, tensor, [rows, columns])?;
            found.names.insert(tensor.name().to_owned());
            found.of.insert(name(), scaling);
        }
        Ok(found)
    }

    /// Whether the tensor called `name` holds scales of another.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Columns of `matrix` that share one.
    pub(super) fn columns(&self, matrix: &TensorInfo) -> Option<usize> {
        self.of.get(matrix.name()).map(|scaling| scaling.block[1])
    }

    /// Those of `matrix`, which is mapped.
    ///
    /// # Errors
    /// [`ModelError::Scale`] where one is no positive number.
    pub(super) fn read(
        &self,
        shards: &Shards,
        matrix: &TensorInfo,
    ) -> Result<Option<BlockScales>, ModelError> {
        let Some(Scaling { tensor, shape, block }) = self.of.get(matrix.name()) else { return Ok(None) };
        let stored = shards.bytes(tensor);
        let mut values = vec![0.0; tensor.shape().iter().product()];
        dequantize(tensor.kind().kept(), stored, &mut values);
        let wrong = |value: &f32| !(value.is_finite() && *value > 0.0);
        if let Some((index, value)) = values.iter().enumerate().find(|(_, value)| wrong(value)) {
            let value = value.to_string();
            return Err(ModelError::Scale { tensor: tensor.name().to_owned(), index, value });
        }
        shards.release(tensor, 0..stored.len());
        Ok(BlockScales::new(values, *shape, *block))
    }
}

/// `tensor` as the scales of `matrix`, if it is of their type and shape.
fn scaling(
    scheme: &Scheme,
    matrix: &TensorInfo,
    tensor: &TensorInfo,
    of: [usize; 2],
) -> Result<Scaling, SafetensorsError> {
    let wrong = |problem: String| SafetensorsError::Scales { tensor: tensor.name().to_owned(), problem };
    if tensor.kind().ggml().is_none() {
        let problem = format!(
            "the scales of {} are stored as F8_{}, and F32, F16 and BF16 are read: convert the model again",
            matrix.name(),
            tensor.kind()
        );
        return Err(wrong(problem));
    }
    let shape: Vec<usize> = tensor.shape().iter().rev().copied().collect();
    let share = scheme.shares.iter().find(|share| share.has(&shape, of)).ok_or_else(|| {
        let expected: Vec<String> =
            scheme.shares.iter().map(|share| format!("{:?}", share.scales(of))).collect();
        wrong(format!(
            "it has shape {shape:?}, and the scales of {}, which is {of:?}, have {} by config.json's \
             quantization_config: convert the model again",
            matrix.name(),
            expected.join(" or ")
        ))
    })?;
    Ok(Scaling { tensor: tensor.clone(), shape: of, block: share.block(of) })
}
