//! End to end: the real binary, real containers, the real kubectl.
//!
//! One cluster serves all cases; each case has a namespace of its own, so that most run beside each
//! other; those that change the node or the server run alone afterwards. Cases wait on conditions and
//! never sleep. At the end, also after a failure, the cluster goes down and the host is searched
//! for leftovers. Without root or without kubectl the run says that it skipped.
//!
//! `cargo test -p timonier --test e2e [-- FILTER...]`

mod background;
mod cases;
mod cluster;
mod gate;
mod grpc;
mod leftovers;
mod machine;
mod second_node;
mod shell;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cases::Case;
use cluster::Cluster;

/// Cases at the same time. They mostly wait.
const BESIDE: usize = 4;

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |c: &Case| filters.is_empty() || filters.iter().any(|f| c.name.contains(f));
    if let Some(why) = shell::missing() {
        println!("skipped: {why}");
        // Set where all that tests need is known to be there, as for continuous integration.
        if std::env::var_os("TIMONIER_REQUIRE_ALL").is_some() {
            return ExitCode::FAILURE;
        }
        println!("test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        return ExitCode::SUCCESS;
    }
    let before = leftovers::snapshot();
    let cluster = match Cluster::up("e2e") {
        Ok(cluster) => cluster,
        Err(e) => {
            println!("the cluster did not come up: {e}");
            println!(
                "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out"
            );
            return ExitCode::FAILURE;
        }
    };
    let outcome = Outcome::default();
    let beside: Vec<Case> = cases::beside().into_iter().filter(wanted).collect();
    run_beside(&beside, &cluster, &outcome);
    for case in cases::alone().into_iter().filter(wanted) {
        outcome.run(case.name, || (case.run)(&cluster));
    }
    outcome.run("leftovers_would_be_seen", || leftovers::are_seen(&cluster, &before));
    let down = cluster.down();
    outcome.run("down_leaves_nothing_behind", || {
        down?;
        leftovers::compare(&before, &leftovers::snapshot())
    });
    outcome.report()
}

/// Runs the cases, a few at the same time.
fn run_beside(cases: &[Case], cluster: &Cluster, outcome: &Outcome) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    outcome.run(case.name, || (case.run)(cluster));
                }
            });
        }
    });
}

/// Counts results and prints them as cargo's own harness does.
#[derive(Default)]
struct Outcome {
    passed: AtomicUsize,
    failures: Mutex<Vec<(String, String)>>,
}

impl Outcome {
    fn run(&self, name: &str, case: impl FnOnce() -> shell::Result) {
        let started = Instant::now();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(case))
            .unwrap_or_else(|_| Err("panicked".into()));
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                println!("test {name} ... ok ({seconds:.1} s)");
                self.passed.fetch_add(1, Ordering::Relaxed);
            }
            Err(why) => {
                println!("test {name} ... FAILED ({seconds:.1} s)\n{why}");
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                failures.push((name.to_owned(), why));
            }
        }
    }

    fn report(self) -> ExitCode {
        let failures = self.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (name, why) in &failures {
            println!("---- {name} ----\n{why}");
        }
        let (passed, failed) = (self.passed.into_inner(), failures.len());
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
        );
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
