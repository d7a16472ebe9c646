//! The runtime's view of a pod, in the words of `timonier_pod`.

use std::path::Path;

use timonier_meta::SmolStr;
use timonier_object::Value;
use timonier_pod::observed::{Container, Observed, Sandbox, State};
use timonier_pod::spec;
use timonier_runtime as rt;

use super::Worker;
use crate::machine::to_time;
use crate::pod_table::{ContainerEntry, PodEntry};

/// The annotation of a sandbox that keeps the pod's address over a restart of the agent.
pub(super) const IP: &str = "timonier.io/pod-ip";
/// The label with the pod's uid.
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
/// Upstream's bounds of termination messages, bytes.
const MESSAGE_MAX: usize = 4096;
const LOG_TAIL_MAX: usize = 2048;
const LOG_TAIL_LINES: usize = 80;

impl Worker {
    /// Reads the pod's sandboxes and containers from the runtime. What cannot be read now stays
    /// as it was.
    pub(super) async fn observe(&mut self) {
        let mut next = Observed::default();
        for id in self.sandboxes.clone() {
            match self.shared.runtime.sandbox_status(&id).await {
                Ok(status) => next.sandboxes.push(self.sandbox(&status)),
                Err(error) if error.is_not_found() => {
                    self.sandboxes.remove(&id);
                    self.shared.sandboxes.lock().expect("no panic holds it").remove(&id);
                    continue;
                }
                Err(error) => return self.not_observed(&error),
            }
            match self.shared.runtime.list_containers(Some(&id)).await {
                Ok(list) => {
                    for status in list {
                        let container = self.container(&status);
                        next.containers.push(container);
                    }
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return self.not_observed(&error),
            }
        }
        self.observed = next;
        let mut images = self.shared.images_in_use.lock().expect("no panic holds it");
        for c in &self.observed.containers {
            images.insert((self.uid(), c.id.to_string()), c.image_id.to_string());
        }
        drop(images);
        self.publish();
    }

    fn not_observed(&mut self, error: &rt::Error) {
        tracing::warn!(pod = %self.pod.key(), %error, "the runtime does not answer");
    }

    fn sandbox(&self, s: &rt::SandboxStatus) -> Sandbox {
        let ip = s.config.annotations.get(IP).map(|ip| SmolStr::from(ip.as_str()));
        let host = s.config.network == rt::Network::Host;
        // After a reboot the network is gone even where the record is not.
        let connected = host || self.shared.network.has(self.pod.uid());
        Sandbox {
            id: s.id.as_str().into(),
            ready: s.state == rt::SandboxState::Ready && connected,
            attempt: s.config.attempt,
            created_at: to_time(s.created_at),
            ips: ip.into_iter().collect(),
        }
    }

    fn container(&mut self, s: &rt::ContainerStatus) -> Container {
        let id = SmolStr::from(s.id.as_str());
        let created_at = to_time(s.created_at);
        let mut out = Container {
            id: id.clone(),
            sandbox_id: s.sandbox.as_str().into(),
            name: s.config.name.as_str().into(),
            attempt: s.config.attempt,
            state: State::Created,
            created_at,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            reason: SmolStr::default(),
            message: String::new(),
            image: s.config.image.as_str().into(),
            image_id: s.config.image_id.as_str().into(),
            user: ids(&s.config.security.user),
        };
        match &s.state {
            rt::ContainerState::Running { started_at, .. } => {
                out.state = State::Running;
                out.started_at = Some(to_time(*started_at));
            }
            rt::ContainerState::Exited { started_at, exit } => {
                out.state = State::Exited;
                out.started_at = started_at.map(to_time);
                out.finished_at = Some(to_time(exit.finished_at));
                out.exit_code = exit.code;
                out.reason = exit.reason.as_str().into();
                out.message = self.termination_message(&id, s, exit);
            }
            // Nobody will start it: the agent was restarted in between, or the start failed.
            rt::ContainerState::Created if !self.is_starting(s) => {
                out.state = State::Exited;
                out.finished_at = Some(created_at);
                out.exit_code = 128;
                out.reason = SmolStr::new_static("StartError");
            }
            rt::ContainerState::Created => {}
        }
        out
    }

    fn is_starting(&self, s: &rt::ContainerStatus) -> bool {
        self.memory
            .starting
            .as_ref()
            .is_some_and(|(name, attempt)| *name == s.config.name && *attempt == s.config.attempt)
    }

    /// What a run left as its last word: the file, or the end of the log as the policy says.
    fn termination_message(
        &mut self,
        id: &SmolStr,
        s: &rt::ContainerStatus,
        exit: &rt::Exit,
    ) -> String {
        if let Some(known) = self.messages.get(id) {
            return known.clone();
        }
        let (name, attempt) = (&s.config.name, s.config.attempt);
        let file = self.shared.config.pod_dir(self.pod.uid());
        let file = crate::container::termination_file(&file, name, attempt);
        let mut message = read_start(&file, MESSAGE_MAX);
        let policy = spec::container(&self.pod, name)
            .map(|c| c.spec.at("terminationMessagePolicy").str() == "FallbackToLogsOnError");
        if message.is_empty() && policy == Some(true) && exit.code != 0 {
            message = s.config.log_path.as_deref().map(log_tail).unwrap_or_default();
        }
        if message.is_empty() {
            message.clone_from(&exit.message);
        }
        self.messages.insert(id.clone(), message.clone());
        message
    }

    /// Puts the pod into the table that the HTTPS server reads.
    fn publish(&self) {
        let pod = &self.pod;
        let log = |name: &str, attempt| {
            let (ns, pod_name, uid) = (pod.namespace(), pod.name(), pod.uid());
            self.shared.config.log_path(ns, pod_name, uid, name, attempt)
        };
        let entry = |name: &str| {
            let runs = self.observed.runs(name);
            let run = runs.first()?;
            Some(ContainerEntry {
                id: run.id.to_string(),
                attempt: run.attempt,
                state: run.state,
                log_path: log(name, run.attempt),
                previous_log_path: runs.get(1).map(|r| log(name, r.attempt)),
            })
        };
        let containers = spec::all_containers(pod)
            .iter()
            .filter_map(|c| Some((c.name().to_string(), entry(c.name())?)))
            .collect();
        let ips = timonier_pod::status::pod_ips(pod, &self.observed, &self.shared.facts);
        self.shared.table.set(PodEntry {
            uid: pod.uid().to_string(),
            pod: pod.clone(),
            sandbox: self.observed.ready_sandbox().map(|s| s.id.to_string()),
            ips: ips.iter().map(SmolStr::to_string).collect(),
            containers,
        });
    }
}

/// User, group and groups of a process; `None` where the image names them in words.
fn ids(user: &rt::User) -> Option<(i64, i64, Vec<i64>)> {
    let (name, group) = user.name.split_once(':').unwrap_or((&user.name, ""));
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u32>().ok() };
    let uid = i64::from(user.uid.or_else(|| number(name))?);
    let gid = i64::from(user.gid.or_else(|| number(group))?);
    let more = user.supplementary.iter().map(|g| i64::from(*g)).filter(|g| *g != gid);
    Some((uid, gid, std::iter::once(gid).chain(more).collect()))
}

/// At most `max` bytes from the start of a file; empty where it cannot be read.
fn read_start(path: &Path, max: usize) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // A partial message is better than none.
        let _ = file.take(max as u64).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines of a log in CRI format, without times and streams.
fn log_tail(path: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let Ok(mut file) = std::fs::File::open(path) else { return String::new() };
    let len = file.metadata().map_or(0, |m| m.len());
    // Every line has some 40 bytes before its text.
    let start = len.saturating_sub((LOG_TAIL_MAX + LOG_TAIL_LINES * 48) as u64);
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(start)).is_err() || file.read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let skip = usize::from(start > 0);
    let lines: Vec<&str> = text.lines().skip(skip).collect();
    let from = lines.len().saturating_sub(LOG_TAIL_LINES);
    let mut out = String::new();
    for line in &lines[from..] {
        let mut parts = line.splitn(4, ' ').skip(2);
        let (tag, content) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        out.push_str(content);
        if tag != "P" {
            out.push('\n');
        }
    }
    let mut cut = out.len().saturating_sub(LOG_TAIL_MAX);
    while !out.is_char_boundary(cut) {
        cut += 1;
    }
    out.split_off(cut)
}

/// A pod made up from what the runtime knows, for one that the API does not know any more.
pub(crate) fn orphan(config: &rt::SandboxConfig, containers: &[rt::ContainerStatus]) -> Value {
    let mut names: Vec<&str> = containers.iter().map(|c| c.config.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let list = names.into_iter().map(|n| timonier_object::value!({ "name": n }));
    timonier_object::value!({ "metadata": { "name": (config.name.as_str()),
            "namespace": (config.namespace.as_str()), "uid": (config.uid.as_str()) },
        "spec": { "containers": (Value::array(list)) } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_in_numbers() {
        let user = |name: &str, uid| rt::User { name: name.into(), uid, ..rt::User::default() };
        assert_eq!(ids(&user("", None)), Some((0, 0, vec![0])));
        assert_eq!(ids(&user("101:102", None)), Some((101, 102, vec![102])));
        assert_eq!(ids(&user("nginx", None)), None);
        let mut given = user("nginx", Some(5));
        given.supplementary = vec![7];
        assert_eq!(ids(&given), Some((5, 0, vec![0, 7])));
    }

    #[test]
    fn the_tail_of_a_log() {
        let path = std::env::temp_dir().join(format!("timonier-tail-{}", std::process::id()));
        std::fs::write(&path, "2026-11-21T20:28:51Z stdout F one\n2026-11-21T20:28:51Z stderr P tw\n2026-11-21T20:28:51Z stderr F o\n").unwrap();
        assert_eq!(log_tail(&path), "one\ntwo\n");
        let long: String = (0..500).map(|i| format!("t stdout F line {i}\n")).collect();
        std::fs::write(&path, long).unwrap();
        let tail = log_tail(&path);
        assert!(tail.ends_with("line 499\n") && tail.lines().count() == 80 && tail.len() <= 2048);
        std::fs::remove_file(&path).unwrap();
    }
}
