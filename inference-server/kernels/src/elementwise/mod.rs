//! What happens between matrix products, row by row: normalise, rotate, store, gate, quantise.

mod embed;
mod gate;
mod norm;
mod rotary;
mod store;

pub(super) use embed::cap_row;
pub use embed::{add_embeddings, add_rows, embed, quantize, scale_capped};
pub use gate::{Activation, activate, gate};
pub use norm::{Norm, NormKind, add_normalized, normalize, normalize_rows};
pub use rotary::{PairLayout, RotaryTable};
pub use store::{QkvShape, QkvWeights, rotate_and_store};

use super::pool::{Pool, WorkerPanicked};

/// Rows below which waking workers costs more than the rows.
const INLINE_ROWS: usize = 4;

/// Calls `each(row)` for every row, on the pool when there are enough.
pub fn for_rows(pool: &mut Pool, rows: usize, each: &(dyn Fn(usize) + Sync)) -> Result<(), WorkerPanicked> {
    let chunk = if rows <= INLINE_ROWS { rows.max(1) } else { rows.div_ceil(pool.threads() * 4).max(2) };
    pool.run(rows.div_ceil(chunk), &|index| {
        (index * chunk..rows.min((index + 1) * chunk)).for_each(each);
    })
}
