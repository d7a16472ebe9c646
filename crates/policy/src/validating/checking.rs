//! Whether a policy's expressions fit the types of the objects that it is about. What does not fit
//! is a warning in the policy's status, in upstream's words; it changes nothing else.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_cel::{Environment, Program, Type};
use timonier_meta::GroupVersionKind;
use timonier_object::{Value, value};
use timonier_schema::expressions::{
    Uses, environment, kind_of_resource, type_of_kind, with_variables,
};

/// Policies about more kinds are checked for the first ones.
const MAX_KINDS: usize = 10;

/// The `expressionWarnings` of a policy; `definitions` are the CustomResourceDefinitions.
pub fn check_types(policy: &Value, definitions: &[&Value]) -> Vec<Value> {
    let spec = policy.at("spec");
    let scopes: Vec<(GroupVersionKind, Environment)> = kinds(spec, definitions)
        .into_iter()
        .filter_map(|gvk| {
            let ty = type_of_kind(&gvk, definitions)?;
            Some((gvk, scope(spec, ty, definitions)))
        })
        .collect();
    let mut warnings = Vec::new();
    for (i, validation) in spec.at("validations").items().iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = validation.at(field).str();
            let found = if source.is_empty() { String::new() } else { check(source, &scopes) };
            if !found.is_empty() {
                let at = format!("spec.validations[{i}].{field}");
                warnings.push(value!({ "fieldRef": at, "warning": found }));
            }
        }
    }
    warnings
}

/// What is wrong with an expression, for each kind.
fn check(source: &str, scopes: &[(GroupVersionKind, Environment)]) -> String {
    let of = |(gvk, scope): &(GroupVersionKind, Environment)| {
        let errors = Program::compile(source, scope).err()?;
        let GroupVersionKind { group, version, kind } = gvk;
        Some(format!("{group}/{version}, Kind={kind}: {errors}\n"))
    };
    scopes.iter().filter_map(of).collect::<Vec<_>>().join("\n")
}

/// What expressions about objects of a type may use.
fn scope(spec: &Value, ty: Type, definitions: &[&Value]) -> Environment {
    let mut scope = environment(Uses { params: false, authorizer: true })
        .with("object", ty.clone())
        .with("oldObject", ty);
    let kind = spec.at("paramKind");
    let (group, version) = split(kind.at("apiVersion").str());
    let gvk = GroupVersionKind { group, version, kind: kind.at("kind").smol() };
    if let Some(params) = type_of_kind(&gvk, definitions) {
        scope.declare("params", params);
    }
    let mut variables: Vec<(SmolStr, Type)> = Vec::new();
    for variable in spec.at("variables").items() {
        let known = with_variables(scope.clone(), &variables);
        let compiled = Program::compile(variable.at("expression").str(), &known);
        let ty = compiled.map_or(Type::Dyn, |program| program.output().clone());
        variables.push((variable.at("name").smol(), ty));
    }
    with_variables(scope, &variables)
}

fn split(api_version: &str) -> (SmolStr, SmolStr) {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    (group.into(), version.into())
}

/// The kinds that the policy names, by group, version and kind. Rules with `*` name none.
fn kinds(spec: &Value, definitions: &[&Value]) -> BTreeSet<GroupVersionKind> {
    let mut kinds = BTreeSet::new();
    for rule in spec.at("matchConstraints.resourceRules").items() {
        let sorted = |field: &str| {
            let mut list: Vec<&str> = rule.at(field).items().iter().map(Value::str).collect();
            list.sort_unstable();
            list
        };
        let (groups, versions) = (sorted("apiGroups"), sorted("apiVersions"));
        if groups.iter().chain(&versions).any(|text| text.contains('*')) {
            continue;
        }
        for group in &groups {
            for version in &versions {
                for resource in sorted("resources").iter().filter(|r| !r.contains(['*', '/'])) {
                    kinds.extend(kind_of_resource(group, version, resource, definitions));
                    if kinds.len() == MAX_KINDS {
                        return kinds;
                    }
                }
            }
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_upstreams() {
        let policy = value!({ "spec": { "matchConstraints": { "resourceRules": [
                { "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["replicasets", "deployments", "*/*"] },
                { "apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["pods"] }] },
            "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
            "variables": [{ "name": "n", "expression": "object.spec.replicas" }],
            "validations": [
                { "expression": "object.spec.replicas > 1" },
                { "expression": "object.spec.strategy.type == 'Recreate'" },
                { "expression": "variables.n > 1 && params.data.x == 'y'",
                  "messageExpression": "string(variables.n)" }] } });
        let warnings = check_types(&policy, &[]);
        assert_eq!(
            warnings,
            [value!({ "fieldRef": "spec.validations[1].expression",
                "warning": "apps/v1, Kind=ReplicaSet: ERROR: <input>:1:12: undefined field 'strategy'\n | object.spec.strategy.type == 'Recreate'\n | ...........^\n" })]
        );
        let both = value!({ "spec": { "matchConstraints": (policy.at("spec.matchConstraints")),
            "validations": [{ "expression": "object.foo" }] } });
        let text = check_types(&both, &[])[0].at("warning").str().replace('\n', "~");
        assert!(
            text.starts_with(
                "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'foo'~"
            )
        );
        assert!(text.contains("^~~apps/v1, Kind=ReplicaSet: ERROR:"), "{text}");
    }
}
