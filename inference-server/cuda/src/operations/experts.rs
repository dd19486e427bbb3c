//! Mixtures of experts: `experts.cu`.

use bytemuck::{Pod, Zeroable};

use super::{Width, blocks, size};
use crate::launch::{Address, Launch};

/// Some slots of one expert, as kernels read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ExpertTile {
    /// The expert.
    pub expert: u32,
    /// Its first slot.
    pub first: u32,
    /// Slots; 0 of a tile that is left over.
    pub count: u32,
    unused: u32,
}

impl ExpertTile {
    /// `count` slots of `expert` from `first` on.
    pub fn new(expert: u32, first: u32, count: u32) -> Self {
        Self { expert, first, count, unused: 0 }
    }
}

/// Sends each row to the likeliest of its experts.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// float `[rows, experts]`.
    pub scores: Address,
    /// Rows.
    pub rows: usize,
    /// Experts.
    pub experts: usize,
    /// Experts of a row.
    pub chosen: usize,
    /// True when a row's shares sum to 1.
    pub normalized: bool,
    /// u32 `[rows, chosen]`.
    pub choices: Address,
    /// float `[rows, chosen]`.
    pub shares: Address,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RouteParameters {
    scores: Address,
    experts: Address,
    shares: Address,
    rows: u32,
    count: u32,
    chosen: u32,
    normalized: u32,
}
const _: () = assert!(size_of::<RouteParameters>() == 40);

impl Route {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let parameters = RouteParameters {
            scores: self.scores,
            experts: self.choices,
            shares: self.shares,
            rows: size(self.rows),
            count: size(self.experts),
            chosen: size(self.chosen),
            normalized: u32::from(self.normalized),
        };
        Launch::new("route", [blocks(self.rows, 8), 1, 1], 256, &parameters)
    }
}

/// Sorts (row, choice) pairs by expert.
#[derive(Clone, Copy, Debug)]
pub struct SortByExpert {
    /// u32 `[rows, chosen]`.
    pub choices: Address,
    /// Rows.
    pub rows: usize,
    /// Experts of a row.
    pub chosen: usize,
    /// Experts.
    pub experts: usize,
    /// Rows of a tile.
    pub width: Width,
    /// u32 `[experts]`.
    pub counts: Address,
    /// u32 `[rows * chosen]`: row of a slot.
    pub rows_of: Address,
    /// u32 `[rows, chosen]`: slot of a pair.
    pub slots_of: Address,
    /// `[tile_count]` of [`ExpertTile`].
    pub tiles: Address,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SortParameters {
    experts: Address,
    counts: Address,
    rows_of: Address,
    slots_of: Address,
    tiles: Address,
    pairs: u32,
    count: u32,
    chosen: u32,
    tile_count: u32,
    tile_rows: u32,
    unused: u32,
}
const _: () = assert!(size_of::<SortParameters>() == 64);

impl SortByExpert {
    /// Tiles that are enough however rows are sent.
    pub fn tile_count(&self) -> usize {
        let pairs = self.rows * self.chosen;
        // Each expert that has any rows may leave one tile half filled.
        pairs.div_ceil(self.width.rows()) + self.experts.min(pairs)
    }

    /// The two launches, in order.
    pub fn launches(&self) -> [Launch; 2] {
        let parameters = SortParameters {
            experts: self.choices,
            counts: self.counts,
            rows_of: self.rows_of,
            slots_of: self.slots_of,
            tiles: self.tiles,
            pairs: size(self.rows * self.chosen),
            count: size(self.experts),
            chosen: size(self.chosen),
            tile_count: size(self.tile_count()),
            tile_rows: size(self.width.rows()),
            unused: 0,
        };
        let grid = [size(self.experts), 1, 1];
        ["sort_counts", "sort_places"].map(|kernel| Launch::new(kernel, grid, 32, &parameters))
    }
}

/// Adds what experts made of each row to the stream.
#[derive(Clone, Copy, Debug)]
pub struct CombineExperts {
    /// float `[slots, columns]`.
    pub made: Address,
    /// u32 `[rows, chosen]`.
    pub slots_of: Address,
    /// float `[rows, chosen]`.
    pub shares: Address,
    /// float `[rows, columns]`.
    pub stream: Address,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Experts of a row.
    pub chosen: usize,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CombineParameters {
    made: Address,
    slots_of: Address,
    shares: Address,
    stream: Address,
    columns: u32,
    chosen: u32,
}
const _: () = assert!(size_of::<CombineParameters>() == 40);

impl CombineExperts {
    /// The launch.
    pub fn launch(&self) -> Launch {
        let parameters = CombineParameters {
            made: self.made,
            slots_of: self.slots_of,
            shares: self.shares,
            stream: self.stream,
            columns: size(self.columns),
            chosen: size(self.chosen),
        };
        Launch::new("combine_experts", [size(self.rows), blocks(self.columns, 256), 1], 256, &parameters)
    }
}
