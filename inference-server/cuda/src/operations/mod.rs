//! A launch of each kernel: sizes in, grid and parameters out. One file a file of `kernels/`, with the same struct.
//! Nothing here touches a device.

pub mod attention;
mod embed;
mod expand;
mod experts;
mod gate;
mod lora;
mod norm;
mod pool;
mod product;
mod repack;
mod rotary;
mod rows;
mod sample;

pub use embed::Embed;
pub use expand::expand;
pub use experts::{CombineExperts, ExpertTile, Route, SortByExpert};
pub use gate::Gate;
pub use lora::{Adapter, Lora, NO_ADAPTER};
pub use norm::Normalize;
pub use pool::{Pool, PoolKind};
pub use product::{Experts, Product, Width};
pub use repack::{Repack, Scales};
pub use rotary::{RotaryTable, RotateAndStore};
pub use rows::{add_bias, cap_rows, convert_rows, gather_rows};
pub use sample::{Edit, LogProbabilities, NOTHING, Sample, Settings, edit_logits};

/// Blocks of `each` that cover `count`; at least one.
fn blocks(count: usize, each: usize) -> u32 {
    count.div_ceil(each).max(1) as u32
}

/// A size as kernels take it. Sizes of models and steps are far below; a larger one would be a bug that the
/// emulator's bounds catch.
fn size(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The name of a form's kernel.
macro_rules! form_kernel {
    ($form:expr, $before:literal, $after:literal) => {
        match $form {
            $crate::form::Form::Bf16 => concat!($before, "bf16", $after),
            $crate::form::Form::F16 => concat!($before, "f16", $after),
            $crate::form::Form::F32 => concat!($before, "f32", $after),
            $crate::form::Form::E4m3 => concat!($before, "e4m3", $after),
            $crate::form::Form::Q8_0 => concat!($before, "q8_0", $after),
            $crate::form::Form::Q4_0 => concat!($before, "q4_0", $after),
            $crate::form::Form::Q4_1 => concat!($before, "q4_1", $after),
            $crate::form::Form::Mxfp4 => concat!($before, "mxfp4", $after),
            $crate::form::Form::Q4K => concat!($before, "q4_k", $after),
            $crate::form::Form::Q6K => concat!($before, "q6_k", $after),
        }
    };
}
use form_kernel;
