//! Fuzzes every target, each in a process of its own, or one of them in this process.
//!
//! `main` is libFuzzer's. Before it begins, it calls what stands behind `init`: without the name of a
//! target that starts the processes and ends this one.
#![no_main]

use timonier_fuzz::{attempt, campaign};

libfuzzer_sys::fuzz_target!(
    init: if attempt::begin().is_none() {
        campaign::run()
    },
    |input: &[u8]| attempt::run(input)
);
