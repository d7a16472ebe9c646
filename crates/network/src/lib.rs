//! Network namespaces, interfaces, routes and packet rules of a node.
//!
//! ```text
//! PodNetwork::attach ──► netns (bind mount) + veth + /32 route
//!                   └──► masquerade, host ports        (nf_tables, table NAME)
//! ServiceTable::apply ─► one transaction of element operations       (nf_tables, table NAME-services)
//! Overlay::set_peers ──► vxlan: routes, neighbours, forwarding
//! ```
//!
//! Invariants: everything that is made carries the cluster's interface prefix, table name or
//! directory, so that [`teardown_all`] finds it without any memory of its making; no external
//! program is run; a namespace is entered only on a thread that ends afterwards.
//! Deliberately absent: bridges, CNI plug-ins, any decision about Services (`timonier-traffic`),
//! accepting what another firewall of the host drops.

mod config;
mod conntrack;
mod error;
mod features;
#[doc(hidden)]
pub mod fuzz;
mod host;
mod netlink;
mod netns;
pub mod nft;
mod overlay;
mod pod_rules;
mod pods;
mod record;
mod route;
mod services;
mod uplink;

pub use config::NetworkConfig;
pub use conntrack::flush_stale;
pub use error::{Error, Result};
pub use features::missing_features;
pub use overlay::{Overlay, OverlayConfig};
pub use pods::{HostPort, PodNet, PodNetwork, PodRequest};
pub use services::ServiceTable;
pub use uplink::pod_mtu;

/// Removes everything of a cluster from the host: interfaces, namespaces, routes, addresses,
/// packet rules, and the kernel settings that were changed. Needs only the configuration, and is
/// no error where nothing is there.
pub async fn teardown_all(config: &NetworkConfig) -> Result<()> {
    let config = config.clone();
    netns::on_thread("teardown", move || pods::teardown(&config)).await
}
