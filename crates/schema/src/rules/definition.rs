//! CustomResourceDefinitions (upstream `apiextensions/validation`).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors, immutable};
use super::webhooks::review_versions;
use super::{client_config, structural};

/// Checks a definition.
pub fn definition(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    let spec = top.get("spec");
    let wanted = format!("{}.{}", spec.get("names.plural").str(), spec.get("group").str());
    if new.name() != wanted {
        top.get("metadata.name").bad_str(e, "must be spec.names.plural+\".\"+spec.group");
    }
    group(e, &spec.get("group"));
    spec.get("scope").required_one_of(e, &["Cluster", "Namespaced"]);
    versions(e, &spec);
    for field in ["plural", "singular", "kind", "listKind"] {
        let at = spec.get("names").get(field);
        if at.is_empty() {
            at.required(e, "");
        }
    }
    kind_names(e, &spec.get("names"));
    conversion(e, &spec.get("conversion"));
    if let Some(old) = old {
        let before = At::top(old).get("spec");
        if old.condition_is_true("Established") {
            immutable(e, &spec.get("scope"), &before.get("scope"));
            immutable(e, &spec.get("names.kind"), &before.get("names.kind"));
        }
        immutable(e, &spec.get("group"), &before.get("group"));
        immutable(e, &spec.get("names.plural"), &before.get("names.plural"));
    }
    stored_versions(e, &top);
    approval(e, &top);
    let keeps = spec.get("preserveUnknownFields");
    if keeps.bool() && old.is_none_or(|old| !old.at("spec.preserveUnknownFields").bool()) {
        keeps.invalid(e, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead");
    }
}

fn group(e: &mut Errors, at: &At<'_>) {
    let found = names::dns1123_subdomain(at.str());
    if at.is_empty() {
        at.required(e, "");
    } else if !found.is_empty() {
        at.bad_str(e, found.join(","));
    } else if !at.str().contains('.') {
        at.bad_str(e, "should be a domain with at least one dot");
    }
}

fn label(e: &mut Errors, at: &At<'_>, text: &str, before: &str) {
    let found = names::dns1035_label(text);
    if !text.is_empty() && !found.is_empty() {
        at.bad_str(e, format!("{before}{}", found.join(",")));
    }
}

fn kind_names(e: &mut Errors, at: &At<'_>) {
    for field in ["plural", "singular"] {
        label(e, &at.get(field), at.get(field).str(), "");
    }
    for field in ["kind", "listKind"] {
        let lower: String = at.get(field).str().to_lowercase();
        label(e, &at.get(field), &lower, "may have mixed case, but should otherwise match: ");
    }
    at.get("shortNames").items().for_each(|n| label(e, &n, n.str(), ""));
    let (kind, list) = (at.get("kind"), at.get("listKind"));
    if !kind.is_empty() && kind.str() == list.str() {
        list.bad_str(e, "kind and listKind may not be the same");
    }
    at.get("categories").items().for_each(|n| label(e, &n, n.str(), ""));
}

fn versions(e: &mut Errors, spec: &At<'_>) {
    let at = &spec.get("versions");
    let alone = at.len() == 1;
    for version in at.items() {
        let schema = version.get("schema.openAPIV3Schema");
        if !schema.is_set() {
            schema.required(e, "");
        }
    }
    let (mut seen, mut unique, mut stored) = (BTreeSet::new(), true, 0);
    for version in at.items() {
        let name = version.get("name");
        unique &= seen.insert(name.str());
        stored += usize::from(version.get("storage").bool());
        let found = names::dns1035_label(name.str());
        if !found.is_empty() {
            name.bad_str(e, found.join(","));
        }
        // What all versions have in common upstream holds, and names, at the top.
        let place = if alone { spec } else { &version };
        one_version(e, &version, place, if alone { "validation" } else { "schema" });
    }
    if !unique {
        at.invalid(e, "must contain unique version names");
    }
    if stored != 1 {
        at.invalid(e, "must have exactly one version marked as storage version");
    }
}

fn one_version(e: &mut Errors, at: &At<'_>, place: &At<'_>, schemas: &str) {
    let warning = at.get("deprecationWarning");
    if warning.is_set() {
        if !at.get("deprecated").bool() {
            warning.bad_str(e, "can only be set for deprecated versions");
        }
        if warning.str().len() > 256 {
            warning.bad_str(e, "must be <= 256 characters long");
        }
        if warning.str().is_empty() {
            warning.bad_str(e, "must not be an empty string");
        }
    }
    let part = |name: &str| at.get(name).named(place.path.child(name));
    let path = place.path.child(schemas).child("openAPIV3Schema");
    let schema = at.get("schema.openAPIV3Schema").named(path);
    if schema.is_set() {
        structural::root(e, &schema, at.get("subresources.status").is_set());
    }
    subresources(e, &part("subresources"));
    part("additionalPrinterColumns").items().for_each(|column| printer_column(e, &column));
    let fields = part("selectableFields");
    let mut seen = BTreeSet::new();
    for field in fields.items() {
        selectable(e, &field.get("jsonPath"), &schema, &mut seen);
    }
    if seen.len() > 8 {
        e.push(timonier_meta::FieldError::too_many(&fields.path, seen.len(), 8));
    }
}

fn selectable<'a>(e: &mut Errors, at: &At<'a>, schema: &At<'_>, seen: &mut BTreeSet<&'a str>) {
    let text = at.str();
    if text.is_empty() {
        at.required(e, "");
        return;
    }
    let names = text.strip_prefix('.').map(|t| t.split('.'));
    let found = names.and_then(|mut names| {
        names.try_fold(schema.value, |schema, name| schema.at("properties").get(name))
    });
    let Some(found) = found else {
        if text.starts_with(".metadata") {
            at.bad_str(e, "must not point to fields in metadata");
        } else {
            at.bad_str(e, format!("is an invalid path: does not refer to a valid field: {text}"));
        }
        return;
    };
    if !matches!(found.at("type").str(), "string" | "boolean" | "integer") {
        at.bad_str(e, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.");
    }
    if !seen.insert(text) {
        at.bad_duplicate(e, text);
    }
}

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];

fn printer_column(e: &mut Errors, at: &At<'_>) {
    if at.get("name").is_empty() {
        at.get("name").required(e, "");
    }
    let kind = at.get("type");
    let why = format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.is_empty() {
        kind.required(e, why);
    } else if !COLUMN_TYPES.contains(&kind.str()) {
        kind.bad_str(e, why);
    }
    let format = at.get("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format.str()) {
        format.bad_str(e, format!("must be one of {}", COLUMN_FORMATS.join(",")));
    }
    let path = at.get("jsonPath").named(at.path.child("JSONPath"));
    if path.is_empty() {
        path.required(e, "");
    } else {
        simple_path(e, &path);
    }
}

fn simple_path(e: &mut Errors, at: &At<'_>) -> bool {
    let good = at.str().starts_with('.');
    if !good {
        at.bad_str(e, "must be a simple json path starting with .");
    }
    good
}

fn subresources(e: &mut Errors, at: &At<'_>) {
    let scale = at.get("scale");
    if !scale.is_set() {
        return;
    }
    for (field, below) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let path = scale.get(field);
        if path.is_empty() {
            path.required(e, "");
        } else if simple_path(e, &path) && !path.str().starts_with(below) {
            path.bad_str(e, format!("should be a json path under {}", below.trim_end_matches('.')));
        }
    }
    let path = scale.get("labelSelectorPath");
    if !path.is_empty() && simple_path(e, &path) {
        let text = path.str();
        if !text.starts_with(".spec.") && !text.starts_with(".status.") {
            path.bad_str(e, "should be a json path under either .spec or .status");
        }
    }
}

fn conversion(e: &mut Errors, at: &At<'_>) {
    let strategy = at.get("strategy");
    match strategy.str() {
        "" | "None" => {
            for (field, told) in [
                ("webhook.clientConfig", "webhookClientConfig"),
                ("webhook.conversionReviewVersions", "conversionReviewVersions"),
            ] {
                if !at.get(field).is_empty() {
                    let at = at.get(field).named(at.path.child(told));
                    at.forbidden(e, "should not be set when strategy is not set to Webhook");
                }
            }
        }
        "Webhook" => webhook(e, at),
        _ => strategy.unsupported(e, &["None", "Webhook"]),
    }
}

/// The paths are those of upstream's internal type.
fn webhook(e: &mut Errors, at: &At<'_>) {
    let config = at.get("webhook.clientConfig").named(at.path.child("webhookClientConfig"));
    if config.is_set() {
        client_config::check(e, &config);
    } else {
        config.required(e, "required when strategy is set to Webhook");
    }
    let versions = at.get("webhook.conversionReviewVersions");
    let versions = versions.named(at.path.child("conversionReviewVersions"));
    if versions.is_empty() {
        versions.required(e, "");
    } else {
        review_versions(e, &versions);
    }
}

fn stored_versions(e: &mut Errors, top: &At<'_>) {
    let at = top.get("status.storedVersions");
    if at.is_empty() {
        at.invalid(e, "must have at least one stored version");
        return;
    }
    let versions = top.get("spec.versions");
    let stored: BTreeSet<&str> = at.value.items().iter().map(Value::str).collect();
    for version in versions.items().filter(|v| v.get("storage").bool()) {
        let name = version.get("name").str();
        if !stored.contains(name) {
            at.invalid(e, format!("must have the storage version {name}"));
        }
    }
    let known: BTreeSet<&str> =
        versions.value.items().iter().map(|version| version.at("name").str()).collect();
    for item in at.items() {
        let v = item.str();
        if !known.contains(v) {
            item.bad_str(e, format!("missing from spec.versions; {v} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {v} and removes {v} from status.storedVersions"));
        }
    }
}

/// Groups that belong to the project need its approval.
fn approval(e: &mut Errors, top: &At<'_>) {
    const KEY: &str = "api-approved.kubernetes.io";
    const SEE: &str = "https://github.com/kubernetes/enhancements/pull/1111";
    let group = top.get("spec.group").str();
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|d| group == *d || group.strip_suffix(d).is_some_and(|g| g.ends_with('.')));
    if !protected {
        return;
    }
    let at = top.get("metadata.annotations").entry(KEY);
    if at.is_empty() {
        at.required(
            e,
            format!("protected groups must have approval annotation {KEY:?}, see {SEE}"),
        );
    } else if !at.str().starts_with("https://") && !at.str().starts_with("unapproved") {
        at.bad_str(e, format!("protected groups must have approval annotation {KEY:?} with either a URL or a reason starting with \"unapproved\", see {SEE}"));
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    fn good() -> Value {
        value!({ "metadata": { "name": "xs.a.example" }, "spec": { "group": "a.example",
            "scope": "Namespaced", "conversion": { "strategy": "None" },
            "names": { "plural": "xs", "singular": "x", "kind": "X", "listKind": "XList" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }] },
            "status": { "storedVersions": ["v1"] } })
    }

    fn texts(new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut e = Errors::new();
        definition(&mut e, new, old);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(texts(&good(), None).is_empty(), "{:?}", texts(&good(), None));
        for (path, v, text) in [
            (
                "metadata.name",
                value!("x"),
                "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group",
            ),
            (
                "spec.scope",
                value!("All"),
                "spec.scope: Unsupported value: \"All\": supported values: \"Cluster\", \"Namespaced\"",
            ),
            (
                "spec.names.listKind",
                value!("X"),
                "spec.names.listKind: Invalid value: \"X\": kind and listKind may not be the same",
            ),
            (
                "status.storedVersions",
                value!(["v1", "v0"]),
                "status.storedVersions[1]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v0 and removes v0 from status.storedVersions",
            ),
            (
                "spec.conversion",
                value!({ "strategy": "Webhook", "webhook": { "conversionReviewVersions": ["v1"] } }),
                "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            ),
            (
                "spec.conversion",
                value!({ "strategy": "Webhook", "webhook": { "clientConfig": {},
                    "conversionReviewVersions": ["v1"] } }),
                "spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required",
            ),
            (
                "spec.conversion",
                value!({ "strategy": "Webhook",
                    "webhook": { "clientConfig": { "url": "https://a" } } }),
                "spec.conversion.conversionReviewVersions: Required value",
            ),
            (
                "spec.conversion",
                value!({ "strategy": "Webhook", "webhook": { "clientConfig": { "url": "https://a" },
                    "conversionReviewVersions": ["v9"] } }),
                "spec.conversion.conversionReviewVersions: Invalid value: [\"v9\"]: must include at least one of v1, v1beta1",
            ),
        ] {
            let mut bad = good();
            bad.set(path, v);
            assert_eq!(texts(&bad, None), [text]);
        }
        let mut bad = good();
        bad.entry("spec.versions").make_array()[0].set("storage", false);
        assert!(
            texts(&bad, None)[0]
                .ends_with("must have exactly one version marked as storage version")
        );
    }

    #[test]
    fn names_stay_once_established() {
        let mut old = good();
        old.set("status.conditions", value!([{ "type": "Established", "status": "True" }]));
        let mut new = old.clone();
        new.set("spec.names.kind", "Y");
        assert_eq!(
            texts(&new, Some(&old)),
            ["spec.names.kind: Invalid value: \"Y\": field is immutable"]
        );
    }
}
