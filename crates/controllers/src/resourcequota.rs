//! ResourceQuota: what a namespace uses of its quotas
//! (upstream `pkg/controller/resourcequota` and `pkg/quota/v1/evaluator`).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{
    CONFIGMAPS, PERSISTENTVOLUMECLAIMS, PODS, REPLICATIONCONTROLLERS, RESOURCEQUOTAS, SECRETS,
    SERVICES,
};
use timonier_meta::{GroupResource, GroupVersionResource, ObjectKey, Quantity};
use timonier_object::{Value, value};
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

use crate::common::pods;

/// The controller of the status of ResourceQuotas.
pub struct ResourceQuotas;

impl Reconciler for ResourceQuotas {
    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![
            RESOURCEQUOTAS,
            PODS,
            SERVICES,
            CONFIGMAPS,
            SECRETS,
            PERSISTENTVOLUMECLAIMS,
            REPLICATIONCONTROLLERS,
        ]
    }

    fn watches_all(&self) -> bool {
        true
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&RESOURCEQUOTAS) {
            return vec![change.key.clone()];
        }
        let counted = change.new.is_none() || change.old.is_none();
        let matters = counted || change.is(&PODS) || change.is(&SERVICES);
        if !matters {
            return Vec::new();
        }
        let quotas = world.table(&RESOURCEQUOTAS).in_namespace(&change.key.namespace);
        quotas.map(|q| q.key()).collect()
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, _: &Context<'_>) -> Plan {
        let Some(quota) = world.get(&RESOURCEQUOTAS, key).filter(|q| !q.is_deleting()) else {
            return Plan::nothing();
        };
        let hard = quota.at("spec.hard");
        let usage = Usage { world, quota };
        let mut used = BTreeMap::new();
        for (name, _) in hard.entries() {
            if let Some(amount) = usage.of(name) {
                used.insert(name, Value::from(amount));
            }
        }
        let status = value!({ "hard": hard, "used": (used.into_iter().collect::<Value>()) });
        if quota.at("status") == &status {
            return Plan::nothing();
        }
        let mut changed = Value::clone(quota);
        changed.set("status", status);
        Plan::write(Write::update_status(&RESOURCEQUOTAS, changed))
    }
}

struct Usage<'a> {
    world: &'a World,
    quota: &'a Value,
}

impl Usage<'_> {
    /// What is used of a resource; `None` for one that nobody counts.
    fn of(&self, name: &str) -> Option<String> {
        if let Some(counted) = name.strip_prefix("count/") {
            let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
            return Some(self.count(resource, group).to_string());
        }
        match name {
            "pods" => Some(self.pods().count().to_string()),
            "services"
            | "configmaps"
            | "secrets"
            | "persistentvolumeclaims"
            | "replicationcontrollers"
            | "resourcequotas" => Some(self.count(name, "").to_string()),
            "services.nodeports" => Some(self.node_ports().to_string()),
            "services.loadbalancers" => {
                let all = self.services().filter(|s| s.at("spec.type").str() == "LoadBalancer");
                Some(all.count().to_string())
            }
            "requests.storage" => Some(self.storage()),
            "cpu" | "memory" | "ephemeral-storage" => Some(self.compute("requests", name)),
            _ => {
                let (list, resource) = name.split_once('.')?;
                let known = matches!(list, "requests" | "limits");
                known.then(|| self.compute(list, resource))
            }
        }
    }

    fn count(&self, resource: &str, group: &str) -> usize {
        let name = GroupResource { group: group.into(), resource: resource.into() };
        self.world.table_of(&name).in_namespace(self.quota.namespace()).count()
    }

    fn services(&self) -> impl Iterator<Item = &Value> {
        self.world.table(&SERVICES).in_namespace(self.quota.namespace()).map(AsRef::as_ref)
    }

    fn node_ports(&self) -> usize {
        let kinds = ["NodePort", "LoadBalancer"];
        self.services()
            .filter(|s| kinds.contains(&s.at("spec.type").str()))
            .flat_map(|s| s.at("spec.ports").items())
            .filter(|p| p.at("nodePort").int_or(0) > 0)
            .count()
    }

    fn storage(&self) -> String {
        let claims = self.world.table(&PERSISTENTVOLUMECLAIMS).in_namespace(self.quota.namespace());
        let amounts = claims.filter_map(|c| amount(c.at("spec.resources.requests.storage")));
        show(amounts.sum(), false)
    }

    /// The pods that count: those that run, within the quota's scopes.
    fn pods(&self) -> impl Iterator<Item = &Value> {
        let all = self.world.table(&PODS).in_namespace(self.quota.namespace());
        all.map(AsRef::as_ref).filter(|p| !pods::is_terminal(p) && self.in_scope(p))
    }

    fn compute(&self, list: &str, resource: &str) -> String {
        let total = self.pods().map(|p| pod_amount(p, list, resource)).sum();
        show(total, resource == "cpu")
    }

    fn in_scope(&self, pod: &Value) -> bool {
        let plain = self.quota.at("spec.scopes").items().iter().map(Value::str);
        let expressions = self.quota.at("spec.scopeSelector.matchExpressions").items();
        plain.into_iter().all(|s| has_scope(pod, s))
            && expressions.iter().all(|e| match e.at("operator").str() {
                "DoesNotExist" => !has_scope(pod, e.at("scopeName").str()),
                "In" | "NotIn" => {
                    let class = pod.at("spec.priorityClassName").str();
                    let listed = e.at("values").items().iter().any(|v| v.str() == class);
                    listed == (e.at("operator").str() == "In")
                }
                _ => has_scope(pod, e.at("scopeName").str()),
            })
    }
}

fn has_scope(pod: &Value, scope: &str) -> bool {
    let limited = !pod.at("spec.activeDeadlineSeconds").is_null();
    match scope {
        "Terminating" => limited,
        "NotTerminating" => !limited,
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => !pod.at("spec.priorityClassName").is_empty(),
        "CrossNamespacePodAffinity" => {
            let terms = ["podAffinity", "podAntiAffinity"];
            let path = "requiredDuringSchedulingIgnoredDuringExecution";
            terms
                .iter()
                .flat_map(|t| pod.at("spec.affinity").at(t).at(path).items())
                .any(|t| !t.at("namespaces").is_empty() || !t.at("namespaceSelector").is_null())
        }
        _ => false,
    }
}

fn is_best_effort(pod: &Value) -> bool {
    ["containers", "initContainers"].iter().flat_map(|l| pod.at("spec").at(l).items()).all(|c| {
        ["cpu", "memory"].iter().all(|r| {
            c.at("resources.requests").get(r).is_none() && c.at("resources.limits").get(r).is_none()
        })
    })
}

/// What a pod asks for: its containers and sidecars together, or the largest init container.
fn pod_amount(pod: &Value, list: &str, resource: &str) -> i128 {
    let of = |c: &Value| c.at("resources").at(list).get(resource).and_then(amount).unwrap_or(0);
    let main: i128 = pod.at("spec.containers").items().iter().map(of).sum();
    let (mut sidecars, mut most) = (0, 0);
    for container in pod.at("spec.initContainers").items() {
        if container.at("restartPolicy").str() == "Always" {
            sidecars += of(container);
            most = most.max(sidecars);
        } else {
            most = most.max(sidecars + of(container));
        }
    }
    let overhead = pod.at("spec.overhead").get(resource).and_then(amount).unwrap_or(0);
    (main + sidecars).max(most) + overhead
}

/// An amount in thousandths.
fn amount(value: &Value) -> Option<i128> {
    let quantity = match value {
        Value::Int(n) => Quantity::units(*n),
        other => Quantity::parse(other.as_str()?).ok()?,
    };
    Some(i128::from(quantity.milli_value()))
}

fn show(thousandths: i128, decimal: bool) -> String {
    let whole = i64::try_from(thousandths / 1000).unwrap_or(i64::MAX);
    match (decimal, thousandths % 1000) {
        (true, rest) if rest != 0 => {
            format!("{}", Quantity::millis(i64::try_from(thousandths).unwrap_or(i64::MAX)))
        }
        (true, _) => format!("{}", Quantity::units(whole)),
        (false, _) => format!("{}", Quantity::bytes(whole)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{body, object, plan, pod, world};

    #[test]
    fn usage_is_counted_and_summed() {
        let quota = object(
            r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"ns"},
                "spec":{"hard":{"pods":"10","requests.cpu":"2","limits.memory":"1Gi",
                                "count/replicasets.apps":"5","services.nodeports":"1"}}}"#,
        );
        let set = object(
            r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"r","namespace":"ns"}}"#,
        );
        let with = |name: &str, phase: &str| {
            let mut pod = pod(name, &set, value!({}), true);
            pod.set("status.phase", phase);
            pod.entry("spec.containers").make_array()[0].set(
                "resources",
                value!({ "requests": { "cpu": "250m" }, "limits": { "memory": "64Mi" } }),
            );
            pod
        };
        let pods = [with("a", "Running"), with("b", "Pending"), with("c", "Succeeded")];
        let world = world([quota, set.clone()].into_iter().chain(pods));
        let plan = plan(&ResourceQuotas, &world, "q");
        assert_eq!(
            body(&plan, &RESOURCEQUOTAS).at("status.used"),
            &value!({ "pods": "2", "requests.cpu": "500m", "limits.memory": "128Mi",
                      "count/replicasets.apps": "1", "services.nodeports": "0" })
        );
    }
}
