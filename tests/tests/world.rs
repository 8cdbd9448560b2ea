//! Some seeds of the simulated world in every test run; `cargo verify --stage world` runs two thousand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use stockwire_tests::world::{self, Telling};

/// The first seeds, and what they must have shown together: a world in which nothing happens passes everything.
const SEEDS: u64 = 20;
const FACTS_MIN: usize = 1_500;

#[test]
fn twenty_worlds_end_with_equal_books() {
    let next = AtomicU64::new(1);
    let work = || {
        let mut facts = 0;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > SEEDS {
                return facts;
            }
            match world::run(seed, Telling::Silent) {
                Ok(report) => facts += report.facts,
                Err(failure) => panic!("seed {seed}: {}\n{}", failure.fault, failure.log.join("\n")),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let facts: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a world")).sum()
    });
    assert!(facts >= FACTS_MIN, "only {facts} movements in {SEEDS} worlds");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let runs: Vec<_> = (0..2).map(|_| world::run(7, Telling::Silent).expect("seed 7")).collect();
    assert_eq!(format!("{:?}", runs[0]), format!("{:?}", runs[1]));
}
