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
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod endpoints;
pub mod endpointslice;
pub mod endpointslice_mirroring;
pub mod garbage;
pub mod job;
pub mod namespace;
pub mod node_lifecycle;
pub mod poddisruptionbudget;
pub mod podgc;
pub mod replicaset;
pub mod resourcequota;
pub mod root_ca;
pub mod serviceaccount;
pub mod statefulset;
pub mod taint_eviction;
pub mod ttl_after_finished;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

pub use common::{hash, pods};
use timonier_reconcile::Reconciler;

/// What the controllers of a cluster have to be told.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The CA bundle with which pods verify the API server, in PEM form.
    pub root_ca: String,
}

/// All controllers.
pub fn all(settings: Settings) -> Vec<Arc<dyn Reconciler>> {
    vec![
        Arc::new(namespace::Namespaces),
        Arc::new(serviceaccount::DefaultServiceAccounts),
        Arc::new(root_ca::RootCaPublisher { bundle: settings.root_ca }),
        Arc::new(garbage::GarbageCollector),
        Arc::new(node_lifecycle::NodeLifecycle::default()),
        Arc::new(taint_eviction::TaintEviction),
        Arc::new(podgc::PodGarbageCollector::default()),
        Arc::new(deployment::Deployments),
        Arc::new(replicaset::ReplicaSets::new()),
        Arc::new(replicaset::ReplicaSets::replication_controllers()),
        Arc::new(daemonset::DaemonSets),
        Arc::new(statefulset::StatefulSets),
        Arc::new(job::Jobs),
        Arc::new(cronjob::CronJobs),
        Arc::new(ttl_after_finished::TtlAfterFinished),
        Arc::new(endpointslice::EndpointSlices),
        Arc::new(endpointslice_mirroring::EndpointSliceMirroring),
        Arc::new(endpoints::Endpoints),
        Arc::new(poddisruptionbudget::PodDisruptionBudgets),
        Arc::new(resourcequota::ResourceQuotas),
    ]
}
