//! Questions about access: `SubjectAccessReview` and its kin.

use alloc::format;

use timonier_meta::names;
use timonier_object::{Value, value};

use super::at::{At, Errors};
use super::common::check;

/// Checks a review of one of the three kinds that ask about one access.
pub fn access(e: &mut Errors, new: &Value, kind: &str) {
    let top = At::top(new);
    let spec = top.get("spec");
    let (resource, path) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
    let shown =
        value!({ "Path": (path.value.at("path").str()), "Verb": (path.value.at("verb").str()) });
    match (resource.is_set(), path.is_set()) {
        (true, true) => {
            path.bad(e, &shown, "cannot be specified in combination with resourceAttributes");
        }
        (false, false) => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            resource.bad(e, "null", why);
        }
        _ => {}
    }
    let user = spec.get("user");
    if kind != "SelfSubjectAccessReview" && user.is_empty() && spec.get("groups").is_empty() {
        user.bad_str(e, "at least one of user or group must be specified");
    }
    selector(e, &resource.get("fieldSelector"), false);
    selector(e, &resource.get("labelSelector"), true);
    let local = kind == "LocalSubjectAccessReview";
    let mut metadata = top.value.at("metadata").clone();
    metadata.remove("managedFields");
    if local {
        metadata.remove("namespace");
    }
    if metadata.entries().any(|(_, value)| !value.is_empty()) {
        let why = if local { "must be empty except for namespace" } else { "must be empty" };
        top.get("metadata").invalid(e, why);
    }
    if local {
        let namespace = resource.get("namespace");
        if resource.is_set() && namespace.str() != new.namespace() {
            namespace.bad_str(e, "must match metadata.namespace");
        }
        if path.is_set() {
            path.bad(e, &shown, "disallowed on this kind of request");
        }
    }
}

/// Operators that this version does not know are right: a newer client may.
fn selector(e: &mut Errors, at: &At<'_>, labels: bool) {
    if !at.is_set() {
        return;
    }
    let (raw, list) = (at.get("rawSelector"), at.get("requirements"));
    if !raw.is_empty() && !list.is_empty() {
        raw.bad_str(e, "may not specified at the same time as requirements");
    }
    if raw.is_empty() && list.is_empty() {
        let path = at.path.as_str();
        list.required(
            e,
            format!("when {path} is specified, requirements or rawSelector is required"),
        );
    }
    for item in list.items() {
        let (key, values) = (item.get("key"), item.get("values"));
        if !labels && key.is_empty() {
            key.required(e, "must be specified");
        }
        match item.get("operator").str() {
            "In" | "NotIn" if values.is_empty() => {
                values.required(e, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                values.forbidden(e, why);
            }
            _ => {}
        }
        if labels {
            check(e, &key, names::qualified_name);
            for value in values.items() {
                check(e, &value, names::label_value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::*;

    fn texts(kind: &str, object: &Value) -> Vec<String> {
        let mut e = Errors::new();
        access(&mut e, object, kind);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reviews() {
        let ask = value!({ "metadata": { "creationTimestamp": null }, "spec": { "user": "u",
            "resourceAttributes": { "verb": "get", "fieldSelector": { "rawSelector": "a=b" } } } });
        assert_eq!(texts("SubjectAccessReview", &ask), [""; 0]);
        let bad = value!({ "metadata": { "name": "x" }, "spec": {
            "nonResourceAttributes": { "path": "/p", "verb": "get" },
            "resourceAttributes": { "fieldSelector": { "requirements": [{ "operator": "In" }] }, "labelSelector": {} } } });
        assert_eq!(
            texts("SubjectAccessReview", &bad),
            [
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/p\",\"Verb\":\"get\"}: cannot be specified in combination with resourceAttributes",
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
                "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified",
                "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required",
                "metadata: Invalid value: {\"name\":\"x\"}: must be empty",
            ]
        );
        let local = value!({ "metadata": { "namespace": "n" }, "spec": { "user": "u", "resourceAttributes": { "namespace": "m" } } });
        assert_eq!(
            texts("LocalSubjectAccessReview", &local),
            [
                "spec.resourceAttributes.namespace: Invalid value: \"m\": must match metadata.namespace"
            ]
        );
    }
}
