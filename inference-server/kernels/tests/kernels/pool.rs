use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use weighbridge_kernels::pool::{Pool, WorkerPanicked};

#[test]
fn every_chunk_runs_once_on_any_number_of_threads() {
    for threads in [1, 2, 3, 8] {
        let mut pool = Pool::new(NonZeroUsize::new(threads).unwrap()).unwrap();
        for chunks in [0, 1, 2, 7, 64, 1000] {
            let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(chunks, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }
}

/// Many short operations, so that workers meet the next one while spinning, yielding and parked.
#[test]
fn operations_follow_one_another_without_loss() {
    let mut pool = Pool::new(NonZeroUsize::new(4).unwrap()).unwrap();
    let total = AtomicUsize::new(0);
    for round in 0..20_000 {
        if round % 1000 == 0 {
            // Nothing is waited for: workers that find no work for this long are parked.
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        pool.run(1 + round % 9, &|i| {
            total.fetch_add(i + 1, Ordering::Relaxed);
        })
        .unwrap();
    }
    let expected: usize = (0..20_000).map(|round| (1..=1 + round % 9).sum::<usize>()).sum();
    assert_eq!(total.load(Ordering::Relaxed), expected);
}

#[test]
fn a_panic_in_a_chunk_is_an_error_and_the_pool_goes_on() {
    for threads in [1, 2] {
        let mut pool = Pool::new(NonZeroUsize::new(threads).unwrap()).unwrap();
        assert_eq!(pool.run(5, &|i| assert!(i != 3, "on purpose")), Err(WorkerPanicked));
        let ran = AtomicUsize::new(0);
        pool.run(5, &|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), 5);
    }
}
