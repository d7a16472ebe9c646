//! Limit ranges of a namespace fill in and bound what pods and claims ask for. Upstream's plug-in
//! `LimitRanger`; the decisions are `timonier_policy::limits`.

use std::sync::Arc;

use timonier_meta::ApiError;
use timonier_meta::gvk::resources;
use timonier_object::Value;
use timonier_policy::limits;

use super::{Operation, Request};
use crate::particulars;

/// Fills in what a new pod leaves open.
pub fn mutate(request: &Request<'_>, pod: &mut Value) {
    if request.operation != Operation::Create || !request.is("", "pods") {
        return;
    }
    let ranges = ranges(request);
    if ranges.is_empty() {
        return;
    }
    ranges.iter().for_each(|range| limits::fill_in(range, pod));
    particulars::pod::classify(pod);
}

/// Refuses what is out of bounds.
pub fn validate(request: &Request<'_>, object: &Value) -> Result<(), ApiError> {
    let resize = request.subresource == "resize" && request.call.row.gvr == resources::PODS;
    let check = match request.operation {
        _ if resize => limits::check_pod,
        Operation::Create if request.is("", "pods") => limits::check_pod,
        Operation::Create | Operation::Update if request.is("", "persistentvolumeclaims") => {
            limits::check_claim
        }
        _ => return Ok(()),
    };
    // Upstream ignores updates of objects that are on their way out.
    if object.is_deleting() {
        return Ok(());
    }
    for range in ranges(request) {
        let errors = check(&range, object);
        if !errors.is_empty() {
            return Err(request.forbidden(object, &limits::aggregate(errors)));
        }
    }
    Ok(())
}

fn ranges(request: &Request<'_>) -> Vec<Arc<Value>> {
    request.call.server.peek_all(&resources::LIMITRANGES, request.call.namespace())
}
