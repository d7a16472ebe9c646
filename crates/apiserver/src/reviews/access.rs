//! `SubjectAccessReview` and its kin: may they.

use std::collections::BTreeSet;

use timonier_meta::{ApiError, Requirement, Selector};
use timonier_object::{Value, value};
use timonier_policy::{Attributes, Authorizer, Decision, User};
use timonier_schema::rules;

use crate::call::Call;
use crate::strategy;

/// Answers for the user that the review names.
pub fn of_subject(call: &Call<'_>, review: Value) -> Result<Value, ApiError> {
    let spec = review.at("spec");
    let user = User {
        name: spec.at("user").smol(),
        uid: spec.at("uid").smol(),
        groups: spec.at("groups").items().iter().map(Value::smol).collect(),
        extra: spec
            .at("extra")
            .entries()
            .map(|(k, v)| (k.into(), v.items().iter().map(Value::smol).collect()))
            .collect(),
    };
    answer(call, &user, review)
}

/// Answers for the user that asks.
pub fn of_self(call: &Call<'_>, review: Value) -> Result<Value, ApiError> {
    answer(call, call.user, review)
}

fn answer(call: &Call<'_>, user: &User, mut review: Value) -> Result<Value, ApiError> {
    if call.row.namespaced {
        strategy::set_namespace(call, &mut review)?;
    }
    let errors = rules::validate_create(&call.row, &review);
    if !errors.is_empty() {
        return Err(call.invalid("", &errors));
    }
    let spec = review.at("spec").clone();
    let of_resource = spec.get("resourceAttributes");
    let fields = of_resource.map(fields_of).unwrap_or_default();
    let decision = match of_resource {
        Some(a) => call.server.authorize(&Attributes {
            user,
            verb: a.at("verb").str(),
            is_resource: true,
            group: a.at("group").str(),
            version: a.at("version").str(),
            resource: a.at("resource").str(),
            subresource: a.at("subresource").str(),
            namespace: a.at("namespace").str(),
            name: a.at("name").str(),
            path: "",
            fields: Some(&fields),
        }),
        None => {
            let a = spec.at("nonResourceAttributes");
            let attributes = Attributes::of_path(user, a.at("verb").str(), a.at("path").str());
            call.server.authorize(&attributes)
        }
    };
    let (allowed, denied, reason) = match &decision {
        Decision::Allow(why) => (true, false, why),
        Decision::Deny(why) => (false, true, why),
        Decision::NoOpinion(why) => (false, false, why),
    };
    let mut status = value!({ "allowed": allowed });
    if denied {
        status.set("denied", true);
    }
    if !reason.is_empty() {
        status.set("reason", reason.as_str());
    }
    review.set("status", status);
    Ok(review)
}

/// The fields that the request in question would be limited to. What is not understood limits
/// nothing, as upstream: the answer is never more than what is allowed.
fn fields_of(attributes: &Value) -> Selector {
    let selector = attributes.at("fieldSelector");
    let raw = selector.at("rawSelector").str();
    if !raw.is_empty() {
        return Selector::parse_fields(raw).unwrap_or_default();
    }
    let requirement = |r: &Value| {
        let key = r.at("key").smol();
        let [value] = r.at("values").items() else { return None };
        let values = BTreeSet::from([value.smol()]);
        match r.at("operator").str() {
            "In" => Some(Requirement::In(key, values)),
            "NotIn" => Some(Requirement::NotIn(key, values)),
            _ => None,
        }
    };
    let requirements = selector.at("requirements").items().iter().filter_map(requirement);
    Selector { requirements: requirements.collect(), nothing: false }
}
