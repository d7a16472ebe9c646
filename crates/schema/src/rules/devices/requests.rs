//! What a claim asks for.

use timonier_meta::names;

use super::{
    MAX_CONFIGS, MAX_CONSTRAINTS, MAX_EXPRESSION, MAX_REQUESTS, MAX_SELECTORS, Names,
    configuration, name_of, qualified_name, request_references, set_of, slice_of,
};
use crate::expressions::device;
use crate::rules::at::{At, Errors, NOT_POSITIVE};
use crate::rules::common::check;

/// The most alternatives of a request.
const MAX_ALTERNATIVES: usize = 8;

/// Checks the specification of a claim.
pub fn claim_spec(e: &mut Errors, spec: &At<'_>) {
    let devices = spec.get("devices");
    let names = Names::of(spec.value);
    set_of(e, &devices.get("requests"), MAX_REQUESTS, name_of, request);
    slice_of(e, &devices.get("constraints"), MAX_CONSTRAINTS, |e, at| {
        request_references(e, &at.get("requests"), &names);
        let attribute = at.get("matchAttribute");
        if !attribute.is_set() {
            attribute.required(e, "");
            return;
        }
        qualified_name(e, &attribute, attribute.str());
        if !attribute.str().contains('/') {
            let why = "a fully qualified name must be a domain and a name separated by a slash";
            attribute.bad_str(e, why);
        }
    });
    slice_of(e, &devices.get("config"), MAX_CONFIGS, |e, at| {
        request_references(e, &at.get("requests"), &names);
        configuration(e, at);
    });
}

fn request(e: &mut Errors, at: &At<'_>) {
    check(e, &at.get("name"), names::dns1123_label);
    let (first, exactly) = (at.get("firstAvailable"), at.get("exactly"));
    let one = "exactly one of `exactly` or `firstAvailable` is required";
    match (!first.is_empty(), exactly.is_set()) {
        (false, false) => at.required(e, one),
        (true, true) => {
            at.bad(e, "null", alloc::format!("{one}, but multiple fields are set"));
        }
        (true, false) => set_of(e, &first, MAX_ALTERNATIVES, name_of, |e, at| {
            check(e, &at.get("name"), names::dns1123_label);
            devices(e, at);
        }),
        (false, true) => devices(e, &exactly),
    }
}

/// Which devices, and how many.
fn devices(e: &mut Errors, at: &At<'_>) {
    let class = at.get("deviceClassName");
    if class.demand(e) {
        check(e, &class, names::dns1123_subdomain);
    }
    selectors(e, &at.get("selectors"));
    let (mode, count) = (at.get("allocationMode"), at.get("count"));
    match mode.str() {
        "All" if count.int() != 0 => {
            count.bad_int(e, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count.int() <= 0 => count.bad_int(e, NOT_POSITIVE),
        "All" | "ExactCount" => {}
        _ => mode.unsupported(e, &["All", "ExactCount"]),
    }
}

/// Checks selectors: their expressions compile.
pub fn selectors(e: &mut Errors, at: &At<'_>) {
    slice_of(e, at, MAX_SELECTORS, |e, at| {
        let cel = at.get("cel");
        if !cel.is_set() {
            cel.required(e, "");
            return;
        }
        let expression = cel.get("expression");
        if expression.str().len() > MAX_EXPRESSION {
            expression.too_long(e, MAX_EXPRESSION);
        } else if let Err(why) = device::compile(expression.str()) {
            expression.bad_str(e, why);
        }
    });
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::{Value, value};

    use super::*;

    fn texts(spec: &Value) -> Vec<String> {
        let mut e = Errors::new();
        claim_spec(&mut e, &At::new(spec, "spec"));
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn claims() {
        let exact = |class: &str| value!({ "deviceClassName": class, "allocationMode": "ExactCount", "count": 1 });
        let good = value!({ "devices": { "requests": [
                { "name": "a", "exactly": (exact("c")) },
                { "name": "b", "firstAvailable": [{ "name": "x", "deviceClassName": "c", "allocationMode": "All" }] }],
            "constraints": [{ "requests": ["a", "b/x"], "matchAttribute": "d.example/numa" }],
            "config": [{ "requests": ["b"], "opaque": { "driver": "d.example", "parameters": {} } }] } });
        assert_eq!(texts(&good), [""; 0]);
        let bad = value!({ "devices": { "requests": [
                { "name": "a", "exactly": (exact("c")), "firstAvailable": [{ "name": "x" }] },
                { "name": "a" },
                { "name": "b", "exactly": { "deviceClassName": "C", "allocationMode": "All", "count": 2,
                    "selectors": [{ "cel": { "expression": "device.x" } }] } },
                { "name": "c", "exactly": { "deviceClassName": "c", "allocationMode": "Some" } },
                { "name": "d", "exactly": { "deviceClassName": "c", "allocationMode": "ExactCount" } }],
            "constraints": [{ "requests": ["a", "a", "z", "a/b/c"] }, { "matchAttribute": "numa" },
                { "matchAttribute": "d/1" }],
            "config": [{ "requests": ["b/x"] }] } });
        let found = texts(&bad);
        let prefixes = [
            "spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            "spec.devices.requests[1]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[2].exactly.deviceClassName: Invalid value: \"C\": a lowercase RFC 1123 subdomain",
            "spec.devices.requests[2].exactly.selectors[0].cel.expression: Invalid value: \"device.x\": compilation failed: ERROR: <input>:1:7: undefined field 'x'",
            "spec.devices.requests[2].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            "spec.devices.requests[3].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"",
            "spec.devices.requests[4].exactly.count: Invalid value: 0: must be greater than zero",
            "spec.devices.requests[1]: Duplicate value: \"a\"",
            "spec.devices.constraints[0].requests[2]: Invalid value: \"z\": must be the name of a request",
            "spec.devices.constraints[0].requests[3]: Invalid value: \"a/b/c\": must be the name of a request",
            "spec.devices.constraints[0].requests[1]: Duplicate value: \"a\"",
            "spec.devices.constraints[0].matchAttribute: Required value",
            "spec.devices.constraints[1].matchAttribute: Invalid value: \"numa\": a fully qualified name must be a domain and a name separated by a slash",
            "spec.devices.constraints[2].matchAttribute: Invalid value: \"1\": a valid C identifier must start",
            "spec.devices.config[0].requests[0]: Invalid value: \"b/x\": must be the name of a request",
            "spec.devices.config[0].opaque: Required value",
        ];
        assert_eq!(found.len(), prefixes.len(), "{found:#?}");
        for (text, prefix) in found.iter().zip(prefixes) {
            assert!(text.starts_with(prefix), "{text}\n{prefix}");
        }
    }

    #[test]
    fn lists_are_bounded() {
        let many: Vec<Value> = (0..33).map(|i| value!({ "name": (i.to_string()) })).collect();
        let spec = value!({ "devices": { "requests": (Value::array(many)) } });
        assert_eq!(
            texts(&spec),
            ["spec.devices.requests: Too many: 33: must have at most 32 items"]
        );
        let long = value!({ "devices": { "requests": [{ "name": "a", "exactly": { "deviceClassName": "c",
            "allocationMode": "All", "selectors": [{ "cel": { "expression": (" ".repeat(10241)) } }] } }] } });
        assert_eq!(
            texts(&long),
            [
                "spec.devices.requests[0].exactly.selectors[0].cel.expression: Too long: may not be more than 10240 bytes"
            ]
        );
    }
}
