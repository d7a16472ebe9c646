//! Users, groups, namespaces of the host, system calls, cgroups.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cases::pods::pod;
use crate::cluster::{Cluster, Namespace};
use crate::shell::{Result, contains, equal};

pub fn users_and_groups(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("users")?;
    let more = "    securityContext: {runAsGroup: 2000}\n    volumeMounts: [{name: e, mountPath: /e}, {name: s, mountPath: /s}]\n  securityContext: {runAsUser: 1000, runAsNonRoot: true, fsGroup: 3000, supplementalGroups: [4000, 5000]}\n  volumes: [{name: e, emptyDir: {}}, {name: s, secret: {secretName: keys}}]\n";
    ns.kubectl(&["create", "secret", "generic", "keys", "--from-literal=k=v"])?;
    ns.apply(&pod("mixed", "sleep 1000", more))?;
    ns.ready(&["mixed"])?;
    let found = ns.shell("mixed", "id -u; id -g; id -G; stat -c '%g %A' /e; touch /e/f; stat -c '%u %g' /e/f; stat -L -c '%g %a' /s/k; cat /s/k; touch /no 2>/dev/null || echo refused")?;
    equal(
        "who it is",
        found.as_str(),
        "1000\n2000\n2000 3000 4000 5000\n3000 drwxrwsrwx\n1000 3000\n3000 644\nvrefused\n",
    )?;
    let more = "    securityContext: {runAsNonRoot: true}\n";
    ns.apply(&pod("root", "sleep 1000", more))?;
    ns.wait(
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError",
        &["pod/root"],
    )?;
    contains(
        &ns.value("pod/root", "{.status.containerStatuses[0].state.waiting.message}")?,
        &["container has runAsNonRoot and image will run as root"],
    )?;
    let more =
        "    securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE, SYS_TIME]}}\n";
    ns.apply(&pod("capable", "sleep 1000", more))?;
    ns.ready(&["capable"])?;
    // Bits 10 and 25.
    contains(&ns.shell("capable", "grep CapBnd /proc/self/status")?, &["0000000002000400"])?;
    ns.apply(&pod("privileged", "sleep 1000", "    securityContext: {privileged: true}\n"))?;
    ns.ready(&["privileged"])?;
    contains(&ns.shell("privileged", "grep -E 'Seccomp:|CapEff' /proc/self/status; ls /dev | wc -l; mount -t tmpfs none /tmp && echo mounted")?, &["Seccomp:\t0", "mounted"])
}

pub fn namespaces_of_the_host(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("host-spaces")?;
    let space = |name: &str| {
        fs::read_link(format!("/proc/self/ns/{name}"))
            .map(|p| p.display().to_string())
            .map_err(|e| e.to_string())
    };
    let script = "for n in net pid ipc uts mnt; do readlink /proc/self/ns/$n; done";
    ns.apply(&pod(
        "shares",
        "sleep 1000",
        "  hostNetwork: true\n  hostPID: true\n  hostIPC: true\n",
    ))?;
    ns.apply(&pod(
        "own",
        "sleep 1000",
        "  hostname: other\n  subdomain: sub\n  shareProcessNamespace: true\n",
    ))?;
    ns.ready(&["shares", "own"])?;
    let found = ns.shell("shares", script)?;
    contains(&found, &[&space("net")?, &space("pid")?, &space("ipc")?])?;
    equal("its own mounts", found.contains(&space("mnt")?), false)?;
    equal(
        "its address",
        ns.value("pod/shares", "{.status.podIP}")?,
        ns.value("pod/shares", "{.status.hostIP}")?,
    )?;
    contains(
        &ns.shell("shares", "cat /proc/1/comm; hostname")?,
        &[fs::read_to_string("/proc/1/comm").map_err(|e| e.to_string())?.trim()],
    )?;
    let found = ns.shell("own", script)?;
    for name in ["net", "pid", "ipc", "uts", "mnt"] {
        equal(&format!("a {name} namespace of its own"), found.contains(&space(name)?), false)?;
    }
    contains(
        &ns.shell("own", "hostname -f; cat /etc/hosts; ps")?,
        &["other.sub.host-spaces.svc.cluster.local", "sleep 1000", "pause"],
    )
}

pub fn system_call_filters(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("filters")?;
    let profiles = cluster.data.join("seccomp");
    fs::create_dir_all(&profiles).map_err(|e| e.to_string())?;
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#;
    fs::write(profiles.join("no-mkdir.json"), profile).map_err(|e| e.to_string())?;
    let filter = |text: &str| format!("    securityContext: {{seccompProfile: {{{text}}}}}\n");
    ns.apply(&pod(
        "local",
        "sleep 1000",
        &filter("type: Localhost, localhostProfile: no-mkdir.json"),
    ))?;
    ns.apply(&pod("free", "sleep 1000", &filter("type: Unconfined")))?;
    ns.apply(&pod("default", "sleep 1000", &filter("type: RuntimeDefault")))?;
    ns.ready(&["local", "free", "default"])?;
    let script = "grep Seccomp: /proc/self/status; mkdir /tmp/x 2>&1; echo $?; unshare -U true 2>&1 | grep -o 'Operation not permitted'; true";
    let found = ns.shell("local", script)?;
    contains(
        &found,
        &["Seccomp:\t2", "mkdir: can't create directory '/tmp/x': Operation not permitted\n1"],
    )?;
    contains(&ns.shell("free", script)?, &["Seccomp:\t0\n0\n"])?;
    contains(&ns.shell("default", script)?, &["Seccomp:\t2\n0\nOperation not permitted"])?;
    ns.apply(&pod(
        "missing",
        "sleep 1000",
        &filter("type: Localhost, localhostProfile: nothing.json"),
    ))?;
    ns.wait(
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerError",
        &["pod/missing"],
    )?;
    contains(
        &ns.value("pod/missing", "{.status.containerStatuses[0].state.waiting.message}")?,
        &["nothing.json"],
    )
}

/// A process of the container as the host sees it: the pod's `sleep` of so many seconds.
fn process(seconds: &str) -> Result<PathBuf> {
    let line = format!("sleep\0{seconds}\0");
    fs::read_dir("/proc")
        .map_err(|e| e.to_string())?
        .flatten()
        .map(|e| e.path())
        .find(|p| fs::read(p.join("cmdline")).is_ok_and(|l| l == line.as_bytes()))
        .ok_or(format!("no sleep {seconds} runs"))
}

/// The value of a file of the process's cgroup, `above` levels up.
fn limit(process: &Path, controller: &str, v1: &str, v2: &str, above: usize) -> Result<String> {
    let text = fs::read_to_string(process.join("cgroup")).map_err(|e| e.to_string())?;
    let find = |name: &str| {
        text.lines().find_map(|l| {
            let mut fields = l.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            controllers.split(',').any(|c| c == name).then(|| fields.next())?
        })
    };
    let (root, path, file) = match find(controller) {
        Some(path) => (format!("/sys/fs/cgroup/{controller}"), path, v1),
        None => ("/sys/fs/cgroup".into(), find("").ok_or("no cgroup")?, v2),
    };
    let mut dir = PathBuf::from(root).join(path.trim_start_matches('/'));
    (0..above).for_each(|_| assert!(dir.pop()));
    let file = dir.join(file);
    fs::read_to_string(&file)
        .map(|t| t.trim().to_owned())
        .map_err(|e| format!("{}: {e}", file.display()))
}

fn sleeper(ns: &Namespace<'_>, name: &str, seconds: &str, resources: &str) -> Result<PathBuf> {
    ns.apply(&pod(
        name,
        &format!("exec sleep {seconds}"),
        &format!("    resources: {resources}\n"),
    ))?;
    ns.ready(&[name])?;
    process(seconds)
}

pub fn quality_of_service_in_cgroups(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("qos")?;
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let class = |pod: &str| ns.value(&format!("pod/{pod}"), "{.status.qosClass}");
    let adjusted = |process: &Path| {
        fs::read_to_string(process.join("oom_score_adj"))
            .map(|t| t.trim().to_owned())
            .map_err(|e| e.to_string())
    };
    let guaranteed = sleeper(&ns, "guaranteed", "86411", "{limits: {cpu: 250m, memory: 64Mi}}")?;
    equal("its class", class("guaranteed")?.as_str(), "Guaranteed")?;
    let memory = |process: &Path, above| {
        limit(process, "memory", "memory.limit_in_bytes", "memory.max", above)
    };
    equal("its memory", memory(&guaranteed, 0)?.as_str(), "67108864")?;
    equal("the pod's memory", memory(&guaranteed, 1)?.as_str(), "67108864")?;
    let quota = limit(&guaranteed, "cpu", "cpu.cfs_quota_us", "cpu.max", 0)?;
    equal("its processor time", quota.as_str(), if v2 { "25000 100000" } else { "25000" })?;
    // Only a host that may protect its own processes can protect the container's.
    let may = fs::write("/proc/self/oom_score_adj", "-1").is_ok();
    fs::write("/proc/self/oom_score_adj", "0").map_err(|e| e.to_string())?;
    equal("its score", adjusted(&guaranteed)?.as_str(), if may { "-997" } else { "0" })?;
    let burstable = sleeper(
        &ns,
        "burstable",
        "86412",
        "{requests: {cpu: 500m, memory: 32Mi}, limits: {memory: 128Mi}}",
    )?;
    equal("its class", class("burstable")?.as_str(), "Burstable")?;
    equal("its memory", memory(&burstable, 0)?.as_str(), "134217728")?;
    let shares = limit(&burstable, "cpu", "cpu.shares", "cpu.weight", 0)?;
    equal("its share", shares.as_str(), if v2 { "59" } else { "512" })?;
    let score: i64 = adjusted(&burstable)?.parse().map_err(|_| "a score")?;
    equal("a score between", (2..=999).contains(&score), true)?;
    let best = sleeper(&ns, "best", "86413", "{}")?;
    equal("its class", class("best")?.as_str(), "BestEffort")?;
    let shares = limit(&best, "cpu", "cpu.shares", "cpu.weight", 0)?;
    equal("its share", shares.as_str(), if v2 { "1" } else { "2" })?;
    equal("its score", adjusted(&best)?.as_str(), "1000")?;
    let path =
        |process: &Path| fs::read_to_string(process.join("cgroup")).map_err(|e| e.to_string());
    contains(&path(&best)?, &["/kubepods/besteffort/"])?;
    contains(&path(&burstable)?, &["/kubepods/burstable/"])?;
    equal("guaranteed pods lie above", path(&guaranteed)?.contains("burstable"), false)?;
    // More memory than allowed ends the container.
    let script = "x=a; while :; do x=$x$x; done";
    ns.apply(&pod(
        "greedy",
        script,
        "    resources: {limits: {memory: 16Mi}}\n  restartPolicy: Never\n",
    ))?;
    ns.wait(
        "jsonpath={.status.containerStatuses[0].state.terminated.reason}=OOMKilled",
        &["pod/greedy"],
    )?;
    equal(
        "its exit code",
        ns.value("pod/greedy", "{.status.containerStatuses[0].state.terminated.exitCode}")?
            .as_str(),
        "137",
    )
}

pub fn roots_that_cannot_be_written(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("read-only")?;
    let more = "    securityContext: {readOnlyRootFilesystem: true}\n    volumeMounts: [{name: e, mountPath: /e}]\n  volumes: [{name: e, emptyDir: {}}]\n";
    ns.apply(&pod("fixed", "sleep 1000", more))?;
    ns.ready(&["fixed"])?;
    let found = ns.shell("fixed", "touch /x 2>&1; touch /etc/x 2>&1; touch /e/x && echo written; echo hi > /dev/termination-log && echo told")?;
    equal("refused writes", found.matches("Read-only file system").count(), 2)?;
    contains(&found, &["written", "told"])?;
    // Settings of the kernel are for the host alone, and its keys are hidden.
    let script = "(echo 1 > /proc/sys/kernel/panic) 2>&1; grep -c ' /proc/keys ' /proc/mounts; wc -c < /proc/keys";
    let found = ns.shell("fixed", script)?;
    contains(&found, &["can't create /proc/sys/kernel/panic: Read-only file system\n1\n0\n"])
}

pub fn limits_of_the_disk(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("disk-limits")?;
    let fill = |path: &str| format!("dd if=/dev/zero of={path} bs=1M count=3; sleep 1000");
    let volume = "    volumeMounts: [{name: e, mountPath: /e}]\n  volumes: [{name: e, emptyDir: {sizeLimit: 1Mi}}]\n";
    ns.apply(&pod("volume", &fill("/e/f"), volume))?;
    let limits = "    resources: {limits: {ephemeral-storage: 1Mi}}\n";
    ns.apply(&pod("layer", &fill("/f"), limits))?;
    let chatty = "head -c 3000000 /dev/zero | tr '\\0' x; sleep 1000";
    ns.apply(&pod("logs", chatty, limits))?;
    for (name, why) in [
        ("volume", "Usage of EmptyDir volume \"e\" exceeds the limit \"1Mi\". "),
        ("layer", "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "),
        ("logs", "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "),
    ] {
        let target = format!("pod/{name}");
        ns.wait("jsonpath={.status.phase}=Failed", &[&target])?;
        equal("the reason", ns.value(&target, "{.status.reason}")?.as_str(), "Evicted")?;
        equal("the message", ns.value(&target, "{.status.message}")?.as_str(), why)?;
    }
    Ok(())
}
