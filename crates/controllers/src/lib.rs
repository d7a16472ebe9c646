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
pub mod daemonset;
pub mod deployment;
pub mod endpoints;
pub mod endpointslice;
pub mod garbage;
pub mod namespace;
pub mod node_lifecycle;
pub mod podgc;
pub mod replicaset;
pub mod root_ca;
pub mod serviceaccount;
pub mod taint_eviction;
pub mod ttl_after_finished;

pub use common::{hash, pods};
