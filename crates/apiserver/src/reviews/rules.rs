//! `SelfSubjectRulesReview`: what may I do here.

use timonier_meta::ApiError;
use timonier_object::{Value, value};
use timonier_policy::node::node_name;
use timonier_policy::{Attributes, Authorizer, Decision};

use crate::call::Call;

/// Lists what the asking user may do, as far as the built-in rules know it: everything, or what
/// every authenticated user may.
pub fn answer(call: &Call<'_>, mut review: Value) -> Result<Value, ApiError> {
    let namespace = review.at("spec.namespace").smol();
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let anything = Attributes {
        user: call.user,
        verb: "*",
        is_resource: true,
        group: "*",
        version: "*",
        resource: "*",
        subresource: "",
        namespace: &namespace,
        name: "",
        path: "",
        fields: None,
    };
    let all = matches!(call.server.authorize(&anything), Decision::Allow(_));
    let mut status = if all {
        value!({
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }],
            "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
            "incomplete": false,
        })
    } else {
        value!({
            "resourceRules": [
                { "verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
                  "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"] },
                { "verbs": ["create"], "apiGroups": ["authentication.k8s.io"],
                  "resources": ["selfsubjectreviews"] },
            ],
            "nonResourceRules": [{ "verbs": ["get"], "nonResourceURLs": [
                "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi",
                "/openapi/*", "/readyz", "/version", "/version/"] }],
            "incomplete": false,
        })
    };
    if node_name(call.user).is_some() {
        // What a node may do depends on what runs on it.
        status.set("incomplete", true);
        status.set("evaluationError", "node authorizer does not support user rule resolution");
    }
    review.set("status", status);
    Ok(review)
}
