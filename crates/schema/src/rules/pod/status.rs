//! A pod's status: upstream's `ValidatePodStatusUpdate`.

use alloc::collections::{BTreeMap, BTreeSet};

use timonier_meta::names;
use timonier_object::Value;

use super::super::at::{At, Errors, immutable};
use super::super::common::{check, is_dual, legacy_ip};
use super::annotations;

/// Checks a write of the status.
pub fn update(e: &mut Errors, new: &Value, old: &Value) {
    let (new, old) = (At::top(new), At::top(old));
    let spec = new.get("spec");
    annotations::update(
        e,
        &new.get("metadata.annotations"),
        &old.get("metadata.annotations"),
        &spec,
    );
    let (status, before) = (new.get("status"), old.get("status"));
    conditions(e, &status.get("conditions"));
    if spec.get("nodeName").str() != old.get("spec.nodeName").str() {
        status.get("nodeName").forbidden(e, "may not be changed directly");
    }
    let nominated = status.get("nominatedNodeName");
    if !nominated.is_empty() && nominated.str() != before.get("nominatedNodeName").str() {
        check(e, &nominated, names::dns1123_subdomain);
        if !old.get("spec.nodeName").is_empty() {
            nominated.forbidden(e, "may not be set on pods that are already bound to a node");
        }
    }
    if status.get("observedGeneration").int() < 0 {
        status.get("observedGeneration").bad_int(e, "must be a non-negative integer");
    }
    immutable(e, &status.get("qosClass"), &before.get("qosClass"));
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        transitions(e, list, &status, &before, &old.get("spec"));
    }
    claims(e, &status.get("resourceClaimStatuses"), &spec.get("resourceClaims"));
    addresses(e, &status.get("podIPs"), &before.get("podIPs"));
    let hosts = status.get("hostIPs");
    if let Some(first) = hosts.items().next() {
        let ip = first.get("ip");
        if ip.str() != status.get("hostIP").str() {
            ip.bad_str(e, "must be equal to `hostIP`");
        }
    }
    addresses(e, &hosts, &before.get("hostIPs"));
    let ephemeral = status.get("ephemeralContainerStatuses");
    for container in ephemeral.items() {
        if !container.get("allocatedResourcesStatus").is_empty() {
            let at = container.get("allocatedResourcesStatus");
            at.forbidden(e, "must not be specified in container status");
        }
    }
}

fn conditions(e: &mut Errors, at: &At<'_>) {
    for condition in at.items() {
        if condition.get("observedGeneration").int() < 0 {
            condition.get("observedGeneration").bad_int(e, "must be a non-negative integer");
        }
        let kind = condition.get("type");
        if !matches!(kind.str(), "PodScheduled" | "Ready" | "Initialized") {
            check(e, &kind.named(condition.path.child("Type")), names::qualified_name);
        }
    }
}

/// A container that ended for good does not run again.
fn transitions(e: &mut Errors, list: &str, now: &At<'_>, before: &At<'_>, spec: &At<'_>) {
    let at = now.get(list);
    let running = at.items().filter(|status| !status.get("state.terminated").is_set());
    let running: BTreeSet<&str> = running.map(|status| status.get("name").str()).collect();
    let key = if list == "containerStatuses" { "containers" } else { "initContainers" };
    let mut containers = BTreeMap::new();
    for container in spec.get(key).items() {
        containers.entry(container.get("name").str()).or_insert(container);
    }
    for (i, was) in before.get(list).items().enumerate() {
        let ended = was.get("state.terminated");
        if !ended.is_set() {
            continue;
        }
        let name = was.get("name").str();
        let code = ended.get("exitCode").int();
        let container = containers.get(name).filter(|_| list != "ephemeralContainerStatuses");
        let may = || container.is_some_and(|container| may_restart(spec, container, code));
        if running.contains(name) && !may() {
            let state = At { value: at.value, path: at.path.index(i).child("state") };
            state.forbidden(e, "may not be transitioned to non-terminated state");
        }
    }
}

/// Whether a container may run again after it ended with `code`.
fn may_restart(spec: &At<'_>, container: &At<'_>, code: i64) -> bool {
    for rule in container.get("restartPolicyRules").items() {
        let codes = rule.get("exitCodes");
        let listed = codes.get("values").items().any(|v| v.int() == code);
        if listed == (codes.get("operator").str() == "In") {
            return rule.get("action").str() == "Restart";
        }
    }
    let own = container.get("restartPolicy").str();
    let policy = if own.is_empty() { spec.get("restartPolicy").str() } else { own };
    match policy {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn claims(e: &mut Errors, at: &At<'_>, claims: &At<'_>) {
    let mut seen = BTreeSet::new();
    let known: BTreeSet<&str> = claims.value.items().iter().map(|c| c.at("name").str()).collect();
    for status in at.items() {
        let name = status.get("name");
        if !known.contains(name.str()) {
            name.bad_str(e, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(name.str()) {
            name.bad_duplicate(e, name.str());
        }
        let claim = status.get("resourceClaimName");
        if claim.is_set() {
            check(e, &claim.named(name.path.clone()), names::dns1123_subdomain);
        }
    }
}

/// At most one address per family; addresses that were there before are right.
fn addresses(e: &mut Errors, at: &At<'_>, before: &At<'_>) {
    let mut all = alloc::vec::Vec::new();
    for item in at.items() {
        let ip = item.get("ip");
        all.push(ip.str());
        if !before.items().any(|old| old.get("ip").str() == ip.str()) {
            legacy_ip(e, &ip.named(item.path.clone()));
        }
    }
    if all.len() > 1 && !is_dual(&all) {
        at.invalid(e, "may specify no more than one IP for each IP family");
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn what_ended_for_good_stays_ended() {
        let status =
            |state: Value| value!({ "containerStatuses": [{ "name": "c", "state": state }] });
        let spec = value!({ "restartPolicy": "OnFailure", "containers": [{ "name": "c" }] });
        let ended = value!({ "terminated": { "exitCode": 0 } });
        let old = value!({ "spec": (spec.clone()), "status": (status(ended)) });
        let new = value!({ "spec": spec, "status": (status(value!({ "running": {} }))) });
        let mut e = Errors::new();
        update(&mut e, &new, &old);
        assert_eq!(e.len(), 1, "{e:?}");
        assert_eq!(e[0].path.as_str(), "status.containerStatuses[0].state");
    }
}
