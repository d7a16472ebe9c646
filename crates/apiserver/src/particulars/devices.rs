//! Dynamic resource allocation: fields of features that upstream has switched off by default are
//! dropped, what drivers said of devices goes with their allocation, and access for administrators
//! needs the label of the namespace.

use timonier_meta::gvk::resources::NAMESPACES;
use timonier_meta::{FieldError, FieldPath};
use timonier_object::Value;

use crate::call::Call;

/// The label that lets claims of a namespace ask for access as an administrator.
const ADMIN: &str = "resource.kubernetes.io/admin-access";

/// Fields that are dropped; `*` stands for every item of a list or entry of a map.
const OFF: [&str; 23] = [
    // DRADeviceTaints
    "spec.devices.*.taints",
    "spec.devices.requests.*.exactly.tolerations",
    "spec.devices.requests.*.firstAvailable.*.tolerations",
    // DRAPartitionableDevices
    "spec.sharedCounters",
    "spec.perDeviceNodeSelection",
    "spec.devices.*.consumesCounters",
    "spec.devices.*.nodeName",
    "spec.devices.*.nodeSelector",
    "spec.devices.*.allNodes",
    // DRADeviceBindingConditions
    "spec.devices.*.bindingConditions",
    "spec.devices.*.bindingFailureConditions",
    "spec.devices.*.bindsToNode",
    "status.allocation.devices.results.*.bindingConditions",
    "status.allocation.devices.results.*.bindingFailureConditions",
    // DRAConsumableCapacity
    "spec.devices.*.allowMultipleAllocations",
    "spec.devices.*.capacity.*.requestPolicy",
    "spec.devices.constraints.*.distinctAttribute",
    "spec.devices.requests.*.exactly.capacity",
    "spec.devices.requests.*.firstAvailable.*.capacity",
    "status.allocation.devices.results.*.shareID",
    "status.allocation.devices.results.*.consumedCapacity",
    "status.devices.*.shareID",
    // DRAExtendedResource
    "spec.extendedResourceName",
];

/// Drops what is switched off.
pub fn on_create(object: &mut Value) {
    if object.kind() == "ResourceClaimTemplate" {
        // A template's fields stand one level deeper.
        if let Some(spec) = object.find_mut("spec.spec") {
            let mut claim = Value::object();
            claim.set("spec", spec.take());
            drop_all(&mut claim);
            *spec = claim.at("spec").clone();
        }
        return;
    }
    drop_all(object);
}

/// As [`on_create`]; what is said of devices that are no longer allocated goes.
pub fn on_update(call: &Call<'_>, new: &mut Value, old: &Value) {
    on_create(new);
    if call.info.subresource == "status" {
        forget(new, old);
    }
}

/// Says what is allowed and unwise.
pub fn warn(call: &Call<'_>, object: &Value) {
    let driver = object.at("spec.driver").str();
    if object.kind() == "ResourceSlice" && driver != driver.to_lowercase() {
        call.warn(format!(
            "spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters"
        ));
    }
}

/// What is wrong with access as an administrator: new claims and templates by what they ask for,
/// statuses by what is allocated.
pub fn check_admin(call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let (list, at, field) = match (new.kind(), old) {
        ("ResourceClaim", None) => {
            ("spec.devices.requests", "spec.devices.requests", "exactly.adminAccess")
        }
        // Upstream's path for templates is a claim's.
        ("ResourceClaimTemplate", None) => {
            ("spec.spec.devices.requests", "spec.devices.requests", "exactly.adminAccess")
        }
        ("ResourceClaim", Some(_)) if call.info.subresource == "status" => {
            let results = "status.allocation.devices.results";
            (results, results, "adminAccess")
        }
        _ => return Vec::new(),
    };
    let asks = |object: &Value| object.at(list).items().iter().position(|v| v.at(field).bool());
    if old.is_some_and(|old| asks(old).is_some()) {
        return Vec::new();
    }
    let Some(index) = asks(new) else { return Vec::new() };
    let namespace = call.server.peek(&NAMESPACES, "", call.namespace());
    let allowed =
        |ns: &Value| ns.at("metadata.labels").get(ADMIN).is_some_and(|v| v.str() == "true");
    if namespace.is_some_and(|ns| allowed(&ns)) {
        return Vec::new();
    }
    let path = FieldPath::new(at).index(index).child("adminAccess");
    let why = format!(
        "admin access to devices requires the `{ADMIN}: true` label on the containing namespace"
    );
    vec![FieldError::forbidden(&path, why)]
}

fn drop_all(object: &mut Value) {
    for path in OFF {
        let parts: Vec<&str> = path.split('.').collect();
        drop_at(object, &parts);
    }
}

fn drop_at(value: &mut Value, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return };
    match (*first, value) {
        ("*", Value::Array(items)) => items.iter_mut().for_each(|item| drop_at(item, rest)),
        ("*", Value::Object(map)) => map.iter_mut().for_each(|(_, item)| drop_at(item, rest)),
        (name, Value::Object(map)) if rest.is_empty() => {
            map.remove(name);
        }
        (name, Value::Object(map)) => {
            if let Some(below) = map.get_mut(name) {
                drop_at(below, rest);
            }
        }
        _ => {}
    }
}

fn forget(new: &mut Value, old: &Value) {
    let same = |a: &Value, b: &Value| {
        ["driver", "pool", "device"].iter().all(|field| a.at(field) == b.at(field))
    };
    let results = "status.allocation.devices.results";
    let kept = new.at(results).items().to_vec();
    let gone: Vec<&Value> = old
        .at(results)
        .items()
        .iter()
        .filter(|was| !kept.iter().any(|now| same(now, was)))
        .collect();
    let Some(devices) = new.find_mut("status.devices").and_then(Value::as_array_mut) else {
        return;
    };
    devices.retain(|device| !gone.iter().any(|was| same(device, was)));
    if devices.is_empty() {
        new.remove("status.devices");
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn what_is_off_is_dropped() {
        let mut slice = value!({ "kind": "ResourceSlice", "spec": { "nodeName": "n", "sharedCounters": [],
            "devices": [{ "name": "x", "nodeName": "n", "taints": [{ "key": "a" }],
                "capacity": { "memory": { "value": "1", "requestPolicy": {} } } }] } });
        on_create(&mut slice);
        let left = value!({ "kind": "ResourceSlice", "spec": { "nodeName": "n",
            "devices": [{ "name": "x", "capacity": { "memory": { "value": "1" } } }] } });
        assert_eq!(slice, left);
        let mut template = value!({ "kind": "ResourceClaimTemplate", "spec": { "spec": { "devices": {
            "requests": [{ "name": "a", "exactly": { "capacity": {}, "deviceClassName": "c" } }] } } } });
        on_create(&mut template);
        let request = &template.at("spec.spec.devices.requests").items()[0];
        assert_eq!(request, &value!({ "name": "a", "exactly": { "deviceClassName": "c" } }));
    }

    #[test]
    fn what_is_no_longer_allocated_is_forgotten() {
        let device = |name: &str| value!({ "driver": "d", "pool": "p", "device": name });
        let old = value!({ "status": { "allocation": { "devices": { "results": [(device("x")), (device("y"))] } } } });
        let mut new = value!({ "status": { "allocation": { "devices": { "results": [(device("y"))] } },
            "devices": [(device("x")), (device("y")), (device("z"))] } });
        forget(&mut new, &old);
        assert_eq!(new.at("status.devices"), &value!([(device("y")), (device("z"))]));
        let mut none = value!({ "status": { "devices": [(device("x"))] } });
        forget(&mut none, &old);
        assert!(none.at("status.devices").is_null());
    }
}
