//! What must have come about in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smol_str::SmolStr;
use timonier_controllers::pods;
use timonier_meta::GroupVersionResource;
use timonier_meta::gvk::resources::{
    CONFIGMAPS, DAEMONSETS, DEPLOYMENTS, ENDPOINTS, ENDPOINTSLICES, JOBS, NAMESPACES, NODES,
    PODDISRUPTIONBUDGETS, PODS, REPLICASETS, SERVICEACCOUNTS, SERVICES, STATEFULSETS,
};
use timonier_object::{Value, label_selector};

use crate::audit::Audit;
use crate::checks::network::reservations;

/// The wishes that are not fulfilled yet; empty when all are.
pub fn unfulfilled(audit: &Audit) -> Vec<String> {
    let world = Final { audit };
    let mut open = Vec::new();
    world.owners(&mut open);
    world.namespaces(&mut open);
    world.nodes(&mut open);
    world.deployments(&mut open);
    world.replica_sets(&mut open);
    world.stateful_sets(&mut open);
    world.daemon_sets(&mut open);
    world.budgets(&mut open);
    world.jobs(&mut open);
    world.services(&mut open);
    world.pods(&mut open);
    open
}

/// The Services' reservations after a restart: exactly those in use.
pub fn misreserved(audit: &Audit) -> Option<String> {
    let used: BTreeSet<SmolStr> =
        audit.all(&SERVICES).iter().flat_map(|s| reservations(s)).collect();
    let prefixes = ["/registry/networking.k8s.io/ipaddresses/", "/registry/ranges/"];
    let there: BTreeSet<SmolStr> = prefixes.iter().flat_map(|p| audit.keys(p)).collect();
    let wrong: Vec<&SmolStr> = used.symmetric_difference(&there).collect();
    (!wrong.is_empty()).then(|| format!("reserved or used, and not both: {wrong:?}"))
}

struct Final<'a> {
    audit: &'a Audit,
}

impl Final<'_> {
    fn all(&self, resource: &GroupVersionResource) -> Vec<Arc<Value>> {
        self.audit.all(resource)
    }

    fn pods_of(&self, owner: &Value) -> Vec<Arc<Value>> {
        let mut all = self.all(&PODS);
        all.retain(|p| p.controller().is_some_and(|o| o.uid == owner.uid()));
        all
    }

    /// Nothing outlives its owners, and nothing stays on its way out.
    fn owners(&self, open: &mut Vec<String>) {
        let everything = self.audit.everything();
        let uids: BTreeSet<&str> = everything.iter().map(|o| o.uid()).collect();
        for object in &everything {
            for owner in object.owners() {
                if !uids.contains(owner.uid.as_str()) {
                    open.push(format!("{} {} has lost its owner", object.kind(), object.key()));
                }
            }
            if object.is_deleting() {
                open.push(format!("{} {} is not gone", object.kind(), object.key()));
            }
        }
    }

    fn namespaces(&self, open: &mut Vec<String>) {
        let has = |r: &GroupVersionResource, namespace: &str, name: &str| {
            self.all(r).iter().any(|o| o.namespace() == namespace && o.name() == name)
        };
        for namespace in self.all(&NAMESPACES) {
            let name = namespace.name();
            if !has(&SERVICEACCOUNTS, name, "default") {
                open.push(format!("namespace {name} has no default ServiceAccount"));
            }
            if !has(&CONFIGMAPS, name, "kube-root-ca.crt") {
                open.push(format!("namespace {name} has no root CA"));
            }
        }
    }

    fn nodes(&self, open: &mut Vec<String>) {
        for node in self.all(&NODES) {
            if !node.condition_is_true("Ready") || !node.at("spec.taints").items().is_empty() {
                open.push(format!("node {} is not ready, or tainted", node.name()));
            }
        }
    }

    fn deployments(&self, open: &mut Vec<String>) {
        for d in self.all(&DEPLOYMENTS) {
            let wanted = d.at("spec.replicas").int_or(1);
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            let fine = counts.iter().all(|f| d.at("status").at(f).int_or(0) == wanted)
                && d.at("status.observedGeneration").int_or(0) == d.generation();
            let progress = d.condition("Progressing").map_or("", |c| c.at("reason").str());
            if !fine || !d.condition_is_true("Available") || progress != "NewReplicaSetAvailable" {
                open.push(format!("Deployment {} is not complete: {}", d.key(), d.at("status")));
            }
        }
    }

    fn replica_sets(&self, open: &mut Vec<String>) {
        for set in self.all(&REPLICASETS) {
            let wanted = set.at("spec.replicas").int_or(1);
            let pods = self.pods_of(&set);
            let active = pods.iter().filter(|p| pods::is_active(p)).count() as i64;
            if active != wanted || set.at("status.availableReplicas").int_or(0) != wanted {
                open.push(format!("ReplicaSet {} has {active} of {wanted} pods", set.key()));
            }
        }
    }

    fn stateful_sets(&self, open: &mut Vec<String>) {
        for set in self.all(&STATEFULSETS) {
            let wanted = set.at("spec.replicas").int_or(1);
            let counts = ["replicas", "readyReplicas", "availableReplicas", "updatedReplicas"];
            let names = self.pods_of(&set).iter().map(|p| p.name().to_string()).collect();
            let expected: BTreeSet<String> =
                (0..wanted).map(|n| format!("{}-{n}", set.name())).collect();
            let fine = counts.iter().all(|f| set.at("status").at(f).int_or(0) == wanted)
                && expected == names
                && set.at("status.observedGeneration").int_or(0) == set.generation()
                && set.at("status.currentRevision") == set.at("status.updateRevision");
            if !fine {
                let status = set.at("status");
                open.push(format!("StatefulSet {} is not complete: {names:?} {status}", set.key()));
            }
        }
    }

    fn budgets(&self, open: &mut Vec<String>) {
        for budget in self.all(&PODDISRUPTIONBUDGETS) {
            let Ok(selector) = label_selector(budget.at("spec.selector")) else { continue };
            let pods = self.all(&PODS);
            let of = |p: &&Arc<Value>| {
                p.namespace() == budget.namespace()
                    && selector.matches(|k| p.label(k))
                    && pods::is_active(p)
            };
            let healthy = pods.iter().filter(of).filter(|p| pods::is_ready(p)).count() as i64;
            let said = budget.at("status.currentHealthy").int_or(0);
            if said != healthy {
                let key = budget.key();
                open.push(format!("budget {key} counts {said} healthy pods, there are {healthy}"));
            }
        }
    }

    fn daemon_sets(&self, open: &mut Vec<String>) {
        let nodes = self.all(&NODES).len() as i64;
        for set in self.all(&DAEMONSETS) {
            let count = |f: &str| set.at("status").at(f).int_or(0);
            let fine = count("desiredNumberScheduled") == nodes
                && count("numberAvailable") == nodes
                && count("updatedNumberScheduled") == nodes
                && count("numberMisscheduled") == 0;
            if !fine {
                open.push(format!("DaemonSet {} is not complete: {}", set.key(), set.at("status")));
            }
        }
    }

    fn jobs(&self, open: &mut Vec<String>) {
        for job in self.all(&JOBS) {
            let complete = job.condition_is_true("Complete");
            if !complete && !job.condition_is_true("Failed") {
                open.push(format!("Job {} has not ended: {}", job.key(), job.at("status")));
            }
            let (wanted, succeeded) =
                (job.at("spec.completions").int_or(0), job.at("status.succeeded").int_or(0));
            if complete && succeeded < wanted {
                open.push(format!("Job {} is complete with {succeeded} of {wanted}", job.key()));
            }
            for pod in self.pods_of(&job) {
                if pod.finalizers().next().is_some() || !pods::is_terminal(&pod) {
                    open.push(format!("pod {} of an ended Job is held or runs", pod.key()));
                }
            }
        }
    }

    /// Both forms of endpoints list exactly the ready pods.
    fn services(&self, open: &mut Vec<String>) {
        for service in self.all(&SERVICES) {
            if service.at("spec.selector").is_empty() {
                continue;
            }
            let app = service.at("spec.selector.app").str();
            let mut ready: Vec<SmolStr> = self
                .all(&PODS)
                .iter()
                .filter(|p| p.namespace() == service.namespace() && p.label("app") == Some(app))
                .filter(|p| pods::is_active(p) && pods::is_ready(p))
                .map(|p| p.at("status.podIP").smol())
                .collect();
            ready.sort();
            let mut sliced: Vec<SmolStr> = Vec::new();
            let slices = self.all(&ENDPOINTSLICES);
            let of = |o: &Value| {
                o.namespace() == service.namespace()
                    && o.label("kubernetes.io/service-name") == Some(service.name())
            };
            for endpoint in slices.iter().filter(|s| of(s)).flat_map(|s| s.at("endpoints").items())
            {
                if endpoint.at("conditions.ready").bool() {
                    sliced.extend(endpoint.at("addresses").items().iter().map(Value::smol));
                }
            }
            sliced.sort();
            let endpoints = self.all(&ENDPOINTS);
            let mut listed: Vec<SmolStr> = endpoints
                .iter()
                .filter(|e| e.key() == service.key())
                .flat_map(|e| e.at("subsets").items())
                .flat_map(|s| s.at("addresses").items())
                .map(|a| a.at("ip").smol())
                .collect();
            listed.sort();
            if sliced != ready || listed != ready {
                open.push(format!(
                    "Service {} has {ready:?}; slices say {sliced:?}, endpoints {listed:?}",
                    service.key()
                ));
            }
        }
    }

    fn pods(&self, open: &mut Vec<String>) {
        let nodes: BTreeMap<SmolStr, Arc<Value>> =
            self.all(&NODES).into_iter().map(|n| (n.name().into(), n)).collect();
        for pod in self.all(&PODS) {
            let node = pod.at("spec.nodeName").smol();
            if !pods::is_terminal(&pod) && !nodes.contains_key(&node) {
                open.push(format!("pod {} is on no node", pod.key()));
            }
        }
    }
}
