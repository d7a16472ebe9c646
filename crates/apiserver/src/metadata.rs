//! Validation of `metadata`, the same for every kind: upstream's `ValidateObjectMeta` and
//! `ValidateObjectMetaUpdate`.

use std::collections::BTreeSet;

use timonier_meta::{FieldError, FieldPath, names};
use timonier_object::Value;
use timonier_schema::{NameRule, ResourceRow};

/// The most bytes of all annotations together.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// Checks the metadata of a new object.
pub fn validate_create(row: &ResourceRow, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = FieldPath::new("metadata");
    let metadata = object.at("metadata");
    let generate = metadata.at("generateName").str();
    if !generate.is_empty() {
        for why in check_name(row, generate.trim_end_matches(['-', '.'])) {
            errors.push(FieldError::invalid_str(&path.child("generateName"), generate, why));
        }
    }
    if object.name().is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        for why in check_name(row, object.name()) {
            errors.push(FieldError::invalid_str(&path.child("name"), object.name(), why));
        }
    }
    let namespace = object.namespace();
    if !row.namespaced && !namespace.is_empty() {
        let text = "not allowed on this type";
        errors.push(FieldError::forbidden(&path.child("namespace"), text));
    } else if row.namespaced {
        for why in names::dns1123_label(namespace) {
            errors.push(FieldError::invalid_str(&path.child("namespace"), namespace, why));
        }
    }
    validate_common(metadata, &path, &mut errors);
    errors
}

/// Checks the metadata of a changed object against what was stored.
pub fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = FieldPath::new("metadata");
    let metadata = new.at("metadata");
    validate_common(metadata, &path, &mut errors);
    if old.is_deleting() {
        let before: BTreeSet<&str> = old.finalizers().collect();
        let added: Vec<&str> = new.finalizers().filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            errors.push(FieldError::forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                    go_strings(&added)
                ),
            ));
        }
    }
    for field in IMMUTABLE {
        let (before, now) = (old.at("metadata").at(field), metadata.at(field));
        if before != now && !(before.is_empty() && now.is_empty()) {
            let at = path.child(field);
            let text = "field is immutable";
            errors.push(match now {
                Value::Str(s) => FieldError::invalid_str(&at, s, text),
                Value::Null => FieldError::invalid(&at, "null", text),
                other => FieldError::invalid(&at, other, text),
            });
        }
    }
    errors
}

const IMMUTABLE: [&str; 6] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

fn go_strings(list: &[&str]) -> String {
    let quoted: Vec<String> = list.iter().map(|s| format!("{s:?}")).collect();
    format!("[]string{{{}}}", quoted.join(", "))
}

/// What is wrong with a name.
pub fn check_name(row: &ResourceRow, name: &str) -> Vec<String> {
    match row.strategy.names {
        NameRule::Subdomain => names::dns1123_subdomain(name),
        NameRule::Label => names::dns1123_label(name),
        NameRule::Label1035 => names::dns1035_label(name),
        NameRule::PathSegment => names::path_segment(name),
        NameRule::Ip => match name.parse::<std::net::IpAddr>() {
            Ok(ip) if ip.to_string() == name => Vec::new(),
            Ok(ip) => vec![format!("must be in canonical form ({:?})", ip.to_string())],
            Err(_) => {
                vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_string()]
            }
        },
        // The rules of the kind compare the name with the specification.
        NameRule::Special => names::path_segment(name),
    }
}

fn validate_common(metadata: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let generation = metadata.at("generation").int_or(0);
    if generation < 0 {
        let text = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("generation"), generation, text));
    }
    validate_labels(metadata.at("labels"), &path.child("labels"), errors);
    validate_annotations(metadata.at("annotations"), &path.child("annotations"), errors);
    validate_owners(metadata.at("ownerReferences"), &path.child("ownerReferences"), errors);
    let at = path.child("finalizers");
    for (i, finalizer) in metadata.at("finalizers").items().iter().enumerate() {
        let name = finalizer.str();
        let found = names::qualified_name(name);
        for why in &found {
            errors.push(FieldError::invalid_str(&at, name, why.clone()));
        }
        let known = matches!(name, "orphan" | "foregroundDeletion");
        if found.is_empty() && !name.contains('/') && !known {
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid_str(&at.index(i), name, text));
        }
    }
}

/// Checks labels, as upstream's `ValidateLabels`.
pub fn validate_labels(labels: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.entries() {
        for why in names::qualified_name(key) {
            errors.push(FieldError::invalid_str(path, key, why));
        }
        for why in names::label_value(value.str()) {
            errors.push(FieldError::invalid_str(path, value.str(), why));
        }
    }
}

fn validate_annotations(annotations: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in annotations.entries() {
        size += key.len() + value.str().len();
        for why in names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid_str(path, key, why));
        }
    }
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
}

fn validate_owners(owners: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut controller: Option<&str> = None;
    for (i, owner) in owners.items().iter().enumerate() {
        let at = path.index(i);
        let version = owner.at("apiVersion").str();
        let parsed = timonier_meta::GroupVersion::parse(version);
        if parsed.is_none_or(|gv| gv.version.is_empty()) {
            let text = "version must not be empty";
            errors.push(FieldError::invalid_str(&at.child("apiVersion"), version, text));
        }
        for field in ["kind", "name", "uid"] {
            if owner.at(field).str().is_empty() {
                let text = format!("{field} must not be empty");
                errors.push(FieldError::invalid_str(&at.child(field), "", text));
            }
        }
        if version == "v1" && owner.at("kind").str() == "Event" {
            let text = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid_str(&at, "Event", text));
        }
        if !owner.at("controller").bool() {
            continue;
        }
        let name = owner.at("name").str();
        match controller {
            None => controller = Some(name),
            Some(first) => errors.push(FieldError::invalid(
                path,
                owners,
                format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;
    use timonier_schema::Catalogue;

    use super::*;

    fn texts(errors: Vec<FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn new_metadata_is_checked_with_upstreams_texts() {
        let catalogue = Catalogue::builtin();
        let row = catalogue.resource("", "v1", "configmaps").unwrap();
        let of = |metadata: Value| texts(validate_create(row, &value!({ "metadata": metadata })));
        assert_eq!(
            of(value!({ "namespace": "a" })),
            ["metadata.name: Required value: name or generateName is required"]
        );
        assert!(of(value!({ "namespace": "a", "name": "A_B" }))[0].starts_with(
            "metadata.name: Invalid value: \"A_B\": a lowercase RFC 1123 subdomain must consist"
        ));
        assert!(
            of(value!({ "namespace": "a", "name": "b", "finalizers": ["x"] }))[0]
                .contains("neither a standard finalizer")
        );
        let two = of(value!({ "namespace": "a", "name": "b", "ownerReferences": [
            { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "controller": true },
            { "apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "2", "controller": true }] }));
        assert!(two[0].ends_with("references for p and q"), "{two:?}");
        assert!(of(value!({ "namespace": "a", "name": "b" })).is_empty());
    }

    #[test]
    fn what_may_not_change_is_refused() {
        let old = value!({ "metadata": { "name": "a", "uid": "1", "deletionTimestamp": "x", "finalizers": ["a/b"] } });
        let mut new = old.clone();
        assert!(validate_update(&new, &old).is_empty());
        new.set("metadata.uid", "2");
        new.set("metadata.finalizers", value!(["a/b", "c/d"]));
        assert_eq!(
            texts(validate_update(&new, &old)),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"c/d\"}",
                "metadata.uid: Invalid value: \"2\": field is immutable"
            ]
        );
    }
}
