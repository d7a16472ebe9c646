//! The status of a claim: who uses it, which devices it has, what their drivers say of them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::names;
use timonier_object::{Value, value};

use super::{
    MAX_CONFIGS, MAX_REQUESTS, Names, configuration, pool_name, raw_object, request_reference,
    request_references, set_of, slice_of,
};
use crate::rules::at::{At, Errors, immutable};
use crate::rules::common::{check, cidr, conditions, sloppy_ip};
use crate::rules::pod::node_selector;
use crate::rules::storage::driver_name;

/// The most users of a claim at once.
const MAX_USERS: usize = 256;
const MAX_CONDITIONS: usize = 8;
/// The longest free data of a driver, in bytes.
const MAX_DATA: usize = 10 * 1024;
const MAX_INTERFACE_NAME: usize = 256;
const MAX_HARDWARE_ADDRESS: usize = 128;
const MAX_IPS: usize = 16;

/// Checks a written status of a ResourceClaim.
pub fn status(e: &mut Errors, new: &Value, old: &Value) {
    let at = At::top(new).get("status");
    let names = Names::of(new.at("spec"));
    let (users, allocation) = (at.get("reservedFor"), at.get("allocation"));
    let uid = |user: &Value| user.at("uid").str().into();
    set_of(e, &users, MAX_USERS, uid, |e, user| {
        for field in ["resource", "name", "uid"] {
            user.get(field).demand(e);
        }
    });
    let results = allocation.value.at("devices.results").items();
    let allocated: Vec<String> = results.iter().map(identity).collect();
    devices(e, &at.get("devices"), &allocated);
    if !users.is_empty() && !allocation.is_set() {
        users.forbidden(e, "may not be specified when `allocated` is not set");
    } else if new.is_deleting() {
        let before = old.at("status.reservedFor").items();
        if users.value.items().iter().any(|user| !before.contains(user)) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            users.forbidden(e, why);
        }
    }
    let before = At::top(old).get("status.allocation");
    match (allocation.is_set(), before.is_set()) {
        (true, true) => immutable(e, &allocation, &before),
        (true, false) => allocated_devices(e, &allocation, &names),
        _ => {}
    }
}

/// What tells a device from all others, as upstream prints it.
fn identity(of: &Value) -> String {
    value!({ "Driver": (of.at("driver").str()), "Pool": (of.at("pool").str()),
        "Device": (of.at("device").str()), "ShareID": "" })
    .to_string()
}

fn allocated_devices(e: &mut Errors, at: &At<'_>, names: &Names<'_>) {
    slice_of(e, &at.get("devices.results"), MAX_REQUESTS, |e, result| {
        request_reference(e, &result.get("request"), names);
        device_names(e, result);
    });
    slice_of(e, &at.get("devices.config"), 2 * MAX_CONFIGS, |e, config| {
        config.get("source").required_one_of(e, &["FromClaim", "FromClass"]);
        request_references(e, &config.get("requests"), names);
        configuration(e, config);
    });
    let selector = at.get("nodeSelector");
    if selector.is_set() {
        node_selector(e, &selector);
    }
}

fn device_names(e: &mut Errors, at: &At<'_>) {
    driver_name(e, &at.get("driver"));
    pool_name(e, &at.get("pool"));
    check(e, &at.get("device"), names::dns1123_label);
}

fn devices(e: &mut Errors, at: &At<'_>, allocated: &[String]) {
    for device in at.items() {
        device_names(e, &device);
        let key = identity(device.value);
        if !allocated.contains(&key) {
            device.bad(e, &key, "must be an allocated device in the claim");
        }
        let found = device.get("conditions");
        if found.len() > MAX_CONDITIONS {
            found.too_many(e, MAX_CONDITIONS);
        }
        conditions(e, &found);
        if device.get("data").is_set() {
            raw_object(e, &device.get("data"), MAX_DATA);
        }
        network(e, &device.get("networkData"));
    }
    let mut seen: Vec<String> = Vec::new();
    for device in at.items() {
        let key = identity(device.value);
        if seen.contains(&key) {
            e.push(timonier_meta::FieldError::duplicate(&device.path, &key));
        }
        seen.push(key);
    }
}

fn network(e: &mut Errors, at: &At<'_>) {
    for (field, max) in
        [("interfaceName", MAX_INTERFACE_NAME), ("hardwareAddress", MAX_HARDWARE_ADDRESS)]
    {
        let text = at.get(field);
        if text.str().len() > max {
            text.too_long(e, max);
        }
    }
    let key = |ip: &Value| ip.str().into();
    set_of(e, &at.get("ips"), MAX_IPS, key, interface_address);
}

/// Demands an interface's address in canonical CIDR form.
fn interface_address(e: &mut Errors, at: &At<'_>) {
    let Some((ip, mut bits)) = mapped(at.str()).or_else(|| cidr(at.str())) else {
        let why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        at.bad_str(e, why);
        return;
    };
    if ip.is_ipv4() && bits > 32 {
        bits -= 96;
    }
    let canonical = alloc::format!("{ip}/{bits}");
    if canonical != at.str() {
        at.bad_str(e, alloc::format!("must be in canonical form ({canonical:?})"));
    }
}

/// An IPv4 address in the clothes of an IPv6 one, as Go reads it: with the bits of the latter.
fn mapped(text: &str) -> Option<(core::net::IpAddr, u8)> {
    let (ip, bits) = text.split_once('/')?;
    match (sloppy_ip(ip)?, bits.parse().ok()?) {
        (core::net::IpAddr::V6(ip), bits @ 0..=128) => {
            Some((core::net::IpAddr::V4(ip.to_ipv4_mapped()?), bits))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(new: &Value, old: &Value) -> Vec<String> {
        let mut e = Errors::new();
        status(&mut e, new, old);
        e.iter().map(ToString::to_string).collect()
    }

    fn claim(status: Value) -> Value {
        value!({ "metadata": {}, "spec": { "devices": { "requests": [{ "name": "r" }] } }, "status": (status) })
    }

    fn allocation() -> Value {
        value!({ "devices": { "results": [{ "request": "r", "driver": "d.example", "pool": "p/q", "device": "x" }],
            "config": [{ "source": "FromClass", "opaque": { "driver": "d.example", "parameters": {} } }] } })
    }

    #[test]
    fn allocations() {
        let none = claim(value!({}));
        let good = claim(value!({ "allocation": (allocation()),
            "reservedFor": [{ "resource": "pods", "name": "p", "uid": "1" }],
            "devices": [{ "driver": "d.example", "pool": "p/q", "device": "x", "data": { "a": 1 },
                "conditions": [{ "type": "Ready", "status": "True", "reason": "Ok",
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }],
                "networkData": { "ips": ["10.1.2.3/24", "fd00::1/64"] } }] }));
        assert_eq!(texts(&good, &none), [""; 0]);
        assert_eq!(texts(&good, &good), [""; 0]);
        let mut moved = good.clone();
        moved.set("status.allocation.devices.config", Value::Null);
        let found = texts(&moved, &good);
        assert!(found[0].starts_with("status.allocation: Invalid value:"), "{found:?}");
        let bad = claim(value!({ "allocation": { "devices": {
                "results": [{ "request": "z", "driver": "", "pool": "", "device": "X" }],
                "config": [{ "source": "X" }] } } }));
        let found = texts(&bad, &none);
        let prefixes = [
            "status.allocation.devices.results[0].request: Invalid value: \"z\": must be the name of a request",
            "status.allocation.devices.results[0].driver: Required value",
            "status.allocation.devices.results[0].pool: Required value",
            "status.allocation.devices.results[0].device: Invalid value: \"X\": a lowercase RFC 1123 label",
            "status.allocation.devices.config[0].source: Unsupported value: \"X\": supported values: \"FromClaim\", \"FromClass\"",
            "status.allocation.devices.config[0].opaque: Required value",
        ];
        assert_eq!(found.len(), prefixes.len(), "{found:#?}");
        for (text, prefix) in found.iter().zip(prefixes) {
            assert!(text.starts_with(prefix), "{text}\n{prefix}");
        }
    }

    #[test]
    fn users_and_devices_need_an_allocation() {
        let user = |uid: &str| value!({ "resource": "pods", "name": "p", "uid": uid });
        let old = claim(value!({ "allocation": (allocation()), "reservedFor": [(user("1"))] }));
        let mut new = old.clone();
        new.set("metadata.deletionTimestamp", "2026-01-01T00:00:00Z");
        assert_eq!(texts(&new, &old), [""; 0]);
        new.set("status.reservedFor", value!([(user("1")), (user("2")), (user("2")), {}]));
        let found = texts(&new, &old);
        assert_eq!(
            found,
            [
                "status.reservedFor[3].resource: Required value",
                "status.reservedFor[3].name: Required value",
                "status.reservedFor[3].uid: Required value",
                "status.reservedFor[2]: Duplicate value: \"2\"",
                "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            ]
        );
        let loose = claim(value!({ "reservedFor": [(user("1"))],
            "devices": [{ "driver": "d", "pool": "p", "device": "x", "networkData": { "ips": ["10.0.0.1", "010.0.0.1/8"] } }] }));
        assert_eq!(
            texts(&loose, &claim(value!({}))),
            [
                "status.devices[0]: Invalid value: {\"Driver\":\"d\",\"Pool\":\"p\",\"Device\":\"x\",\"ShareID\":\"\"}: must be an allocated device in the claim",
                "status.devices[0].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
                "status.devices[0].networkData.ips[1]: Invalid value: \"010.0.0.1/8\": must be in canonical form (\"10.0.0.1/8\")",
                "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
            ]
        );
    }
}
