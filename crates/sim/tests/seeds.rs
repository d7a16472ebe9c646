//! The simulation of many seeds, and that a seed repeats itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};

/// How many seeds a run of the unit tests takes, which have no optimisation; `make sim SEEDS=…` is
/// part of `make test` and takes many more.
const SEEDS: u64 = 8;

#[test]
fn every_seed_keeps_the_rules_and_comes_to_rest() {
    let wanted = std::env::var("TIMONIER_SIM_SEEDS").ok().and_then(|n| n.parse().ok());
    let seeds: u64 = wanted.unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = available_parallelism().map_or(2, usize::from);
    let failures: Vec<String> = scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return failures;
                }
                failures.extend(timonier_sim::run(seed).err());
            }
        };
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().flat_map(|t| t.join().expect("a run does not panic")).collect()
    });
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed; `cargo run -p timonier-sim -- --seeds 1 --seed N` repeats one:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn a_seed_repeats_itself() {
    for seed in [3, 25] {
        assert_eq!(timonier_sim::run(seed), timonier_sim::run(seed));
    }
}
