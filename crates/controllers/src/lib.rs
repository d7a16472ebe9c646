//! The controllers, one file each: pure functions from the world to a plan.
//!
//! ```text
//!  Deployment ─► ReplicaSet ─► Pod ◄─ DaemonSet, Job, StatefulSet
//!                               │
//!  Service ─► EndpointSlice ◄───┘      Namespace, ServiceAccount, root CA
//!  Node ─► pod range, taints ─► eviction  garbage collector (owner references)
//!  CertificateSigningRequest ─► approved ─► signed ─► cleaned
//! ```
//!
//! Invariants: a decision rests on the world alone, so a controller may be killed and started at
//! any moment; a write names the uid or resource version that it was decided on; texts of
//! conditions and Events are upstream's.
//! Deliberately absent: expectations, caches, retries; those are the driver's
//! (`timonier-reconcile`).
#![no_std]
extern crate alloc;

pub mod certificates;
pub mod cluster_dns;
mod common;
pub mod cronjob;
pub mod csr_approving;
pub mod csr_cleaner;
pub mod csr_signing;
pub mod daemonset;
pub mod deployment;
pub mod endpoints;
pub mod endpointslice;
pub mod endpointslice_mirroring;
pub mod garbage;
pub mod job;
pub mod namespace;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod poddisruptionbudget;
pub mod podgc;
pub mod pv_protection;
pub mod pvc_protection;
pub mod replicaset;
pub mod resourcequota;
pub mod root_ca;
pub mod serviceaccount;
pub mod statefulset;
pub mod taint_eviction;
pub mod token_cleaner;
pub mod ttl_after_finished;
pub mod vac_protection;
pub mod validatingadmissionpolicy_status;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

pub use certificates::Certifier;
pub use common::{hash, pods};
use timonier_reconcile::Reconciler;

/// What the controllers of a cluster have to be told.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The CA bundle with which pods verify the API server, in PEM form.
    pub root_ca: String,
    /// Signs certificates; without it requests stay as they are.
    pub certifier: Option<Arc<dyn Certifier>>,
    /// The pod range; without it no Node is given a part of it.
    pub pod_range: String,
    /// The parts of the pod range that the control plane's own nodes have.
    pub reserved_pod_ranges: Vec<String>,
    /// What no node may serve as.
    pub reserved: csr_approving::Reserved,
    /// The address of the cluster's DNS; without it there is no Service `kube-dns`.
    pub dns_address: String,
}

/// The mask of a node's part of the pod range: 254 addresses, twice the pods of a node.
pub const NODE_MASK: u8 = 24;

/// All controllers.
pub fn all(settings: Settings) -> Vec<Arc<dyn Reconciler>> {
    let mut all = workloads(&settings);
    all.extend(nodes(settings));
    all
}

/// Those by which nodes join and are looked after.
fn nodes(settings: Settings) -> Vec<Arc<dyn Reconciler>> {
    let mut out: Vec<Arc<dyn Reconciler>> = vec![
        Arc::new(node_lifecycle::NodeLifecycle::default()),
        Arc::new(taint_eviction::TaintEviction),
        Arc::new(node_ipam::NodeIpam {
            range: settings.pod_range,
            mask: NODE_MASK,
            reserved: settings.reserved_pod_ranges,
        }),
        Arc::new(cluster_dns::ClusterDns { address: settings.dns_address }),
        Arc::new(token_cleaner::TokenCleaner),
    ];
    if let Some(certifier) = settings.certifier {
        out.push(Arc::new(csr_approving::CsrApproving {
            certifier: certifier.clone(),
            reserved: settings.reserved,
        }));
        out.push(Arc::new(csr_cleaner::CsrCleaner { certifier: certifier.clone() }));
        out.push(Arc::new(csr_signing::CsrSigning { certifier }));
    }
    out
}

fn workloads(settings: &Settings) -> Vec<Arc<dyn Reconciler>> {
    vec![
        Arc::new(namespace::Namespaces),
        Arc::new(validatingadmissionpolicy_status::PolicyTypes),
        Arc::new(serviceaccount::DefaultServiceAccounts),
        Arc::new(root_ca::RootCaPublisher { bundle: settings.root_ca.clone() }),
        Arc::new(garbage::GarbageCollector),
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
        Arc::new(pvc_protection::PvcProtection),
        Arc::new(pv_protection::PvProtection),
        Arc::new(vac_protection::VacProtection),
    ]
}
