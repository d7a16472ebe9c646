//! Keeps the way to other nodes' pods: one entry per Node object.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;
use timonier_client::cache::{Caches, Notice};
use timonier_meta::gvk::resources::NODES;
use timonier_network::{NetworkConfig, Overlay, OverlayConfig};
use timonier_traffic::overlay::Peer;
use tokio_util::sync::CancellationToken;

use super::observe;

/// How often the ways are compared with what they should be.
const LOOK: Duration = Duration::from_secs(60);
/// The pause after a change that failed: the kernel may lack vxlan, or the port be another's.
const PAUSE: Duration = Duration::from_secs(5);

/// Follows the nodes until `stop`. The overlay is made when there is another node, so that a
/// cluster of one needs neither vxlan nor its port. What was made stays.
pub async fn run_overlay(
    caches: Arc<Caches>,
    config: NetworkConfig,
    overlay: OverlayConfig,
    stop: CancellationToken,
) {
    let way = Way { config, overlay, open: None };
    tokio::select! {
        () = follow(&caches, way) => {}
        () = stop.cancelled() => {}
    }
}

/// The overlay, or what it will be made from.
struct Way {
    config: NetworkConfig,
    overlay: OverlayConfig,
    open: Option<Overlay>,
}

impl Way {
    fn set(&mut self, peers: &BTreeMap<SmolStr, Peer>) -> timonier_network::Result<()> {
        let own = self.config.node_pod_cidr;
        let alone = peers.values().all(|p| p.pod_cidr == own);
        if self.open.is_none() && alone && !Overlay::exists(&self.config)? {
            return Ok(());
        }
        if self.open.is_none() {
            self.open = Some(Overlay::open(&self.config, self.overlay)?);
        }
        match &mut self.open {
            Some(overlay) => overlay.set_peers(peers.values()),
            None => Ok(()),
        }
    }
}

async fn follow(caches: &Arc<Caches>, way: Way) {
    observe(caches, &[NODES]);
    let mut notices = caches.subscribe();
    let mut known: Option<BTreeMap<SmolStr, Peer>> = None;
    let mut way = Some(way);
    loop {
        let peers = {
            let world = caches.world();
            let nodes = world.table(&NODES);
            // Before the first list nobody is known, which must not take ways away.
            nodes.synced().map(|_| {
                nodes
                    .iter()
                    .filter_map(|n| Peer::from_node(n))
                    .map(|p| (p.name.clone(), p))
                    .collect()
            })
        };
        if peers.is_some() && peers != known {
            known = match set(&mut way, peers.clone().unwrap_or_default()).await {
                Ok(()) => peers,
                Err(error) => {
                    tracing::warn!(%error, "cannot change the overlay; trying again");
                    tokio::time::sleep(PAUSE).await;
                    known = None;
                    continue;
                }
            };
        }
        let look = tokio::time::Instant::now() + LOOK;
        loop {
            let concerns = |notice: &Notice| match notice {
                Notice::Changed(change) => change.is(&NODES),
                Notice::Progressed(resource) => {
                    known.is_none() && *resource == NODES.group_resource()
                }
                Notice::Lost => true,
            };
            tokio::select! {
                new = notices.recv() => {
                    if new.iter().any(concerns) {
                        break;
                    }
                }
                () = tokio::time::sleep_until(look) => {
                    // Whatever other programs removed is made again.
                    known = None;
                    break;
                }
            }
        }
    }
}

async fn set(
    way: &mut Option<Way>,
    peers: BTreeMap<SmolStr, Peer>,
) -> timonier_network::Result<()> {
    let mut own = way.take().expect("the way is put back after every change");
    let work = tokio::task::spawn_blocking(move || {
        let done = own.set(&peers);
        if done.is_err() {
            // Opened anew, it sees the world as it is.
            own.open = None;
        }
        (own, done)
    });
    match work.await {
        Ok((own, done)) => {
            *way = Some(own);
            done
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
