//! Configurations of admission webhooks.

use alloc::collections::BTreeSet;
use alloc::format;

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors};
use super::common::{check, label_selector};
use super::{client_config, policies};

/// Checks a ValidatingWebhookConfiguration or a MutatingWebhookConfiguration.
pub fn configuration(e: &mut Errors, new: &Value, mutating: bool) {
    let mut seen = BTreeSet::new();
    for hook in At::top(new).get("webhooks").items() {
        webhook(e, &hook, mutating);
        review_versions(e, &hook.get("admissionReviewVersions"));
        let name = hook.get("name");
        if !name.is_empty() && !seen.insert(name.str()) {
            name.bad_duplicate(e, name.str());
        }
    }
}

fn webhook(e: &mut Errors, hook: &At<'_>, mutating: bool) {
    qualified_name(e, &hook.get("name"));
    for rule in hook.get("rules").items() {
        rule_with_operations(e, &rule);
    }
    for (field, values) in [
        ("failurePolicy", &["Fail", "Ignore"]),
        ("matchPolicy", &["Equivalent", "Exact"]),
        ("sideEffects", &["None", "NoneOnDryRun"]),
    ] {
        let at = hook.get(field);
        if at.is_set() {
            at.one_of(e, values);
        } else if field == "sideEffects" {
            at.required(e, "must specify one of None, NoneOnDryRun");
        }
    }
    let timeout = hook.get("timeoutSeconds");
    if timeout.is_set() && !(1..=30).contains(&timeout.int()) {
        timeout.bad_int(e, "the timeout value must be between 1 and 30 seconds");
    }
    label_selector(e, &hook.get("namespaceSelector"));
    label_selector(e, &hook.get("objectSelector"));
    let again = hook.get("reinvocationPolicy");
    if mutating && again.is_set() {
        again.one_of(e, &["IfNeeded", "Never"]);
    }
    client_config::check(e, &hook.get("clientConfig"));
    policies::conditions(e, &hook.get("matchConditions"), false);
}

/// A name of at least three labels.
fn qualified_name(e: &mut Errors, at: &At<'_>) {
    if at.is_empty() {
        at.required(e, "");
        return;
    }
    let wrong = names::dns1123_subdomain(at.str());
    if !wrong.is_empty() {
        at.bad_str(e, wrong.join(","));
    } else if at.str().split('.').count() < 3 {
        at.bad_str(e, "should be a domain with at least three segments separated by dots");
    }
}

/// Checks that a version of questions is known here.
pub fn review_versions(e: &mut Errors, at: &At<'_>) {
    if at.is_empty() {
        at.required(e, "must specify one of v1, v1beta1");
        return;
    }
    let (mut seen, mut known) = (BTreeSet::new(), false);
    for version in at.items() {
        if !seen.insert(version.str()) {
            version.bad_str(e, "duplicate version");
            continue;
        }
        check(e, &version, names::dns1035_label);
        known |= matches!(version.str(), "v1" | "v1beta1");
    }
    if !known {
        at.invalid(e, "must include at least one of v1, v1beta1");
    }
}

/// Checks a RuleWithOperations.
pub fn rule_with_operations(e: &mut Errors, at: &At<'_>) {
    operations(e, &at.get("operations"));
    rule(e, at);
}

fn operations(e: &mut Errors, at: &At<'_>) {
    const ALL: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    if at.is_empty() {
        at.required(e, "");
    }
    if at.len() > 1 && has_star(at) {
        at.invalid(e, "if '*' is present, must not specify other operations");
    }
    for operation in at.items() {
        operation.one_of(e, &ALL);
    }
}

fn has_star(at: &At<'_>) -> bool {
    at.value.items().iter().any(|item| item.str() == "*")
}

fn rule(e: &mut Errors, at: &At<'_>) {
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = at.get(field);
        if list.is_empty() {
            list.required(e, "");
        }
        if list.len() > 1 && has_star(&list) {
            list.invalid(e, format!("if '*' is present, must not specify other {what}"));
        }
        for item in list.items().filter(|_| field == "apiVersions") {
            item.demand(e);
        }
    }
    resources(e, &at.get("resources"));
    let scope = at.get("scope");
    if scope.is_set() {
        scope.one_of(e, &["*", "Cluster", "Namespaced"]);
    }
}

fn resources(e: &mut Errors, at: &At<'_>) {
    if at.is_empty() {
        at.required(e, "");
    }
    let (mut whole, mut parts) = (BTreeSet::new(), BTreeSet::new());
    let (mut everything, mut star, mut plain) = (false, false, false);
    for item in at.items() {
        let text = item.str();
        if !item.demand(e) {
            continue;
        }
        everything |= text == "*/*";
        star |= text == "*";
        let Some((resource, part)) = text.split_once('/') else {
            // Only the last of the list counts here, as upstream.
            plain = text != "*";
            continue;
        };
        if whole.contains(resource) {
            item.bad_str(e, format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if parts.contains(part) {
            item.bad_str(e, format!("if '*/{part}' is present, must not specify {text}"));
        }
        if part == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            parts.insert(part);
        }
    }
    if at.len() > 1 && everything {
        at.invalid(e, "if '*/*' is present, must not specify other resources");
    }
    if star && plain {
        at.invalid(e, "if '*' is present, must not specify other resources without subresources");
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    #[test]
    fn names_versions_and_rules() {
        let hooks = value!({ "webhooks": [{ "name": "a.b", "sideEffects": "Some", "timeoutSeconds": 31,
            "admissionReviewVersions": ["v9"],
            "rules": [{ "operations": ["*", "CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["*", "pods"] }] }] });
        let mut e = Errors::new();
        configuration(&mut e, &hooks, false);
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 7, "{texts:?}");
        assert_eq!(
            texts[0],
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots"
        );
    }
}
