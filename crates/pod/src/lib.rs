//! A pod's life on a node, as decisions: values in, a plan out.
//!
//! ```text
//! pod (API) ─┐
//! observed ──┼─► plan::plan ──► actions (mount, create, start, kill, probe, …), Events, wake-up
//! memory ────┤
//! now ───────┘   status::status ──► `status` as upstream's kubelet writes it
//! ```
//!
//! `spec` reads the pod; `probe`, `backoff` and `memory` hold what is remembered between two
//! decisions; `env`, `downward`, `security`, `resources`, `dns`, `volumes` say what a container
//! is given.
//!
//! Invariants: no clock, no randomness, no I/O; the same input gives the same plan; an action is
//! asked for once, until its outcome is reported back to the memory.
//! Deliberately absent: how a thing is done (`timonier-node`, `timonier-runtime`), and the API.
#![no_std]
extern crate alloc;

pub mod admission;
pub mod backoff;
mod conditions;
mod container_status;
pub mod dns;
pub mod downward;
pub mod env;
pub mod eviction;
pub mod image;
pub mod life;
pub mod memory;
pub mod mounts;
pub mod observed;
pub mod plan;
pub mod probe;
pub mod resources;
pub mod security;
pub mod sources;
pub mod spec;
mod start;
pub mod status;
mod terminate;
pub mod volumes;

pub use downward::NodeFacts;
pub use memory::{EndStep, Memory, StartError, Step};
pub use observed::Observed;
pub use plan::{Action, Event, Kill, Plan, Stage, grace_period, plan};
pub use status::status;
