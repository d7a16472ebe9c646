//! What a CustomResourceDefinition's schema says of values: types, bounds, patterns, combinations
//! (upstream `kube-openapi/pkg/validation`, with its texts).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::field_path::quote;
use timonier_meta::{ErrorKind, FieldError, FieldPath};
use timonier_object::{Ordered, Value, json};

use super::formats;

/// The largest program of a pattern.
const PATTERN_LIMIT: usize = 1 << 20;

/// What is wrong with an object by a JSON schema. What is as it was in `old` is right, whatever
/// the schema says by now.
pub fn validate(schema: &Value, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut found = Found::default();
    check(schema, new, old, "", &mut found);
    lists(schema, new, old, "", &mut found.errors);
    found.errors
}

/// What was found so far, and the patterns compiled on the way: each once for all its values.
#[derive(Default)]
struct Found<'s> {
    errors: Vec<FieldError>,
    patterns: BTreeMap<&'s str, Option<regex_lite::Regex>>,
}

impl<'s> Found<'s> {
    fn push(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    fn matches(&mut self, wanted: &'s str, text: &str) -> bool {
        let compiled = self.patterns.entry(wanted).or_insert_with(|| pattern(wanted).ok());
        compiled.as_ref().is_some_and(|p| p.is_match(text))
    }
}

/// Items of a list map by their keys; of several with the same keys the first.
pub struct ByKeys<'a> {
    keys: Vec<&'a str>,
    items: BTreeMap<Vec<Option<Ordered<'a>>>, &'a Value>,
}

impl<'a> ByKeys<'a> {
    /// The items of a list whose items `keys` tell apart.
    pub fn of(list: &'a Value, keys: impl Iterator<Item = &'a str>) -> Self {
        let keys: Vec<&str> = keys.collect();
        let mut items = BTreeMap::new();
        for item in list.items() {
            items.entry(id(&keys, item)).or_insert(item);
        }
        ByKeys { keys, items }
    }

    /// The item with the keys of this one.
    pub fn get(&self, item: &Value) -> Option<&'a Value> {
        let items: &BTreeMap<Vec<Option<Ordered<'_>>>, &'a Value> = &self.items;
        items.get(&id(&self.keys, item)).copied()
    }
}

/// What tells an item of a list map apart.
fn id<'v>(keys: &[&str], item: &'v Value) -> Vec<Option<Ordered<'v>>> {
    keys.iter().map(|key| item.get(key).map(Ordered)).collect()
}

/// Compiles a pattern; the error is its text.
pub fn pattern(text: &str) -> Result<regex_lite::Regex, String> {
    let built = regex_lite::RegexBuilder::new(text).size_limit(PATTERN_LIMIT).build();
    built.map_err(|e| e.to_string())
}

fn check<'s>(schema: &'s Value, v: &Value, old: Option<&Value>, path: &str, out: &mut Found<'s>) {
    if old == Some(v) || v.is_null() && schema.at("nullable").bool() {
        return;
    }
    kind(schema, v, path, out);
    combinations(schema, v, path, out);
    match v {
        Value::Str(text) => string(schema, text, path, out),
        Value::Int(_) | Value::Float(_) => number(schema, v, path, out),
        Value::Array(_) => array(schema, v, old, path, out),
        _ => {}
    }
    allowed(schema, v, path, out);
    if let Value::Object(_) = v {
        object(schema, v, old, path, out);
    }
}

fn at(path: &str) -> FieldPath {
    FieldPath::new(if path.is_empty() { "<nil>" } else { path })
}

fn shown(v: &Value) -> String {
    v.as_str().map_or_else(|| json::to_string(v), quote)
}

fn invalid(v: &Value, path: &str, what: String, out: &mut Found<'_>) {
    out.push(FieldError::invalid(&at(path), shown(v), format!("{path} in body {what}")));
}

/// The name of a value's type.
fn name_of(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Float(_) => "number",
        Value::Str(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn kind(schema: &Value, v: &Value, path: &str, out: &mut Found<'_>) {
    let either = ["integer", "string"];
    let wanted = [schema.at("type").str()];
    let wanted: &[&str] = match schema.get("x-kubernetes-int-or-string").is_some_and(Value::bool) {
        true => &either,
        false if wanted[0].is_empty() => return,
        false => &wanted,
    };
    let found = name_of(v);
    let whole = matches!(v, Value::Float(f) if (*f as i64) as f64 == *f);
    let fits = wanted
        .iter()
        .any(|w| *w == found || *w == "number" && found == "integer" || *w == "integer" && whole);
    if !fits {
        let text = format!("{path} in body must be of type {}: {found:?}", wanted.join(","));
        out.push(FieldError::type_invalid(&at(path), quote(found), text));
    }
}

fn string<'s>(schema: &'s Value, text: &str, path: &str, out: &mut Found<'s>) {
    let v = Value::from(text);
    let length = text.chars().count() as i64;
    if let Some(max) = schema.at("maxLength").as_i64().filter(|max| length > *max) {
        out.push(FieldError::too_long(&at(path), usize::try_from(max).unwrap_or(0)));
    }
    if let Some(min) = schema.at("minLength").as_i64().filter(|min| length < *min) {
        invalid(&v, path, format!("should be at least {min} chars long"), out);
    }
    let wanted = schema.at("pattern").str();
    if !wanted.is_empty() && !out.matches(wanted, text) {
        invalid(&v, path, format!("should match '{wanted}'"), out);
    }
    let format = schema.at("format").str();
    if !format.is_empty() && !formats::fits(format, text) {
        let text = format!("{path} in body must be of type {format}: {text:?}");
        out.push(FieldError::type_invalid(&at(path), shown(&v), text));
    }
}

fn number(schema: &Value, v: &Value, path: &str, out: &mut Found<'_>) {
    let n = v.as_f64().unwrap_or(0.0);
    let bound = |key: &str| schema.at(key).as_f64();
    if let Some(factor) = bound("multipleOf").filter(|f| *f > 0.0) {
        let ratio = n / factor;
        if (ratio as i64) as f64 != ratio {
            invalid(v, path, format!("should be a multiple of {factor}"), out);
        }
    }
    if let Some(max) = bound("maximum") {
        let open = schema.at("exclusiveMaximum").bool();
        if n > max || open && n >= max {
            let how = if open { "less than" } else { "less than or equal to" };
            invalid(v, path, format!("should be {how} {max}"), out);
        }
    }
    if let Some(min) = bound("minimum") {
        let open = schema.at("exclusiveMinimum").bool();
        if n < min || open && n <= min {
            let how = if open { "greater than" } else { "greater than or equal to" };
            invalid(v, path, format!("should be {how} {min}"), out);
        }
    }
}

fn array<'s>(schema: &'s Value, v: &Value, old: Option<&Value>, path: &str, out: &mut Found<'s>) {
    let items = v.items();
    if let Some(of_items) = schema.get("items").filter(|s| s.as_object().is_some()) {
        let before = old.and_then(|old| by_keys(schema, old));
        for (i, item) in items.iter().enumerate() {
            let before = before.as_ref().and_then(|before| before.get(item));
            check(of_items, item, before, &format!("{path}[{i}]"), out);
        }
    }
    let count = items.len() as i64;
    if let Some(min) = schema.at("minItems").as_i64().filter(|min| count < *min) {
        let text = format!("{path} in body should have at least {min} items");
        out.push(FieldError::invalid(&at(path), count, text));
    }
    if let Some(max) = schema.at("maxItems").as_i64().filter(|max| count > *max) {
        out.push(FieldError::too_many(&at(path), items.len(), usize::try_from(max).unwrap_or(0)));
    }
    let mut seen = BTreeSet::new();
    if schema.at("uniqueItems").bool() && !items.iter().all(|item| seen.insert(Ordered(item))) {
        let text = format!("{path} in body shouldn't contain duplicates");
        out.push(FieldError::invalid(&at(path), "\"\"", text));
    }
}

/// The items of an old list by which new ones find themselves: of list maps by the keys.
fn by_keys<'a>(schema: &'a Value, old: &'a Value) -> Option<ByKeys<'a>> {
    if schema.get("x-kubernetes-list-type").map(Value::str) != Some("map") {
        return None;
    }
    let keys = schema.get("x-kubernetes-list-map-keys")?.items();
    Some(ByKeys::of(old, keys.iter().map(Value::str)))
}

fn allowed(schema: &Value, v: &Value, path: &str, out: &mut Found<'_>) {
    let values = schema.at("enum").items();
    if values.is_empty() || values.contains(v) {
        return;
    }
    let list: Vec<String> = values
        .iter()
        .map(|v| quote(&v.as_str().map_or_else(|| json::to_string(v), ToString::to_string)))
        .collect();
    out.push(FieldError {
        kind: ErrorKind::NotSupported,
        path: at(path),
        value: shown(v),
        detail: format!("supported values: {}", list.join(", ")),
    });
}

fn object<'s>(schema: &'s Value, v: &Value, old: Option<&Value>, path: &str, out: &mut Found<'s>) {
    let count = v.entries().count();
    if let Some(min) = schema.at("minProperties").as_i64().filter(|min| (count as i64) < *min) {
        let text = format!("{path} in body should have at least {min} properties");
        out.push(FieldError::invalid(&at(path), count, text));
    }
    if let Some(max) = schema.at("maxProperties").as_i64().filter(|max| count as i64 > *max) {
        out.push(FieldError::too_many(&at(path), count, usize::try_from(max).unwrap_or(0)));
    }
    let below = |name: &str| match path {
        "" => name.to_string(),
        path => format!("{path}.{name}"),
    };
    let (fields, values) = (schema.at("properties"), schema.at("additionalProperties"));
    for (name, child) in v.entries() {
        let before = old.and_then(|old| old.get(name));
        if let Some(field) = fields.get(name) {
            check(field, child, before, &below(name), out);
        } else if values.as_object().is_some() {
            check(values, child, before, &below(name), out);
        } else if values.as_bool() == Some(false) {
            let text = format!("{path}.{name} in body is a forbidden property");
            out.push(FieldError::invalid(&at(&below(name)), "\"\"", text));
        }
    }
    let embedded = schema.get("x-kubernetes-embedded-resource").is_some_and(Value::bool);
    for name in ["apiVersion", "kind"].iter().filter(|n| embedded && v.at(n).str().is_empty()) {
        out.push(FieldError::required(&at(&below(name)), "must not be empty"));
    }
    for name in schema.at("required").items().iter().filter(|n| v.get(n.str()).is_none()) {
        out.push(FieldError::required(&at(&below(name.str())), ""));
    }
}

/// What is wrong by a schema that is only an alternative.
fn errors_of<'s>(schema: &'s Value, v: &Value, path: &str, out: &mut Found<'s>) -> Vec<FieldError> {
    let before = core::mem::take(&mut out.errors);
    check(schema, v, None, path, out);
    core::mem::replace(&mut out.errors, before)
}

fn combinations<'s>(schema: &'s Value, v: &Value, path: &str, out: &mut Found<'s>) {
    let say = |text: String, out: &mut Found<'_>| {
        out.push(FieldError::invalid(&at(""), "\"\"", text));
    };
    let best = |all: Vec<Vec<FieldError>>| all.into_iter().min_by_key(Vec::len).unwrap_or_default();
    let results = |key: &str, out: &mut Found<'s>| -> Vec<Vec<FieldError>> {
        schema.at(key).items().iter().map(|s| errors_of(s, v, path, out)).collect()
    };
    let any = results("anyOf", out);
    if !any.is_empty() && any.iter().all(|e| !e.is_empty()) {
        say(format!("{path:?} must validate at least one schema (anyOf)"), out);
        out.errors.extend(best(any));
    }
    let one = results("oneOf", out);
    let valid = one.iter().filter(|e| e.is_empty()).count();
    if !one.is_empty() && valid != 1 {
        let found = match valid {
            0 => "Found none valid".to_string(),
            n => format!("Found {n} valid alternatives"),
        };
        say(format!("{path:?} must validate one and only one schema (oneOf). {found}"), out);
        if valid == 0 {
            out.errors.extend(best(one));
        }
    }
    let all = results("allOf", out);
    if all.iter().any(|e| !e.is_empty()) {
        let none = all.iter().all(|e| !e.is_empty());
        out.errors.extend(all.into_iter().flatten());
        let more = if none { ". None validated" } else { "" };
        say(format!("{path:?} must validate all the schemas (allOf){more}"), out);
    }
    if let Some(not) = schema.get("not").filter(|s| s.as_object().is_some())
        && errors_of(not, v, path, out).is_empty()
    {
        say(format!("{path:?} must not validate the schema (not)"), out);
    }
}

/// Sets without repetition, list maps without two items of the same keys.
fn lists(schema: &Value, v: &Value, old: Option<&Value>, path: &str, out: &mut Vec<FieldError>) {
    if old == Some(v) {
        return;
    }
    match v {
        Value::Array(_) => {
            let items = v.items();
            let kind = schema.get("x-kubernetes-list-type").map_or("", Value::str);
            let keys = schema.get("x-kubernetes-list-map-keys").map_or(&[][..], Value::items);
            let keys: Vec<&str> = keys.iter().map(Value::str).collect();
            let (mut values, mut ids) = (BTreeSet::new(), BTreeSet::new());
            for (i, item) in items.iter().enumerate() {
                let twice = match kind {
                    "set" => (!values.insert(Ordered(item))).then(|| item.clone()),
                    "map" => (!ids.insert(id(&keys, item))).then(|| keys_of(&keys, item)),
                    _ => None,
                };
                if let Some(id) = twice {
                    let path = FieldPath::new(path).index(i);
                    out.push(FieldError::duplicate(&path, shown(&id)));
                }
                lists(schema.at("items"), item, None, &format!("{path}[{i}]"), out);
            }
        }
        Value::Object(_) => {
            for (name, child) in v.entries() {
                let field = schema.at("properties").get(name);
                let field = field.unwrap_or(schema.at("additionalProperties"));
                let below =
                    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
                lists(field, child, old.and_then(|old| old.get(name)), &below, out);
            }
        }
        _ => {}
    }
}

/// The keys of an item, as errors show them.
fn keys_of(keys: &[&str], item: &Value) -> Value {
    keys.iter().filter_map(|key| Some((*key, item.get(key)?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    fn errors(schema: Value, v: Value) -> Vec<String> {
        validate(&schema, &v, None).iter().map(ToString::to_string).collect()
    }

    fn of(name: &str, schema: Value, v: Value) -> Vec<String> {
        let properties: Value = [(name, schema)].into_iter().collect();
        let object: Value = [(name, v)].into_iter().collect();
        errors(value!({ "type": "object", "properties": properties }), object)
    }

    #[test]
    fn texts_are_upstreams() {
        for (schema, v, text) in [
            (
                value!({ "type": "integer" }),
                value!("x"),
                "a: Invalid value: \"string\": a in body must be of type integer: \"string\"",
            ),
            (
                value!({ "type": "string", "pattern": "^x+$" }),
                value!("y"),
                "a: Invalid value: \"y\": a in body should match '^x+$'",
            ),
            (
                value!({ "type": "string", "enum": ["p", "q"] }),
                value!("y"),
                "a: Unsupported value: \"y\": supported values: \"p\", \"q\"",
            ),
            (
                value!({ "type": "integer", "maximum": 10 }),
                value!(11),
                "a: Invalid value: 11: a in body should be less than or equal to 10",
            ),
            (
                value!({ "type": "integer", "minimum": 1, "exclusiveMinimum": true }),
                value!(1),
                "a: Invalid value: 1: a in body should be greater than 1",
            ),
            (
                value!({ "type": "string", "minLength": 2 }),
                value!("y"),
                "a: Invalid value: \"y\": a in body should be at least 2 chars long",
            ),
            (
                value!({ "type": "string", "maxLength": 2 }),
                value!("yyy"),
                "a: Too long: may not be more than 2 bytes",
            ),
            (
                value!({ "type": "array", "maxItems": 1 }),
                value!([1, 2]),
                "a: Too many: 2: must have at most 1 items",
            ),
            (
                value!({ "type": "array", "x-kubernetes-list-type": "set" }),
                value!(["x", "x"]),
                "a[1]: Duplicate value: \"x\"",
            ),
            (value!({ "type": "object", "required": ["b"] }), value!({}), "a.b: Required value"),
            (
                value!({ "type": "string", "format": "date-time" }),
                value!("y"),
                "a: Invalid value: \"y\": a in body must be of type date-time: \"y\"",
            ),
            (
                value!({ "x-kubernetes-int-or-string": true }),
                value!(true),
                "a: Invalid value: \"boolean\": a in body must be of type integer,string: \"boolean\"",
            ),
            (
                value!({ "type": "integer", "not": { "enum": [3] } }),
                value!(3),
                "<nil>: Invalid value: \"\": \"a\" must not validate the schema (not)",
            ),
        ] {
            assert_eq!(of("a", schema.clone(), v), [text], "{schema}");
        }
        assert!(of("a", value!({ "type": "integer" }), value!(1.0)).is_empty());
        assert!(of("a", value!({ "type": "string", "nullable": true }), Value::Null).is_empty());
    }

    #[test]
    fn combinations_say_what_was_found() {
        let one =
            value!({ "type": "object", "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] });
        assert!(errors(one.clone(), value!({ "a": 1 })).is_empty());
        assert_eq!(
            errors(one.clone(), value!({ "a": 1, "b": 1 })),
            [
                "<nil>: Invalid value: \"\": \"\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
            ]
        );
        assert_eq!(errors(one, value!({})).len(), 2);
        let any = value!({ "anyOf": [{ "type": "integer" }, { "type": "string" }] });
        assert!(of("a", any.clone(), value!("x")).is_empty());
        assert!(of("a", any, value!(true))[0].ends_with("(anyOf)"));
        let all = value!({ "allOf": [{ "minimum": 1 }, { "maximum": 5 }] });
        assert_eq!(of("a", all, value!(7)).len(), 2);
    }

    #[test]
    fn what_was_wrong_before_stays_possible() {
        let schema = value!({ "type": "object", "properties": {
            "a": { "type": "string", "maxLength": 1 }, "b": { "type": "integer" },
            "l": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                   "items": { "type": "object", "properties": { "v": { "maximum": 1 } } } } } });
        let old = value!({ "a": "long", "b": 1, "l": [{ "n": "x", "v": 5 }] });
        let new =
            value!({ "a": "long", "b": 2, "l": [{ "n": "y", "v": 1 }, { "n": "x", "v": 5 }] });
        assert!(validate(&schema, &new, Some(&old)).is_empty());
        assert_eq!(validate(&schema, &new, None).len(), 2);
    }

    /// With work that grows with the square of the items this takes minutes.
    #[test]
    fn very_many_items_are_no_work() {
        let n = 30_000;
        let items = Value::array((0..n).map(|i| value!({ "name": i })));
        let keyed = value!({ "type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"], "items": { "type": "object" } });
        let set = value!({ "type": "array", "x-kubernetes-list-type": "set" });
        let unique = value!({ "type": "array", "uniqueItems": true });
        for schema in [&keyed, &set, &unique] {
            assert_eq!(of("a", schema.clone(), items.clone()), [""; 0]);
            let mut more = items.clone();
            more.make_array().push(value!({ "name": 7 }));
            assert_eq!(of("a", schema.clone(), more).len(), 1, "{schema}");
        }
        let mut more = items.clone();
        more.make_array().push(value!({ "name": n }));
        assert!(validate(&keyed, &more, Some(&items)).is_empty());
        // A pattern is compiled once, not for each of the texts.
        let schema = value!({ "type": "array", "items": { "type": "string",
            "pattern": "^([a-z0-9]{1,60}\\.){0,60}[a-z0-9]{1,60}$" } });
        let texts = Value::array((0..n).map(|i| Value::from(format!("x{i}"))));
        assert_eq!(of("a", schema, texts), [""; 0]);
    }
}
