//! Queries, keys and values to their places: `rotary.cu`.

use bytemuck::{Pod, Zeroable};
use weighbridge_kernels::elementwise::PairLayout;

use super::attention::{CacheKind, HeadShape};
use super::{blocks, size};
use crate::launch::{Address, Launch};

/// Cosines and sines of a step's positions.
#[derive(Clone, Copy, Debug)]
pub struct RotaryTable {
    /// u32 `[rows]`.
    pub positions: Address,
    /// Rows.
    pub rows: usize,
    /// double `[pairs]`: radians per position.
    pub frequencies: Address,
    /// Pairs of a head that are turned.
    pub pairs: usize,
    /// Factor on both functions.
    pub magnitude: f64,
    /// float `[rows, pairs]`.
    pub cosines: Address,
    /// float `[rows, pairs]`.
    pub sines: Address,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RotaryTableParameters {
    positions: Address,
    frequencies: Address,
    cosines: Address,
    sines: Address,
    magnitude: f64,
    pairs: u32,
    unused: u32,
}
const _: () = assert!(size_of::<RotaryTableParameters>() == 48);

impl RotaryTable {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let parameters = RotaryTableParameters {
            positions: self.positions,
            frequencies: self.frequencies,
            cosines: self.cosines,
            sines: self.sines,
            magnitude: self.magnitude,
            pairs: size(self.pairs),
            unused: 0,
        };
        Launch::new("rotary_table", [size(self.rows), 1, 1], 128, &parameters)
    }
}

/// Normalises and turns queries and keys, and stores all three where attention reads them.
#[derive(Clone, Copy, Debug)]
pub struct RotateAndStore {
    /// Heads and their sizes.
    pub shape: HeadShape,
    /// float `[rows, heads + 2 * kv_heads, head]`.
    pub qkv: Address,
    /// Rows.
    pub rows: usize,
    /// float `[head]`, or null.
    pub query_norm: Address,
    /// float `[head]`, or null.
    pub key_norm: Address,
    /// Added to the norms' variance.
    pub epsilon: f32,
    /// Factor on queries.
    pub query_scale: f32,
    /// The step's table.
    pub table: RotaryTable,
    /// Which elements make a pair.
    pub layout: PairLayout,
    /// u32 `[rows, 2]`: block and slot.
    pub places: Address,
    /// half `[rows, heads, head_stride]`.
    pub queries: Address,
    /// A layer's keys.
    pub keys: Address,
    /// A layer's values.
    pub values: Address,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RotaryParameters {
    qkv: Address,
    query_norm: Address,
    key_norm: Address,
    cosines: Address,
    sines: Address,
    places: Address,
    queries: Address,
    keys: Address,
    values: Address,
    heads: u32,
    kv_heads: u32,
    head: u32,
    head_stride: u32,
    pairs: u32,
    interleaved: u32,
    e4m3: u32,
    epsilon: f32,
    query_scale: f32,
    unused: u32,
}
const _: () = assert!(size_of::<RotaryParameters>() == 112);

impl RotateAndStore {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let HeadShape { heads, kv_heads, head, width, cache } = self.shape;
        let parameters = RotaryParameters {
            qkv: self.qkv,
            query_norm: self.query_norm,
            key_norm: self.key_norm,
            cosines: self.table.cosines,
            sines: self.table.sines,
            places: self.places,
            queries: self.queries,
            keys: self.keys,
            values: self.values,
            heads: size(heads),
            kv_heads: size(kv_heads),
            head: size(head),
            head_stride: size(width.elements()),
            pairs: size(self.table.pairs),
            interleaved: u32::from(self.layout == PairLayout::Interleaved),
            e4m3: u32::from(cache == CacheKind::E4m3),
            epsilon: self.epsilon,
            query_scale: self.query_scale,
            unused: 0,
        };
        let grid = [size(self.rows), blocks(heads + 2 * kv_heads, 8), 1];
        Launch::new("rotate_and_store", grid, 256, &parameters)
    }
}
