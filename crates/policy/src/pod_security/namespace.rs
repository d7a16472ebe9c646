//! A namespace whose enforced level becomes stricter: which of its pods are not at it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_object::Value;

use super::{Level, LevelVersion, Policy, evaluate, reasons};

/// No more pods than this are looked at.
const MAX_PODS: usize = 3000;

/// Whether the pods of a namespace are to be looked at after this change of its policy.
pub fn needs_evaluation(new: &Policy, old: &Policy) -> bool {
    let (new, old) = (new.enforce, old.enforce);
    new != old
        && new.level != Level::Privileged
        && (new.version != old.version || new.level > old.level)
}

/// The warnings about pods that are not at the level that is enforced from now on.
pub fn evaluate_namespace<'a>(
    name: &str,
    enforce: LevelVersion,
    pods: impl Iterator<Item = &'a Value>,
) -> Vec<String> {
    let pods = one_of_each_controller_first(pods);
    let (total, checked) = (pods.len(), pods.len().min(MAX_PODS));
    // By what is wrong: the first name and the number of pods.
    let mut found: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for pod in &pods[..checked] {
        let violations = evaluate(enforce, pod.at("metadata"), pod.at("spec"));
        if violations.is_empty() {
            continue;
        }
        let entry = found.entry(reasons(&violations)).or_insert((pod.name(), 0));
        entry.0 = entry.0.min(pod.name());
        entry.1 += 1;
    }
    let mut warnings = Vec::new();
    if checked < total {
        warnings.push(format!("new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {name:?} violate the new PodSecurity enforce level {:?}",
            enforce.to_string()
        ));
    }
    let told = |(why, (pod, count)): (String, (&str, usize))| match count {
        1 => format!("{pod}: {why}"),
        2 => format!("{pod} (and 1 other pod): {why}"),
        n => format!("{pod} (and {} other pods): {why}", n - 1),
    };
    let mut texts: Vec<String> = found.into_iter().map(told).collect();
    texts.sort();
    warnings.extend(texts);
    warnings
}

/// Pods of one controller are alike: the first of each comes before the others.
fn one_of_each_controller_first<'a>(pods: impl Iterator<Item = &'a Value>) -> Vec<&'a Value> {
    let mut seen = BTreeSet::new();
    let (mut first, mut alike) = (Vec::new(), Vec::new());
    for pod in pods {
        match pod.controller() {
            Some(owner) if !seen.insert(owner.uid.clone()) => alike.push(pod),
            _ => first.push(pod),
        }
    }
    first.extend(alike);
    first
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::super::Version;
    use super::*;

    #[test]
    fn pods_that_are_too_free_are_told() {
        let pod = |name: &str, network: bool| {
            value!({ "metadata": { "name": name },
                "spec": { "hostNetwork": network, "containers": [{ "name": "c" }] } })
        };
        let pods = [pod("b", true), pod("a", true), pod("c", false), pod("d", true)];
        let at = LevelVersion { level: Level::Baseline, version: Version::Latest };
        assert_eq!(
            evaluate_namespace("n", at, pods.iter()),
            [
                "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "a (and 2 other pods): host namespaces",
            ]
        );
        assert!(evaluate_namespace("n", at, [pod("c", false)].iter()).is_empty());
    }

    #[test]
    fn only_what_becomes_stricter_is_looked_at() {
        let of = |level, version| {
            let at = LevelVersion { level, version };
            Policy { enforce: at, audit: at, warn: at }
        };
        let (low, high) = (Version::Minor(20), Version::Latest);
        assert!(needs_evaluation(&of(Level::Baseline, high), &of(Level::Privileged, high)));
        assert!(needs_evaluation(&of(Level::Baseline, high), &of(Level::Restricted, low)));
        assert!(!needs_evaluation(&of(Level::Baseline, high), &of(Level::Restricted, high)));
        assert!(!needs_evaluation(&of(Level::Privileged, low), &of(Level::Restricted, high)));
        assert!(!needs_evaluation(&of(Level::Baseline, low), &of(Level::Baseline, low)));
    }
}
