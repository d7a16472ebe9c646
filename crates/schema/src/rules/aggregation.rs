//! APIServices (upstream `apiregistration/validation`).

use alloc::format;

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors};
use super::common::check;

/// Checks an APIService.
pub fn api_service(e: &mut Errors, new: &Value) {
    let top = At::top(new);
    let spec = top.get("spec");
    let (group, version) = (spec.get("group"), spec.get("version"));
    let wanted = format!("{}.{}", version.str(), group.str());
    if new.name() != wanted {
        let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        top.get("metadata.name").bad_str(e, why);
    }
    if group.is_empty() && version.str() != "v1" {
        group.required(e, "only v1 may have an empty group and it better be legacy kube");
    }
    if !group.is_empty() {
        check(e, &group, names::dns1123_subdomain);
    }
    check(e, &version, names::dns1035_label);
    for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.get(field);
        if !(1..=max).contains(&priority.int()) {
            priority.bad_int(e, format!("must be positive and less than {max}"));
        }
    }
    let (service, bundle) = (spec.get("service"), spec.get("caBundle"));
    let insecure = spec.get("insecureSkipTLSVerify");
    if !service.is_set() {
        if !bundle.is_empty() {
            let size = bundle.str().trim_end_matches('=').len() * 3 / 4;
            let why = "local APIServices may not have a caBundle";
            bundle.bad(e, format!("{:?}", format!("{size} bytes")), why);
        }
        if insecure.bool() {
            insecure.bad(e, true, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    for field in ["namespace", "name"] {
        if service.get(field).is_empty() {
            service.get(field).required(e, "");
        }
    }
    let port = service.get("port");
    if !(1..=65535).contains(&port.int()) {
        port.bad_int(e, "port is not valid: must be between 1 and 65535, inclusive");
    }
    if insecure.bool() && !bundle.is_empty() {
        insecure.bad(e, true, "may not be true if caBundle is present");
    }
}

/// Checks the status of an APIService.
pub fn api_service_status(e: &mut Errors, new: &Value) {
    for condition in At::top(new).get("status.conditions").items() {
        condition.get("status").one_of(e, &["True", "False", "Unknown"]);
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    fn texts(path: &str, v: Value) -> Vec<String> {
        let mut service = value!({ "metadata": { "name": "v1.a.b" }, "spec": { "group": "a.b",
            "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1, "caBundle": "YWI=",
            "service": { "namespace": "n", "name": "s", "port": 443 } } });
        service.set(path, v);
        let mut e = Errors::new();
        api_service(&mut e, &service);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(texts("spec.service.port", 1.into()), [""; 0]);
        for (path, v, text) in [
            (
                "metadata.name",
                "x".into(),
                "metadata.name: Invalid value: \"x\": must be `spec.version+\".\"+spec.group`: \"v1.a.b\"",
            ),
            (
                "spec.groupPriorityMinimum",
                0.into(),
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
            ),
            (
                "spec.versionPriority",
                1001.into(),
                "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
            ),
            (
                "spec.service",
                Value::Null,
                "spec.caBundle: Invalid value: \"2 bytes\": local APIServices may not have a caBundle",
            ),
            ("spec.service.name", "".into(), "spec.service.name: Required value"),
            (
                "spec.service.port",
                0.into(),
                "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            ),
            (
                "spec.insecureSkipTLSVerify",
                true.into(),
                "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
            ),
        ] {
            assert_eq!(texts(path, v), [text]);
        }
    }
}
