//! `eviction`: a delete that asks the pod's disruption budgets first.

use std::sync::Arc;

use timonier_client::{DeleteOptions, Preconditions};
use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, Cause, GroupVersionKind};
use timonier_object::{Value, label_selector, value};
use timonier_policy::User;

use crate::call::{Call, Object};
use crate::request::RequestInfo;
use crate::strategy::Part;
use crate::verbs::delete;
use crate::write::{self, Write};

/// The kind of the body.
pub const KIND: GroupVersionKind = GroupVersionKind::new_static("policy", "v1", "Eviction");

/// Evicts the pod `name`: 429 where a budget does not allow it now.
pub async fn create(
    call: &Call<'_>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Object, ApiError> {
    let pod = call
        .server
        .peek(&resources::PODS, call.namespace(), name)
        .ok_or_else(|| call.not_found(name))?;
    let mut options = options.clone();
    if !ignores_budgets(&pod)
        && let Some(budget) = budget_of(call, &pod)?
    {
        take_from(call, &budget, &pod, options.dry_run).await?;
        // The pod that the budget was asked about, and no later one of its name.
        options.preconditions =
            Preconditions { uid: Some(pod.uid().into()), ..options.preconditions };
    }
    if !options.dry_run && !pod.is_deleting() {
        mark(call, name, &options.preconditions).await?;
    }
    delete::delete(call, name, &options).await?;
    Ok(Object::made(super::success(201)))
}

/// Says in the pod's status why it goes, for those that count failures (a Job's failure policy).
async fn mark(call: &Call<'_>, name: &str, preconditions: &Preconditions) -> Result<(), ApiError> {
    let now = call.server.env.now().rfc3339();
    let write =
        Write { name, subresource: "status", part: Part::Whole, dry_run: false, applied: false };
    write::modify(call, write, |pod| {
        if let Some(uid) = preconditions.uid.as_ref().filter(|uid| *uid != pod.uid()) {
            let why = format!("the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated", pod.uid());
            return Err(ApiError::conflict(&call.resource(), name, &why));
        }
        let mut marked = pod.clone();
        let conditions = marked.entry("status.conditions").make_array();
        conditions.retain(|c| c.at("type").str() != "DisruptionTarget");
        conditions.push(value!({
            "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": (&now), "observedGeneration": (pod.generation()),
            "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"
        }));
        Ok(marked)
    })
    .await?;
    Ok(())
}

/// Pods that are not running any more, or not yet, count for no budget.
fn ignores_budgets(pod: &Value) -> bool {
    pod.is_deleting() || matches!(pod.at("status.phase").str(), "Succeeded" | "Failed" | "Pending")
}

fn budget_of(call: &Call<'_>, pod: &Value) -> Result<Option<Arc<Value>>, ApiError> {
    let all = call.server.peek_all(&resources::PODDISRUPTIONBUDGETS, call.namespace());
    let mut matching = all.into_iter().filter(|budget| {
        label_selector(budget.at("spec.selector")).is_ok_and(|s| s.matches(|k| pod.label(k)))
    });
    match (matching.next(), matching.next()) {
        (budget, None) => Ok(budget),
        (_, Some(_)) => Err(ApiError::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )),
    }
}

/// Takes one disruption from the budget.
async fn take_from(
    call: &Call<'_>,
    budget: &Value,
    pod: &Value,
    dry_run: bool,
) -> Result<(), ApiError> {
    let unhealthy = !pod.condition_is_true("Ready");
    if unhealthy && budget.at("spec.unhealthyPodEvictionPolicy").str() == "AlwaysAllow" {
        return Ok(());
    }
    let healthy = budget.at("status.currentHealthy").int_or(0);
    let desired = budget.at("status.desiredHealthy").int_or(0);
    if unhealthy && healthy >= desired && desired > 0 {
        return Ok(());
    }
    let info = RequestInfo {
        is_resource: true,
        verb: "update",
        group: "policy".into(),
        version: "v1".into(),
        resource: "poddisruptionbudgets".into(),
        subresource: "status".into(),
        namespace: call.namespace().into(),
        name: budget.name().into(),
        ..RequestInfo::default()
    };
    let user = User::authenticated("system:apiserver", []);
    let Some(of_budget) = Call::find(call.server, &user, &info) else { return Ok(()) };
    let now = call.server.env.now();
    let name = budget.name();
    let write = Write { name, subresource: "status", part: Part::Status, dry_run, applied: false };
    write::modify(&of_budget, write, |budget| {
        check(budget)?;
        let mut new = budget.clone();
        let left = budget.at("status.disruptionsAllowed").int_or(0) - 1;
        new.set("status.disruptionsAllowed", left);
        let map = new.entry("status.disruptedPods").make_object();
        map.insert(pod.name(), now.rfc3339().into());
        Ok(new)
    })
    .await?;
    Ok(())
}

fn check(budget: &Value) -> Result<(), ApiError> {
    let refuse = |why: String| {
        let mut error = ApiError::too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            0,
        );
        error.causes =
            vec![Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() }];
        Err(error)
    };
    if budget.at("status.observedGeneration").int_or(0) < budget.generation() {
        let mut error = ApiError::too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            10,
        );
        error.causes = vec![Cause {
            reason: "DisruptionBudget".into(),
            message: format!(
                "The disruption budget {} is still being processed by the server.",
                budget.name()
            ),
            field: String::new(),
        }];
        return Err(error);
    }
    if budget.at("status.disruptionsAllowed").int_or(0) > 0 {
        return Ok(());
    }
    refuse(format!(
        "The disruption budget {} needs {} healthy pods and has {} currently",
        budget.name(),
        budget.at("status.desiredHealthy").int_or(0),
        budget.at("status.currentHealthy").int_or(0)
    ))
}
