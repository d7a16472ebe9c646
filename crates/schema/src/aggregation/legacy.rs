//! From an `APIResourceList` to the resources of the aggregated form.

use alloc::vec::Vec;

use timonier_object::{Value, value};

/// The resources of the list with their subresources. A subresource whose resource is not listed
/// makes an entry for it without verbs.
pub fn resources(list: &Value) -> Value {
    let mut out: Vec<Value> = Vec::new();
    for listed in list.at("resources").items() {
        let (name, subresource) = match listed.at("name").str().split_once('/') {
            Some((name, subresource)) => (name, Some(subresource)),
            None => (listed.at("name").str(), None),
        };
        let at = out.iter().position(|r| r.at("resource").str() == name);
        let Some(subresource) = subresource else {
            let mut entry = resource(listed, name);
            entry.set("responseKind", response_kind(listed));
            entry.set("verbs", listed.at("verbs"));
            for (field, copied) in ["shortNames", "categories"].map(|f| (f, listed.at(f))) {
                if !copied.is_empty() {
                    entry.set(field, copied);
                }
            }
            match at {
                Some(at) => {
                    entry.set("subresources", out[at].at("subresources").clone());
                    out[at] = entry;
                }
                None => out.push(entry),
            }
            continue;
        };
        let at = at.unwrap_or_else(|| {
            out.push(resource(listed, name));
            out.len() - 1
        });
        out[at].entry("subresources").make_array().push(value!({
            "subresource": subresource,
            "responseKind": (response_kind(listed)),
            "verbs": (listed.at("verbs")),
        }));
    }
    Value::array(out)
}

fn resource(listed: &Value, name: &str) -> Value {
    let scope = if listed.at("namespaced").bool() { "Namespaced" } else { "Cluster" };
    value!({ "resource": name, "scope": scope,
        "singularResource": (listed.at("singularName").str()), "verbs": null })
}

fn response_kind(listed: &Value) -> Value {
    value!({ "group": (listed.at("group").str()), "version": (listed.at("version").str()),
        "kind": (listed.at("kind").str()) })
}
