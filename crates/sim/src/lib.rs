//! The control plane in one thread under virtual time: all controllers and the scheduler over the
//! real API server and store, with simulated nodes and users, and with faults.
//!
//! ```text
//!  nodes, controllers, scheduler ─► Faulty ─► Line ─► ApiServer ─► Store ─► SimDisk
//!  users ────────────────────────────────────┘ ▲          (one process, again and again)  │
//!            lost and late replies, late and   │                                          ▼
//!            broken watches                    └──────── answers are checked ────────── Audit
//! ```
//!
//! A run has two parts. First users change things while faults are injected: processes and nodes
//! are lost, the API server dies before, in and after commits, the disk is full, slow, or fails.
//! What must always hold is checked at every write, every answer and every event. Then everything
//! is healed, and what was asked for must come about, and the system must come to rest.
//!
//! Invariants: a seed decides everything; the same seed gives the same run, down to the last byte
//! written and its time.
//! Deliberately absent: real containers, images and packets; the end-to-end tests have those.
//! HTTP and TLS; the API server's own tests have those.

mod audit;
mod checks;
mod disk;
pub mod environment;
pub mod faults;
mod line;
pub mod nodes;
pub mod processes;
mod rest;
mod run;
pub mod server;
mod users;
mod wishes;

pub use audit::Audit;
pub use run::{Report, run, run_aloud};
