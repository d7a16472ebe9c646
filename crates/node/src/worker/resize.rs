//! Limits that change while a container runs.

use timonier_object::Value;
use timonier_pod::observed::State;
use timonier_pod::{Event, Kill, grace_period, resources, spec};

use super::Worker;

impl Worker {
    /// Brings the limits of running containers in line with a changed spec: in place, or by a
    /// restart where the container's `resizePolicy` asks for one.
    pub(super) fn resize(&mut self, before: &Value) {
        if self.memory.ending.is_some() || self.observed.ready_sandbox().is_none() {
            return;
        }
        let pod = self.pod.clone();
        let mut in_place = Vec::new();
        for c in spec::all_containers(&pod) {
            let Some(old) = spec::container(before, c.name()) else { continue };
            let running = self.observed.current(c.name()).filter(|r| r.state == State::Running);
            let Some(run) = running else { continue };
            if old.spec.at("resources") == c.spec.at("resources") {
                continue;
            }
            let id = run.id.clone();
            if needs_restart(old.spec, c.spec) {
                let message =
                    format!("Container {} resize requires restart, will be restarted", c.name());
                self.shared.recorder.pod(&pod, Event::normal("Killing", message).about(&c));
                let (name, grace) = (c.name().into(), grace_period(&pod));
                self.kill(Kill { id, name, grace, hook: true });
            } else {
                let limits = crate::container::resources(&resources::container_cgroup(c.spec));
                in_place.push((id.to_string(), limits));
            }
        }
        if in_place.is_empty() {
            return;
        }
        let sandbox = self.observed.ready_sandbox().map(|s| s.id.to_string()).unwrap_or_default();
        let limits = crate::container::resources(&resources::pod_cgroup(&pod, None));
        let shared = self.shared.clone();
        tokio::spawn(async move {
            // The kernel refuses a child more than its parent, and a parent less than its child:
            // one of the two orders works.
            let first = shared.runtime.update_sandbox(&sandbox, &limits).await;
            for (id, limits) in in_place {
                if let Err(error) = shared.runtime.update_container(&id, &limits).await {
                    tracing::warn!(%error, id, "resizing a container");
                }
            }
            if first.is_err()
                && let Err(error) = shared.runtime.update_sandbox(&sandbox, &limits).await
            {
                tracing::warn!(%error, sandbox, "resizing a pod");
            }
        });
    }
}

/// Whether one of the changed resources has the policy `RestartContainer`.
fn needs_restart(old: &Value, new: &Value) -> bool {
    let changed = |name: &str| {
        ["requests", "limits"].iter().any(|list| {
            let read = |c: &Value| resources::quantity(c.at("resources").at(list).get(name));
            read(old).milli_value() != read(new).milli_value()
        })
    };
    new.at("resizePolicy").items().iter().any(|p| {
        p.at("restartPolicy").str() == "RestartContainer" && changed(p.at("resourceName").str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    #[test]
    fn the_policy_of_what_changed_counts() {
        let c = |cpu: &str, memory: &str| {
            value!({ "resources": { "limits": { "cpu": cpu, "memory": memory } },
                "resizePolicy": [{ "resourceName": "memory", "restartPolicy": "RestartContainer" },
                                 { "resourceName": "cpu", "restartPolicy": "NotRequired" }] })
        };
        assert!(!needs_restart(&c("1", "1Gi"), &c("2", "1024Mi")));
        assert!(needs_restart(&c("1", "1Gi"), &c("1", "2Gi")));
    }
}
