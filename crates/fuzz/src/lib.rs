//! Every decoder of bytes from outside, under inputs that nobody would send on purpose.
//!
//! ```text
//! make fuzz ─► main: no target is named ─► campaign: a process per target
//!                     ▲                        │ seeds and words in files
//!                     └── a target is named ◄──┘
//!                          libFuzzer ─► attempt ─► targets/<name>.rs
//! ```
//!
//! A target decodes its input and checks what must hold of the result: no panic, no endless loop,
//! bounded memory, and where there is an encoder that decoding undoes it. One target, one file.
//!
//! The engine is LLVM's libFuzzer. It learns from the compiler's counters, with which `make fuzz`
//! builds the workspace's crates (`tests/sancov`), so the program is behind the feature `engine`.
//! Without it there are the targets alone, which the crate's tests run on their seeds.
//!
//! Deliberately absent: a corpus on disk. Every run starts from the seeds in the targets and a fixed
//! seed of chance, so that the same build finds the same.

pub mod attempt;
pub mod campaign;
mod targets;

/// Something to be fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Decodes the input; panics where something does not hold.
    pub run: fn(&[u8]),
    /// Good inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What the format is made of.
    pub words: &'static [&'static str],
}

/// Every target.
pub use targets::all;

/// Seeds that are text.
fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}
