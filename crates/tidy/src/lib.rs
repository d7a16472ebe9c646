//! Holds the workspace to its own rules: which crate may use which, which crates only decide, how
//! long a file may get. The rules and their reasons are `rules`; `tests/tidy.rs` applies them.
//!
//! Invariants: every message names the file and the rule's reason.
//! Deliberately absent: formatting and lints, which rustfmt and clippy hold.

pub mod rules;
pub mod scan;
