//! Runs the simulation for many seeds.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;

/// Simulates the control plane with faults under virtual time.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads, each with simulations of its own.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Tell about every run.
    #[arg(long)]
    verbose: bool,
    /// Print every write and accident of every run.
    #[arg(long)]
    writes: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let start = Instant::now();
    let (next, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= arguments.seeds {
                        return;
                    }
                    let run =
                        if arguments.writes { timonier_sim::run_aloud } else { timonier_sim::run };
                    let result = run(arguments.seed + n);
                    if arguments.verbose {
                        println!("{result:?}");
                    }
                    if let Err(why) = result {
                        failures.fetch_add(1, Ordering::Relaxed);
                        println!("FAILED {why}");
                        println!("  again: timonier-sim --seeds 1 --seed {}", arguments.seed + n);
                    }
                }
            });
        }
    });
    let failed = failures.into_inner();
    println!("{} seeds, {failed} failed, {:.1?}", arguments.seeds, start.elapsed());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
