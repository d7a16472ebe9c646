//! What a controller is: a pure function from the world to a plan, and the driver that decides
//! which key runs when.
//!
//! ```text
//!  watch ──► World ──Change──► Driver ──key──► Reconciler::reconcile ──► Plan
//!              ▲                 ▲ │                                       │
//!              │                 │ └── Task (writes in order) ◄────────────┘
//!              └── API server ◄──┴── whoever acts: `timonier-client`, or the simulation
//! ```
//!
//! Invariants:
//! - A reconciler sees keys, never events: losing a hint may delay it, and cannot mislead it.
//! - A key runs only when the world has caught up with the driver's own last write for it (the
//!   revision gate), with a fresh list after a write whose outcome is unknown (the barrier), and
//!   not before every table that it reads was listed (the relist at start). These three replace
//!   upstream's "expectations".
//! - A key is never run twice at the same time, and its writes are carried out in order.
//! - Everything is ordered and seeded: the same inputs give the same tasks.
//!
//! Deliberately absent: I/O, clocks, threads; knowledge of kinds but one index of pods by node.
#![no_std]
extern crate alloc;

mod correlator;
mod driver;
mod gate;
mod plan;
mod reconciler;
mod table;
mod world;

pub use correlator::{Correlator, Recorded};
pub use driver::{Config, Driver, Outcome, Task, TaskId};
pub use plan::{
    EventType, Operation, PatchKind, Plan, Preconditions, Propagation, Reason, Reference, Write,
};
pub use reconciler::{Change, Context, Failure, Reconciler};
pub use table::Table;
pub use world::{ResourceInfo, World};
