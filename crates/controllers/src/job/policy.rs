//! `podFailurePolicy`: what a failed pod means.

use alloc::format;
use alloc::string::String;

use timonier_object::Value;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Count,
    FailIndex,
    FailJob,
    Ignore,
}

/// The action of the first rule that a failed pod matches, and upstream's text about it.
pub fn matched(job: &Value, pod: &Value) -> Option<(Action, String)> {
    let rules = job.at("spec.podFailurePolicy.rules").items();
    rules.iter().enumerate().find_map(|(i, rule)| {
        let name = rule.at("action").str();
        let action = match name {
            "FailJob" => Action::FailJob,
            "FailIndex" => Action::FailIndex,
            "Ignore" => Action::Ignore,
            _ => Action::Count,
        };
        let what = by_exit_code(rule, pod).or_else(|| by_condition(rule, pod))?;
        Some((action, format!("{what} matching {name} rule at index {i}")))
    })
}

fn by_exit_code(rule: &Value, pod: &Value) -> Option<String> {
    let wanted = rule.at("onExitCodes");
    if wanted.is_empty() || pod.at("status.phase").str() != "Failed" {
        return None;
    }
    let (name, operator) = (wanted.at("containerName").str(), wanted.at("operator").str());
    let all = ["initContainerStatuses", "containerStatuses"];
    let statuses = all.iter().flat_map(|f| pod.at("status").at(f).items());
    for status in statuses.filter(|s| name.is_empty() || s.at("name").str() == name) {
        let Some(code) = status.at("state.terminated.exitCode").as_i64().filter(|c| *c != 0) else {
            continue;
        };
        let listed = wanted.at("values").items().iter().any(|v| v.as_i64() == Some(code));
        if listed == (operator == "In") {
            return Some(format!(
                "Container {} for pod {} failed with exit code {code}",
                status.at("name").str(),
                pod.key()
            ));
        }
    }
    None
}

fn by_condition(rule: &Value, pod: &Value) -> Option<String> {
    rule.at("onPodConditions").items().iter().find_map(|pattern| {
        let (kind, status) = (pattern.at("type").str(), pattern.at("status").str());
        let status = if status.is_empty() { "True" } else { status };
        let found = pod.condition(kind)?.at("status").str() == status;
        found.then(|| format!("Pod {} has condition {}", pod.key(), kind))
    })
}
