//! Attention over the paged cache: `attention.cu`. Which tile of rows sees which keys is decided here, on the host.

use bytemuck::{Pod, Zeroable};
use weighbridge_kernels::attention::Sight;

use super::size;
use crate::launch::{Address, Launch};

/// Packed rows of a tile.
pub const TILE_ROWS: usize = 16;
/// Tiles that a block of prefill has, one a warp.
const ROW_TILES: usize = 4;
/// Keys of a span: what one block of decode reads.
pub const SPAN: usize = 256;
/// Marks a tile without partial sums.
const WHOLE: u32 = u32::MAX;

/// What elements of the cache are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// IEEE halves.
    F16,
    /// E4M3, without scales.
    E4m3,
}

impl CacheKind {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::E4m3 => 1,
        }
    }
}

/// A head's length as kernels were made for it; heads are filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadWidth {
    /// 32.
    W32,
    /// 64.
    W64,
    /// 96.
    W96,
    /// 128.
    W128,
    /// 192.
    W192,
    /// 256.
    W256,
}

impl HeadWidth {
    /// Every width.
    pub const ALL: [Self; 6] = [Self::W32, Self::W64, Self::W96, Self::W128, Self::W192, Self::W256];

    /// The least that holds `head` elements; `None` past the last.
    pub fn of(head: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|width| width.elements() >= head)
    }

    /// In elements.
    pub fn elements(self) -> usize {
        match self {
            Self::W32 => 32,
            Self::W64 => 64,
            Self::W96 => 96,
            Self::W128 => 128,
            Self::W192 => 192,
            Self::W256 => 256,
        }
    }
}

/// Heads, and how they lie in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head: usize,
    /// Elements of a head in the cache.
    pub width: HeadWidth,
    /// What the cache holds.
    pub cache: CacheKind,
}

impl HeadShape {
    /// Bytes of one layer's keys, or values, of one block of `slots` positions.
    pub fn block_bytes(&self, slots: usize) -> u64 {
        (self.kv_heads * slots * self.width.elements() * self.cache.bytes()) as u64
    }
}

/// A sequence's queries in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queries {
    /// Row of its first token.
    pub first_row: usize,
    /// Its tokens.
    pub tokens: usize,
    /// Position of its first token.
    pub start: usize,
    /// Place of its first block among all sequences' blocks.
    pub table: usize,
}

/// Rows of a sequence and the keys that they see, as kernels read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tile {
    table: u32,
    first_row: u32,
    start: u32,
    tokens: u32,
    first: u32,
    begin: u32,
    end: u32,
    partial: u32,
}

/// What a step's attention launches, of one kind of sight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Tiles whose block splits their keys.
    pub split: Vec<Tile>,
    /// Tiles of a whole block of rows, each row with all its keys.
    pub rows: Vec<Tile>,
    /// What adds up the spans of those that have several.
    pub combine: Vec<Tile>,
    /// Partial tiles.
    pub partials: usize,
}

/// Which sequences' keys are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Of those that decode one token.
    Decode,
    /// Of all, so that a row is the same bits whatever its chunk was.
    All,
}

/// Plans attention of `sequences`, `group` query heads a key-value head.
///
/// Spans begin at multiples of [`SPAN`], so that a row's sums depend on its own position alone.
pub fn plan(sequences: &[Queries], group: usize, sight: Sight, split: Split) -> Plan {
    let mut plan = Plan::default();
    for queries in sequences.iter().filter(|queries| queries.tokens > 0) {
        let packed = queries.tokens * group;
        let tile = Tile {
            table: size(queries.table),
            first_row: size(queries.first_row),
            start: size(queries.start),
            tokens: size(queries.tokens),
            partial: WHOLE,
            ..Tile::default()
        };
        if queries.tokens > 1 && split == Split::Decode {
            let firsts = (0..packed).step_by(ROW_TILES * TILE_ROWS);
            plan.rows.extend(firsts.map(|first| Tile { first: size(first), ..tile }));
            continue;
        }
        for first in (0..packed).step_by(TILE_ROWS) {
            let last = (first + TILE_ROWS).min(packed) - 1;
            let (begin, end) = keys(queries, first / group, last / group, sight);
            let spans: Vec<(usize, usize)> = (begin / SPAN..end.div_ceil(SPAN))
                .map(|span| (begin.max(span * SPAN), end.min((span + 1) * SPAN)))
                .collect();
            let tile = Tile { first: size(first), ..tile };
            if let [(begin, end)] = spans[..] {
                plan.split.push(Tile { begin: size(begin), end: size(end), ..tile });
                continue;
            }
            let partial = plan.partials;
            plan.combine.push(Tile { begin: size(partial), end: size(spans.len()), ..tile });
            for (at, (begin, end)) in spans.into_iter().enumerate() {
                let (begin, end, partial) = (size(begin), size(end), size(partial + at));
                plan.split.push(Tile { begin, end, partial, ..tile });
                plan.partials += 1;
            }
        }
    }
    plan
}

/// From the first key that tokens `first ..= last` see to behind the last.
fn keys(queries: &Queries, first: usize, last: usize, sight: Sight) -> (usize, usize) {
    match sight {
        Sight::Causal => (0, queries.start + last + 1),
        Sight::Window(length) => {
            ((queries.start + first + 1).saturating_sub(length), queries.start + last + 1)
        }
        Sight::Whole => (0, queries.start + queries.tokens),
    }
}

/// One layer's attention, but for its tiles.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Heads.
    pub shape: HeadShape,
    /// What a token sees; as the plan's.
    pub sight: Sight,
    /// Cap on scores (Gemma 2).
    pub soft_cap: Option<f32>,
    /// half `[rows, heads, width]`, scaled.
    pub queries: Address,
    /// `[blocks, kv_heads, 16, width]`.
    pub keys: Address,
    /// `[blocks, kv_heads, width, 16]`.
    pub values: Address,
    /// u32: all sequences' blocks.
    pub tables: Address,
    /// bfloat16 `[rows, out_stride]`; what fills a row up stays as it is.
    pub out: Address,
    /// Columns from one row of it to the next.
    pub out_stride: usize,
    /// float `[partial tiles, kv_heads, 16, width + 2]`.
    pub partials: Address,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct AttentionParameters {
    queries: Address,
    keys: Address,
    values: Address,
    tables: Address,
    tiles: Address,
    out: Address,
    partials: Address,
    heads: u32,
    kv_heads: u32,
    head: u32,
    out_stride: u32,
    window: u32,
    whole: u32,
    soft_cap: f32,
    unused: u32,
}
const _: () = assert!(size_of::<AttentionParameters>() == 88);

/// The name of a width's kernel.
macro_rules! width_kernel {
    ($width:expr, $before:literal) => {
        match $width {
            HeadWidth::W32 => concat!($before, "32"),
            HeadWidth::W64 => concat!($before, "64"),
            HeadWidth::W96 => concat!($before, "96"),
            HeadWidth::W128 => concat!($before, "128"),
            HeadWidth::W192 => concat!($before, "192"),
            HeadWidth::W256 => concat!($before, "256"),
        }
    };
}

impl Attention {
    /// Bytes of `count` partial tiles.
    pub fn partial_bytes(shape: &HeadShape, count: usize) -> u64 {
        (count * shape.kv_heads * TILE_ROWS * (shape.width.elements() + 2) * 4) as u64
    }

    /// Attention of `count` tiles at `tiles` that split their keys.
    pub fn split(&self, tiles: Address, count: usize) -> Launch {
        let kernel = match self.shape.cache {
            CacheKind::F16 => width_kernel!(self.shape.width, "attend_split_f16_"),
            CacheKind::E4m3 => width_kernel!(self.shape.width, "attend_split_e4m3_"),
        };
        self.launch(kernel, tiles, count)
    }

    /// Attention of `count` tiles of whole rows.
    pub fn rows(&self, tiles: Address, count: usize) -> Launch {
        let kernel = match self.shape.cache {
            CacheKind::F16 => width_kernel!(self.shape.width, "attend_rows_f16_"),
            CacheKind::E4m3 => width_kernel!(self.shape.width, "attend_rows_e4m3_"),
        };
        self.launch(kernel, tiles, count)
    }

    /// The sums of `count` tiles' spans.
    pub fn combine(&self, tiles: Address, count: usize) -> Launch {
        self.launch(width_kernel!(self.shape.width, "combine_"), tiles, count)
    }

    fn launch(&self, kernel: &'static str, tiles: Address, count: usize) -> Launch {
        let parameters = AttentionParameters {
            queries: self.queries,
            keys: self.keys,
            values: self.values,
            tables: self.tables,
            tiles,
            out: self.out,
            partials: self.partials,
            heads: size(self.shape.heads),
            kv_heads: size(self.shape.kv_heads),
            head: size(self.shape.head),
            out_stride: size(self.out_stride),
            window: match self.sight {
                Sight::Window(length) => size(length),
                Sight::Causal | Sight::Whole => 0,
            },
            whole: u32::from(self.sight == Sight::Whole),
            soft_cap: self.soft_cap.unwrap_or(0.0),
            unused: 0,
        };
        Launch::new(kernel, [size(count), size(self.shape.kv_heads), 1], 128, &parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, Queries, SPAN, Sight, Split, WHOLE, plan};

    fn of(start: usize, tokens: usize, sight: Sight, split: Split) -> Plan {
        plan(&[Queries { first_row: 5, tokens, start, table: 0 }], 4, sight, split)
    }

    #[test]
    fn a_short_context_is_one_span_without_partial_sums() {
        let plan = of(SPAN - 1, 1, Sight::Causal, Split::Decode);
        let [tile] = plan.split[..] else { panic!("{plan:?}") };
        assert_eq!((tile.begin, tile.end, tile.partial, tile.first_row), (0, SPAN as u32, WHOLE, 5));
        assert!(plan.combine.is_empty() && plan.rows.is_empty() && plan.partials == 0);
    }

    #[test]
    fn spans_begin_where_they_do_in_every_batch() {
        let plan = of(3 * SPAN, 1, Sight::Causal, Split::Decode);
        let spans: Vec<_> = plan.split.iter().map(|tile| (tile.begin, tile.end, tile.partial)).collect();
        assert_eq!(spans, [(0, 256, 0), (256, 512, 1), (512, 768, 2), (768, 769, 3)]);
        assert_eq!((plan.combine[0].begin, plan.combine[0].end, plan.partials), (0, 4, 4));
    }

    #[test]
    fn a_window_leaves_out_what_it_hides() {
        let plan = of(1000, 1, Sight::Window(300), Split::Decode);
        let spans: Vec<_> = plan.split.iter().map(|tile| (tile.begin, tile.end)).collect();
        assert_eq!(spans, [(701, 768), (768, 1001)]);
    }

    #[test]
    fn a_chunk_has_whole_rows_unless_all_are_split() {
        let chunk = of(100, 20, Sight::Causal, Split::Decode);
        assert_eq!(chunk.rows.iter().map(|tile| tile.first).collect::<Vec<_>>(), [0, 64]);
        assert!(chunk.split.is_empty());
        let split = of(100, 20, Sight::Causal, Split::All);
        assert_eq!(split.split.iter().map(|tile| tile.end).collect::<Vec<_>>(), [104, 108, 112, 116, 120]);
        assert!(split.rows.is_empty());
    }
}
