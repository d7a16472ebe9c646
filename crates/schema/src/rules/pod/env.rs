//! A container's environment: `env`, `valueFrom`, `envFrom`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::names;

use super::super::at::{At, Errors};
use super::super::common::{check, demand, no_backsteps, quantity, show_str};

/// Checks `env`.
pub fn env(e: &mut Errors, at: &At<'_>) {
    for item in at.items() {
        demand(e, &item.get("name"), variable_name);
        value_from(e, &item);
    }
}

/// Checks `envFrom`.
pub fn env_from(e: &mut Errors, at: &At<'_>) {
    for item in at.items() {
        let prefix = item.get("prefix");
        if !prefix.is_empty() {
            check(e, &prefix, variable_name);
        }
        let mut sources = 0;
        for source in ["configMapRef", "secretRef"] {
            let source = item.get(source);
            if source.is_set() {
                sources += 1;
                demand(e, &source.get("name"), names::dns1123_subdomain);
            }
        }
        match sources {
            0 => at.bad(e, "\"\"", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => at.bad(e, "\"\"", "may not have more than one field specified at a time"),
        }
    }
}

/// What is wrong with the name of an environment variable.
pub fn variable_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.is_empty() {
        errors.push("environment variable name must be non-empty".to_string());
    }
    if !text.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        errors.push("a valid environment variable name must consist only of printable ASCII characters other than '='".to_string());
    }
    errors
}

fn value_from(e: &mut Errors, item: &At<'_>) {
    let from = item.get("valueFrom");
    if !from.is_set() {
        return;
    }
    let mut sources = 0;
    for (field, rule) in SOURCES {
        let source = from.get(field);
        if source.is_set() {
            sources += 1;
            rule(e, &source);
        }
    }
    if sources == 0 {
        from.bad(
            e,
            "\"\"",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !item.get("value").is_empty() {
        from.bad(e, "\"\"", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        from.bad(e, "\"\"", "may not have more than one field specified at a time");
    }
}

type Rule = fn(&mut Errors, &At<'_>);

const SOURCES: [(&str, Rule); 5] = [
    ("fieldRef", |e, at| field_ref(e, at, &ENV_FIELDS)),
    ("resourceFieldRef", |e, at| resource_field_ref(e, at, false)),
    ("configMapKeyRef", key_ref),
    ("secretKeyRef", key_ref),
    ("fileKeyRef", file_key_ref),
];

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// The fields that a file of a downward API volume may show.
pub const VOLUME_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// The fields of pods that references know at all.
const POD_FIELDS: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn key_ref(e: &mut Errors, at: &At<'_>) {
    check(e, &at.get("name"), names::dns1123_subdomain);
    demand(e, &at.get("key"), names::config_map_key);
}

fn file_key_ref(e: &mut Errors, at: &At<'_>) {
    demand(e, &at.get("key"), variable_name);
    demand(e, &at.get("volumeName"), names::dns1123_label);
    let path = at.get("path");
    if path.demand(e) {
        no_backsteps(e, &path);
    }
}

/// Checks a reference to a field of the pod.
pub fn field_ref(e: &mut Errors, at: &At<'_>, known: &[&str]) {
    at.get("apiVersion").demand(e);
    let field = at.get("fieldPath");
    if !field.demand(e) {
        return;
    }
    let version = at.get("apiVersion").str();
    if version != "v1" {
        let why = format!("error converting fieldPath: unsupported pod version: {version}");
        field.bad_str(e, why);
        return;
    }
    let text = field.str();
    if let Some((path, key)) = subscript(text) {
        let why = match path {
            "metadata.annotations" => names::qualified_name(&key.to_lowercase()),
            "metadata.labels" => names::qualified_name(key),
            _ => {
                let why = format!(
                    "error converting fieldPath: field label does not support subscript: {text}"
                );
                field.bad_str(e, why);
                return;
            }
        };
        let shown = if path == "metadata.labels" { key.to_string() } else { key.to_lowercase() };
        for why in why {
            at.bad(e, show_str(&shown), why);
        }
        return;
    }
    if text != "spec.host" && !POD_FIELDS.contains(&text) {
        field.bad_str(e, format!("error converting fieldPath: field label not supported: {text}"));
    } else if text != "spec.host" && !known.contains(&text) {
        field.unsupported(e, known);
    }
}

/// Splits `metadata.labels['key']`.
fn subscript(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_suffix("']")?;
    let (path, key) = inner.split_once("['")?;
    (!path.is_empty()).then_some((path, key))
}

const RESOURCE_FIELDS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Checks a reference to a container's resources. In a volume the container must be named.
pub fn resource_field_ref(e: &mut Errors, at: &At<'_>, in_volume: bool) {
    let resource = at.get("resource");
    let name = resource.str();
    let huge = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if in_volume && at.get("containerName").is_empty() {
        at.get("containerName").required(e, "");
    } else if name.is_empty() {
        resource.required(e, "");
    } else if !RESOURCE_FIELDS.contains(&name) && !huge {
        resource.unsupported(e, &RESOURCE_FIELDS);
    }
    divisor(e, at, name, huge);
}

fn divisor(e: &mut Errors, at: &At<'_>, resource: &str, huge: bool) {
    let divisor = at.get("divisor");
    let amount = quantity(divisor.value);
    if amount.is_zero() {
        return;
    }
    let text = amount.to_string();
    let what = match resource {
        "limits.cpu" | "requests.cpu" => {
            if !matches!(text.as_str(), "1m" | "1") {
                let why = "only divisor's values 1m and 1 are supported with the cpu resource";
                divisor.bad(e, show_str(resource), why);
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if huge => "hugepages",
        _ => return,
    };
    const BYTES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    if !BYTES.split(", ").any(|known| known == text) {
        let why = format!("only divisor's values {BYTES} are supported with the {what} resource");
        divisor.bad(e, show_str(resource), why);
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn sources_are_checked() {
        let vars = value!([
            { "name": "a=b" },
            { "name": "A", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.labels['x']" } } },
            { "name": "B", "value": "1", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } },
            { "name": "C", "valueFrom": {} }
        ]);
        let mut e = Errors::new();
        env(&mut e, &At::new(&vars, "env"));
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[0].starts_with("env[0].name: Invalid value: \"a=b\": a valid environment"));
        assert_eq!(
            texts[1],
            "env[2].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"
        );
    }
}
