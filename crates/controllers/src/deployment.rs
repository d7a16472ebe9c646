//! Deployment: rolls out templates by scaling ReplicaSets (upstream `pkg/controller/deployment`).

mod annotations;
mod rollout;
mod scale;
mod sets;
mod status;
#[cfg(test)]
mod tests;

use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::gvk::resources::{DEPLOYMENTS, PODS, REPLICASETS};
use timonier_meta::{GroupVersionResource, ObjectKey};
use timonier_object::{Value, label_selector};
use timonier_reconcile::{Change, Context, PatchKind, Plan, Reason, Reconciler, World, Write};

use crate::common::claim::claim;
use annotations::{REVISION, ROLLBACK_TO};
use sets::Sets;

/// The controller of Deployments.
pub struct Deployments;

impl Reconciler for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![DEPLOYMENTS, REPLICASETS, PODS]
    }

    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey> {
        if change.is(&DEPLOYMENTS) {
            return vec![change.key.clone()];
        }
        if change.is(&PODS) {
            return of_deleted_pod(change, world);
        }
        let mut keys = change.controllers("apps", "Deployment");
        if let Some(set) = change.new.as_ref().filter(|s| s.controller().is_none()) {
            let deployments = world.table(&DEPLOYMENTS).in_namespace(set.namespace());
            let matching = deployments.filter(|d| {
                label_selector(d.at("spec.selector")).is_ok_and(|s| s.matches(|k| set.label(k)))
            });
            keys.extend(matching.map(|d| d.key()));
        }
        keys
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(deployment) = world.get(&DEPLOYMENTS, key) else { return Plan::nothing() };
        let Ok(selector) = label_selector(deployment.at("spec.selector")) else {
            return Plan::nothing();
        };
        if selector.is_everything() {
            return selecting_all(deployment);
        }
        let claimed = claim(world, &REPLICASETS, deployment, &selector, |_| true);
        let mut sets = Sets::new(deployment, claimed.objects, world, context);
        let done = if deployment.is_deleting() {
            status::plain(&mut sets)
        } else {
            decide(&mut sets, world)
        };
        status::create_failure(&mut sets);
        let mut plan = done.unwrap_or_else(|| sets.into_plan());
        plan.writes.splice(0..0, claimed.writes);
        plan
    }
}

/// What kind of step is due. Gives a plan where the Deployment itself must change first.
fn decide(sets: &mut Sets<'_>, world: &World) -> Option<Plan> {
    status::check_paused(sets);
    if sets.is_paused() {
        return scale::sync(sets);
    }
    if let Some(revision) = sets.deployment.annotation(ROLLBACK_TO) {
        return Some(rollback(sets, revision.parse().unwrap_or(0)));
    }
    if scale::is_scaling(sets) {
        return scale::sync(sets);
    }
    match sets.deployment.at("spec.strategy.type").str() {
        "Recreate" => rollout::recreate(sets, world),
        _ => rollout::rolling(sets),
    }
}

/// A pod that is gone matters to a Deployment that recreates its pods.
fn of_deleted_pod(change: &Change, world: &World) -> Vec<ObjectKey> {
    let gone = match (&change.old, &change.new) {
        (Some(old), None) => old,
        (_, Some(new)) if crate::pods::is_terminal(new) => new,
        _ => return Vec::new(),
    };
    let Some(owner) = gone.controller().filter(|o| o.kind == "ReplicaSet") else {
        return Vec::new();
    };
    let key = ObjectKey::new(gone.namespace(), owner.name);
    let set = world.get(&REPLICASETS, &key).and_then(|set| set.controller());
    set.map(|d| ObjectKey::new(key.namespace, d.name)).into_iter().collect()
}

fn selecting_all(deployment: &Value) -> Plan {
    let mut plan = Plan::nothing();
    if deployment.at("status.observedGeneration").int_or(0) < deployment.generation() {
        let mut changed = deployment.clone();
        changed.set("status.observedGeneration", deployment.generation());
        plan.writes.push(Write::update_status(&DEPLOYMENTS, changed));
        plan.because.push(Reason::warning(
            deployment,
            "SelectingAll",
            "This deployment is selecting all pods. A non-empty selector is required.",
        ));
    }
    plan
}

/// `rollbackTo` of `extensions/v1beta1`, which lives on as an annotation.
fn rollback(sets: &Sets<'_>, revision: i64) -> Plan {
    let deployment = sets.deployment;
    let wanted = if revision == 0 { sets.last_revision() } else { revision };
    let found = sets.with_revision(wanted).filter(|_| wanted != 0);
    let mut patch = Value::object();
    patch.entry("metadata.annotations").make_object().insert(ROLLBACK_TO, Value::Null);
    let reason = match found {
        None if revision == 0 => Reason::warning(
            deployment,
            "DeploymentRollbackRevisionNotFound",
            "Unable to find last revision.",
        ),
        None => Reason::warning(
            deployment,
            "DeploymentRollbackRevisionNotFound",
            "Unable to find the revision to rollback to.",
        ),
        Some(set) if sets::same_template(set, deployment) => Reason::warning(
            deployment,
            "DeploymentRollbackTemplateUnchanged",
            alloc::format!(
                "The rollback revision contains the same template as current deployment {:?}",
                deployment.name()
            ),
        ),
        Some(set) => {
            let mut changed = deployment.clone();
            changed.set("spec.template", sets::template_without_hash(set));
            annotations::from_set(&mut changed, set);
            if let Some(all) = changed.find_mut("metadata.annotations") {
                all.make_object().remove(ROLLBACK_TO);
            }
            let message = alloc::format!(
                "Rolled back deployment {:?} to revision {wanted}",
                deployment.name()
            );
            let mut plan = Plan::write(Write::update(&DEPLOYMENTS, changed));
            plan.because.push(Reason::normal(deployment, "DeploymentRollback", message));
            return plan;
        }
    };
    let mut plan = Plan::write(Write::patch(&DEPLOYMENTS, deployment, PatchKind::Merge, patch));
    plan.because.push(reason);
    plan
}

/// Sets the revision of the Deployment to that of its new ReplicaSet.
fn revision_patch(deployment: &Value, revision: &str) -> Write {
    let mut patch = Value::object();
    patch.entry("metadata.annotations").make_object().insert(REVISION, revision.into());
    Write::patch(&DEPLOYMENTS, deployment, PatchKind::Merge, patch)
}
