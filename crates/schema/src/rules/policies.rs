//! Admission policies and their bindings.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_cel::{Environment, Type};
use timonier_meta::{SmolStr, names};
use timonier_object::Value;

use super::at::{At, Errors};
use super::common::{check, label_selector};
use super::webhooks::rule_with_operations;
use crate::expressions::{Uses, compile, environment, with_variables};

/// The most conditions of a policy or a webhook.
const MAX_CONDITIONS: usize = 64;
const MAX_ANNOTATIONS: usize = 20;
/// The longest expression of an audit annotation, in bytes.
const MAX_ANNOTATION: usize = 5 * 1024;

/// Checks a ValidatingAdmissionPolicy.
pub fn policy(e: &mut Errors, new: &Value) {
    let spec = At::top(new).get("spec");
    let failure = spec.get("failurePolicy");
    if failure.is_set() {
        failure.one_of(e, &["Fail", "Ignore"]);
    } else {
        failure.required(e, "");
    }
    let kind = spec.get("paramKind");
    if kind.is_set() {
        param_kind(e, &kind);
    }
    let constraints = spec.get("matchConstraints");
    if constraints.is_set() {
        match_resources(e, &constraints);
        let rules = constraints.get("resourceRules");
        if rules.is_empty() {
            rules.required(e, "");
        }
    } else {
        constraints.required(e, "");
    }
    let params = kind.is_set();
    conditions(e, &spec.get("matchConditions"), params);
    let uses = Uses { params, authorizer: true };
    let variables = variables(e, &spec.get("variables"), environment(uses));
    let scope = |authorizer| {
        let environment = environment(Uses { params, authorizer });
        if variables.is_empty() { environment } else { with_variables(environment, &variables) }
    };
    what_it_does(e, new, &spec, &scope(true), &scope(false));
}

fn what_it_does(
    e: &mut Errors,
    new: &Value,
    spec: &At<'_>,
    environment: &Environment,
    for_messages: &Environment,
) {
    let (validations, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        validations.required(e, why);
        annotations.required(e, why);
        return;
    }
    for item in validations.items() {
        validation(e, &item, environment, for_messages);
    }
    if annotations.len() > MAX_ANNOTATIONS {
        annotations
            .invalid(e, format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations"));
    }
    let mut keys = BTreeSet::new();
    for item in annotations.items() {
        annotation(e, new.name(), &item, environment);
        let key = item.get("key");
        if !keys.insert(key.str()) {
            key.bad_duplicate(e, key.str());
        }
    }
}

fn expression(e: &mut Errors, at: &At<'_>, source: &str, scope: &Environment, wanted: &[Type]) {
    if let Err(why) = compile(source, scope, wanted) {
        at.bad_str(e, why);
    }
}

/// Checks match conditions; those of webhooks have no params.
pub fn conditions(e: &mut Errors, at: &At<'_>, params: bool) {
    if at.len() > MAX_CONDITIONS {
        at.too_many(e, MAX_CONDITIONS);
    }
    let scope = environment(Uses { params, authorizer: true });
    let mut seen = BTreeSet::new();
    for item in at.items() {
        let (source, name) = (item.get("expression"), item.get("name"));
        if source.str().trim().is_empty() {
            source.required(e, "");
        } else {
            expression(e, &source, source.str().trim(), &scope, &[Type::Bool]);
        }
        if name.demand(e) {
            name.each(e, names::qualified_name(name.str()));
            if !seen.insert(name.str()) {
                name.bad_duplicate(e, name.str());
            }
        }
    }
}

/// Checks variables; gives their types.
fn variables(e: &mut Errors, at: &At<'_>, scope: Environment) -> Vec<(SmolStr, Type)> {
    let mut known: Vec<(SmolStr, Type)> = Vec::new();
    for item in at.items() {
        let (name, source) = (item.get("name"), item.get("expression"));
        if name.str().trim().is_empty() {
            name.required(e, "name is not specified");
        } else if !is_identifier(name.str()) {
            name.bad_str(e, "name is not a valid CEL identifier");
        }
        if source.str().trim().is_empty() {
            source.required(e, "expression is not specified");
            continue;
        }
        let scope = with_variables(scope.clone(), &known);
        let ty = match compile(source.str(), &scope, &[]) {
            Ok(program) => program.output().clone(),
            Err(why) => {
                source.bad_str(e, why);
                Type::Dyn
            }
        };
        known.push((name.str().into(), ty));
    }
    known
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && timonier_cel::escape(name).is_some_and(|escaped| escaped == name)
}

fn validation(e: &mut Errors, at: &At<'_>, scope: &Environment, for_messages: &Environment) {
    let source = at.get("expression");
    if source.str().trim().is_empty() {
        source.required(e, "expression is not specified");
    } else {
        expression(e, &source, source.str(), scope, &[Type::Bool]);
    }
    let by_expression = at.get("messageExpression");
    if !by_expression.str().trim().is_empty() {
        expression(e, &by_expression, by_expression.str(), for_messages, &[Type::Str]);
    } else if !by_expression.str().is_empty() {
        by_expression.bad_str(e, "must be non-empty if specified");
    }
    let message = at.get("message");
    if !message.str().is_empty() && message.str().trim().is_empty() {
        message.bad_str(e, "message must be non-empty if specified");
    } else if message.str().trim().contains(['\n', '\r']) {
        message.bad_str(e, "message must not contain line breaks");
    }
    let reason = at.get("reason");
    if reason.is_set() {
        reason.one_of(e, &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"]);
    }
}

fn annotation(e: &mut Errors, policy: &str, at: &At<'_>, scope: &Environment) {
    let (key, source) = (at.get("key"), at.get("valueExpression"));
    if policy.is_empty() {
        key.bad_str(e, "requires metadata.name be non-empty");
    } else {
        let whole: String = format!("{policy}/{}", key.str());
        for why in names::qualified_name(&whole) {
            key.bad(e, format!("{whole:?}"), why);
        }
    }
    let trimmed = source.str().trim();
    if trimmed.is_empty() {
        source.required(e, "valueExpression is not specified");
    } else if trimmed.len() > MAX_ANNOTATION {
        source.required(e, format!("must not exceed {MAX_ANNOTATION} bytes in length"));
    } else {
        expression(e, &source, trimmed, scope, &[Type::Str, Type::Null]);
    }
}

fn param_kind(e: &mut Errors, at: &At<'_>) {
    let (api, kind) = (at.get("apiVersion"), at.get("kind"));
    if api.demand(e) {
        let (group, version) = api.str().split_once('/').unwrap_or(("", api.str()));
        if version.contains('/') {
            api.bad_str(e, format!("unexpected GroupVersion string: {}", api.str()));
        } else {
            let wrong = names::dns1123_subdomain(group);
            if !group.is_empty() && !wrong.is_empty() {
                api.bad(e, format!("{group:?}"), wrong.join(","));
            }
            let wrong = names::dns1035_label(version);
            if version.is_empty() {
                api.bad_str(e, "version must be specified");
            } else if !wrong.is_empty() {
                api.bad(e, format!("{version:?}"), wrong.join(","));
            }
        }
    }
    if kind.demand(e) {
        let wrong = names::dns1035_label(&kind.str().to_lowercase());
        if !wrong.is_empty() {
            let why = "may have mixed case, but should otherwise match: ";
            kind.bad_str(e, format!("{why}{}", wrong.join(",")));
        }
    }
}

fn match_resources(e: &mut Errors, at: &At<'_>) {
    let policy = at.get("matchPolicy");
    if policy.is_set() {
        policy.one_of(e, &["Equivalent", "Exact"]);
    } else {
        policy.required(e, "");
    }
    for field in ["namespaceSelector", "objectSelector"] {
        let selector = at.get(field);
        if selector.is_set() {
            label_selector(e, &selector);
        } else {
            selector.required(e, "");
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for rule in at.get(field).items() {
            let mut seen = BTreeSet::new();
            for name in rule.get("resourceNames").items() {
                check(e, &name, names::path_segment);
                if !seen.insert(name.str()) {
                    name.bad_duplicate(e, name.str());
                }
            }
            rule_with_operations(e, &rule);
        }
    }
}

/// Checks a written status of a ValidatingAdmissionPolicy. That places are JSONPath is not checked.
pub fn policy_status(e: &mut Errors, new: &Value) {
    let status = At::top(new).get("status");
    for warning in status.get("typeChecking.expressionWarnings").items() {
        warning.get("warning").demand(e);
        let place = warning.get("fieldRef");
        if place.str().trim().is_empty() {
            place.required(e, "");
        }
    }
    super::common::conditions(e, &status.get("conditions"));
}

/// Checks a ValidatingAdmissionPolicyBinding.
pub fn binding(e: &mut Errors, new: &Value) {
    let spec = At::top(new).get("spec");
    let policy = spec.get("policyName");
    if policy.demand(e) {
        policy.each(e, names::dns1123_subdomain(policy.str()));
    }
    let params = spec.get("paramRef");
    if params.is_set() {
        param_ref(e, &params);
    }
    let resources = spec.get("matchResources");
    if resources.is_set() {
        // Upstream's path has this name.
        let path = spec.get("matchResouces").path;
        match_resources(e, &resources.named(path));
    }
    actions(e, &spec.get("validationActions"));
}

fn param_ref(e: &mut Errors, at: &At<'_>) {
    let (name, selector) = (at.get("name"), at.get("selector"));
    let exclusive = "name and selector are mutually exclusive";
    if !name.is_empty() {
        check(e, &name, names::path_segment);
        if selector.is_set() {
            name.forbidden(e, exclusive);
        }
    }
    if selector.is_set() {
        label_selector(e, &selector);
        if !name.is_empty() {
            selector.forbidden(e, exclusive);
        }
    }
    if name.is_empty() && !selector.is_set() {
        at.required(e, "one of name or selector must be specified");
    }
    at.get("parameterNotFoundAction").required_one_of(e, &["Deny", "Allow"]);
}

fn actions(e: &mut Errors, at: &At<'_>) {
    let mut seen = BTreeSet::new();
    for action in at.items() {
        action.one_of(e, &["Audit", "Deny", "Warn"]);
        if !seen.insert(action.str()) {
            action.bad_duplicate(e, action.str());
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        at.invalid(e, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)");
    }
    if seen.is_empty() {
        at.required(e, "at least one validation action is required");
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use timonier_object::value;

    use super::*;

    fn texts(check: fn(&mut Errors, &Value), object: &Value) -> Vec<String> {
        let mut e = Errors::new();
        check(&mut e, object);
        e.iter().map(ToString::to_string).collect()
    }

    fn good() -> Value {
        value!({ "metadata": { "name": "p" }, "spec": {
            "failurePolicy": "Fail",
            "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
            "matchConstraints": { "matchPolicy": "Equivalent", "namespaceSelector": {},
                "objectSelector": {}, "resourceRules": [{ "operations": ["CREATE"],
                    "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"] }] },
            "matchConditions": [{ "name": "c", "expression": "request.name != ''" }],
            "variables": [{ "name": "r", "expression": "object.spec.replicas" },
                { "name": "big", "expression": "variables.r > int(params.data.max)" }],
            "validations": [{ "expression": "!variables.big", "reason": "Forbidden",
                "messageExpression": "'too many: ' + string(variables.r)" }],
            "auditAnnotations": [{ "key": "k", "valueExpression": "variables.big ? 'big' : ''" }],
        } })
    }

    #[test]
    fn policies() {
        assert_eq!(texts(policy, &good()), [""; 0]);
        let mut bad = good();
        bad.set(
            "spec.validations",
            value!([{ "expression": "variables.x == 1", "message": "a\nb" },
            { "expression": "1", "reason": "NotFound", "messageExpression": "2" }]),
        );
        bad.set("spec.matchConditions", value!([{ "name": "", "expression": "variables.r > 1" }]));
        bad.set("spec.variables", value!([{ "name": "1", "expression": "y" }]));
        let found = texts(policy, &bad);
        assert_eq!(
            found,
            [
                "spec.matchConditions[0].expression: Invalid value: \"variables.r > 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'variables' (in container '')\n | variables.r > 1\n | ^",
                "spec.matchConditions[0].name: Required value",
                "spec.variables[0].name: Invalid value: \"1\": name is not a valid CEL identifier",
                "spec.variables[0].expression: Invalid value: \"y\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'y' (in container '')\n | y\n | ^",
                "spec.validations[0].expression: Invalid value: \"variables.x == 1\": compilation failed: ERROR: <input>:1:10: undefined field 'x'\n | variables.x == 1\n | .........^",
                "spec.validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks",
                "spec.validations[1].expression: Invalid value: \"1\": must evaluate to bool",
                "spec.validations[1].messageExpression: Invalid value: \"2\": must evaluate to string",
                "spec.validations[1].reason: Unsupported value: \"NotFound\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\", \"Unauthorized\"",
                "spec.auditAnnotations[0].valueExpression: Invalid value: \"variables.big ? 'big' : ''\": compilation failed: ERROR: <input>:1:10: undefined field 'big'\n | variables.big ? 'big' : ''\n | .........^",
            ]
        );
    }

    #[test]
    fn statuses() {
        let bad = value!({ "status": { "typeChecking": { "expressionWarnings": [{ "fieldRef": " " }] }, "conditions": [{}] } });
        let found = texts(policy_status, &bad);
        assert_eq!(
            found[..2],
            [
                "status.typeChecking.expressionWarnings[0].warning: Required value",
                "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
            ]
        );
        assert!(
            found[2].starts_with("status.conditions[0].type: Invalid value: \"\""),
            "{found:?}"
        );
    }

    #[test]
    fn bindings() {
        let good = value!({ "spec": { "policyName": "p", "validationActions": ["Warn", "Audit"],
            "paramRef": { "name": "n", "parameterNotFoundAction": "Deny" } } });
        assert_eq!(texts(binding, &good), [""; 0]);
        let bad = value!({ "spec": { "validationActions": ["Deny", "Warn"], "paramRef": {} } });
        assert_eq!(texts(binding, &bad).len(), 4);
    }
}
