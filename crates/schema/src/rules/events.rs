//! Events, in the old and in the new group.

use alloc::format;

use timonier_meta::{FieldPath, names};
use timonier_object::Value;

use super::at::{At, Errors, immutable};
use super::common::{check, show_str};

/// How the two versions call the fields; upstream's errors name the old fields.
struct Names {
    object: &'static str,
    controller: &'static str,
    message: &'static str,
    first: &'static str,
    last: &'static str,
    count: &'static str,
    source: &'static str,
}

const OLD: Names = Names {
    object: "involvedObject",
    controller: "reportingComponent",
    message: "message",
    first: "firstTimestamp",
    last: "lastTimestamp",
    count: "count",
    source: "source",
};

const NEW: Names = Names {
    object: "regarding",
    controller: "reportingController",
    message: "note",
    first: "deprecatedFirstTimestamp",
    last: "deprecatedLastTimestamp",
    count: "deprecatedCount",
    source: "deprecatedSource",
};

/// Checks an event. Only the new group has the strict rules.
pub fn event(e: &mut Errors, new: &Value, old: Option<&Value>, is_new_group: bool) {
    let names = if is_new_group { &NEW } else { &OLD };
    let top = At::top(new);
    both(e, &top, names);
    if !is_new_group {
        return;
    }
    match old {
        None => create(e, &top),
        Some(old) => update(e, &top, &At::top(old)),
    }
}

fn both(e: &mut Errors, top: &At<'_>, names: &Names) {
    let own = top.value.namespace();
    let object = top.get(names.object).get("namespace");
    let object = object.named(FieldPath::new("involvedObject.namespace"));
    let of = object.str();
    let why = "does not match event.namespace";
    if !top.get("eventTime").is_set() {
        let matching = if of.is_empty() { matches!(own, "" | "default") } else { own == of };
        if !matching {
            object.bad_str(e, why);
        }
    } else {
        if of.is_empty() && !matches!(own, "default" | "kube-system") {
            object.bad_str(e, why);
        }
        let controller = top.get(names.controller);
        if controller.is_empty() {
            controller.required(e, "");
        }
        check(e, &controller, names::qualified_name);
        for (field, called, most, needed) in [
            ("reportingInstance", "reportingInstance", 128, true),
            ("action", "action", 128, true),
            ("reason", "reason", 128, true),
            (names.message, "message", 1024, false),
        ] {
            let at = top.get(field).named(FieldPath::new(called));
            if needed && at.is_empty() {
                at.required(e, "");
            }
            if at.str().len() > most {
                at.bad(e, "\"\"", format!("can have at most {most} characters"));
            }
        }
    }
    let at = top.get("metadata.namespace").named(FieldPath::new("namespace"));
    for why in names::dns1123_subdomain(own) {
        at.bad(e, show_str(own), why);
    }
}

fn series(e: &mut Errors, top: &At<'_>) {
    let at = top.get("series");
    if !at.is_set() {
        return;
    }
    if at.get("count").int() < 2 {
        at.get("count").bad(e, "\"\"", "should be at least 2");
    }
    if !at.get("lastObservedTime").is_set() {
        at.get("lastObservedTime").required(e, "");
    }
}

fn create(e: &mut Errors, top: &At<'_>) {
    series(e, top);
    if !top.get("eventTime").is_set() {
        top.get("eventTime").required(e, "");
    }
    let kind = top.get("type");
    if !matches!(kind.str(), "Normal" | "Warning") {
        kind.bad(e, "\"\"", format!("has invalid value: {}", kind.str()));
    }
    for (field, called) in [
        (NEW.first, OLD.first),
        (NEW.last, OLD.last),
        (NEW.count, OLD.count),
        (NEW.source, OLD.source),
    ] {
        let at = top.get(field);
        if !super::at::same(at.value, &Value::Null) && !at.is_empty() {
            at.named(FieldPath::new(called)).bad(e, "\"\"", "needs to be unset");
        }
    }
}

fn update(e: &mut Errors, top: &At<'_>, old: &At<'_>) {
    if !super::at::same(top.value.at("series"), old.value.at("series")) {
        series(e, top);
    }
    for (field, called) in [
        (NEW.object, OLD.object),
        ("reason", "reason"),
        (NEW.message, OLD.message),
        (NEW.source, OLD.source),
        (NEW.first, OLD.first),
        (NEW.last, OLD.last),
        (NEW.count, OLD.count),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        immutable(e, &top.get(field).named(FieldPath::new(called)), &old.get(field));
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn the_new_group_is_strict() {
        let event_of = value!({ "metadata": { "namespace": "a" }, "regarding": { "namespace": "a" },
            "type": "Normal", "deprecatedCount": 1 });
        let mut e = Errors::new();
        event(&mut e, &event_of, None, true);
        let paths: alloc::vec::Vec<&str> = e.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, ["eventTime", "count"]);
        e.clear();
        let other =
            value!({ "metadata": { "namespace": "a" }, "involvedObject": { "namespace": "b" } });
        event(&mut e, &other, None, false);
        assert_eq!(e[0].path.as_str(), "involvedObject.namespace");
    }
}
