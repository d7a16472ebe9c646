//! `SelfSubjectReview`: who am I.

use timonier_meta::ApiError;
use timonier_object::{Value, value};
use timonier_policy::User;

use crate::call::Call;

/// Says who asks.
pub fn answer(call: &Call<'_>, mut review: Value) -> Result<Value, ApiError> {
    review.set("metadata.creationTimestamp", call.server.env.now().rfc3339());
    review.set("status", value!({ "userInfo": (user_info(call.user)) }));
    Ok(review)
}

/// A user as `authentication.k8s.io/v1` `UserInfo`.
pub fn user_info(user: &User) -> Value {
    let mut info = value!({ "username": (&user.name) });
    if !user.uid.is_empty() {
        info.set("uid", &user.uid);
    }
    if !user.groups.is_empty() {
        info.set("groups", user.groups.clone());
    }
    if !user.extra.is_empty() {
        info.set(
            "extra",
            user.extra.iter().map(|(k, v)| (k.clone(), v.clone())).collect::<Value>(),
        );
    }
    info
}
