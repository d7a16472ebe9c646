//! Quotas of a namespace: a write that uses more than is left is refused, and one that does not is
//! written down in the quotas before it is stored. Upstream's plug-in `ResourceQuota`; the
//! decisions are `timonier_policy::quota`.

use smol_str::SmolStr;
use timonier_meta::ApiError;
use timonier_meta::gvk::resources::RESOURCEQUOTAS;
use timonier_object::Value;
use timonier_policy::quota::{self, Amounts};
use timonier_store::{Error, Expect};

use super::{Operation, Request};
use crate::server::ApiServer;
use crate::{objects, storage};

/// A quota that others write at the same time is tried again this often.
const ATTEMPTS: usize = 100;

/// What was written down for a write that is still to be stored.
#[derive(Default)]
pub struct Charge {
    quotas: Vec<SmolStr>,
    more: Amounts,
    before: Amounts,
}

/// Writes down what the object uses; 403 where a quota has no room for it. A dry run only asks.
pub async fn charge(
    request: &Request<'_>,
    object: &Value,
    dry_run: bool,
) -> Result<Charge, ApiError> {
    let call = request.call;
    let of = call.resource();
    let mut charge = Charge::default();
    if !counts(request) || matches!(of.resource.as_str(), "events") {
        return Ok(charge);
    }
    let quotas = call.server.peek_all(&RESOURCEQUOTAS, call.namespace());
    if quotas.is_empty() {
        return Ok(charge);
    }
    let now = call.server.env.now();
    charge.more = quota::usage(&of, object, now);
    charge.before = request.old.map(|old| quota::usage(&of, old, now)).unwrap_or_default();
    for found in quotas.iter().filter(|q| quota::concerns(q, &of, object)) {
        let key = storage::resource_key(&RESOURCEQUOTAS, found.namespace(), found.name());
        let charged = rewrite(call.server, &key, dry_run, |quota| {
            quota::charge(quota, &of, object, &charge.more, &charge.before)
                .map_err(|why| request.forbidden(object, &why))
        });
        match charged.await {
            Ok(true) => charge.quotas.push(key),
            Ok(false) => {}
            Err(error) => {
                charge.undo(call.server).await;
                return Err(error);
            }
        }
    }
    Ok(charge)
}

/// Whether quotas look at such a write.
fn counts(request: &Request<'_>) -> bool {
    let row = &request.call.row;
    if !row.namespaced || !row.stored {
        return false;
    }
    match request.operation {
        Operation::Create => request.subresource.is_empty(),
        Operation::Update if row.gvr.group.is_empty() => match row.gvr.resource.as_str() {
            "services" | "persistentvolumeclaims" => request.subresource.is_empty(),
            "pods" => request.subresource == "resize",
            _ => false,
        },
        _ => false,
    }
}

impl Charge {
    /// Gives back, where the write did not take place after all.
    pub async fn undo(self, server: &ApiServer) {
        for key in &self.quotas {
            let back = |quota: &Value| Ok(Some(quota::give_back(quota, &self.more, &self.before)));
            // What cannot be given back now the controller finds.
            let _ = rewrite(server, key, false, back).await;
        }
    }
}

/// Replaces a quota's `status.used`; whether there was something to replace.
async fn rewrite(
    server: &ApiServer,
    key: &SmolStr,
    dry_run: bool,
    used: impl Fn(&Value) -> Result<Option<Value>, ApiError>,
) -> Result<bool, ApiError> {
    for _ in 0..ATTEMPTS {
        let snapshot = server.store.snapshot();
        let Some(item) = snapshot.get(key) else { return Ok(false) };
        let mut quota = objects::decode(item);
        let Some(next) = used(&quota)? else { return Ok(false) };
        if dry_run {
            return Ok(false);
        }
        quota.set("status.used", next);
        let expect = Expect::Revision(item.mod_revision);
        match server.store.put(key.clone(), storage::encode(&quota), expect).await {
            Ok(_) => return Ok(true),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(ApiError::internal(error)),
        }
    }
    Err(ApiError::too_many_requests("the quota of the namespace is written by too many", 1))
}
