use proptest::prelude::*;

use super::{BLOCK_SIZE, BlockManager, BlockTable, OutOfBlocks, blocks_for};

#[test]
fn blocks_cover_tokens_exactly() {
    assert_eq!(blocks_for(0), 0);
    assert_eq!(blocks_for(1), 1);
    assert_eq!(blocks_for(BLOCK_SIZE), 1);
    assert_eq!(blocks_for(BLOCK_SIZE + 1), 2);
}

#[test]
fn a_reservation_takes_all_or_nothing() {
    let mut pool = BlockManager::new(3);
    let mut first = BlockTable::default();
    pool.reserve(&mut first, 2 * BLOCK_SIZE).unwrap();
    let mut second = BlockTable::default();
    let refused = pool.reserve(&mut second, 2 * BLOCK_SIZE);
    assert_eq!(refused, Err(OutOfBlocks { wanted: 2, free: 1 }));
    assert_eq!((pool.available(), second.blocks().len()), (1, 0));
    pool.free(first);
    assert_eq!(pool.available(), 3);
}

#[test]
fn growing_keeps_the_blocks_already_held() {
    let mut pool = BlockManager::new(4);
    let mut table = BlockTable::default();
    pool.reserve(&mut table, BLOCK_SIZE).unwrap();
    let before = table.blocks().to_vec();
    pool.reserve(&mut table, BLOCK_SIZE + 1).unwrap();
    assert_eq!(table.blocks()[..1], before);
    assert_eq!(table.blocks().len(), 2);
    pool.free(table);
}

/// What a test may do to the pool; indexes are taken modulo the number of live tables.
#[derive(Clone, Debug)]
enum Act {
    Open,
    Grow(usize, usize),
    Free(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Open),
        (any::<usize>(), 0..400_usize).prop_map(|(table, tokens)| Act::Grow(table, tokens)),
        any::<usize>().prop_map(Act::Free),
    ]
}

proptest! {
    /// Whatever the order, every block is either free or in one table, and freeing all restores the pool.
    #[test]
    fn no_block_leaks(blocks in 0..64_u32, acts in prop::collection::vec(act(), 0..200)) {
        let mut pool = BlockManager::new(blocks);
        let mut tables: Vec<BlockTable> = Vec::new();
        for act in acts {
            let live = tables.len();
            match act {
                Act::Open => tables.push(BlockTable::default()),
                Act::Grow(at, tokens) if live > 0 => {
                    let table = &mut tables[at % live];
                    let before = (pool.available(), table.blocks().len());
                    match pool.reserve(table, tokens) {
                        Ok(()) => prop_assert!(table.blocks().len() >= blocks_for(tokens)),
                        Err(_) => prop_assert_eq!((pool.available(), table.blocks().len()), before),
                    }
                }
                Act::Free(at) if live > 0 => pool.free(tables.swap_remove(at % live)),
                _ => {}
            }
            let mut owned: Vec<_> = tables.iter().flat_map(|table| table.blocks().iter().copied()).collect();
            let held = owned.len();
            owned.sort_unstable();
            owned.dedup();
            prop_assert_eq!(owned.len(), held, "no block has two owners");
            prop_assert_eq!(held + pool.available(), blocks as usize);
        }
        for table in tables {
            pool.free(table);
        }
        prop_assert_eq!(pool.available(), blocks as usize);
    }
}
