//! Which names a CustomResourceDefinition may have, and what its status says of it (upstream
//! `pkg/controller/status/naming_controller.go`).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_meta::Time;
use timonier_object::{Value, value};

/// The finalizer that keeps a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The status that a definition should have beside `others`: its accepted names and conditions.
pub fn status<'a>(
    definition: &Value,
    others: impl IntoIterator<Item = &'a Value>,
    now: Time,
) -> Value {
    let mut status = definition.at("status").clone();
    status.make_object();
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    let group = definition.at("spec.group").str();
    let others = others.into_iter().filter(|o| o.uid() != definition.uid());
    for other in others.filter(|o| o.at("spec.group").str() == group) {
        let names = other.at("status.acceptedNames");
        resources.extend(["plural", "singular"].iter().map(|f| names.at(f).str()));
        resources.extend(names.at("shortNames").items().iter().map(Value::str));
        kinds.extend(["kind", "listKind"].iter().map(|f| names.at(f).str()));
    }
    let wanted = definition.at("spec.names");
    let mut accepted = status.at("acceptedNames").clone();
    let mut conflict = None;
    for (field, taken, reason) in [
        ("plural", &resources, "PluralConflict"),
        ("singular", &resources, "SingularConflict"),
        ("shortNames", &resources, "ShortNamesConflict"),
        ("kind", &kinds, "KindConflict"),
        ("listKind", &kinds, "ListKindConflict"),
    ] {
        let wants = wanted.at(field);
        let names = core::slice::from_ref(wants).iter().filter(|n| n.as_array().is_none());
        let names = names.chain(wants.items()).map(Value::str).filter(|n| !n.is_empty());
        let held = accepted.at(field) == wants;
        let bad: Vec<String> = names
            .filter(|n| !held && taken.contains(n))
            .map(|n| format!("{n:?} is already in use"))
            .collect();
        match bad.len() {
            0 => take(&mut accepted, field, wants),
            1 => conflict = Some((reason, bad[0].clone())),
            _ => conflict = Some((reason, format!("[{}]", bad.join(", ")))),
        }
    }
    take(&mut accepted, "categories", wanted.at("categories"));
    status.set("acceptedNames", accepted);
    let good = conflict.is_none();
    let (reason, message) = conflict.unwrap_or(("NoConflicts", "no conflicts found".into()));
    let mut put = |kind: &str, on: bool, reason: &str, message: &str| {
        set_condition(&mut status, kind, on, reason, message, now);
    };
    put("NamesAccepted", good, reason, &message);
    if good {
        put("Established", true, "InitialNamesAccepted", "the initial names have been accepted");
    } else if !definition.condition_is_true("Established") {
        put("Established", false, "NotAccepted", "not all names are accepted");
    }
    status
}

fn take(accepted: &mut Value, field: &str, wants: &Value) {
    accepted.make_object();
    if wants.is_empty() {
        accepted.remove(field);
    } else {
        accepted.set(field, wants);
    }
}

/// Sets a condition of a definition's status; the time changes with its status.
pub fn set_condition(
    status: &mut Value,
    kind: &str,
    on: bool,
    reason: &str,
    message: &str,
    now: Time,
) {
    let text = if on { "True" } else { "False" };
    let list = status.entry("conditions").make_array();
    let mut next = value!({ "type": kind, "status": text, "lastTransitionTime": (now.rfc3339()),
                            "reason": reason, "message": message });
    match list.iter_mut().find(|c| c.at("type").str() == kind) {
        Some(old) => {
            if old.at("status").str() == text {
                next.set("lastTransitionTime", old.at("lastTransitionTime"));
            }
            *old = next;
        }
        None => list.push(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(uid: &str, plural: &str) -> Value {
        value!({ "metadata": { "uid": uid }, "spec": { "group": "g.example",
            "names": { "plural": plural, "singular": "x", "kind": "X", "listKind": "XList" } } })
    }

    #[test]
    fn names_are_accepted_once() {
        let mut first = definition("1", "xs");
        let now = Time(0);
        let accepted = status(&first, [], now);
        assert_eq!(accepted.at("acceptedNames"), first.at("spec.names"));
        first.set("status", accepted.clone());
        assert!(first.condition_is_true("NamesAccepted") && first.condition_is_true("Established"));
        assert_eq!(status(&first, [&first], Time(9)), accepted, "nothing changes any more");
        let mut second = definition("2", "ys");
        second.set("status", status(&second, [&first], now));
        assert_eq!(second.at("status.acceptedNames"), &value!({ "plural": "ys" }));
        let condition = second.condition("NamesAccepted").unwrap();
        assert_eq!(condition.at("reason").str(), "ListKindConflict");
        assert_eq!(condition.at("message").str(), "\"XList\" is already in use");
        assert_eq!(second.condition("Established").unwrap().at("reason").str(), "NotAccepted");
        second.set("status", status(&second, [], now));
        assert!(second.condition_is_true("Established"));
    }
}
