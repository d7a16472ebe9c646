//! The controllers, one file each: pure functions from the world to a plan.
//!
//! ```text
//!  Deployment ─► ReplicaSet ─► Pod ◄─ DaemonSet, Job, StatefulSet
//!                               │
//!  Service ─► EndpointSlice ◄───┘      Namespace, ServiceAccount, root CA
//!  Node ─► taints ─► eviction          garbage collector (owner references)
//! ```
//!
//! Invariants: a decision rests on the world alone, so a controller may be killed and started at
//! any moment; a write names the uid or resource version that it was decided on; texts of
//! conditions and Events are upstream's.
//! Deliberately absent: expectations, caches, retries; those are the driver's
//! (`timonier-reconcile`).
#![no_std]
extern crate alloc;

mod common;
pub mod deployment;
pub mod replicaset;

pub use common::{hash, pods};
