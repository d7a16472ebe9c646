//! Which hooks a request goes to. Upstream's `webhook/predicates` and `webhook/generic`.

use alloc::sync::Arc;

use timonier_object::{Value, label_selector};
use timonier_schema::ResourceRow;

/// One webhook of a configuration.
#[derive(Clone, Copy)]
pub struct Hook<'a> {
    /// The ValidatingWebhookConfiguration or MutatingWebhookConfiguration.
    pub configuration: &'a Value,
    /// The hook's place in it.
    pub index: usize,
    /// The element of `webhooks`.
    pub value: &'a Value,
}

/// What a request is about, as far as hooks choose by it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT`.
    pub operation: &'static str,
    pub subresource: &'a str,
    /// The new state; `Null` in a delete.
    pub object: &'a Value,
    /// The state before; `Null` in a create.
    pub old: &'a Value,
    /// The Namespace that the object is in; `None` for cluster-scoped objects.
    pub namespace: Option<&'a Value>,
    /// The row of the request first, then those of the resource's other versions.
    pub rows: &'a [Arc<ResourceRow>],
}

/// The hooks of a configuration, in order.
pub fn hooks(configuration: &Value) -> impl Iterator<Item = Hook<'_>> {
    let hooks = configuration.at("webhooks").items().iter().enumerate();
    hooks.map(move |(index, value)| Hook { configuration, index, value })
}

impl<'a> Hook<'a> {
    /// The hook's own name.
    pub fn name(&self) -> &'a str {
        self.value.at("name").str()
    }

    /// Whether a failed call refuses the request.
    pub fn fails_closed(&self) -> bool {
        self.value.at("failurePolicy").str() != "Ignore"
    }

    /// How long the hook may take, in seconds.
    pub fn timeout_seconds(&self) -> u64 {
        self.value.at("timeoutSeconds").int_or(10).clamp(1, 30) as u64
    }

    /// Whether the hook may be called for a request that stores nothing.
    pub fn takes_dry_run(&self) -> bool {
        matches!(self.value.at("sideEffects").str(), "None" | "NoneOnDryRun")
    }

    /// Whether a mutating hook wants to see what later hooks changed.
    pub fn runs_again(&self) -> bool {
        self.value.at("reinvocationPolicy").str() == "IfNeeded"
    }

    /// The newest version of AdmissionReview that hook and server have in common.
    pub fn review_version(&self) -> Option<&'static str> {
        let asked = self.value.at("admissionReviewVersions").items();
        asked.iter().find_map(|v| match v.str() {
            "v1" => Some("v1"),
            "v1beta1" => Some("v1beta1"),
            _ => None,
        })
    }

    /// The version of the resource that the hook wants to see. `None`: it is not asked.
    /// The error names a selector that cannot be read.
    pub fn wants<'r>(
        &self,
        asked: &Asked<'r>,
    ) -> Result<Option<&'r Arc<ResourceRow>>, alloc::string::String> {
        if is_exempt(asked) || !selectors_match(self.value, asked)? {
            return Ok(None);
        }
        let rules = self.value.at("rules").items();
        let exact = self.value.at("matchPolicy").str() == "Exact";
        let rows = if exact { &asked.rows[..asked.rows.len().min(1)] } else { asked.rows };
        Ok(rows.iter().find(|row| rules.iter().any(|rule| rule_matches(rule, asked, row))))
    }
}

/// Whether no hook and no policy is asked: they must not be able to lock out their own repair.
pub fn is_exempt(asked: &Asked<'_>) -> bool {
    asked.rows.first().is_some_and(|row| {
        row.gvr.group == "admissionregistration.k8s.io"
            && matches!(
                row.gvr.resource.as_str(),
                "validatingwebhookconfigurations"
                    | "mutatingwebhookconfigurations"
                    | "validatingadmissionpolicies"
                    | "validatingadmissionpolicybindings"
                    | "mutatingadmissionpolicies"
                    | "mutatingadmissionpolicybindings"
            )
    })
}

/// Whether a `RuleWithOperations` is about the request, seen as one to `row`.
pub fn rule_matches(rule: &Value, asked: &Asked<'_>, row: &ResourceRow) -> bool {
    let has = |field: &str, wanted: &str| {
        rule.at(field).items().iter().any(|v| v.str() == "*" || v.str() == wanted)
    };
    // A Namespace counts as namespaced nowhere but here: its own subresources are in no namespace.
    let scope = match rule.at("scope").str() {
        "Namespaced" => row.namespaced,
        "Cluster" => !row.namespaced,
        _ => true,
    };
    scope
        && has("operations", asked.operation)
        && has("apiGroups", &row.gvr.group)
        && has("apiVersions", &row.gvr.version)
        && resource_matches(rule, &row.gvr.resource, asked.subresource)
}

fn resource_matches(rule: &Value, resource: &str, subresource: &str) -> bool {
    rule.at("resources").items().iter().any(|pattern| {
        let (of, sub) = pattern.str().split_once('/').unwrap_or((pattern.str(), ""));
        (of == "*" || of == resource) && (sub == "*" || sub == subresource)
    })
}

/// Whether `namespaceSelector` and `objectSelector` of `selectors` choose the request.
pub fn selectors_match(
    selectors: &Value,
    asked: &Asked<'_>,
) -> Result<bool, alloc::string::String> {
    let chosen = |field: &str, object: &Value| {
        let selector = selectors.at(field);
        if selector.is_null() {
            return Ok(true);
        }
        Ok::<bool, alloc::string::String>(
            label_selector(selector)?.matches(|key| object.label(key)),
        )
    };
    let is_namespace = asked
        .rows
        .first()
        .is_some_and(|row| row.gvr.group.is_empty() && row.gvr.resource == "namespaces");
    let by_namespace = if is_namespace {
        let own = if asked.object.is_null() { asked.old } else { asked.object };
        chosen("namespaceSelector", own)?
    } else {
        match asked.namespace {
            Some(namespace) => chosen("namespaceSelector", namespace)?,
            None => true,
        }
    };
    if !by_namespace {
        return Ok(false);
    }
    let selector = selectors.at("objectSelector");
    if selector.is_null() || selector.is_empty() {
        return Ok(true);
    }
    let mut of = [asked.object, asked.old].into_iter().filter(|o| !o.is_null());
    of.try_fold(false, |any, object| Ok(any || chosen("objectSelector", object)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;
    use timonier_schema::Catalogue;

    fn row(resource: &str, group: &str, version: &str) -> Arc<ResourceRow> {
        Catalogue::builtin().resource(group, version, resource).unwrap().clone()
    }

    fn wants(hook: &Value, asked: &Asked<'_>) -> bool {
        Hook { configuration: hook, index: 0, value: hook }.wants(asked).unwrap().is_some()
    }

    fn rule(resource: &str, operation: &str) -> Value {
        value!({ "rules": [{ "apiGroups": ["*"], "apiVersions": ["v1"],
            "resources": [resource], "operations": [operation] }] })
    }

    #[test]
    fn rules_choose() {
        let rows = [row("pods", "", "v1")];
        let null = Value::Null;
        let pod = value!({ "metadata": { "labels": { "a": "b" } } });
        let mut asked = Asked {
            operation: "CREATE",
            subresource: "",
            object: &pod,
            old: &null,
            namespace: None,
            rows: &rows,
        };
        assert!(wants(&rule("pods", "CREATE"), &asked) && wants(&rule("*", "*"), &asked));
        assert!(wants(&rule("*/*", "*"), &asked), "a star stands for no subresource, too");
        assert!(!wants(&rule("pods", "UPDATE"), &asked) && !wants(&rule("services", "*"), &asked));
        asked.subresource = "status";
        assert!(!wants(&rule("pods", "CREATE"), &asked) && !wants(&rule("*", "*"), &asked));
        assert!(wants(&rule("pods/status", "*"), &asked) && wants(&rule("pods/*", "*"), &asked));
        assert!(wants(&rule("*/status", "*"), &asked));
    }

    #[test]
    fn selectors_choose() {
        let rows = [row("pods", "", "v1")];
        let null = Value::Null;
        let old = value!({ "metadata": { "labels": { "a": "b" } } });
        let new = value!({ "metadata": {} });
        let namespace = value!({ "metadata": { "labels": { "team": "x" } } });
        let asked = Asked {
            operation: "UPDATE",
            subresource: "",
            object: &new,
            old: &old,
            namespace: Some(&namespace),
            rows: &rows,
        };
        let with = |field: &str, key: &str, value: &str| {
            let mut hook = rule("pods", "*");
            let mut labels = Value::object();
            labels.set(key, value);
            hook.set(field, value!({ "matchLabels": (labels) }));
            hook
        };
        assert!(wants(&with("objectSelector", "a", "b"), &asked), "the old labels count");
        assert!(!wants(&with("objectSelector", "a", "c"), &asked));
        assert!(wants(&with("namespaceSelector", "team", "x"), &asked));
        assert!(!wants(&with("namespaceSelector", "team", "y"), &asked));
        let gone = Asked { object: &null, ..asked };
        assert!(wants(&with("objectSelector", "a", "b"), &gone));
    }

    #[test]
    fn equivalent_versions_count_unless_exact() {
        let rows = [row("events", "", "v1"), row("events", "events.k8s.io", "v1")];
        let null = Value::Null;
        let asked = Asked {
            operation: "CREATE",
            subresource: "",
            object: &null,
            old: &null,
            namespace: None,
            rows: &rows,
        };
        let mut hook = value!({ "rules": [{ "apiGroups": ["events.k8s.io"], "apiVersions": ["v1"],
            "resources": ["events"], "operations": ["*"] }] });
        let found = Hook { configuration: &hook, index: 0, value: &hook }.wants(&asked).unwrap();
        assert_eq!(found.unwrap().gvr.group, "events.k8s.io");
        hook.set("matchPolicy", "Exact");
        assert!(!wants(&hook, &asked));
    }

    #[test]
    fn configurations_are_out_of_reach() {
        let rows = [row("validatingwebhookconfigurations", "admissionregistration.k8s.io", "v1")];
        let null = Value::Null;
        let asked = Asked {
            operation: "DELETE",
            subresource: "",
            object: &null,
            old: &null,
            namespace: None,
            rows: &rows,
        };
        assert!(!wants(&rule("*", "*"), &asked));
    }
}
