//! Holds the workspace to its own rules: which crate may use which, which crates only decide, how
//! long a file may get, what may come from outside. The rules and their reasons are `rules` and
//! `packages`; `tests/` applies them.
//!
//! Invariants: every message names the file and the rule's reason.
//! Deliberately absent: formatting and lints, which rustfmt and clippy hold; known vulnerabilities,
//! whose list is on the network.

pub mod licence;
pub mod packages;
pub mod rules;
pub mod scan;
