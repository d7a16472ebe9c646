//! Services and disruption budgets.

use std::collections::BTreeSet;

use smol_str::SmolStr;
use timonier_meta::gvk::resources::SERVICES;
use timonier_object::Value;

use super::Write;

/// The keys by which the addresses and ports of a Service are reserved.
pub fn reservations(service: &Value) -> BTreeSet<SmolStr> {
    let addresses = service.at("spec.clusterIPs").items().iter().map(Value::str);
    let addresses = addresses
        .filter(|ip| *ip != "None")
        .map(|ip| SmolStr::from(format!("/registry/networking.k8s.io/ipaddresses/{ip}")));
    let ports = service.at("spec.ports").items().iter().map(|p| p.at("nodePort").int_or(0));
    let ports = ports
        .filter(|p| *p > 0)
        .map(|p| SmolStr::from(format!("/registry/ranges/servicenodeports/{p}")));
    addresses.chain(ports).collect()
}

/// What a Service has is its own, and reserved for it.
pub(super) fn service(write: &Write<'_>) -> Vec<String> {
    let Some(service) = write.new else { return Vec::new() };
    let own = reservations(service);
    let mut found: Vec<String> = own
        .iter()
        .filter(|key| !write.records.contains_key(*key))
        .map(|key| format!("Service {} has {key}, which is not reserved", service.key()))
        .collect();
    for other in write.all(&SERVICES).filter(|s| s.uid() != service.uid()) {
        for key in reservations(other).intersection(&own) {
            found.push(format!("Services {} and {} have {key}", service.key(), other.key()));
        }
    }
    found
}

/// A budget never allows fewer than none.
pub(super) fn budget(write: &Write<'_>) -> Vec<String> {
    let Some(budget) = write.new else { return Vec::new() };
    let allowed = budget.at("status.disruptionsAllowed").int_or(0);
    if allowed < 0 {
        return vec![format!("budget {} allows {allowed} disruptions", budget.key())];
    }
    Vec::new()
}
