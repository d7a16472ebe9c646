//! The node's agent: kubelet, service proxy, DNS.
//!
//! ```text
//!  watch of pods ──► dispatcher ──► one worker per pod ──► runtime, images, network, volumes
//!  runtime events ────────┘          │  (timonier_pod decides, the worker acts)
//!  ConfigMaps, Secrets, Services ───►┤
//!                                    └──► status, Events, PodTable (for logs, exec, attach)
//!  registration, lease, node status ──► API
//! ```
//!
//! Invariants: nothing polls: a worker sleeps until a message or the time that its plan names;
//! every decision about a pod is made in `timonier_pod`; a pod's files lie below one directory
//! named by its uid; what runs keeps running when the agent ends.
//! Deliberately absent: decisions, image formats, namespaces and packets (other crates).

mod cgroups;
mod config;
mod container;
mod dispatcher;
pub mod dns;
mod eviction;
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod hooks;
mod housekeeping;
mod http;
mod logs;
mod machine;
mod node;
mod node_object;
mod objects;
mod pod_table;
mod prober;
pub mod proxy;
mod recorder;
mod registration;
mod seams;
pub mod server;
mod services;
mod shared;
mod starter;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod volumes;
mod watching;
mod worker;

pub use config::NodeConfig;
pub use machine::Machine;
pub use node::{Node, NodeError};
pub use pod_table::{ContainerEntry, PodEntry, PodTable, TableError};
pub use registration::register;
pub use seams::{Images, Network, NodeEnvironment};
