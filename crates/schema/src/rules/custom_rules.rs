//! `x-kubernetes-validations` in a CustomResourceDefinition: that the rules compile and make sense.

use alloc::format;

use timonier_cel::Type;
use timonier_object::json;

use super::at::{At, Errors};
use crate::crd::{declare, validations};

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Checks the rules of one schema. `root`: the schema is a resource's own. `alone`: the path to a
/// list or map above whose items cannot be found again in the object before.
pub fn check(e: &mut Errors, schema: &At<'_>, rules: &At<'_>, root: bool, alone: Option<&str>) {
    let resource = root || declare::is_resource(schema.value);
    let ty = declare::type_of(schema.value, "Object", resource);
    for rule in rules.items() {
        words(e, &rule);
        field_path(e, schema, &rule);
        if let Some(ty) = &ty {
            compiled(e, &rule, ty, alone);
        }
    }
}

fn words(e: &mut Errors, at: &At<'_>) {
    let (rule, message) = (at.get("rule"), at.get("message"));
    let breaks = |text: &str| text.trim().contains(['\n', '\r']);
    if rule.str().trim().is_empty() {
        rule.required(e, "rule is not specified");
    }
    if !message.str().is_empty() && message.str().trim().is_empty() {
        message.bad_str(e, "message must be non-empty if specified");
    } else if breaks(message.str()) {
        message.bad_str(e, "message must not contain line breaks");
    } else if breaks(rule.str()) && message.str().is_empty() {
        message.required(e, "message must be specified if rule contains line breaks");
    }
    let by_expression = at.get("messageExpression");
    if !by_expression.str().is_empty() && by_expression.str().trim().is_empty() {
        by_expression.required(e, "messageExpression must be non-empty if specified");
    }
    let reason = at.get("reason");
    if reason.is_set() {
        reason.one_of(e, &REASONS);
    }
}

fn field_path(e: &mut Errors, schema: &At<'_>, rule: &At<'_>) {
    let path = rule.get("fieldPath");
    if path.str().is_empty() {
        return;
    }
    if path.str().trim().is_empty() {
        path.bad_str(e, "fieldPath must be non-empty if specified");
    }
    if path.str().contains(['\n', '\r']) {
        path.bad_str(e, "fieldPath must not contain line breaks");
    }
    if resolve(schema, path.str().trim()).is_none() {
        path.bad_str(e, "fieldPath must be a valid path");
    }
}

/// Follows `.field` and `['key']` through a schema.
fn resolve(schema: &At<'_>, path: &str) -> Option<()> {
    let (mut at, mut rest) = (schema.value, path);
    while !rest.is_empty() {
        let (name, after) = if let Some(quoted) = rest.strip_prefix("['") {
            quoted.split_once("']")?
        } else {
            let plain = rest.strip_prefix('.')?;
            plain.split_at(plain.find(['.', '[']).unwrap_or(plain.len()))
        };
        let values = at.at("additionalProperties");
        at = at.at("properties").get(name).or(values.as_object().map(|_| values))?;
        rest = after;
    }
    Some(())
}

fn compiled(e: &mut Errors, at: &At<'_>, ty: &Type, alone: Option<&str>) {
    let Some(rule) = validations::compile(at.value, ty) else { return };
    let shown = || json::to_string(at.value);
    if let Some(why) = rule.error() {
        at.get("rule").bad(e, shown(), why);
    }
    if let Some(why) = rule.message_error() {
        at.get("messageExpression").bad(e, shown(), why);
    }
    if let Some(path) = alone.filter(|_| rule.transition) {
        let why = format!(
            "oldSelf cannot be used on the uncorrelatable portion of the schema within {path}"
        );
        at.get("rule").bad_str(e, why);
    }
    let optional = at.get("optionalOldSelf");
    if optional.is_set() && rule.error().is_none() && !rule.transition {
        optional.invalid(e, "may not be set if oldSelf is not used in rule");
    }
}
