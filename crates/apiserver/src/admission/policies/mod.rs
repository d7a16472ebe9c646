//! Admission policies: expressions that must hold before something is written. Upstream's plug-in
//! `ValidatingAdmissionPolicy`; what a policy says is decided in `timonier_policy::validating`.

mod authorize;
pub mod cache;
mod params;
mod told;

use std::sync::Arc;

use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, Cause, Reason};
use timonier_object::Value;
use timonier_policy::validating::{Denial, Policy, Verdict, chosen};
use timonier_policy::webhooks::{Asked, is_exempt};

use super::webhooks::ask::{About, configurations, rows};

pub use authorize::Asker;
pub use told::Told;

/// A request, as policies are asked about it.
struct Case<'a> {
    about: &'a About<'a>,
    asked: Asked<'a>,
}

/// Who said what.
struct Refusal {
    policy: String,
    binding: String,
    denial: Denial,
}

/// Asks every policy that is bound to the request. `object` is the new state, `None` in a delete.
pub async fn validate(
    about: &About<'_>,
    old: Option<&Value>,
    object: Option<&Value>,
) -> Result<(), ApiError> {
    let bindings = configurations(about.call, "validatingadmissionpolicybindings");
    if bindings.is_empty() {
        return Ok(());
    }
    let call = about.call;
    let namespace = call.server.peek(&resources::NAMESPACES, "", call.namespace());
    let rows = rows(call);
    let asked = Asked {
        operation: about.operation,
        subresource: about.subresource,
        object: object.unwrap_or(&Value::Null),
        old: old.unwrap_or(&Value::Null),
        namespace: namespace.as_deref(),
        rows: &rows,
    };
    if is_exempt(&asked) {
        return Ok(());
    }
    let case = Case { about, asked };
    let mut refusals = Vec::new();
    for policy in configurations(call, "validatingadmissionpolicies") {
        let bound = bindings.iter().filter(|b| b.at("spec.policyName").str() == policy.name());
        case.ask(&policy, &bound.collect::<Vec<_>>(), &mut refusals).await?;
    }
    match refusals.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(case.error(first)),
    }
}

impl Case<'_> {
    fn object_name(&self) -> &str {
        let about = self.about;
        match about.call.info.name.as_str() {
            "" => self.asked.object.name(),
            name => name,
        }
    }

    /// Asks one policy for all its bindings.
    async fn ask(
        &self,
        policy: &Value,
        bindings: &[&Arc<Value>],
        refusals: &mut Vec<Refusal>,
    ) -> Result<(), ApiError> {
        let name = self.object_name();
        let row = match chosen(policy.at("spec.matchConstraints"), &self.asked, name) {
            Ok(Some(row)) if !bindings.is_empty() => row,
            Ok(_) => return Ok(()),
            Err(why) => {
                config_error(policy, None, &why, refusals);
                return Ok(());
            }
        };
        let compiled = self.about.call.server.policies.of(policy, 0, Policy::compile);
        let told = Told::of(self.about, row, &self.asked, name).await?;
        for binding in bindings {
            let resources = binding.at("spec.matchResources");
            if !resources.is_null() {
                match chosen(resources, &self.asked, name) {
                    Ok(Some(_)) => {}
                    Ok(None) => continue,
                    Err(why) => {
                        config_error(policy, Some(binding), &why, refusals);
                        continue;
                    }
                }
            }
            match params::find(self.about.call, policy, binding).await {
                Err(why) => config_error(policy, Some(binding), &why, refusals),
                Ok(found) => {
                    for params in &found {
                        let verdict = compiled.evaluate(&told.facts(params));
                        self.act(policy, binding, verdict, refusals);
                    }
                }
            }
        }
        Ok(())
    }

    /// Does what the binding wants done about denials. There is no audit log: what belongs there
    /// goes to the server's own log.
    fn act(&self, policy: &Value, binding: &Value, verdict: Verdict, refusals: &mut Vec<Refusal>) {
        let (policy, binding_name) = (policy.name(), binding.name());
        for (key, value) in &verdict.annotations {
            tracing::info!(policy, binding = binding_name, %key, value, "audit annotation");
        }
        let does = |action: &str| {
            binding.at("spec.validationActions").items().iter().any(|a| a.str() == action)
        };
        for denial in verdict.denials {
            let message = &denial.message;
            if does("Audit") {
                tracing::info!(policy, binding = binding_name, message, "validation failure");
            }
            if does("Warn") {
                self.about.call.warn(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding_name}': {message}"
                ));
            }
            if does("Deny") {
                refusals.push(Refusal {
                    policy: policy.into(),
                    binding: binding_name.into(),
                    denial,
                });
            }
        }
    }

    fn error(&self, refusal: Refusal) -> ApiError {
        let Refusal { policy, binding, denial } = refusal;
        let with =
            if binding.is_empty() { "".into() } else { format!(" with binding '{binding}'") };
        let message = format!(
            "ValidatingAdmissionPolicy '{policy}'{with} denied request: {}",
            denial.message
        );
        let name = match (self.object_name(), self.asked.object.at("metadata.generateName").str()) {
            ("", "") => "Unknown",
            ("", generate) => generate,
            (name, _) => name,
        };
        let mut error = ApiError::forbidden(&self.about.call.resource(), name, &message);
        (error.code, error.reason) = match denial.reason.as_str() {
            "Forbidden" => (403, Reason::Forbidden),
            "Unauthorized" => (401, Reason::Unauthorized),
            "RequestEntityTooLarge" => (413, Reason::RequestEntityTooLarge),
            _ => (422, Reason::Invalid),
        };
        error.causes.push(Cause { message, ..Cause::default() });
        error
    }
}

/// What cannot be decided is refused, unless the policy says otherwise.
fn config_error(policy: &Value, binding: Option<&Value>, why: &str, refusals: &mut Vec<Refusal>) {
    if policy.at("spec.failurePolicy").str() == "Ignore" {
        return;
    }
    let what = if binding.is_some() { "binding" } else { "policy" };
    let message = format!("failed to configure {what}: {why}");
    refusals.push(Refusal {
        policy: policy.name().into(),
        binding: binding.map_or("", Value::name).into(),
        denial: Denial { message, reason: "".into() },
    });
}
