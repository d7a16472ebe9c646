//! Expressions: admission policies and the rules of custom resources, with the real kubectl.

use crate::cluster::Cluster;
use crate::shell::{Result, contains, equal};

const POLICY: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: replicas.e2e.example.com}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  variables:
  - {name: most, expression: "2"}
  validations:
  - expression: object.spec.replicas <= variables.most
    messageExpression: "'at most ' + string(variables.most) + ', not ' + string(object.spec.replicas)"
  - expression: "object.spec.replica != 7 || true"
"#;

const BINDING: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: replicas.e2e.example.com}
spec:
  policyName: replicas.e2e.example.com
  validationActions: [ACTION]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: policies}}}
"#;

pub fn a_policy_denies_and_warns(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("policies")?;
    ns.apply(POLICY)?;
    let policy = "validatingadmissionpolicy/replicas.e2e.example.com";
    ns.wait("jsonpath={.status.observedGeneration}=1", &[policy])?;
    let path = "jsonpath={.status.typeChecking.expressionWarnings[*].warning}";
    let warning = ns.kubectl(&["get", policy, "-o", path])?;
    let text = "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replica'";
    contains(&warning, &[text])?;
    ns.apply(&BINDING.replace("ACTION", "Deny"))?;
    let create = ["create", "deployment", "d", "--image=busybox:e2e", "--replicas=3"];
    contains(
        &ns.kubectl_fails(&create, "")?,
        &[
            "deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy 'replicas.e2e.example.com' with binding 'replicas.e2e.example.com' denied request: at most 2, not 3",
        ],
    )?;
    ns.apply(&BINDING.replace("ACTION", "Warn"))?;
    let told = crate::shell::run(&mut ns.command(&create), "")?;
    equal("kubectl's exit code", told.status, 0)?;
    contains(&told.stderr, &["Warning: Validation failed for ValidatingAdmissionPolicy"])?;
    ns.kubectl(&["delete", "validatingadmissionpolicybinding", "replicas.e2e.example.com"])?;
    ns.kubectl(&["delete", policy]).map(drop)
}

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: limits.rules.e2e.example.com}
spec:
  group: rules.e2e.example.com
  scope: Namespaced
  names: {plural: limits, singular: limit, kind: Limit}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {min: {type: integer}, max: {type: integer}}
            x-kubernetes-validations:
            - {rule: self.min <= self.max, message: min is above max}
            - {rule: self.max >= oldSelf.max, message: max may only grow}
"#;

pub fn rules_of_custom_resources_hold(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("rules")?;
    let wrong = DEFINITION.replace("self.min <=", "self.least <=");
    contains(&ns.kubectl_fails(&["apply", "-f", "-"], &wrong)?, &["undefined field 'least'"])?;
    ns.apply(DEFINITION)?;
    ns.wait("condition=Established", &["crd/limits.rules.e2e.example.com"])?;
    let object = |min: i64, max: i64| {
        format!(
            "apiVersion: rules.e2e.example.com/v1\nkind: Limit\nmetadata: {{name: l}}\nspec: {{min: {min}, max: {max}}}\n"
        )
    };
    let apply = ["apply", "-f", "-"];
    contains(&ns.kubectl_fails(&apply, &object(5, 3))?, &["min is above max"])?;
    ns.apply(&object(1, 5))?;
    contains(&ns.kubectl_fails(&apply, &object(1, 4))?, &["max may only grow"])?;
    ns.apply(&object(2, 6))?;
    ns.kubectl(&["delete", "crd", "limits.rules.e2e.example.com"]).map(drop)
}
