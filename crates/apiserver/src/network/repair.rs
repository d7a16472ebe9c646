//! Reservations and Services after a crash: what a Service uses is reserved, and nothing else is.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::SmolStr;
use timonier_meta::gvk::resources;
use timonier_object::json;

use super::{IP_ADDRESSES, MANAGED_BY, PORTS_PREFIX, drop_keys, keys_of};
use crate::server::ApiServer;
use crate::storage;

/// Drops the reservations that no Service uses. Run when the server starts, before requests.
pub async fn repair(server: &Arc<ApiServer>) {
    let mut used: BTreeMap<SmolStr, String> = BTreeMap::new();
    for service in server.peek_all(&resources::SERVICES, "") {
        let owner = format!("{}/{}", service.namespace(), service.name());
        used.extend(keys_of(&service).into_iter().map(|key| (key, owner.clone())));
    }
    let snapshot = server.store.snapshot();
    let mut stale: Vec<SmolStr> = Vec::new();
    for item in snapshot.range(PORTS_PREFIX, None) {
        if used.get(&item.key).map(String::as_bytes) != Some(&item.value[..]) {
            stale.push(item.key.clone());
        }
    }
    let addresses = storage::resource_key(&IP_ADDRESSES, "", "");
    for item in snapshot.range(&addresses, None).filter(|i| !used.contains_key(&i.key)) {
        let object = json::decode(&item.value).unwrap_or_default();
        if object.label("ipaddress.kubernetes.io/managed-by") == Some(MANAGED_BY) {
            stale.push(item.key.clone());
        }
    }
    if !stale.is_empty() {
        tracing::info!(count = stale.len(), "dropping reservations that no Service uses");
    }
    drop_keys(server, stale).await;
}
