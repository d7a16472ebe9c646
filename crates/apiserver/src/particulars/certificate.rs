//! Certificate requests: who asks is written down by the server, not by who asks.

use timonier_object::Value;
use timonier_policy::User;

use crate::call::Call;

/// Writes down the user.
pub fn on_create(request: &mut Value, user: &User) {
    request.set("spec.username", &user.name);
    for field in ["spec.uid", "spec.groups", "spec.extra"] {
        request.remove(field);
    }
    if !user.uid.is_empty() {
        request.set("spec.uid", &user.uid);
    }
    if !user.groups.is_empty() {
        request.set("spec.groups", user.groups.clone());
    }
    if !user.extra.is_empty() {
        let extra: Value = user.extra.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        request.set("spec.extra", extra);
    }
}

/// Requests do not change; approval goes through its own subresource only.
pub fn on_update(call: &Call<'_>, new: &mut Value, old: &Value) {
    new.set("spec", old.at("spec").clone());
    if call.info.subresource != "status" {
        return;
    }
    let decides = |c: &&Value| matches!(c.at("type").str(), "Approved" | "Denied");
    let mut conditions: Vec<Value> =
        old.at("status.conditions").items().iter().filter(decides).cloned().collect();
    let others = new.at("status.conditions").items().iter().filter(|c| !decides(c));
    conditions.extend(others.cloned());
    if !conditions.is_empty() {
        new.set("status.conditions", Value::array(conditions));
    }
}
