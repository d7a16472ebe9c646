//! The scheduler's decisions: which pod is next, and which node it goes to.
//!
//! ```text
//! changes ─► Scheduler ─► Cluster (nodes, the pods on them: facts, read once per change)
//!               │  ▲ ▲
//!               │  │ └── on_bound, on_failed ◄── whoever acts ◄─┐
//!               ▼  │                                           │
//!             Queue ─pod─► Framework: filters ─► scores ─► Decision
//!                              └ none fits ─► preemption ──────┘
//! ```
//!
//! Invariants:
//! - A node's resources are never promised twice: a pod counts as on its node from the decision
//!   on (assumed), until it is gone or its binding has failed.
//! - No decision before everything was listed once.
//! - A pod that fits nowhere waits for a change that its plug-ins say may help, or five minutes;
//!   it is never tried more often than its back-off allows.
//! - The same changes and the same seed give the same decisions.
//!
//! Deliberately absent: I/O, clocks, threads; volumes that bind only when their pod has a
//! node (`WaitForFirstConsumer`: such a pod waits as if they were to be bound at once), resource
//! claims, extenders and profiles.
#![no_std]
extern crate alloc;

mod cluster;
mod cycle;
pub mod facts;
mod plugin;
pub mod plugins;
mod preemption;
mod queue;
mod scheduler;
mod writes;

pub use cluster::{Budget, Claim, Cluster, NodeState, Workload};
pub use cycle::{Diagnosis, Framework, Placement};
pub use plugin::{Filter, Happening, MAX_SCORE, Plugin, Verdict, normalize};
pub use preemption::{Preemption, preempt};
pub use queue::{Entry, Queue};
pub use scheduler::{Action, Config, Decision, Scheduler};
