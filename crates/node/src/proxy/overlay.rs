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
/// The pause after a change that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes the overlay and follows the nodes until `stop`. What was made stays. Fails where the
/// kernel does not give the interface, for example without vxlan or where the port is taken.
pub async fn run_overlay(
    caches: Arc<Caches>,
    config: NetworkConfig,
    overlay: OverlayConfig,
    stop: CancellationToken,
) -> timonier_network::Result<()> {
    let overlay = Overlay::open(&config, overlay)?;
    tokio::select! {
        () = follow(&caches, overlay) => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

async fn follow(caches: &Arc<Caches>, overlay: Overlay) {
    observe(caches, &[NODES]);
    let mut notices = caches.subscribe();
    let mut known: Option<BTreeMap<SmolStr, Peer>> = None;
    let mut overlay = Some(overlay);
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
            known = match set(&mut overlay, peers.clone().unwrap_or_default()).await {
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
    overlay: &mut Option<Overlay>,
    peers: BTreeMap<SmolStr, Peer>,
) -> timonier_network::Result<()> {
    let mut own = overlay.take().expect("the overlay is put back after every change");
    let work = tokio::task::spawn_blocking(move || {
        let done = own.set_peers(peers.values());
        (own, done)
    });
    match work.await {
        Ok((own, done)) => {
            *overlay = Some(own);
            done
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
