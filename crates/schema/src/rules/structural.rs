//! The schemas of CustomResourceDefinitions: that they are structural, and make sense (upstream
//! `apiextensions/validation` and `apiserver/schema/validation.go`).

use alloc::collections::BTreeSet;
use alloc::format;

use timonier_meta::FieldPath;
use timonier_object::Value;

use super::at::{At, Errors};
use super::custom_rules;
use crate::crd::values;

/// Deeper schemas are refused.
const MAX_DEPTH: usize = 64;

/// What a schema may say of an object that has a status of its own.
const AT_ROOT: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

const ONLY: &str = "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is enabled";

/// Checks the schema of a version.
pub fn root(e: &mut Errors, at: &At<'_>, has_status: bool) {
    let strange = |(k, v): (&str, &Value)| !v.is_null() && !AT_ROOT.contains(&k);
    if has_status && at.value.entries().any(strange) {
        at.invalid(e, ONLY);
    }
    if at.get("nullable").bool() {
        at.get("nullable").forbidden(e, "nullable cannot be true at the root");
    }
    if !at.get("additionalProperties").is_empty() {
        at.get("additionalProperties").forbidden(e, "must not be used at the root");
    }
    match at.get("type").str() {
        "object" => {}
        "" => at.get("type").required(e, "must not be empty at the root"),
        _ => at.get("type").bad_str(e, "must be object at the root"),
    }
    let fields = at.get("properties");
    for name in ["apiVersion", "kind"] {
        let kind = fields.entry(name).get("type");
        if !matches!(kind.str(), "" | "string") {
            kind.bad_str(e, "must be string");
        }
    }
    let metadata = fields.entry("metadata");
    if metadata.is_set() && !matches!(metadata.get("type").str(), "" | "object") {
        metadata.get("type").bad_str(e, "must be object");
    }
    let more = |name: &str| !matches!(name, "name" | "generateName");
    if metadata.get("properties").value.entries().any(|(k, _)| more(k)) {
        metadata.forbidden(e, "must not specify anything other than name and generateName, but metadata is implicitly specified");
    }
    let place = Place { depth: 0, structural: true, alone: None };
    extensions(e, at);
    generics(e, at, &place);
    below(e, at, &place);
}

/// Where a schema stands.
struct Place {
    depth: usize,
    /// Not within `allOf`, `anyOf`, `oneOf` or `not`, whose schemas say nothing of structure.
    structural: bool,
    /// The list above whose items cannot be found again in the object before.
    alone: Option<FieldPath>,
}

/// A word with dots or dashes in it.
fn ext<'a>(at: &At<'a>, name: &str) -> At<'a> {
    static NULL: Value = Value::Null;
    At { value: at.value.get(name).unwrap_or(&NULL), path: at.path.child(name) }
}

fn schema(e: &mut Errors, at: &At<'_>, place: &Place, missing: &str) {
    if place.depth > MAX_DEPTH {
        at.forbidden(e, "the schema is nested too deeply");
        return;
    }
    if place.structural {
        let loose = ext(at, "x-kubernetes-int-or-string").bool()
            || ext(at, "x-kubernetes-preserve-unknown-fields").bool();
        let kind = at.get("type");
        if kind.is_empty() && !loose {
            kind.required(e, missing);
        }
        extensions(e, at);
    } else {
        for word in ["type", "default", "additionalProperties", "nullable", "title", "description"]
        {
            if !at.get(word).is_empty() {
                at.get(word).forbidden(e, "must be empty to be structural");
            }
        }
    }
    generics(e, at, place);
    below(e, at, place);
}

/// The words that a schema of any place may have.
fn generics(e: &mut Errors, at: &At<'_>, place: &Place) {
    let kind = at.get("type");
    let known = ["array", "boolean", "integer", "number", "object", "string"];
    if place.structural && !kind.is_empty() && !known.contains(&kind.str()) {
        kind.unsupported(e, &known);
    }
    if at.get("uniqueItems").bool() {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        at.get("uniqueItems").forbidden(e, why);
    }
    let values = at.get("additionalProperties");
    if values.value.as_bool() == Some(false) {
        values.forbidden(e, "additionalProperties cannot be set to false");
    } else if values.is_set() && !at.get("properties").is_empty() {
        values.forbidden(e, "additionalProperties and properties are mutual exclusive");
    }
    for word in ["$ref", "definitions", "dependencies", "patternProperties", "id"] {
        if !ext(at, word).is_empty() {
            ext(at, word).forbidden(e, format!("{word} is not supported"));
        }
    }
    let pattern = at.get("pattern");
    if !pattern.is_empty()
        && let Err(why) = values::pattern(pattern.str())
    {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        pattern.bad_str(e, why);
    }
    let rules = ext(at, "x-kubernetes-validations");
    if !rules.is_empty() && !place.structural {
        rules.forbidden(e, "must be empty to be structural");
    } else {
        let alone = place.alone.as_ref().map(FieldPath::as_str);
        custom_rules::check(e, at, &rules, place.depth == 0, alone);
    }
    default(e, at, place);
}

/// A default has to be what the schema allows.
fn default(e: &mut Errors, at: &At<'_>, place: &Place) {
    let default = at.get("default");
    if !default.is_set() || !place.structural {
        return;
    }
    for mut error in values::validate(at.value, default.value, None) {
        error.path = match error.path.as_str() {
            "<nil>" => default.path.clone(),
            path => default.path.child(path),
        };
        e.push(error);
    }
}

/// The extensions that say something of structure.
fn extensions(e: &mut Errors, at: &At<'_>) {
    let (kind, keeps) = (at.get("type"), ext(at, "x-kubernetes-preserve-unknown-fields"));
    if keeps.value.as_bool() == Some(false) {
        keeps.invalid(e, "must be true or undefined");
    }
    for (name, wanted, how) in [
        ("x-kubernetes-map-type", "object", "specified"),
        ("x-kubernetes-list-type", "array", "specified"),
        ("x-kubernetes-embedded-resource", "object", "true"),
    ] {
        if !ext(at, name).is_empty() && kind.str() != wanted {
            let why = format!("must be {wanted} if {name} is {how}");
            if kind.is_empty() { kind.required(e, why) } else { kind.bad_str(e, why) }
        }
    }
    let map = ext(at, "x-kubernetes-map-type");
    if !map.is_empty() && !["atomic", "granular"].contains(&map.str()) {
        map.unsupported(e, &["atomic", "granular"]);
    }
    let embedded = ext(at, "x-kubernetes-embedded-resource").bool();
    if embedded && !keeps.bool() && at.get("properties").is_empty() {
        at.get("properties").required(e, "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields");
    }
    if ext(at, "x-kubernetes-int-or-string").bool() && keeps.bool() {
        keeps.invalid(e, "must be false if x-kubernetes-int-or-string is true");
    }
    if kind.str() == "array" && !at.get("items").is_set() {
        at.get("items").required(e, "must be specified");
    }
    list(e, at);
}

fn list(e: &mut Errors, at: &At<'_>) {
    let (kind, keys) = (ext(at, "x-kubernetes-list-type"), ext(at, "x-kubernetes-list-map-keys"));
    if !kind.is_empty() && !["atomic", "set", "map"].contains(&kind.str()) {
        kind.unsupported(e, &["atomic", "set", "map"]);
    }
    if !keys.is_empty() && kind.str() != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        if kind.is_empty() { kind.required(e, why) } else { kind.bad_str(e, why) }
    }
    let items = at.get("items");
    if kind.str() == "set" {
        let inner = ext(&items, "x-kubernetes-list-type");
        let map = ext(&items, "x-kubernetes-map-type");
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        match items.get("type").str() {
            "array" if inner.str() != "atomic" => inner.invalid(e, why),
            "object" if map.str() != "atomic" => map.invalid(e, why),
            _ => {}
        }
    }
    if kind.str() == "map" {
        list_map(e, &keys, &items);
    }
}

fn list_map(e: &mut Errors, keys: &At<'_>, items: &At<'_>) {
    if keys.is_empty() {
        keys.required(e, "must not be empty if x-kubernetes-list-type is map");
    }
    if !items.is_set() {
        items.required(e, "must have a schema if x-kubernetes-list-type is map");
        return;
    }
    if items.get("type").str() != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        items.get("type").bad_str(e, why);
    }
    let mut seen = BTreeSet::new();
    for key in keys.value.items() {
        let field = items.get("properties").entry(key.str());
        let demanded = items.get("required").value.items().contains(key);
        if !field.is_set() {
            keys.invalid(e, "entries must all be names of item properties");
        } else if matches!(field.get("type").str(), "array" | "object") {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            field.get("type").bad_str(e, why);
        } else if !demanded && !field.get("default").is_set() {
            field.get("default").required(e, "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property");
        }
        if !seen.insert(key.str()) {
            keys.invalid(e, "must not contain duplicate entries");
        }
    }
}

/// The schemas within a schema.
fn below(e: &mut Errors, at: &At<'_>, place: &Place) {
    let alone = place.alone.clone();
    let mut down = Place { depth: place.depth + 1, structural: place.structural, alone };
    let meta = ext(at, "x-kubernetes-embedded-resource").bool() || place.depth == 0;
    for (name, field) in at.get("properties").entries() {
        // The metadata of an object is implied.
        if !(meta && name == "metadata" && place.structural) {
            schema(e, &field, &down, "must not be empty for specified object fields");
        }
    }
    let values = at.get("additionalProperties");
    if values.value.as_object().is_some() {
        schema(e, &values, &down, "must not be empty for specified object fields");
    }
    let items = at.get("items");
    if ext(at, "x-kubernetes-list-type").str() != "map" && down.alone.is_none() {
        down.alone = Some(at.path.clone());
    }
    if items.value.as_object().is_some() {
        schema(e, &items, &down, "must not be empty for specified array items");
    } else if items.value.as_array().is_some() {
        items.forbidden(e, "items must be a schema object and not an array");
    }
    let inner = Place { structural: false, depth: down.depth, alone: None };
    // The idiom for what is an integer or a string says the types again.
    let loose = ext(at, "x-kubernetes-int-or-string").bool();
    for word in ["allOf", "anyOf", "oneOf"] {
        let list = at.get(word);
        for one in list.items().filter(|one| !(loose && says_types_only(one.value))) {
            schema(e, &one, &inner, "");
        }
    }
    if at.get("not").value.as_object().is_some() {
        schema(e, &at.get("not"), &inner, "");
    }
}

fn says_types_only(schema: &Value) -> bool {
    let typed = |v: &Value| v.entries().all(|(k, _)| k == "type");
    let any = schema.at("anyOf").items();
    typed(schema) || schema.entries().count() == 1 && !any.is_empty() && any.iter().all(typed)
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    fn texts(schema: Value) -> Vec<String> {
        let mut e = Errors::new();
        root(&mut e, &At::new(&schema, "s"), false);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_structural_is_named() {
        let good = value!({ "type": "object", "properties": { "metadata": { "type": "object" },
            "spec": { "type": "object", "required": ["a"], "properties": {
                "a": { "x-kubernetes-int-or-string": true,
                       "anyOf": [{ "type": "integer" }, { "type": "string" }] },
                "b": { "type": "integer", "default": 5, "maximum": 9, "not": { "enum": [3] } } } } } });
        assert_eq!(texts(good), [""; 0]);
        let of = |a: Value| texts(value!({ "type": "object", "properties": { "a": a } }));
        for (schema, text) in [
            (
                value!({}),
                "s.properties[a].type: Required value: must not be empty for specified object fields",
            ),
            (
                value!({ "type": "array" }),
                "s.properties[a].items: Required value: must be specified",
            ),
            (value!({ "type": "string", "pattern": "(" }), "must be a valid regular expression"),
            (
                value!({ "type": "string", "x-kubernetes-validations": [{ "rule": "self > 1" }] }),
                "s.properties[a].x-kubernetes-validations[0].rule: Invalid value: {\"rule\":\"self > 1\"}: compilation failed: ERROR: <input>:1:6: found no matching overload for '_>_' applied to '(string, int)'\n | self > 1\n | .....^",
            ),
            (
                value!({ "type": "array", "items": { "type": "string",
                    "x-kubernetes-validations": [{ "rule": "self == oldSelf" }] } }),
                "s.properties[a].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[a]",
            ),
            (
                value!({ "type": "object", "x-kubernetes-validations": [{ "rule": "self.x" }] }),
                "s.properties[a].x-kubernetes-validations[0].rule: Invalid value: {\"rule\":\"self.x\"}: compilation failed: ERROR: <input>:1:5: undefined field 'x'\n | self.x\n | ....^",
            ),
            (
                value!({ "type": "string", "x-kubernetes-validations": [
                    { "rule": "self", "reason": "FieldValueBad" }] }),
                "s.properties[a].x-kubernetes-validations[0].reason: Unsupported value: \"FieldValueBad\"",
            ),
            (
                value!({ "type": "string", "x-kubernetes-validations": [
                    { "rule": "true", "fieldPath": ".x" }] }),
                "s.properties[a].x-kubernetes-validations[0].fieldPath: Invalid value: \".x\": fieldPath must be a valid path",
            ),
            (
                value!({ "type": "integer", "default": "x" }),
                "s.properties[a].default: Invalid value: \"string\"",
            ),
            (
                value!({ "type": "string", "anyOf": [{ "type": "string" }] }),
                "s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
            ),
            (
                value!({ "type": "object", "x-kubernetes-list-type": "map" }),
                "s.properties[a].type: Invalid value: \"object\": must be array if x-kubernetes-list-type is specified",
            ),
        ] {
            let found = of(schema.clone());
            assert!(found.iter().any(|t| t.contains(text)), "{schema}: {found:?}");
        }
        assert_eq!(texts(value!({})), ["s.type: Required value: must not be empty at the root"]);
    }
}
