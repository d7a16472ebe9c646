//! Jobs and cron jobs.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};

use timonier_meta::{FieldError, Zone, names};
use timonier_object::Value;

use super::at::{At, Errors, immutable, same, show_map};
use super::common::{check, label_selector, selects};
use super::cron;
use super::pod::template;

/// Checks a job.
pub fn job(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    let spec = top.get("spec");
    generated_selector(e, &top);
    job_spec(e, &spec);
    let selector = spec.get("selector");
    if selector.is_set() {
        label_selector(e, &selector);
    } else {
        selector.required(e, "");
    }
    let labels = spec.get("template.metadata.labels");
    if selects(selector.value, labels.value) != Some(true) {
        labels.bad(e, show_map(labels.value), "`selector` does not match template `labels`");
    }
    let completions = spec.get("completions").int();
    let indexed = spec.get("completionMode").str() == "Indexed";
    if indexed && completions > 0 {
        let host = format!("{}-{}", new.name(), completions - 1);
        if !names::dns1123_label(&host).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {host}");
            top.get("metadata.name").bad_str(e, why);
        }
    }
    if let Some(old) = old {
        changes(e, &top, &At::top(old));
    }
}

/// A selector that nobody wrote selects by the labels of this job.
fn generated_selector(e: &mut Errors, top: &At<'_>) {
    let spec = top.get("spec");
    if spec.get("manualSelector").bool() || !spec.get("selector").is_set() {
        return;
    }
    let (uid, name) = (top.value.uid(), top.value.name());
    let wanted = [
        ("controller-uid", uid),
        ("job-name", name),
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
    ];
    let labels = spec.get("template.metadata.labels");
    for (key, value) in wanted {
        let label = labels.entry(key);
        if !label.is_set() {
            label.required(e, format!("must be '{value}'"));
        } else if label.str() != value {
            label.bad(e, show_map(labels.value), format!("must be '{value}'"));
        }
    }
    let all: Value = wanted.into_iter().collect();
    let selector = spec.get("selector");
    if selects(selector.value, &all) == Some(false) {
        selector.invalid(e, "`selector` not auto-generated");
    }
}

fn job_spec(e: &mut Errors, spec: &At<'_>) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.get(field).non_negative(e);
    }
    let per_index = spec.get("backoffLimitPerIndex");
    if spec.get("maxFailedIndexes").is_set() && !per_index.is_set() {
        per_index.required(e, "when maxFailedIndexes is specified");
    }
    managed_by(e, &spec.get("managedBy"));
    completion_mode(e, spec);
    if spec.get("podFailurePolicy").is_set() {
        failure_policy(e, spec);
    }
    let success = spec.get("successPolicy");
    if success.is_set() {
        if spec.get("completionMode").str() == "Indexed" {
            success_policy(e, spec, &success);
        } else {
            success.invalid(e, "requires indexed completion mode");
        }
    }
    let replacement = spec.get("podReplacementPolicy");
    if replacement.is_set() {
        if spec.get("podFailurePolicy").is_set() {
            replacement.one_of(e, &["Failed"]);
        } else {
            replacement.one_of(e, &["Failed", "TerminatingOrFailed"]);
        }
    }
    template(e, &spec.get("template"));
    let restart = spec.get("template.spec.restartPolicy");
    match restart.str() {
        "" | "Always" => restart.required(e, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" => {
            if spec.get("podFailurePolicy").is_set() {
                let why = "only \"Never\" is supported when podFailurePolicy is specified";
                restart.bad_str(e, why);
            }
        }
        _ => restart.unsupported(e, &["OnFailure", "Never"]),
    }
}

/// A controller's name: a domain, and a path.
fn managed_by(e: &mut Errors, at: &At<'_>) {
    if !at.is_set() {
        return;
    }
    super::networking::domain_path(e, at);
    if at.str().len() > 63 {
        at.too_long(e, 63);
    }
}

fn completion_mode(e: &mut Errors, spec: &At<'_>) {
    let mode = spec.get("completionMode");
    let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
    let (per_index, failed) = (spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes"));
    if mode.is_set() {
        mode.one_of(e, &["NonIndexed", "Indexed"]);
    }
    if !mode.is_set() || mode.str() == "NonIndexed" {
        for at in [per_index, failed] {
            if at.is_set() {
                at.bad_int(e, "requires indexed completion mode");
            }
        }
        return;
    }
    if mode.str() != "Indexed" {
        return;
    }
    if !completions.is_set() {
        completions.required(e, "when completion mode is Indexed");
    }
    if parallelism.int() > 100_000 {
        let why = "must be less than or equal to 100000 when completion mode is Indexed";
        parallelism.bad_int(e, why);
    }
    if completions.is_set() && failed.is_set() && failed.int() > completions.int() {
        failed.bad_int(e, "must be less than or equal to completions");
    }
    if failed.int() > 100_000 {
        failed.bad_int(e, "must be less than or equal to 100000");
    }
    if completions.int() > 100_000 && per_index.is_set() {
        if !failed.is_set() {
            failed.required(e, "must be specified when completions is above 100000");
        }
        for at in [parallelism, failed] {
            if at.int() > 10_000 {
                at.bad_int(e, "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index");
            }
        }
    }
}

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

fn failure_policy(e: &mut Errors, spec: &At<'_>) {
    let rules = spec.get("podFailurePolicy.rules");
    if rules.len() > 20 {
        rules.too_many(e, 20);
    }
    for rule in rules.items() {
        let (action, codes) = (rule.get("action"), rule.get("onExitCodes"));
        let conditions = rule.get("onPodConditions");
        match action.str() {
            "" => {
                let values = "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]";
                action.required(e, values);
            }
            "FailIndex" => {
                if !spec.get("backoffLimitPerIndex").is_set() {
                    action.bad_str(e, "requires the backoffLimitPerIndex to be set");
                }
            }
            _ => {
                action.one_of(e, &ACTIONS);
            }
        }
        if codes.is_set() {
            exit_codes(e, spec, &codes);
        }
        pod_conditions(e, &conditions);
        let why = match (codes.is_set(), !conditions.is_empty()) {
            (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        rule.bad(e, "", why);
    }
}

fn pod_conditions(e: &mut Errors, at: &At<'_>) {
    if at.len() > 20 {
        at.too_many(e, 20);
    }
    for pattern in at.items() {
        check(e, &pattern.get("type"), names::qualified_name);
        let status = pattern.get("status");
        if status.is_empty() {
            status.required(e, "valid values: [\"False\" \"True\" \"Unknown\"]");
        } else {
            status.one_of(e, &["False", "True", "Unknown"]);
        }
    }
}

fn exit_codes(e: &mut Errors, spec: &At<'_>, at: &At<'_>) {
    let (operator, values) = (at.get("operator"), at.get("values"));
    if operator.is_empty() {
        operator.required(e, "valid values: [\"In\" \"NotIn\"]");
    } else {
        operator.one_of(e, &["In", "NotIn"]);
    }
    let name = at.get("containerName");
    let pod = spec.get("template.spec");
    let known = ["containers", "initContainers"]
        .iter()
        .any(|list| pod.get(list).items().any(|c| c.get("name").str() == name.str()));
    if name.is_set() && !known {
        let why = "must be one of the container or initContainer names in the pod template";
        name.bad_str(e, why);
    }
    if values.is_empty() {
        values.invalid(e, "at least one value is required");
    } else if values.len() > 255 {
        values.too_many(e, 255);
    }
    let (mut seen, mut last, mut ordered) = (BTreeSet::new(), i64::MIN, true);
    for value in values.items() {
        if operator.str() == "In" && value.int() == 0 {
            value.bad_int(e, "must not be 0 for the In operator");
        }
        if !seen.insert(value.int()) {
            value.duplicate(e);
        }
        ordered &= last <= value.int();
        last = value.int();
    }
    if !ordered {
        values.invalid(e, "must be ordered");
    }
}

fn success_policy(e: &mut Errors, spec: &At<'_>, at: &At<'_>) {
    let rules = at.get("rules");
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        rules.required(e, why);
    }
    if rules.len() > 20 {
        rules.too_many(e, 20);
    }
    let completions = spec.get("completions").int();
    for rule in rules.items() {
        let (count, indexes) = (rule.get("succeededCount"), rule.get("succeededIndexes"));
        if !count.is_set() && !indexes.is_set() {
            let why = "at least one of succeededCount or succeededIndexes must be specified";
            rule.required(e, why);
        }
        let mut total = 0;
        if indexes.is_set() {
            if indexes.str().len() > 64 * 1024 {
                indexes.too_long(e, 64 * 1024);
            }
            match count_indexes(indexes.str(), completions) {
                Ok(n) => total = n,
                Err(why) => {
                    indexes.bad_str(e, format!("error parsing succeededIndexes: {why}"));
                }
            }
        }
        count.non_negative(e);
        let most = |e: &mut Errors, n: i64, what: &str| {
            count.bad_int(e, format!("must be less than or equal to {n} (the number of {what})"));
        };
        if count.int() > completions {
            most(e, completions, "specified completions");
        }
        if indexes.is_set() && count.int() > total {
            most(e, total, "indexes in the specified succeededIndexes field");
        }
    }
}

/// The number of indexes that a text such as `1,3-5` names. The errors are upstream's.
pub fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut last, mut total): (Option<i64>, i64) = (None, 0);
    for part in text.split(',') {
        let (from, to) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= from) {
            return Err(format!("non-increasing order, previous: {last}, current: {from}"));
        }
        total += to - from + 1;
        last = Some(to);
    }
    Ok(total)
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let index = |text: &str| {
        let n: i64 = text
            .parse()
            .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if n >= completions { Err(format!("too large index: {text:?}")) } else { Ok(n) }
    };
    match part.split('-').count() {
        1 => index(part).map(|n| (n, n)),
        2 => {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = (index(from)?, index(to)?);
            if from >= to {
                return Err(format!("non-increasing order, previous: {from}, current: {to}"));
            }
            Ok((from, to))
        }
        _ => Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        )),
    }
}

fn changes(e: &mut Errors, top: &At<'_>, old: &At<'_>) {
    let (spec, before) = (top.get("spec"), old.get("spec"));
    let (now, had) = (spec.get("completions"), before.get("completions"));
    if spec.get("completionMode").str() != "Indexed" {
        immutable(e, &now, &had);
    } else if now.is_set() && now.value != had.value && now.int() != spec.get("parallelism").int() {
        now.bad_int(e, "can only be modified in tandem with spec.parallelism");
    }
    immutable(e, &spec.get("selector"), &before.get("selector"));
    let mut allowed = before.value.at("template").clone();
    let suspended = before.get("suspend").bool();
    if suspended && !top.get("status.startTime").is_set() {
        scheduling_of(&mut allowed, spec.value.at("template"));
    }
    if !same(spec.value.at("template"), &allowed) {
        spec.get("template").invalid(e, super::at::IMMUTABLE);
    }
    for field in
        ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        immutable(e, &spec.get(field), &before.get(field));
    }
}

/// A job that never ran may still change where its pods go.
fn scheduling_of(old: &mut Value, new: &Value) {
    for path in [
        "spec.affinity.nodeAffinity",
        "spec.nodeSelector",
        "spec.tolerations",
        "spec.schedulingGates",
        "metadata.annotations",
        "metadata.labels",
    ] {
        match new.find(path) {
            Some(value) => old.set(path, value.clone()),
            None => {
                old.remove(path);
            }
        }
    }
}

/// Checks a cron job.
pub fn cron_job(e: &mut Errors, new: &Value, old: Option<&Value>) {
    let top = At::top(new);
    let spec = top.get("spec");
    let schedule = spec.get("schedule");
    if schedule.demand(e) {
        let tolerated = old.is_some_and(|old| old.at("spec.schedule").str().contains("TZ"));
        if let Err(why) = cron::parse(schedule.str()) {
            schedule.bad_str(e, why);
        }
        if schedule.str().contains("TZ") {
            if !tolerated {
                schedule
                    .bad_str(e, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
            } else if spec.get("timeZone").is_set() {
                schedule.bad_str(e, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
            }
        }
    }
    spec.get("startingDeadlineSeconds").non_negative(e);
    let zone = spec.get("timeZone");
    if zone.is_set() && old.is_none_or(|old| old.at("spec.timeZone") != zone.value) {
        time_zone(e, &zone);
    }
    spec.get("concurrencyPolicy").required_one_of(e, &["Allow", "Forbid", "Replace"]);
    let inner = spec.get("jobTemplate.spec");
    job_spec(e, &inner);
    if inner.get("selector").is_set() {
        inner.get("selector").invalid(e, "`selector` will be auto-generated");
    }
    let manual = inner.get("manualSelector");
    if manual.bool() {
        let mut error = FieldError::not_supported(&manual.path, "", &["nil", "false"]);
        error.value = "true".to_string();
        e.push(error);
    }
    spec.get("successfulJobsHistoryLimit").non_negative(e);
    spec.get("failedJobsHistoryLimit").non_negative(e);
    if old.is_none() && new.name().len() > 52 {
        top.get("metadata.name").bad_str(e, "must be no more than 52 characters");
    }
}

/// Demands a zone's name as it stands in the zone database.
fn time_zone(e: &mut Errors, at: &At<'_>) {
    let text = at.str();
    if text.is_empty() {
        at.bad_str(e, "timeZone must be nil or non-empty string");
        return;
    }
    if text.eq_ignore_ascii_case("local") {
        at.bad_str(
            e,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    }
    if text != "Local" && Zone::named(text).is_none() {
        at.bad_str(e, format!("unknown time zone {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes() {
        assert_eq!(count_indexes("1,3-5", 6), Ok(4));
        assert_eq!(
            count_indexes("3,1", 6).unwrap_err(),
            "non-increasing order, previous: 3, current: 1"
        );
        assert_eq!(count_indexes("9", 6).unwrap_err(), "too large index: \"9\"");
        assert!(count_indexes("1-2-3", 6).is_err() && count_indexes("x", 6).is_err());
    }

    #[test]
    fn zones() {
        for (zone, wrong) in
            [("Europe/Paris", 0), ("", 1), ("../x", 1), ("Local", 1), ("Etc/GMT+1", 0)]
        {
            let mut e = Errors::new();
            time_zone(&mut e, &At::new(&zone.into(), "z"));
            assert_eq!(e.len(), wrong, "{zone}");
        }
    }
}
