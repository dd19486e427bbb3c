use super::{assert_close, instruction_sets, numbers, two_threads};
use weighbridge_kernels::Isa;
use weighbridge_kernels::attention::{
    AdditionOrder, AttentionShape, KvCache, KvKind, KvShape, SequenceQueries, Sight, attention,
};
use weighbridge_kernels::attention::{BLOCK_SIZE, BlockId};
use weighbridge_kernels::elementwise::{PairLayout, QkvShape, QkvWeights, RotaryTable, rotate_and_store};
use weighbridge_kernels::reference;

struct Case {
    heads: usize,
    kv_heads: usize,
    head: usize,
    /// (start, tokens) of each sequence.
    sequences: Vec<(usize, usize)>,
    sight: Sight,
    soft_cap: Option<f32>,
    kind: KvKind,
}

impl Case {
    fn new(heads: usize, kv_heads: usize, head: usize, sequences: &[(usize, usize)]) -> Self {
        let sequences = sequences.to_vec();
        Self { heads, kv_heads, head, sequences, sight: Sight::Causal, soft_cap: None, kind: KvKind::F16 }
    }
}

/// Stores all positions of every sequence through `rotate_and_store` (turned by nothing), attends the last
/// `tokens` of each, and compares with the reference on f16-rounded keys and values.
fn check(case: &Case, isa: Isa) {
    let qkv = QkvShape { heads: case.heads, kv_heads: case.kv_heads, head: case.head, query_scale: 0.25 };
    let width = qkv.width();
    let tables: Vec<Vec<BlockId>> = scattered_tables(&case.sequences);
    let blocks = tables.iter().map(Vec::len).sum();
    let shape = KvShape { kind: case.kind, layers: 2, blocks, heads: case.kv_heads, head: case.head };
    let mut cache = KvCache::new(shape).unwrap();
    let mut pool = two_threads();

    let all: Vec<Vec<f32>> = case
        .sequences
        .iter()
        .enumerate()
        .map(|(i, (start, tokens))| numbers(i as u64 + 1, (start + tokens) * width))
        .collect();
    let mut queries = Vec::new();
    let mut sequences = Vec::new();
    for ((&(start, tokens), rows), table) in case.sequences.iter().zip(&all).zip(&tables) {
        let mut rows = rows.clone();
        let places: Vec<(BlockId, usize)> =
            (0..start + tokens).map(|p| (table[p / BLOCK_SIZE], p % BLOCK_SIZE)).collect();
        let mut rotary = RotaryTable::default();
        rotary.fill(PairLayout::Halves, 0..places.len(), &[0.0], 1.0);
        let weights = QkvWeights::default();
        rotate_and_store(&mut pool, isa, qkv, weights, &rotary, &places, &mut rows, &mut cache, 1).unwrap();
        let first_row = queries.len() / width;
        queries.extend_from_slice(&rows[start * width..]);
        sequences.push(SequenceQueries { first_row, tokens, start, blocks: table });
    }

    let out_width = case.heads * case.head;
    let mut out = vec![0.0; queries.len() / width * out_width];
    let attend = AttentionShape {
        heads: case.heads,
        query_width: width,
        out_width,
        sight: case.sight,
        soft_cap: case.soft_cap,
        order: AdditionOrder::Fixed,
    };
    attention(&mut pool, isa, attend, &sequences, &cache, 1, &queries, &mut out).unwrap();
    let mut free = vec![0.0; out.len()];
    let unordered = AttentionShape { order: AdditionOrder::Free, ..attend };
    attention(&mut pool, isa, unordered, &sequences, &cache, 1, &queries, &mut free).unwrap();
    assert_close(&free, &out, 1e-5, isa.name());

    // Alone, a sequence's tasks are cut otherwise; its results are the same bits.
    for sequence in &sequences {
        let mut alone = vec![0.0; out.len()];
        attention(&mut pool, isa, attend, std::slice::from_ref(sequence), &cache, 1, &queries, &mut alone)
            .unwrap();
        let rows = sequence.first_row * out_width..(sequence.first_row + sequence.tokens) * out_width;
        assert!(alone[rows.clone()] == out[rows], "start {} alone on {}", sequence.start, isa.name());
    }

    let mut row = 0;
    for (&(start, tokens), rows) in case.sequences.iter().zip(&all) {
        for token in start..start + tokens {
            let expected = expected_row(case, rows, width, token, start + tokens);
            let what = format!("{}h{} start {start} token {token} on {}", case.heads, case.head, isa.name());
            assert_close(&out[row * out_width..][..out_width], &expected, 1e-4, &what);
            row += 1;
        }
    }
}

fn expected_row(case: &Case, rows: &[f32], width: usize, token: usize, length: usize) -> Vec<f32> {
    let seen = match case.sight {
        Sight::Causal => 0..token + 1,
        Sight::Window(window) => (token + 1).saturating_sub(window)..token + 1,
        Sight::Whole => 0..length,
    };
    // A vector as the cache gives it back.
    let round = |vector: Vec<f32>| -> Vec<f32> {
        match case.kind {
            KvKind::F32 => vector,
            KvKind::F16 => vector.iter().map(|x| half::f16::from_f32(*x).to_f32()).collect(),
            KvKind::Q8_0 => {
                let mut padded = vector.clone();
                padded.resize(vector.len().next_multiple_of(32), 0.0);
                let mut rounded = reference::quantize_blocks_of_32(&padded).dequantized();
                rounded.truncate(vector.len());
                rounded
            }
        }
    };
    (0..case.heads)
        .flat_map(|head| {
            let kv_head = head / (case.heads / case.kv_heads);
            let part = |position: usize, offset: usize, index: usize| {
                rows[position * width + offset + index * case.head..][..case.head].to_vec()
            };
            let query: Vec<f32> = part(token, 0, head).iter().map(|x| x * 0.25).collect();
            let stored = |offset: usize| -> Vec<Vec<f32>> {
                seen.clone().map(|p| round(part(p, offset, kv_head))).collect()
            };
            let keys = stored(case.heads * case.head);
            let values = stored((case.heads + case.kv_heads) * case.head);
            let slices = |rows: &'_ [Vec<f32>]| -> Vec<Vec<f32>> { rows.to_vec() };
            let (keys, values) = (slices(&keys), slices(&values));
            let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
            let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
            reference::attention(&query, &keys, &values, case.soft_cap)
        })
        .collect()
}

/// Block tables that share out all blocks in a scattered order.
fn scattered_tables(sequences: &[(usize, usize)]) -> Vec<Vec<BlockId>> {
    let sizes: Vec<usize> = sequences.iter().map(|(s, t)| (s + t).div_ceil(BLOCK_SIZE)).collect();
    let total: usize = sizes.iter().sum();
    let mut ids: Vec<u32> = (0..total as u32).collect();
    ids.sort_by_key(|id| id.wrapping_mul(2_654_435_761) % 1009);
    let mut ids = ids.into_iter();
    sizes.iter().map(|&size| ids.by_ref().take(size).map(BlockId).collect()).collect()
}

#[test]
fn decodes_chunks_and_mixtures_equal_the_reference() {
    let cases = [
        Case::new(9, 3, 64, &[(0, 1), (15, 1), (16, 1), (300, 1)]),
        Case::new(4, 1, 128, &[(0, 33), (250, 20)]),
        // Long enough to be shared out by positions, alone and with a chunk whose rows see different ends.
        Case::new(3, 1, 64, &[(1300, 1)]),
        Case::new(2, 1, 32, &[(1023, 6), (255, 2)]),
        Case::new(2, 2, 80, &[(513, 3), (7, 1)]),
        Case::new(5, 1, 20, &[(3, 18)]),
        Case::new(8, 1, 16, &[(40, 5)]),
        Case::new(1, 1, 256, &[(255, 2)]),
        Case::new(2, 1, 2, &[(0, 5)]),
    ];
    for isa in instruction_sets() {
        for case in &cases {
            check(case, isa);
        }
    }
}

#[test]
fn windows_caps_and_whole_sight_equal_the_reference() {
    let cases = [
        Case { sight: Sight::Window(5), ..Case::new(4, 2, 32, &[(0, 40), (300, 1), (17, 3)]) },
        Case { sight: Sight::Window(300), ..Case::new(2, 1, 64, &[(1300, 1), (0, 320)]) },
        // A window longer than the sequence, and one that is shared out by positions.
        Case { sight: Sight::Window(4096), ..Case::new(2, 1, 16, &[(20, 2)]) },
        Case { sight: Sight::Window(1000), ..Case::new(1, 1, 32, &[(2047, 1)]) },
        Case { soft_cap: Some(0.5), ..Case::new(4, 2, 32, &[(0, 40), (300, 1)]) },
        Case { sight: Sight::Window(7), soft_cap: Some(0.5), ..Case::new(2, 1, 32, &[(30, 9)]) },
        Case { sight: Sight::Whole, ..Case::new(3, 3, 32, &[(0, 40), (0, 1), (0, 300)]) },
    ];
    for isa in instruction_sets() {
        for case in &cases {
            check(case, isa);
        }
    }
}

#[test]
fn every_kind_of_cache_equals_the_reference() {
    for isa in instruction_sets() {
        for kind in [KvKind::F32, KvKind::Q8_0] {
            for (head, sequences) in
                [(64, [(0, 33), (300, 1)]), (128, [(1300, 1), (5, 2)]), (20, [(40, 5), (0, 1)])]
            {
                check(&Case { kind, ..Case::new(4, 2, head, &sequences) }, isa);
            }
        }
    }
}
