//! What pods use, as the summary and the metrics tell it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::sync::{Arc, Mutex};

use timonier_meta::{Environment, Time};
use timonier_object::{Value, value};
use timonier_runtime::{CgroupStats, ContainerStats, Runtime};

use super::lookup::{KnownPod, Lookup};

/// Clock ticks of `/proc/stat` per second, fixed by the kernel's interface.
const TICKS: u64 = 100;

/// Reads figures; remembers the last ones to tell rates.
pub struct Figures {
    node_name: String,
    lookup: Arc<dyn Lookup>,
    runtime: Arc<dyn Runtime>,
    env: Arc<dyn Environment>,
    started: Time,
    /// When, and nanoseconds used until then, by name of what used them.
    last: Mutex<BTreeMap<String, (Time, u64)>>,
}

struct PodFigures {
    known: KnownPod,
    total: Option<CgroupStats>,
    containers: Vec<(String, String, ContainerStats)>,
}

/// The whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Machine {
    cpu_ns: u64,
    memory_total: u64,
    memory_available: u64,
}

impl Figures {
    pub fn new(
        node_name: String,
        lookup: Arc<dyn Lookup>,
        runtime: Arc<dyn Runtime>,
        env: Arc<dyn Environment>,
    ) -> Self {
        let started = env.now();
        Self { node_name, lookup, runtime, env, started, last: Mutex::default() }
    }

    async fn pods(&self) -> Vec<PodFigures> {
        let mut pods = Vec::new();
        for known in self.lookup.pods() {
            let total = match &known.sandbox {
                Some(id) => self.runtime.sandbox_stats(id).await.ok(),
                None => None,
            };
            let mut containers = Vec::new();
            for container in &known.containers {
                // One that has ended has no figures.
                if let Ok(stats) = self.runtime.container_stats(&container.id).await {
                    containers.push((container.name.clone(), container.id.clone(), stats));
                }
            }
            pods.push(PodFigures { known, total, containers });
        }
        pods
    }

    /// `/stats/summary`.
    pub async fn summary(&self) -> Value {
        let now = self.env.now();
        let pods = self.pods().await;
        let machine = machine();
        let used = machine.memory_total.saturating_sub(machine.memory_available);
        let node = CgroupStats {
            cpu_usage_ns: machine.cpu_ns,
            memory_usage: used,
            memory_working_set: used,
            memory_limit: Some(machine.memory_total),
            ..CgroupStats::default()
        };
        let (cpu, memory) = (self.cpu("node", &node, now), memory(&node, now));
        let (name, started) = (self.node_name.as_str(), self.started.rfc3339());
        let list: Vec<Value> = pods.iter().map(|p| self.pod(p, now)).collect();
        let list = Value::array(list);
        self.forget(&pods);
        value!({
            "node": { "nodeName": name, "startTime": started, "cpu": cpu, "memory": memory },
            "pods": list
        })
    }

    fn pod(&self, figures: &PodFigures, now: Time) -> Value {
        let pod = &figures.known.pod;
        let time = now.rfc3339();
        let mut bytes = 0;
        let mut containers = Vec::new();
        for (name, id, stats) in &figures.containers {
            bytes += stats.writable_bytes;
            let (cpu, memory) = (self.cpu(id, &stats.cgroup, now), memory(&stats.cgroup, now));
            let (used, inodes) = (stats.writable_bytes as i64, stats.writable_inodes as i64);
            let (name, time) = (name.as_str(), time.as_str());
            containers.push(value!({
                "name": name, "cpu": cpu, "memory": memory,
                "rootfs": { "time": time, "usedBytes": used, "inodesUsed": inodes }
            }));
        }
        let (name, namespace) = (pod.name(), pod.namespace());
        let uid = figures.known.uid.as_str();
        let (containers, started) = (Value::array(containers), pod.at("status.startTime").str());
        let bytes = bytes as i64;
        let mut summary = value!({
            "podRef": { "name": name, "namespace": namespace, "uid": uid },
            "startTime": started, "containers": containers,
            "ephemeral-storage": { "time": (time.as_str()), "usedBytes": bytes }
        });
        if let (Some(total), Value::Object(map)) = (&figures.total, &mut summary) {
            map.insert("cpu", self.cpu(uid, total, now));
            map.insert("memory", memory(total, now));
        }
        summary
    }

    fn cpu(&self, of: &str, stats: &CgroupStats, now: Time) -> Value {
        let used = stats.cpu_usage_ns;
        let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
        let before = last.insert(of.to_string(), (now, used));
        let rate = before.map_or(0, |(then, usage)| {
            let elapsed = (now - then).to_core().as_nanos().max(1);
            (u128::from(used.saturating_sub(usage)) * 1_000_000_000 / elapsed) as i64
        });
        let (time, used) = (now.rfc3339(), used as i64);
        value!({ "time": time, "usageNanoCores": rate, "usageCoreNanoSeconds": used })
    }

    /// Remembers only what is still there.
    fn forget(&self, pods: &[PodFigures]) {
        let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
        last.retain(|of, _| {
            of == "node"
                || pods
                    .iter()
                    .any(|p| p.known.uid == *of || p.containers.iter().any(|c| c.1 == *of))
        });
    }

    /// `/metrics/resource`: what the metrics server reads.
    pub async fn resource_metrics(&self) -> String {
        let (pods, machine) = (self.pods().await, machine());
        let used = machine.memory_total.saturating_sub(machine.memory_available);
        let mut text = Text::default();
        text.family("node_cpu_usage_seconds_total", "counter");
        text.sample("node_cpu_usage_seconds_total", "", seconds(machine.cpu_ns));
        text.family("node_memory_working_set_bytes", "gauge");
        text.sample("node_memory_working_set_bytes", "", used as f64);
        for (name, kind, of) in [
            ("cpu_usage_seconds_total", "counter", cpu_seconds as fn(&CgroupStats) -> f64),
            ("memory_working_set_bytes", "gauge", working_set),
        ] {
            let family = format!("container_{name}");
            text.family(&family, kind);
            each_container(&pods, |labels, stats| text.sample(&family, labels, of(stats)));
            let family = format!("pod_{name}");
            text.family(&family, kind);
            for pod in &pods {
                if let Some(total) = &pod.total {
                    text.sample(&family, &pod_labels(&pod.known.pod), of(total));
                }
            }
        }
        text.family("resource_scrape_error", "gauge");
        text.sample("resource_scrape_error", "", 0.0);
        text.0
    }

    /// `/metrics/cadvisor`: the families that dashboards ask for first.
    pub async fn cadvisor_metrics(&self) -> String {
        let (pods, machine) = (self.pods().await, machine());
        let mut text = Text::default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        text.family("machine_cpu_cores", "gauge");
        text.sample("machine_cpu_cores", "", cores as f64);
        text.family("machine_memory_bytes", "gauge");
        text.sample("machine_memory_bytes", "", machine.memory_total as f64);
        type Of = fn(&CgroupStats) -> f64;
        let families: [(&str, &str, Of); 7] = [
            ("container_cpu_usage_seconds_total", "counter", cpu_seconds),
            ("container_cpu_cfs_throttled_periods_total", "counter", |s| {
                s.cpu_throttled_periods as f64
            }),
            ("container_memory_usage_bytes", "gauge", |s| s.memory_usage as f64),
            ("container_memory_working_set_bytes", "gauge", working_set),
            ("container_memory_rss", "gauge", |s| s.memory_rss as f64),
            ("container_oom_events_total", "counter", |s| s.oom_kills as f64),
            ("container_processes", "gauge", |s| s.pids as f64),
        ];
        for (family, kind, of) in families {
            text.family(family, kind);
            each_container(&pods, |labels, stats| text.sample(family, labels, of(stats)));
        }
        text.0
    }

    /// `/metrics`: the agent itself.
    pub async fn own_metrics(&self) -> String {
        let pods = self.lookup.pods();
        let ready = pods.iter().filter(|p| p.sandbox.is_some()).count();
        let running = self.runtime.list_containers(None).await.unwrap_or_default();
        let running = running
            .iter()
            .filter(|c| matches!(c.state, timonier_runtime::ContainerState::Running { .. }))
            .count();
        let mut text = Text::default();
        text.family("kubelet_node_name", "gauge");
        text.sample("kubelet_node_name", &format!("node=\"{}\"", self.node_name), 1.0);
        text.family("kubelet_running_pods", "gauge");
        text.sample("kubelet_running_pods", "", ready as f64);
        text.family("kubelet_running_containers", "gauge");
        text.sample("kubelet_running_containers", "container_state=\"running\"", running as f64);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        text.family("process_resident_memory_bytes", "gauge");
        text.sample("process_resident_memory_bytes", "", kib(&status, "VmRSS:") as f64);
        text.0
    }
}

fn memory(stats: &CgroupStats, now: Time) -> Value {
    let time = now.rfc3339();
    let (usage, working_set) = (stats.memory_usage as i64, stats.memory_working_set as i64);
    let (rss, faults) = (stats.memory_rss as i64, stats.page_faults as i64);
    let major = stats.major_page_faults as i64;
    let mut memory = value!({
        "time": time, "usageBytes": usage, "workingSetBytes": working_set, "rssBytes": rss,
        "pageFaults": faults, "majorPageFaults": major
    });
    if let (Some(limit), Value::Object(map)) = (stats.memory_limit, &mut memory) {
        let available = limit.saturating_sub(stats.memory_working_set) as i64;
        map.insert("availableBytes", Value::from(available));
    }
    memory
}

fn machine() -> Machine {
    parse_machine(
        &fs::read_to_string("/proc/stat").unwrap_or_default(),
        &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
    )
}

fn parse_machine(stat: &str, meminfo: &str) -> Machine {
    let cpu = stat.lines().find_map(|l| l.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> = cpu.split_whitespace().filter_map(|t| t.parse().ok()).collect();
    // user, nice, system, (idle, iowait left out), irq, softirq, steal
    let used: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|i| ticks.get(*i)).sum();
    Machine {
        cpu_ns: used * (1_000_000_000 / TICKS),
        memory_total: kib(meminfo, "MemTotal:"),
        memory_available: kib(meminfo, "MemAvailable:"),
    }
}

/// A line such as `MemTotal: 1000 kB`, in bytes.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn cpu_seconds(stats: &CgroupStats) -> f64 {
    seconds(stats.cpu_usage_ns)
}

fn working_set(stats: &CgroupStats) -> f64 {
    stats.memory_working_set as f64
}

/// Names of pods and containers need no escaping: they are DNS labels.
fn pod_labels(pod: &Value) -> String {
    format!("namespace=\"{}\",pod=\"{}\"", pod.namespace(), pod.name())
}

fn each_container(pods: &[PodFigures], mut tell: impl FnMut(&str, &CgroupStats)) {
    for pod in pods {
        for (name, _, stats) in &pod.containers {
            let labels = format!("container=\"{name}\",{}", pod_labels(&pod.known.pod));
            tell(&labels, &stats.cgroup);
        }
    }
}

/// The text format of Prometheus.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine() {
        let got = parse_machine(
            "cpu  100 1 50 9999 7 2 3 4 0 0\ncpu0 1 1 1\n",
            "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   400 kB\n",
        );
        let expected =
            Machine { cpu_ns: 1_600_000_000, memory_total: 1_024_000, memory_available: 409_600 };
        assert_eq!(got, expected);
    }

    #[test]
    fn the_text_format() {
        let mut text = Text::default();
        text.family("a", "gauge");
        text.sample("a", "", 1.0);
        text.sample("a", "pod=\"p\"", 0.5);
        assert_eq!(text.0, "# TYPE a gauge\na 1\na{pod=\"p\"} 0.5\n");
    }
}
