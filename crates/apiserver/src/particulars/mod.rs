//! What the server writes into objects of a few kinds: the part of upstream's registry strategies
//! that is no data. One kind, one file.

mod certificate;
pub mod devices;
mod job;
mod lease;
mod namespace;
pub mod pod;

use timonier_object::Value;
use timonier_schema::aggregation::local as local_status;

use crate::call::Call;
use crate::extensions;

/// Completes a new object, before defaults.
pub fn on_create(call: &Call<'_>, object: &mut Value) {
    let gvr = &call.row.gvr;
    match (gvr.group.as_str(), gvr.resource.as_str()) {
        ("", "namespaces") => namespace::on_create(object),
        ("", "pods") => pod::on_create(object),
        ("batch", "jobs") => job::on_create(object),
        ("coordination.k8s.io", "leases") => lease::drop_disabled(object),
        ("apiextensions.k8s.io", _) => extensions::on_create(object),
        ("apiregistration.k8s.io", "apiservices") => {
            // What this server answers itself is there from the first moment.
            let local = object.at("spec.service").is_null();
            let status = if local { local_status(call.server.env.now()) } else { Value::object() };
            object.set("status", status);
        }
        ("certificates.k8s.io", "certificatesigningrequests") => {
            certificate::on_create(object, call.user);
        }
        ("resource.k8s.io", _) => {
            devices::warn(call, object);
            devices::on_create(object);
        }
        _ => {}
    }
}

/// Completes a changed object, before defaults.
pub fn on_update(call: &Call<'_>, new: &mut Value, old: &Value) {
    let gvr = &call.row.gvr;
    match (gvr.group.as_str(), gvr.resource.as_str()) {
        ("apiextensions.k8s.io", _) if call.info.subresource.is_empty() => {
            extensions::on_update(new);
        }
        ("coordination.k8s.io", "leases") => lease::drop_disabled(new),
        ("", "namespaces") if call.info.subresource != "finalize" => namespace::on_update(new, old),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            certificate::on_update(call, new, old)
        }
        ("resource.k8s.io", _) => {
            devices::warn(call, new);
            devices::on_update(call, new, old);
        }
        _ => {}
    }
}

/// Completes an object whose deletion begins.
pub fn on_delete(call: &Call<'_>, object: &mut Value) {
    if call.row.gvr.group == "apiextensions.k8s.io" {
        extensions::on_delete(object, call.server.env.now());
    }
}
