//! The control plane in one thread under virtual time: all controllers and the scheduler over a
//! small API in memory, with simulated nodes and users, and with faults.
//!
//! ```text
//!  users ─┐                         ┌─ checks: at every write, and at the end
//!  nodes ─┼─► Faulty ─► Client ─► Api
//!  controllers, scheduler ─┘   (delays, lost replies, refusals, broken watches, a full disk)
//! ```
//!
//! A run has two parts. First users change things, processes are killed and nodes lost while
//! faults are injected, and what must always hold is checked at every write. Then everything is
//! healed, and what was asked for must come about, and the system must come to rest.
//!
//! Invariants: a seed decides everything; the same seed gives the same run, down to the last
//! write.
//! Deliberately absent: real containers, images and packets; the end-to-end tests have those.

mod api;
mod checks;
pub mod environment;
pub mod faults;
pub mod nodes;
pub mod processes;
mod rest;
mod run;
mod users;
mod wishes;

pub use run::{Report, run};
