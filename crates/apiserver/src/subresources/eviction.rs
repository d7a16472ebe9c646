//! `eviction`: a delete that asks the pod's disruption budgets first.

use std::sync::Arc;

use timonier_client::DeleteOptions;
use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, Cause, GroupVersionKind};
use timonier_object::{Value, label_selector, value};
use timonier_policy::User;

use crate::admission::node_restriction;
use crate::call::{Call, Object};
use crate::request::RequestInfo;
use crate::resource::delete_options_of;
use crate::strategy::Part;
use crate::verbs::delete;
use crate::write::{self, Write};

/// The kind of the body.
pub const KIND: GroupVersionKind = GroupVersionKind::new_static("policy", "v1", "Eviction");

/// A pod that others write all the time is tried again this often, as upstream.
const ATTEMPTS: usize = 20;

/// Evicts the pod `name`: 429 where a budget does not allow it now. `body` is the Eviction, which
/// admission has seen.
pub async fn create(
    call: &Call<'_>,
    name: &str,
    body: &Value,
    dry_run: bool,
) -> Result<Object, ApiError> {
    super::check_name(name, body)?;
    let mut options = delete_options_of(body.at("deleteOptions"))?;
    options.dry_run |= dry_run;
    node_restriction::check_eviction(call, name)?;
    for _ in 0..ATTEMPTS {
        let pod = peek(call, name)?;
        delete::check_preconditions(call, name, &pod, &options.preconditions)?;
        // A pod that changed is looked at again; what a budget has granted is not asked for twice.
        let again = ignores_budgets(&pod) && options.preconditions.resource_version.is_none();
        match attempt(call, &pod, &options).await {
            Err(error) if error.code == 409 && again => {}
            done => return done,
        }
    }
    Err(ApiError::modified(&call.resource(), name))
}

fn peek(call: &Call<'_>, name: &str) -> Result<Arc<Value>, ApiError> {
    let pod = call.server.peek(&resources::PODS, call.namespace(), name);
    pod.ok_or_else(|| call.not_found(name))
}

/// Evicts the pod as it is. 409 where it changed and was meant as it was.
async fn attempt(call: &Call<'_>, pod: &Value, stated: &DeleteOptions) -> Result<Object, ApiError> {
    let mut options = stated.clone();
    let budget = if ignores_budgets(pod) { None } else { budget_of(call, pod)? };
    let counted = match &budget {
        Some(budget) => take_from(call, budget, pod, options.dry_run).await?,
        None => false,
    };
    let pending = pod.at("status.phase").str() == "Pending" && !pod.is_deleting();
    let preconditions = &mut options.preconditions;
    if budget.is_some() {
        // The pod that the budget was asked about, and no later one of its name.
        preconditions.uid = Some(pod.uid().into());
    }
    if (pending || budget.is_some() && !counted) && preconditions.resource_version.is_none() {
        // No budget counts the pod as it is; it may have become ready since.
        preconditions.resource_version = Some(pod.resource_version().into());
    }
    match mark_and_delete(call, pod.name(), options).await {
        Err(error) if error.code == 409 && !counted && !pending => match &budget {
            Some(budget) if stated.preconditions.resource_version.is_none() => {
                Err(still_processed(budget))
            }
            _ => Err(error),
        },
        done => done,
    }
}

async fn mark_and_delete(
    call: &Call<'_>,
    name: &str,
    mut options: DeleteOptions,
) -> Result<Object, ApiError> {
    if !options.dry_run {
        let marked = mark(call, name, &options).await?;
        if options.preconditions.resource_version.is_some() {
            // The change was this server's own.
            options.preconditions.resource_version = Some(marked.resource_version().into());
        }
    }
    delete::delete_unasked(call, name, &options).await?;
    Ok(Object::made(super::success(201)))
}

/// Says in the pod's status why it goes, for those that count failures (a Job's failure policy).
async fn mark(
    call: &Call<'_>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Arc<Value>, ApiError> {
    let now = call.server.env.now().rfc3339();
    let write =
        Write { name, subresource: "status", part: Part::Whole, dry_run: false, applied: false };
    let marked = write::modify_unasked(call, write, |pod| {
        delete::check_preconditions(call, name, pod, &options.preconditions)?;
        let (reason, message) = ("EvictionByEvictionAPI", "Eviction API: evicting");
        let is = |c: &Value| c.at("type").str() == "DisruptionTarget";
        let mut since = now.as_str();
        if let Some(told) = pod.at("status.conditions").items().iter().find(|c| is(c))
            && told.at("status").str() == "True"
        {
            if told.at("reason").str() == reason && told.at("message").str() == message {
                return Ok(pod.clone());
            }
            since = told.at("lastTransitionTime").str();
        }
        let mut marked = pod.clone();
        let conditions = marked.entry("status.conditions").make_array();
        conditions.retain(|c| !is(c));
        conditions.push(value!({
            "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": since, "observedGeneration": (pod.generation()),
            "reason": reason, "message": message
        }));
        Ok(marked)
    })
    .await?;
    Ok(marked.value(call))
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

/// Takes one disruption from the budget; false where the pod is none that it counts.
async fn take_from(
    call: &Call<'_>,
    budget: &Value,
    pod: &Value,
    dry_run: bool,
) -> Result<bool, ApiError> {
    let unhealthy = !pod.condition_is_true("Ready");
    if unhealthy && budget.at("spec.unhealthyPodEvictionPolicy").str() == "AlwaysAllow" {
        return Ok(false);
    }
    let healthy = budget.at("status.currentHealthy").int_or(0);
    let desired = budget.at("status.desiredHealthy").int_or(0);
    if unhealthy && healthy >= desired && desired > 0 {
        return Ok(false);
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
    let Some(of_budget) = Call::find(call.server, &user, &info) else { return Ok(true) };
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
    Ok(true)
}

/// The 429 of a budget that has not caught up.
fn still_processed(budget: &Value) -> ApiError {
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
    error
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
        return Err(still_processed(budget));
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
