//! Network namespaces, interfaces, routes and packet rules of a node.
//!
//! ```text
//! PodNetwork::attach ──► netns (bind mount) + veth + /32 route      (rtnetlink)
//!                   └──► masquerade, host ports                      (nf_tables, table NAME)
//! ServiceTable::apply ─► one transaction of element operations       (nf_tables, table NAME-services)
//! Overlay::set_peers ──► vxlan: routes, neighbours, forwarding       (rtnetlink)
//! ```
//!
//! Invariants: everything that is made carries the cluster's interface prefix, table name or
//! directory, so that [`teardown_all`] finds it without any memory of its making; no external
//! program is run; a namespace is entered only on a thread that ends afterwards.
//! Deliberately absent: bridges, CNI plug-ins, any decision about Services (`timonier-traffic`).
#![allow(unsafe_code)]

mod config;
mod error;
mod pods;

pub use config::NetworkConfig;
pub use error::{Error, Result};
pub use pods::{HostPort, PodNet, PodNetwork, PodRequest};

/// Removes everything of a cluster from the host: interfaces, namespaces, routes, addresses,
/// packet rules, and the kernel settings that were changed. Needs only the configuration, and is
/// no error where nothing is there.
pub async fn teardown_all(config: &NetworkConfig) -> Result<()> {
    let config = config.clone();
    pods::on_thread("teardown", move || pods::teardown(&config)).await
}
