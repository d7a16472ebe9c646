//! Deployments, ReplicaSets, DaemonSets, StatefulSets, Jobs, CronJobs and their like.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use timonier_meta::Time;
use timonier_object::Value;

use super::cells::{self, NONE};
use super::{Column, age, count, path, text, wide};

/// The columns after the name.
pub(super) fn columns(key: (&str, &str)) -> Option<Vec<Column>> {
    Some(match key {
        ("apps", "deployments") => vec![
            text("Ready", |o, _| ready(o, "readyReplicas")),
            count("Up-to-date", |o, _| int(o, "status.updatedReplicas")),
            count("Available", |o, _| int(o, "status.availableReplicas")),
            age(),
            wide(text("Containers", |o, _| cells::container_names(o))),
            wide(text("Images", |o, _| cells::container_images(o))),
            wide(text("Selector", |o, _| cells::selector(o.at("spec.selector")))),
        ],
        ("apps", "replicasets") => replicas(|o, _| cells::selector(o.at("spec.selector"))),
        ("", "replicationcontrollers") => replicas(|o, _| cells::pairs(o.at("spec.selector"))),
        ("apps", "statefulsets") => vec![
            text("Ready", |o, _| ready(o, "readyReplicas")),
            age(),
            wide(text("Containers", |o, _| cells::container_names(o))),
            wide(text("Images", |o, _| cells::container_images(o))),
        ],
        ("apps", "daemonsets") => vec![
            count("Desired", |o, _| int(o, "status.desiredNumberScheduled")),
            count("Current", |o, _| int(o, "status.currentNumberScheduled")),
            count("Ready", |o, _| int(o, "status.numberReady")),
            count("Up-to-date", |o, _| int(o, "status.updatedNumberScheduled")),
            count("Available", |o, _| int(o, "status.numberAvailable")),
            text("Node Selector", |o, _| cells::pairs(o.at("spec.template.spec.nodeSelector"))),
            age(),
            wide(text("Containers", |o, _| cells::container_names(o))),
            wide(text("Images", |o, _| cells::container_images(o))),
            wide(text("Selector", |o, _| cells::selector(o.at("spec.selector")))),
        ],
        ("apps", "controllerrevisions") => vec![
            text("Controller", |o, _| {
                o.controller().map_or(NONE.into(), |c| {
                    let group = c.api_version.rsplit_once('/').map_or("", |(g, _)| g);
                    let dot = if group.is_empty() { "" } else { "." };
                    format!("{}{dot}{group}/{}", c.kind.to_lowercase(), c.name).into()
                })
            }),
            count("Revision", |o, _| int(o, "revision")),
            age(),
        ],
        ("batch", "jobs") => vec![
            text("Status", |o, _| job_status(o)),
            text("Completions", |o, _| job_completions(o)),
            text("Duration", job_duration),
            age(),
            wide(text("Containers", |o, _| cells::container_names(o))),
            wide(text("Images", |o, _| cells::container_images(o))),
            wide(text("Selector", |o, _| cells::selector(o.at("spec.selector")))),
        ],
        ("batch", "cronjobs") => vec![
            path("Schedule", "spec.schedule"),
            text("Timezone", |o, _| cells::str_or_none(o, "spec.timeZone")),
            text("Suspend", |o, _| {
                if o.at("spec.suspend").bool() { "True" } else { "False" }.into()
            }),
            count("Active", |o, _| o.at("status.active").items().len().into()),
            text("Last Schedule", |o, now| match o.at("status.lastScheduleTime") {
                Value::Null => NONE.into(),
                time => cells::since(time, now).into(),
            }),
            age(),
            wide(text("Containers", |o, _| {
                cells::join(o.at("spec.jobTemplate.spec.template.spec.containers"), "name").into()
            })),
            wide(text("Images", |o, _| {
                cells::join(o.at("spec.jobTemplate.spec.template.spec.containers"), "image").into()
            })),
            wide(text("Selector", |o, _| cells::selector(o.at("spec.jobTemplate.spec.selector")))),
        ],
        ("autoscaling", "horizontalpodautoscalers") => vec![
            text("Reference", |o, _| {
                let r = o.at("spec.scaleTargetRef");
                format!("{}/{}", r.at("kind").str(), r.at("name").str()).into()
            }),
            text("Targets", |o, _| autoscaler_targets(o)),
            text("MinPods", |o, _| match o.at("spec.minReplicas").as_i64() {
                Some(n) => format!("{n}").into(),
                None => "<unset>".into(),
            }),
            count("MaxPods", |o, _| int(o, "spec.maxReplicas")),
            count("Replicas", |o, _| int(o, "status.currentReplicas")),
            age(),
        ],
        _ => return None,
    })
}

fn replicas(selector: fn(&Value, Time) -> Value) -> Vec<Column> {
    vec![
        count("Desired", |o, _| int(o, "spec.replicas")),
        count("Current", |o, _| int(o, "status.replicas")),
        count("Ready", |o, _| int(o, "status.readyReplicas")),
        age(),
        wide(text("Containers", |o, _| cells::container_names(o))),
        wide(text("Images", |o, _| cells::container_images(o))),
        wide(text("Selector", selector)),
    ]
}

fn int(object: &Value, path: &str) -> Value {
    object.at(path).int_or(0).into()
}

fn ready(object: &Value, field: &str) -> Value {
    let ready = object.at("status").at(field).int_or(0);
    format!("{ready}/{}", object.at("spec.replicas").int_or(0)).into()
}

fn job_status(job: &Value) -> Value {
    let is = |condition| job.condition_is_true(condition);
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if job.is_deleting() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
    .into()
}

fn job_completions(job: &Value) -> Value {
    let succeeded = job.at("status.succeeded").int_or(0);
    if let Some(completions) = job.at("spec.completions").as_i64() {
        return format!("{succeeded}/{completions}").into();
    }
    match job.at("spec.parallelism").int_or(0) {
        parallel if parallel > 1 => format!("{succeeded}/1 of {parallel}").into(),
        _ => format!("{succeeded}/1").into(),
    }
}

fn job_duration(job: &Value, now: Time) -> Value {
    match (job.time("status.startTime"), job.time("status.completionTime")) {
        (None, _) => "".into(),
        (Some(start), end) => cells::human_duration(end.unwrap_or(now) - start).into(),
    }
}

fn autoscaler_targets(autoscaler: &Value) -> Value {
    let current = autoscaler.at("status.currentMetrics").items();
    let targets: Vec<_> = autoscaler
        .at("spec.metrics")
        .items()
        .iter()
        .enumerate()
        .map(|(i, metric)| {
            let body = metric.entries().find(|(k, _)| *k != "type").map(|(_, v)| v);
            let now = current.get(i).and_then(|m| m.entries().find(|(k, _)| *k != "type"));
            let (Some(body), now) = (body, now.map(|(_, v)| v.at("current"))) else {
                return "<unknown>".into();
            };
            let name = match metric.at("type").str() {
                "Resource" | "ContainerResource" => format!("{}: ", body.at("name").str()),
                _ => Default::default(),
            };
            let show = |v: Option<&Value>, percent: &str, value: &str| {
                let v = v?;
                v.at(percent)
                    .as_i64()
                    .map(|n| format!("{n}%"))
                    .or_else(|| v.at(value).as_str().map(Into::into))
                    .or_else(|| v.at("value").as_str().map(Into::into))
            };
            let target = show(Some(body.at("target")), "averageUtilization", "averageValue");
            let now = show(now, "averageUtilization", "averageValue");
            format!(
                "{name}{}/{}",
                now.unwrap_or_else(|| "<unknown>".into()),
                target.unwrap_or_else(|| "<auto>".into())
            )
        })
        .collect();
    cells::or_none(match targets.len() {
        0..=2 => targets.join(", "),
        n => format!("{} + {} more...", targets[..2].join(", "), n - 2),
    })
    .into()
}

#[cfg(test)]
mod tests {
    use timonier_meta::gvk::resources::{DEPLOYMENTS, JOBS};
    use timonier_object::value;

    use crate::columns::tests::row;

    #[test]
    fn deployments_and_jobs() {
        let object = value!({
            "metadata": { "name": "web", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "replicas": 3, "selector": { "matchLabels": { "app": "web" } },
                "template": { "spec": { "containers": [{ "name": "a", "image": "i" }, { "name": "b", "image": "j" }] } } },
            "status": { "readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1 },
        });
        assert_eq!(row(&DEPLOYMENTS, &object), "web|2/3|3|1|10m|a,b|i,j|app=web");
        let job = value!({
            "metadata": { "name": "j", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "completions": 1, "template": { "spec": { "containers": [] } } },
            "status": { "succeeded": 1, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:04Z",
                "conditions": [{ "type": "Complete", "status": "True" }] },
        });
        assert_eq!(row(&JOBS, &job), "j|Complete|1/1|4s|10m|||<none>");
    }
}
