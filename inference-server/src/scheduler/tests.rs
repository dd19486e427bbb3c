use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{NewSequence, PlannedChunk, Refused, Scheduler, SchedulerConfig, SequenceId, StepPlan};
use crate::kv::{BLOCK_SIZE, BlockManager};

fn scheduler(max_sequences: usize, tokens_per_step: usize, blocks: u32) -> Scheduler {
    let config = SchedulerConfig { max_sequences, tokens_per_step, max_waiting: 1000 };
    Scheduler::new(config, BlockManager::new(blocks))
}

fn sequence(id: u64, length: usize, answer: usize) -> NewSequence {
    NewSequence { id: SequenceId(id), length, max_length: length + answer, chunk_limit: None }
}

fn chunk(id: u64, start: usize, tokens: usize, samples: bool) -> PlannedChunk {
    PlannedChunk { id: SequenceId(id), start, tokens, samples }
}

/// Computes a plan and samples a token wherever it asks for one.
fn run(scheduler: &mut Scheduler) -> StepPlan {
    let plan = scheduler.plan();
    scheduler.commit(&plan);
    for chunk in plan.chunks.iter().filter(|chunk| chunk.samples) {
        scheduler.append(chunk.id);
    }
    plan
}

#[test]
fn a_long_prompt_is_cut_to_the_budget_and_decodes_go_first() {
    let mut scheduler = scheduler(4, 10, 100);
    scheduler.submit(&[sequence(1, 3, 5)]).unwrap();
    assert_eq!(run(&mut scheduler).chunks, [chunk(1, 0, 3, true)]);
    scheduler.submit(&[sequence(2, 25, 5)]).unwrap();
    assert_eq!(run(&mut scheduler).chunks, [chunk(1, 3, 1, true), chunk(2, 0, 9, false)]);
    assert_eq!(run(&mut scheduler).chunks, [chunk(1, 4, 1, true), chunk(2, 9, 9, false)]);
    assert_eq!(run(&mut scheduler).chunks, [chunk(1, 5, 1, true), chunk(2, 18, 7, true)]);
    assert_eq!(run(&mut scheduler).chunks, [chunk(1, 6, 1, true), chunk(2, 25, 1, true)]);
}

#[test]
fn a_chunk_limit_bounds_one_sequence_only() {
    let mut scheduler = scheduler(4, 100, 100);
    let limited = NewSequence { chunk_limit: Some(4), ..sequence(1, 10, 1) };
    scheduler.submit(&[limited, sequence(2, 10, 1)]).unwrap();
    assert_eq!(run(&mut scheduler).chunks, [chunk(1, 0, 4, false), chunk(2, 0, 10, true)]);
}

#[test]
fn a_group_is_refused_whole() {
    let config = SchedulerConfig { max_sequences: 4, tokens_per_step: 8, max_waiting: 2 };
    let mut scheduler = Scheduler::new(config, BlockManager::new(10));
    let group = [sequence(1, 1, 1), sequence(2, 1, 1), sequence(3, 1, 1)];
    assert_eq!(scheduler.submit(&group), Err(Refused::QueueFull { waiting: 0, limit: 2 }));
    assert!(scheduler.is_idle());
    assert_eq!(scheduler.submit(&[sequence(1, 0, 1)]), Err(Refused::Empty));
    let endless = sequence(1, 1, 10 * BLOCK_SIZE);
    assert_eq!(scheduler.submit(&[endless]), Err(Refused::NeverFits { needed: 11, total: 10 }));
}

#[test]
fn the_youngest_is_preempted_and_recomputes_all_it_had() {
    let mut scheduler = scheduler(4, 100, 3);
    // One block each after the prompt, and one left; both need a second block at the same step.
    scheduler.submit(&[sequence(1, BLOCK_SIZE, 20), sequence(2, BLOCK_SIZE, 20)]).unwrap();
    run(&mut scheduler);
    let plan = run(&mut scheduler);
    assert_eq!(plan.chunks, [chunk(1, BLOCK_SIZE, 1, true)]);
    assert_eq!(plan.preempted, [SequenceId(2)]);
    assert_eq!((scheduler.waiting(), scheduler.preemptions()), (1, 1));
    assert!(scheduler.remove(SequenceId(1)));
    let again = run(&mut scheduler);
    assert_eq!(again.chunks, [chunk(2, 0, BLOCK_SIZE + 1, true)], "its sampled token is run again too");
    assert!(scheduler.remove(SequenceId(2)));
    assert_eq!(scheduler.blocks().available(), 3);
}

#[test]
fn a_newcomer_waits_rather_than_be_preempted_at_once() {
    let mut scheduler = scheduler(4, 100, 2);
    scheduler.submit(&[sequence(1, BLOCK_SIZE, 5), sequence(2, BLOCK_SIZE, 5)]).unwrap();
    let plan = run(&mut scheduler);
    assert_eq!((plan.admitted.len(), scheduler.waiting()), (1, 1));
    let plan = run(&mut scheduler);
    assert!(plan.preempted.is_empty());
}

#[test]
fn removing_frees_blocks_wherever_the_sequence_stands() {
    let mut scheduler = scheduler(1, 8, 10);
    scheduler.submit(&[sequence(1, 20, 5), sequence(2, 20, 5)]).unwrap();
    run(&mut scheduler);
    assert!(scheduler.remove(SequenceId(2)), "waiting");
    assert!(scheduler.remove(SequenceId(1)), "in the middle of its prompt");
    assert!(!scheduler.remove(SequenceId(1)), "gone already");
    assert!(scheduler.is_idle());
    assert_eq!(scheduler.blocks().available(), 10);
}

#[derive(Clone, Debug)]
struct Client {
    arrives: usize,
    length: usize,
    answer: usize,
    /// Steps after which it hangs up.
    patience: Option<usize>,
}

fn client() -> impl Strategy<Value = Client> {
    (0..40_usize, 1..90_usize, 1..60_usize, prop::option::weighted(0.2, 0..80_usize))
        .prop_map(|(arrives, length, answer, patience)| Client { arrives, length, answer, patience })
}

proptest! {
    /// Any mix of arrivals and hang-ups: budget and places hold, positions are computed in order, no block
    /// leaks or is shared, and everyone finishes, is refused or left, within a bound on steps.
    #[test]
    fn everyone_is_served(
        clients in prop::collection::vec(client(), 1..24),
        max_sequences in 1..9_usize,
        budget in 1..64_usize,
        blocks in 4..24_u32,
    ) {
        let mut scheduler = scheduler(max_sequences, budget, blocks);
        let budget = scheduler.config().tokens_per_step;
        // For each live sequence: (positions computed, length, length at which it ends).
        let mut live: BTreeMap<SequenceId, (usize, usize, usize)> = BTreeMap::new();
        let work: usize = clients.iter().map(|client| client.length + client.answer).sum();
        // The oldest always moves, and restarts only when it was not the oldest.
        let bound = 100 + work * (clients.len() + 1);
        let mut step = 0;
        loop {
            for (id, client) in clients.iter().enumerate() {
                let id = SequenceId(id as u64);
                if client.arrives == step {
                    let max_length = client.length + client.answer;
                    let new = NewSequence { id, length: client.length, max_length, chunk_limit: None };
                    match scheduler.submit(&[new]) {
                        Ok(()) => { live.insert(id, (0, client.length, max_length)); }
                        Err(Refused::NeverFits { needed, total }) => prop_assert!(needed > total),
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                }
                if client.patience == Some(step) && live.remove(&id).is_some() {
                    prop_assert!(scheduler.remove(id));
                }
            }
            let oldest = live.keys().next().copied();
            let plan = scheduler.plan();
            prop_assert!(plan.tokens() <= budget);
            prop_assert!(plan.chunks.len() <= max_sequences);
            prop_assert!(scheduler.running() <= max_sequences);
            for id in &plan.preempted {
                live.get_mut(id).unwrap().0 = 0;
            }
            let mut owned = BTreeSet::new();
            let mut finished = Vec::new();
            for chunk in &plan.chunks {
                let state = live.get_mut(&chunk.id).unwrap();
                prop_assert_eq!(chunk.start, state.0, "positions are computed in order");
                let table = scheduler.table(chunk.id).unwrap();
                prop_assert!(table.len() * BLOCK_SIZE >= chunk.start + chunk.tokens);
                prop_assert!(table.iter().all(|block| owned.insert(*block)), "a block has one owner");
                state.0 += chunk.tokens;
                prop_assert_eq!(chunk.samples, state.0 == state.1);
                if chunk.samples {
                    state.1 += 1;
                    if state.1 == state.2 { finished.push(chunk.id); }
                }
            }
            // Ids grow with the order of submission within a step only; across steps the oldest is the
            // first of those that arrived first.
            let first_arrived = live.keys().min_by_key(|id| (clients[id.0 as usize].arrives, id.0)).copied();
            if oldest.is_some() {
                prop_assert!(
                    first_arrived.is_none_or(|id| plan.chunks.iter().any(|chunk| chunk.id == id)),
                    "the oldest moves in every step"
                );
            }
            scheduler.commit(&plan);
            for chunk in plan.chunks.iter().filter(|chunk| chunk.samples) {
                scheduler.append(chunk.id);
            }
            for id in finished {
                live.remove(&id);
                prop_assert!(scheduler.remove(id));
            }
            step += 1;
            if live.is_empty() && step > 40 { break; }
            prop_assert!(step < bound, "not done after {bound} steps");
        }
        prop_assert!(scheduler.is_idle());
        prop_assert_eq!(scheduler.blocks().available(), blocks as usize);
    }
}
