//! Keys and values into the cache, and attention over it.

use half::f16;
use weighbridge_kernels::attention::{BLOCK_SIZE, Sight};
use weighbridge_kernels::elementwise::PairLayout;
use weighbridge_kernels::reference;

use super::matrix::number;
use super::{Case, error, floats, numbers};
use crate::device::{Device, DeviceError};
use crate::form::input_stride;
use crate::launch::Address;
use crate::operations::attention::{
    Attention, CacheKind, HeadShape, HeadWidth, Plan, Queries, SPAN, Split, plan,
};
use crate::operations::{RotaryTable, RotateAndStore};

/// A step over a paged cache.
#[derive(Clone, Debug)]
struct Step {
    heads: usize,
    kv_heads: usize,
    head: usize,
    cache: CacheKind,
    sight: Sight,
    soft_cap: Option<f32>,
    /// (start, tokens) of each sequence.
    sequences: Vec<(usize, usize)>,
    layout: PairLayout,
    /// True when heads are normalised.
    normed: bool,
    split: Split,
}

impl Step {
    fn new(heads: usize, kv_heads: usize, head: usize, sequences: &[(usize, usize)]) -> Self {
        Self {
            heads,
            kv_heads,
            head,
            cache: CacheKind::F16,
            sight: Sight::Causal,
            soft_cap: None,
            sequences: sequences.to_vec(),
            layout: PairLayout::Halves,
            normed: false,
            split: Split::Decode,
        }
    }

    fn shape(&self) -> HeadShape {
        let width = HeadWidth::of(self.head).unwrap_or(HeadWidth::W256);
        HeadShape { heads: self.heads, kv_heads: self.kv_heads, head: self.head, width, cache: self.cache }
    }

    fn name(&self) -> String {
        let Self { heads, kv_heads, head, cache, sight, soft_cap, sequences, split, .. } = self;
        let cap = soft_cap.map_or_else(String::new, |cap| format!(", cap {cap}"));
        format!("{heads}/{kv_heads} heads of {head}, {cache:?}, {sight:?}{cap}, {split:?}, {sequences:?}")
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mixed = &[(0, 1), (SPAN - 1, 1), (SPAN, 1), (2 * SPAN + 37, 1), (0, 21), (30, 5)];
    let mut steps = vec![
        Step::new(1, 1, 8, mixed),
        Step { layout: PairLayout::Interleaved, normed: true, ..Step::new(6, 2, 64, mixed) },
        Step { cache: CacheKind::E4m3, ..Step::new(8, 1, 80, mixed) },
        Step {
            soft_cap: Some(3.0),
            sight: Sight::Window(19),
            normed: true,
            ..Step::new(4, 2, 256, &[(300, 1), (10, 40), (49, 5)])
        },
        Step {
            sight: Sight::Window(300),
            cache: CacheKind::E4m3,
            ..Step::new(2, 2, 192, &[(700, 1), (290, 20)])
        },
        Step { sight: Sight::Whole, ..Step::new(3, 3, 32, &[(0, 33), (0, 1), (0, 280)]) },
        Step { split: Split::All, sight: Sight::Whole, ..Step::new(2, 1, 96, &[(0, 33), (0, 280)]) },
        Step { split: Split::All, ..Step::new(4, 1, 128, &[(SPAN - 9, 20), (3, 1)]) },
        Step::new(32, 8, 128, &[(40, 1), (0, 17)]),
    ];
    for width in HeadWidth::ALL {
        for cache in [CacheKind::F16, CacheKind::E4m3] {
            steps.push(Step { cache, ..Step::new(4, 2, width.elements(), &[(SPAN + 3, 1), (7, 9)]) });
        }
    }
    let mut all: Vec<Case> = steps
        .into_iter()
        .map(|step| {
            // Probabilities are halves, and results bfloat16.
            Case::new("attention", step.name(), 6e-3, move |device| {
                attended(device, &step).map(|(off, _)| off)
            })
        })
        .collect();
    all.push(Case::new(
        "attention",
        "a row alone, in a batch and in another chunk: the same bits".to_owned(),
        0.0,
        same,
    ));
    all
}

/// A row's numbers do not depend on what else is in the step, or, where all keys are split, on its chunk.
fn same(device: &mut dyn Device) -> Result<f64, DeviceError> {
    let step = |sequences: &[(usize, usize)]| Step { split: Split::All, ..Step::new(4, 2, 64, sequences) };
    let (_, alone) = attended(device, &step(&[(2 * SPAN + 5, 1)]))?;
    let (_, batch) = attended(device, &step(&[(2 * SPAN + 5, 1), (90, 3)]))?;
    // The same tokens, of which more are of this step.
    let (_, chunk) = attended(device, &step(&[(2 * SPAN - 2, 8)]))?;
    let last = &chunk[chunk.len() - alone.len()..];
    let equal = batch[..alone.len()] == alone[..] && *last == alone[..];
    Ok(if equal { 0.0 } else { f64::INFINITY })
}

/// Stores every position of every sequence, attends the last `tokens` of each, and compares with the reference on
/// what the cache rounds to. Also gives what was found.
fn attended(device: &mut dyn Device, step: &Step) -> Result<(f64, Vec<f32>), DeviceError> {
    let shape = step.shape();
    let (width, all_heads) = (shape.width.elements(), step.heads + 2 * step.kv_heads);
    let tables = tables(&step.sequences);
    let blocks: usize = tables.iter().map(Vec::len).sum();
    let cache = shape.block_bytes(BLOCK_SIZE) * blocks as u64;
    let (keys, values) = (device.allocate(cache)?, device.allocate(cache)?);
    device.fill(keys, 0, cache)?;
    device.fill(values, 0, cache)?;
    let (norms, frequencies) = (numbers(70, 2 * step.head), [1.0f64, 0.25, 0.013]);
    let pairs = if step.head < 6 { 1 } else { 3 };
    let norm = |device: &mut dyn Device, at: usize| match step.normed {
        true => device.allocate_with(&norms[at * step.head..(at + 1) * step.head]),
        false => Ok(Address::NULL),
    };
    let (query_norm, key_norm) = (norm(device, 0)?, norm(device, 1)?);
    let frequencies_at = device.allocate_with(&frequencies[..pairs])?;

    let (mut rows, mut queries, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    let mut flat = Vec::new();
    for (index, (&(start, tokens), table)) in step.sequences.iter().zip(&tables).enumerate() {
        let positions = start + tokens;
        let mut qkv = numbers(index as u64 + 1, positions * all_heads * step.head);
        if step.cache == CacheKind::E4m3 {
            // Some of these lie in the middle between two E4M3.
            qkv.iter_mut().for_each(|x| *x = (*x * 64.0).round() / 64.0);
        }
        let steps: Vec<u32> = (0..positions as u32).collect();
        let places: Vec<u32> =
            steps.iter().flat_map(|p| [table[*p as usize / BLOCK_SIZE], p % BLOCK_SIZE as u32]).collect();
        let room = (positions * pairs * 4) as u64;
        let rotary = RotaryTable {
            positions: device.allocate_with(&steps)?,
            rows: positions,
            frequencies: frequencies_at,
            pairs,
            magnitude: 1.25,
            cosines: device.allocate(room)?,
            sines: device.allocate(room)?,
        };
        device.launch(&rotary.launch())?;
        let store = RotateAndStore {
            shape,
            qkv: device.allocate_with(&qkv)?,
            rows: positions,
            query_norm,
            key_norm,
            epsilon: 1e-5,
            query_scale: 0.5,
            table: rotary,
            layout: step.layout,
            places: device.allocate_with(&places)?,
            queries: device.allocate((positions * step.heads * width * 2) as u64)?,
            keys,
            values,
        };
        device.launch(&store.launch())?;
        let turned = device.read::<u16>(store.queries, positions * step.heads * width)?;
        let first_row = rows.len() / (step.heads * width);
        queries.push(Queries { first_row, tokens, start, table: flat.len() });
        rows.extend_from_slice(&turned[start * step.heads * width..]);
        expected.extend(expected_rows(step, &qkv, &norms, &frequencies[..pairs], start, positions));
        flat.extend(table.iter().copied());
    }

    let plan = plan(&queries, step.heads / step.kv_heads, step.sight, step.split);
    let count = rows.len() / (step.heads * width);
    let out_stride = input_stride(step.heads * step.head);
    let attention = Attention {
        shape,
        sight: step.sight,
        soft_cap: step.soft_cap,
        queries: device.allocate_with(&rows)?,
        keys,
        values,
        tables: device.allocate_with(&flat)?,
        out: device.allocate((count * out_stride * 2) as u64)?,
        out_stride,
        partials: device.allocate(Attention::partial_bytes(&shape, plan.partials).max(1))?,
    };
    run(device, &attention, &plan)?;
    let bits = device.read::<u16>(attention.out, count * out_stride)?;
    let found: Vec<f32> =
        bits.chunks_exact(out_stride).flat_map(|row| floats(&row[..step.heads * step.head])).collect();
    Ok((error(&found, &expected), found))
}

/// Launches what the plan says.
fn run(device: &mut dyn Device, attention: &Attention, plan: &Plan) -> Result<(), DeviceError> {
    // More tiles than there are: those that are left over do nothing.
    let spare = |tiles: &[_]| tiles.iter().copied().chain([Default::default(); 2]).collect::<Vec<_>>();
    if !plan.split.is_empty() {
        let tiles = device.allocate_with(&spare(&plan.split))?;
        device.launch(&attention.split(tiles, plan.split.len() + 2))?;
    }
    if !plan.rows.is_empty() {
        let tiles = device.allocate_with(&plan.rows)?;
        device.launch(&attention.rows(tiles, plan.rows.len()))?;
    }
    if !plan.combine.is_empty() {
        let tiles = device.allocate_with(&spare(&plan.combine))?;
        device.launch(&attention.combine(tiles, plan.combine.len() + 2))?;
    }
    Ok(())
}

/// Blocks of each sequence, scattered.
fn tables(sequences: &[(usize, usize)]) -> Vec<Vec<u32>> {
    let lengths: Vec<usize> =
        sequences.iter().map(|(start, tokens)| (start + tokens).div_ceil(BLOCK_SIZE)).collect();
    let total: u32 = lengths.iter().map(|length| *length as u32).sum();
    let mut next = 0;
    let table = |length: usize| {
        let blocks = (0..length as u32).map(|at| total - 1 - (next + at)).collect();
        next += length as u32;
        blocks
    };
    lengths.into_iter().map(table).collect()
}

/// What the sequence's queries are to give, `[tokens, heads * head]`.
fn expected_rows(
    step: &Step,
    qkv: &[f32],
    norms: &[f32],
    frequencies: &[f64],
    start: usize,
    positions: usize,
) -> Vec<f32> {
    let (head, all) = (step.head, step.heads + 2 * step.kv_heads);
    let of = |position: usize, index: usize| &qkv[(position * all + index) * head..][..head];
    let turned = |position: usize, index: usize, norm: &[f32]| {
        let mut row = of(position, index).to_vec();
        if step.normed {
            row = reference::rms_norm(&row, norm, 1e-5);
        }
        reference::rotate(step.layout, &mut row, position, frequencies, 1.25);
        row
    };
    let keys: Vec<Vec<Vec<f32>>> = (0..step.kv_heads)
        .map(|kv| {
            (0..positions).map(|p| rounded(step.cache, &turned(p, step.heads + kv, &norms[head..]))).collect()
        })
        .collect();
    let values: Vec<Vec<Vec<f32>>> = (0..step.kv_heads)
        .map(|kv| {
            (0..positions).map(|p| rounded(step.cache, of(p, step.heads + step.kv_heads + kv))).collect()
        })
        .collect();
    let mut out = Vec::new();
    for position in start..positions {
        let seen = match step.sight {
            Sight::Causal => 0..position + 1,
            Sight::Window(length) => (position + 1).saturating_sub(length)..position + 1,
            Sight::Whole => 0..positions,
        };
        for index in 0..step.heads {
            let query: Vec<f32> = turned(position, index, &norms[..head]).iter().map(|x| 0.5 * x).collect();
            let kv = index / (step.heads / step.kv_heads);
            let query = rounded(CacheKind::F16, &query);
            let (keys, values) = (slices(&keys[kv][seen.clone()]), slices(&values[kv][seen.clone()]));
            out.extend(reference::attention(&query, &keys, &values, step.soft_cap));
        }
    }
    out
}

fn slices(rows: &[Vec<f32>]) -> Vec<&[f32]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// `row` as the cache keeps it.
fn rounded(kind: CacheKind, row: &[f32]) -> Vec<f32> {
    match kind {
        CacheKind::F16 => row.iter().map(|x| f16::from_f32(*x).to_f32()).collect(),
        CacheKind::E4m3 => row.iter().map(|x| nearest(*x)).collect(),
    }
}

/// The nearest E4M3, of two equally near the one whose last bit is 0.
fn nearest(x: f32) -> f32 {
    let off = |byte: u8| (number(byte) - x.abs()).abs();
    let better = |best: u8, byte: u8| off(byte) < off(best) || (off(byte) == off(best) && byte & 1 == 0);
    let best = (0..0x7F).fold(0, |best, byte| if better(best, byte) { byte } else { best });
    number(best).copysign(x)
}
