//! Lists of conditions in a status.

use timonier_meta::Time;
use timonier_object::{Value, value};

/// One condition as a controller states it.
#[derive(Clone, Copy)]
pub struct Condition<'a> {
    pub kind: &'a str,
    /// `True`, `False` or `Unknown`.
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
}

/// The condition of this type.
pub fn find<'a>(conditions: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions.items().iter().find(|c| c.at("type").str() == kind)
}

/// Sets a condition: its transition time changes with its status only. Gives whether anything
/// but times changed.
pub fn set(conditions: &mut Value, condition: Condition<'_>, now: Time) -> bool {
    let Condition { kind, status, reason, message } = condition;
    let old = find(conditions, kind).cloned();
    let kept = old.as_ref().filter(|c| c.at("status").str() == status);
    let same =
        kept.is_some_and(|c| c.at("reason").str() == reason && c.at("message").str() == message);
    if same {
        return false;
    }
    let at = match kept.map(|c| c.at("lastTransitionTime")) {
        Some(at) if !at.is_empty() => at.clone(),
        _ => now.rfc3339().into(),
    };
    let new = value!({
        "type": kind, "status": status, "lastTransitionTime": at, "reason": reason, "message": message,
    });
    put(conditions, kind, new);
    true
}

/// Puts a condition in the place of the one of its type, or at the end.
pub fn put(conditions: &mut Value, kind: &str, new: Value) {
    let items = conditions.make_array();
    match items.iter_mut().find(|c| c.at("type").str() == kind) {
        Some(old) => *old = new,
        None => items.push(new),
    }
}

/// Removes the condition of this type; gives whether there was one.
pub fn remove(conditions: &mut Value, kind: &str) -> bool {
    let Some(items) = conditions.as_array_mut() else { return false };
    let before = items.len();
    items.retain(|c| c.at("type").str() != kind);
    items.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_follows_the_status() {
        let mut list = Value::Null;
        let c = Condition { kind: "A", status: "True", reason: "R", message: "m" };
        assert!(set(&mut list, c, Time::from_unix(1)));
        assert!(!set(&mut list, c, Time::from_unix(2)));
        assert!(set(&mut list, Condition { message: "n", ..c }, Time::from_unix(3)));
        assert_eq!(
            find(&list, "A").unwrap().at("lastTransitionTime").str(),
            "1970-01-01T00:00:01Z"
        );
        assert!(set(&mut list, Condition { status: "False", ..c }, Time::from_unix(4)));
        assert_eq!(
            find(&list, "A").unwrap().at("lastTransitionTime").str(),
            "1970-01-01T00:00:04Z"
        );
        assert!(remove(&mut list, "A") && !remove(&mut list, "A"));
    }
}
