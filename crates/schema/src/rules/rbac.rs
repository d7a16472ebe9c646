//! Roles and bindings.

use timonier_meta::names;
use timonier_object::Value;

use super::at::{At, Errors, show};
use super::common::{check, label_selector};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks a Role or a ClusterRole.
pub fn role(e: &mut Errors, new: &Value, namespaced: bool) {
    let top = At::top(new);
    for rule in top.get("rules").items() {
        policy_rule(e, &rule, namespaced);
    }
    let aggregation = top.get("aggregationRule");
    if namespaced || !aggregation.is_set() {
        return;
    }
    let selectors = aggregation.get("clusterRoleSelectors");
    if selectors.is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        selectors.required(e, why);
    }
    for selector in selectors.items() {
        let before = e.len();
        label_selector(e, &selector);
        if e.len() > before {
            selector.bad(e, "null", "invalid label selector.");
        }
    }
}

fn policy_rule(e: &mut Errors, rule: &At<'_>, namespaced: bool) {
    if rule.get("verbs").is_empty() {
        rule.get("verbs").required(e, "verbs must contain at least one value");
    }
    let (urls, groups) = (rule.get("nonResourceURLs"), rule.get("apiGroups"));
    let (resources, of) = (rule.get("resources"), rule.get("resourceNames"));
    if !urls.is_empty() {
        if namespaced {
            urls.invalid(e, "namespaced rules cannot apply to non-resource URLs");
        }
        if !groups.is_empty() || !resources.is_empty() || !of.is_empty() {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            urls.invalid(e, why);
        }
        return;
    }
    if groups.is_empty() {
        groups.required(e, "resource rules must supply at least one api group");
    }
    if resources.is_empty() {
        resources.required(e, "resource rules must supply at least one resource");
    }
}

/// Checks a RoleBinding or a ClusterRoleBinding.
pub fn binding(e: &mut Errors, new: &Value, old: Option<&Value>, namespaced: bool) {
    let top = At::top(new);
    let role = top.get("roleRef");
    role.get("apiGroup").one_of(e, &[GROUP]);
    if namespaced {
        role.get("kind").one_of(e, &["Role", "ClusterRole"]);
    } else {
        role.get("kind").one_of(e, &["ClusterRole"]);
    }
    if role.get("name").demand(e) {
        check(e, &role.get("name"), names::path_segment);
    }
    for subject in top.get("subjects").items() {
        self::subject(e, &subject, namespaced);
    }
    if old.is_some_and(|old| *old.at("roleRef") != *role.value) {
        let printed = timonier_object::value!({
            "APIGroup": (role.value.at("apiGroup").clone()),
            "Kind": (role.value.at("kind").clone()),
            "Name": (role.value.at("name").clone())
        });
        role.bad(e, show(&printed), "cannot change roleRef");
    }
}

fn subject(e: &mut Errors, at: &At<'_>, namespaced: bool) {
    let (name, group) = (at.get("name"), at.get("apiGroup"));
    name.demand(e);
    match at.get("kind").str() {
        "ServiceAccount" => {
            if !name.is_empty() {
                check(e, &name, names::dns1123_subdomain);
            }
            if !group.is_empty() {
                group.unsupported(e, &[""]);
            }
            if !namespaced && at.get("namespace").is_empty() {
                at.get("namespace").required(e, "");
            }
        }
        "User" | "Group" => {
            group.one_of(e, &[GROUP]);
        }
        _ => at.get("kind").unsupported(e, &["ServiceAccount", "User", "Group"]),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    #[test]
    fn a_binding_keeps_its_role() {
        let of = |name: &str| {
            value!({ "roleRef": { "apiGroup": GROUP, "kind": "Role", "name": name },
            "subjects": [{ "kind": "User", "name": "u", "apiGroup": GROUP }] })
        };
        let mut e = Errors::new();
        binding(&mut e, &of("a"), Some(&of("a")), true);
        assert!(e.is_empty(), "{e:?}");
        binding(&mut e, &of("b"), Some(&of("a")), true);
        binding(&mut e, &of("a"), None, false);
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert!(texts[0].ends_with("\"Name\":\"b\"}: cannot change roleRef"), "{texts:?}");
        assert_eq!(
            texts[1],
            "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""
        );
    }
}
