//! End to end: the real binary, real containers, the real kubectl.
//!
//! One cluster serves all cases; each case has a namespace of its own. Cases wait on conditions and
//! never sleep. At the end, also after a failure, the cluster goes down and the host is searched
//! for leftovers. Without root or without kubectl the run says that it skipped.
//!
//! `cargo test -p timonier --test e2e [-- FILTER]`

mod cases;
mod cluster;
mod leftovers;
mod machine;
mod second_node;
mod shell;

use std::process::ExitCode;
use std::time::Instant;

use cluster::Cluster;

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    if let Some(why) = shell::missing() {
        println!("skipped: {why}");
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
    let mut outcome = Outcome::default();
    for case in cases::all().into_iter().filter(|c| c.name.contains(&filter)) {
        outcome.run(case.name, || (case.run)(&cluster));
    }
    let down = cluster.down();
    outcome.run("down_leaves_nothing_behind", || {
        down?;
        leftovers::compare(&before, &leftovers::snapshot())
    });
    outcome.report()
}

/// Counts results and prints them as cargo's own harness does.
#[derive(Default)]
struct Outcome {
    passed: usize,
    failures: Vec<(String, String)>,
}

impl Outcome {
    fn run(&mut self, name: &str, case: impl FnOnce() -> shell::Result) {
        let started = Instant::now();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(case))
            .unwrap_or_else(|_| Err("panicked".into()));
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                println!("test {name} ... ok ({seconds:.1} s)");
                self.passed += 1;
            }
            Err(why) => {
                println!("test {name} ... FAILED ({seconds:.1} s)\n{why}");
                self.failures.push((name.to_owned(), why));
            }
        }
    }

    fn report(self) -> ExitCode {
        let failed = self.failures.len();
        for (name, why) in &self.failures {
            println!("---- {name} ----\n{why}");
        }
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out",
            self.passed
        );
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
