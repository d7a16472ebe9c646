//! Cluster life (`up`, `down`, `status`, `reset`) and the container commands.
//!
//! ```text
//! up ──spawns──► server (this binary, in the background) ──progress lines──► up
//! down ─SIGTERM─► server; then what containers and network left on the host is removed
//! ```
//!
//! Invariants: one server per data directory (a lock); one cluster per name, port and range of the
//! host (the registry); keys and kubeconfigs are 0600 and written
//! whole or not at all; nothing of the user's kubeconfig is lost.
//! Deliberately absent: the composition of a server (the binary crate).

pub mod access;
pub mod args;
mod builds;
pub mod cluster;
pub mod command;
pub mod contexts;
pub mod files;
pub mod host;
pub mod join;
pub mod kubeconfig;
pub mod lock;
pub mod namespaces;
pub mod pki;
pub mod port;
pub mod preflight;
pub mod progress;
pub mod registry;
pub mod run_step;
pub mod teardown;
