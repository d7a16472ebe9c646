//! Questions that are answered and never stored: who am I, may they, is this token good.

mod access;
mod rules;
pub mod self_subject;
mod token;

use timonier_meta::ApiError;
use timonier_object::Value;

use crate::call::{Call, Object};
use crate::strategy;

/// Answers a review; `None` where the row is none.
pub fn create(call: &Call<'_>, mut review: Value) -> Option<Result<Object, ApiError>> {
    let answer: fn(&Call<'_>, Value) -> Result<Value, ApiError> =
        match (call.row.gvr.group.as_str(), call.row.gvr.resource.as_str()) {
            ("authentication.k8s.io", "tokenreviews") => token::answer,
            ("authentication.k8s.io", "selfsubjectreviews") => self_subject::answer,
            ("authorization.k8s.io", "subjectaccessreviews") => access::of_subject,
            ("authorization.k8s.io", "localsubjectaccessreviews") => access::of_subject,
            ("authorization.k8s.io", "selfsubjectaccessreviews") => access::of_self,
            ("authorization.k8s.io", "selfsubjectrulesreviews") => rules::answer,
            _ => return None,
        };
    let checked = strategy::check_type(call, &mut review)
        .and_then(|()| strategy::set_namespace(call, &mut review));
    Some(checked.and_then(|()| answer(call, review)).map(Object::made))
}
