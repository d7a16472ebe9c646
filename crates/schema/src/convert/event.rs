//! `v1` Event and `events.k8s.io/v1` Event. The core one is stored.

use timonier_object::Value;

use super::rename;

/// Fields that have other names, core first.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn to_core(event: &mut Value) {
    rename(event, NAMES.map(|(core, new)| (new, core)));
}

pub(super) fn from_core(event: &mut Value) {
    rename(event, NAMES);
}
