//! Priority and fairness: FlowSchemas and PriorityLevelConfigurations (upstream
//! `pkg/apis/flowcontrol/validation`).

use alloc::collections::BTreeSet;
use alloc::format;

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors};

/// Checks a flow schema.
pub fn schema(e: &mut Errors, new: &Value) {
    let spec = At::top(new).get("spec");
    let order = spec.get("matchingPrecedence");
    if order.int() <= 0 {
        order.bad_int(e, "must be a positive value");
    }
    if order.int() > 10_000 {
        order.bad_int(e, "must not be greater than 10000");
    }
    if order.int() == 1 && new.name() != "exempt" {
        order.bad_int(e, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = spec.get("distinguisherMethod");
    if method.is_set() && !matches!(method.get("type").str(), "ByNamespace" | "ByUser") {
        let mut error = timonier_meta::FieldError::not_supported(
            &method.get("type").path,
            "",
            &["ByNamespace", "ByUser"],
        );
        error.value = super::at::show(method.value);
        e.push(error);
    }
    let level = spec.get("priorityLevelConfiguration.name");
    if level.is_empty() {
        level.required(e, "must reference a priority level");
    } else {
        level.each(e, names::dns1123_subdomain(level.str()));
    }
    spec.get("rules").items().for_each(|r| rule(e, &r));
    conditions(e, new);
}

/// Checks the conditions of a flow schema or a priority level.
pub fn conditions(e: &mut Errors, new: &Value) {
    let mut seen = BTreeSet::new();
    for condition in At::top(new).get("status.conditions").items() {
        let kind = condition.get("type");
        if !seen.insert(kind.str()) {
            kind.bad_duplicate(e, kind.str());
        }
        kind.demand(e);
    }
}

fn rule(e: &mut Errors, at: &At<'_>) {
    let subjects = at.get("subjects");
    if subjects.is_empty() {
        subjects.required(e, "subjects must contain at least one value");
    }
    subjects.items().for_each(|s| subject(e, &s));
    let (resources, others) = (at.get("resourceRules"), at.get("nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        at.required(e, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    resources.items().for_each(|r| resource_rule(e, &r));
    for other in others.items() {
        verbs(e, &other.get("verbs"));
        let urls = other.get("nonResourceURLs");
        if urls.is_empty() {
            urls.required(e, "nonResourceURLs must contain at least one value");
        } else if !alone(e, &urls, "non-resource URLs") {
            urls.items().for_each(|u| url(e, &u));
        }
    }
}

const KINDS: [(&str, &str); 3] =
    [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];

fn subject(e: &mut Errors, at: &At<'_>) {
    let kind = at.get("kind").str();
    let Some((_, own)) = KINDS.iter().find(|(k, _)| *k == kind) else {
        at.get("kind").unsupported(e, &KINDS.map(|(k, _)| k));
        return;
    };
    let of = at.get(own);
    if !of.is_set() {
        of.required(e, format!("{own} is required when subject kind is '{kind}'"));
    } else {
        let name = of.get("name");
        if name.demand(e) && *own == "serviceAccount" && name.str() != "*" {
            name.each(e, names::dns1123_subdomain(name.str()));
        }
        let namespace = of.get("namespace");
        if *own == "serviceAccount" {
            if namespace.is_empty() {
                namespace.required(e, "must specify namespace for service account");
            } else {
                namespace.each(e, names::dns1123_label(namespace.str()));
            }
        }
    }
    for field in ["serviceAccount", "user", "group"].iter().filter(|f| *f != own) {
        if at.get(field).is_set() {
            let other = KINDS.iter().find(|(_, f)| f == field).map_or("", |(k, _)| k);
            at.get(field)
                .forbidden(e, format!("{field} is forbidden when subject kind is not '{other}'"));
        }
    }
}

/// Whether a list has the wildcard, which must stand alone.
fn alone(e: &mut Errors, at: &At<'_>, what: &str) -> bool {
    let wild = at.value.items().iter().any(|v| v.str() == "*");
    if wild && at.len() > 1 {
        at.invalid(e, format!("if '*' is present, must not specify other {what}"));
    }
    wild
}

const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

fn verbs(e: &mut Errors, at: &At<'_>) {
    if at.is_empty() {
        at.required(e, "verbs must contain at least one value");
    } else if !alone(e, at, "verbs") && !at.value.items().iter().all(|v| VERBS.contains(&v.str())) {
        let mut error = timonier_meta::FieldError::not_supported(&at.path, "", &VERBS);
        error.value = super::at::show(at.value);
        e.push(error);
    }
}

fn resource_rule(e: &mut Errors, at: &At<'_>) {
    verbs(e, &at.get("verbs"));
    for (field, one, many) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let list = at.get(field);
        if list.is_empty() {
            list.required(e, format!("resource rules must supply at least one {one}"));
        } else {
            alone(e, &list, many);
        }
    }
    let namespaces = at.get("namespaces");
    if namespaces.is_empty() && !at.get("clusterScope").bool() {
        namespaces.required(
            e,
            "resource rules that are not cluster scoped must supply at least one namespace",
        );
    } else if !alone(e, &namespaces, "namespaces") {
        for namespace in namespaces.items() {
            for why in names::dns1123_label(namespace.str()) {
                namespace.bad_str(
                    e,
                    format!("each member of this list must be '*' or a DNS-1123 label; {why}"),
                );
            }
        }
    }
}

fn url(e: &mut Errors, at: &At<'_>) {
    let text = at.str();
    let why = match text {
        "" => "must not be empty",
        "/" => return,
        _ if !text.starts_with('/') => "must start with slash",
        _ if text.contains(' ') => "must not contain white-space",
        _ if text.contains("//") => "must not contain double slash",
        _ if text.matches('*').count() > 1 || text.contains('*') && !text.ends_with("/*") => {
            "wildcard can only do suffix matching"
        }
        _ => return,
    };
    at.bad_str(e, why);
}

/// Checks a priority level.
pub fn level(e: &mut Errors, new: &Value) {
    let spec = At::top(new).get("spec");
    let (kind, limited, exempt) = (spec.get("type"), spec.get("limited"), spec.get("exempt"));
    if (new.name() == "exempt") != (kind.str() == "Exempt") {
        kind.bad_str(e, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    match kind.str() {
        "Exempt" => {
            if limited.is_set() {
                limited.forbidden(e, "must be nil if the type is not Limited");
            }
            shares(e, &exempt);
        }
        "Limited" => {
            if exempt.is_set() {
                exempt.forbidden(e, "must be nil if the type is Limited");
            }
            if !limited.is_set() {
                limited.required(e, "must not be empty when type is Limited");
            } else {
                limits(e, &limited);
            }
        }
        _ => kind.unsupported(e, &["Exempt", "Limited"]),
    }
    conditions(e, new);
}

fn shares(e: &mut Errors, at: &At<'_>) {
    let nominal = at.get("nominalConcurrencyShares");
    if nominal.int() < 0 {
        nominal.bad_int(e, "must be a non-negative integer");
    }
}

fn lendable(e: &mut Errors, at: &At<'_>) {
    at.get("lendablePercent").within(e, 0, 100);
}

fn limits(e: &mut Errors, at: &At<'_>) {
    shares(e, at);
    let response = at.get("limitResponse");
    let queuing = response.get("queuing");
    match response.get("type").str() {
        "Reject" if queuing.is_set() => {
            queuing.forbidden(e, "must be nil if limited.limitResponse.type is not Limited");
        }
        "Reject" => {}
        "Queue" if !queuing.is_set() => {
            queuing.required(e, "must not be empty if limited.limitResponse.type is Limited");
        }
        "Queue" => queues(e, &queuing),
        _ => response.get("type").unsupported(e, &["Queue", "Reject"]),
    }
    lendable(e, at);
    let borrowing = at.get("borrowingLimitPercent");
    if borrowing.int() < 0 {
        borrowing.bad_int(e, "if specified, must be a non-negative integer");
    }
}

fn queues(e: &mut Errors, at: &At<'_>) {
    let (length, queues, hand) = (at.get("queueLengthLimit"), at.get("queues"), at.get("handSize"));
    if length.int() <= 0 {
        length.bad_int(e, "must be positive");
    }
    if queues.int() <= 0 {
        queues.bad_int(e, "must be positive");
    } else if queues.int() > 10_000_000 {
        queues.bad_int(e, "must not be greater than 10000000");
    }
    if hand.int() <= 0 {
        hand.bad_int(e, "must be positive");
    } else if hand.int() > queues.int() {
        hand.bad_int(e, format!("should not be greater than queues ({})", queues.int()));
    } else if entropy(queues.int(), hand.int()) > 60 {
        hand.bad_int(
            e,
            format!(
                "required entropy bits of deckSize {} and handSize {} should not be greater than 60",
                queues.int(),
                hand.int()
            ),
        );
    }
}

/// The bits that dealing a hand needs: the logarithm of the number of hands, rounded up.
fn entropy(deck: i64, hand: i64) -> u32 {
    let mut hands: u128 = 1;
    for i in 0..hand {
        let Some(next) = hands.checked_mul((deck - i) as u128) else { return u32::MAX };
        hands = next;
    }
    128 - hands.saturating_sub(1).leading_zeros()
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    fn texts(check: impl Fn(&mut Errors)) -> Vec<String> {
        let mut e = Errors::new();
        check(&mut e);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn flow_schemas() {
        let mut good = value!({ "metadata": { "name": "a" }, "spec": { "matchingPrecedence": 100,
            "distinguisherMethod": { "type": "ByUser" },
            "priorityLevelConfiguration": { "name": "global-default" },
            "rules": [{ "subjects": [{ "kind": "Group", "group": { "name": "g" } }],
                "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["/healthz/*"] }],
                "resourceRules": [{ "verbs": ["get"], "apiGroups": ["*"], "resources": ["*"],
                                    "namespaces": ["*"] }] }] } });
        assert_eq!(texts(|e| schema(e, &good)), [""; 0]);
        good.set("spec.matchingPrecedence", 1);
        good.set("spec.rules", value!([{ "subjects": [{ "kind": "User", "group": {} }] }]));
        assert_eq!(
            texts(|e| schema(e, &good)),
            [
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"
            ]
        );
    }

    #[test]
    fn priority_levels() {
        let mut good = value!({ "metadata": { "name": "a" }, "spec": { "type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "limitResponse": { "type": "Queue",
                "queuing": { "queues": 64, "handSize": 8, "queueLengthLimit": 50 } } } } });
        assert_eq!(texts(|e| level(e, &good)), [""; 0]);
        good.set("spec.limited.limitResponse.queuing.queues", 4);
        good.set("spec.limited.lendablePercent", 101);
        assert_eq!(
            texts(|e| level(e, &good)),
            [
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)",
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive"
            ]
        );
        assert!(entropy(64, 8) <= 60 && entropy(512, 8) > 60);
    }
}
