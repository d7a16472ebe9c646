//! `TokenReview`: is this token good, and whose is it.

use timonier_meta::ApiError;
use timonier_object::{Value, value};

use super::self_subject::user_info;
use crate::auth;
use crate::call::Call;

/// Checks the token of the review.
pub fn answer(call: &Call<'_>, mut review: Value) -> Result<Value, ApiError> {
    let text = review.at("spec.token").smol();
    if text.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> =
        review.at("spec.audiences").items().iter().map(|a| a.str().to_string()).collect();
    let status = match auth::verify(call.server, &text, &audiences) {
        Ok(verified) => {
            let list: Vec<Value> = verified.audiences.iter().map(Value::from).collect();
            value!({ "authenticated": true, "user": (user_info(&verified.user)), "audiences": (list) })
        }
        Err(why) => value!({ "user": {}, "error": why }),
    };
    review.set("status", status);
    Ok(review)
}
