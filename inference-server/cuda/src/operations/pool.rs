//! One vector of a sequence: `pool.cu`.

use bytemuck::{Pod as Bytes, Zeroable};

use super::size;
use crate::launch::{Address, Launch};

/// What becomes of a sequence's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Their mean.
    Mean,
    /// The first.
    First,
    /// The last.
    Last,
}

/// Pools the rows of each sequence.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// float `[_, columns]`.
    pub rows: Address,
    /// u32 `[sequences, 2]`: first row and rows, at least one.
    pub sequences: Address,
    /// Sequences.
    pub count: usize,
    /// Columns.
    pub columns: usize,
    /// How.
    pub kind: PoolKind,
    /// True when vectors get length 1.
    pub normalized: bool,
    /// float `[sequences, columns]`.
    pub out: Address,
}

#[derive(Clone, Copy, Bytes, Zeroable)]
#[repr(C)]
struct PoolParameters {
    rows: Address,
    sequences: Address,
    out: Address,
    columns: u32,
    kind: u32,
    normalized: u32,
    unused: u32,
}
const _: () = assert!(size_of::<PoolParameters>() == 40);

impl Pool {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let parameters = PoolParameters {
            rows: self.rows,
            sequences: self.sequences,
            out: self.out,
            columns: size(self.columns),
            kind: match self.kind {
                PoolKind::Mean => 0,
                PoolKind::First => 1,
                PoolKind::Last => 2,
            },
            normalized: u32::from(self.normalized),
            unused: 0,
        };
        Launch::new("pool", [size(self.count), 1, 1], 256, &parameters)
    }
}
