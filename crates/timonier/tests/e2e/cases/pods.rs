//! A pod's life: logs, exec, probes, volumes, security.

use crate::cluster::Cluster;
use crate::shell::{Result, contains, equal};

/// A pod of one busybox container that runs a script. More lines may follow: of the container with
/// four spaces in front, of the pod with two.
pub fn pod(name: &str, script: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: busybox:e2e\n    command: [sh, -c, {script:?}]\n{more}"
    )
}

pub fn logs_exec_and_attach(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("logs")?;
    ns.apply(&pod(
        "talk",
        "echo out; echo err >&2; trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done",
        "",
    ))?;
    ns.wait("condition=Ready", &["pod/talk"])?;
    let logs = ns.kubectl(&["logs", "talk"])?;
    contains(&logs, &["out", "err"])?;
    equal("the last line", ns.kubectl(&["logs", "talk", "--tail=1"])?.lines().count(), 1)?;
    equal("exec", ns.kubectl(&["exec", "talk", "--", "echo", "hello"])?.trim(), "hello")?;
    let echoed = ns.kubectl_with(&["exec", "-i", "talk", "--", "cat"], "through\n")?;
    equal("exec's standard input", echoed.as_str(), "through\n")?;
    let output =
        crate::shell::run(&mut ns.command(&["exec", "talk", "--", "sh", "-c", "exit 7"]), "")?;
    equal("exec's exit code", output.status, 7)?;
    let address = ns.kubectl(&["get", "pod", "talk", "-o", "jsonpath={.status.podIP}"])?;
    contains(&ns.kubectl(&["exec", "talk", "--", "ip", "addr"])?, &[&address])?;
    contains(
        &ns.kubectl(&["describe", "pod", "talk"])?,
        &["Successfully assigned logs/talk", "Container started"],
    )?;
    ns.kubectl(&["delete", "pod", "talk", "--timeout=30s"]).map(drop)
}

pub fn probes_and_restarts(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("probes")?;
    let probe = "    readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}\n";
    ns.apply(&pod("gated", "sleep 1000", probe))?;
    ns.wait("jsonpath={.status.phase}=Running", &["pod/gated"])?;
    let ready = ns.kubectl(&[
        "get",
        "pod",
        "gated",
        "-o",
        "jsonpath={.status.containerStatuses[0].ready}",
    ])?;
    equal("ready before the file is there", ready.as_str(), "false")?;
    ns.kubectl(&["exec", "gated", "--", "touch", "/tmp/ready"])?;
    ns.wait("condition=Ready", &["pod/gated"])?;
    ns.apply(&pod("crash", "echo crashing; exit 3", ""))?;
    ns.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", &["pod/crash"])?;
    ns.wait(
        "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}=3",
        &["pod/crash"],
    )?;
    contains(&ns.kubectl(&["logs", "crash", "--previous"])?, &["crashing"])
}

pub fn volumes_and_environment(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("volumes")?;
    ns.kubectl(&["create", "configmap", "settings", "--from-literal=color=blue"])?;
    ns.kubectl(&["create", "secret", "generic", "keys", "--from-literal=word=geheim"])?;
    let more = "    env:\n    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}\n    - {name: WORD, valueFrom: {secretKeyRef: {name: keys, key: word}}}\n    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}\n    volumeMounts:\n    - {name: settings, mountPath: /settings}\n    - {name: keys, mountPath: /keys}\n    - {name: scratch, mountPath: /scratch}\n    - {name: info, mountPath: /info}\n    - {name: settings, mountPath: /one, subPath: color}\n  volumes:\n  - {name: settings, configMap: {name: settings}}\n  - {name: keys, secret: {secretName: keys, defaultMode: 256}}\n  - {name: scratch, emptyDir: {medium: Memory}}\n  - {name: info, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}\n";
    ns.apply(&pod("mounts", "sleep 1000", more))?;
    ns.wait("condition=Ready", &["pod/mounts"])?;
    let script = "echo $COLOR $WORD; cat /settings/color /keys/word /info/name /one; echo; test -n \"$NODE\" && touch /scratch/x && stat -L -c %a /keys/word && cat /var/run/secrets/kubernetes.io/serviceaccount/namespace";
    let text = ns.kubectl(&["exec", "mounts", "--", "sh", "-c", script])?;
    equal(
        "what the container sees",
        text.as_str(),
        "blue geheim\nbluegeheimmountsblue\n400\nvolumes",
    )?;
    ns.kubectl(&["patch", "configmap", "settings", "-p", r#"{"data":{"color":"green"}}"#])?;
    let wait =
        "while [ \"$(cat /settings/color)\" != green ]; do sleep 0.05; done; cat /settings/color";
    equal(
        "the volume follows",
        ns.kubectl(&["exec", "mounts", "--", "sh", "-c", wait])?.as_str(),
        "green",
    )
}

pub fn init_containers_run_in_order(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("init")?;
    let more = "    volumeMounts: [{name: v, mountPath: /v}]\n  initContainers:\n  - {name: a, image: 'busybox:e2e', command: [sh, -c, 'echo a >> /v/log'], volumeMounts: [{name: v, mountPath: /v}]}\n  - {name: b, image: 'busybox:e2e', command: [sh, -c, 'echo b >> /v/log'], volumeMounts: [{name: v, mountPath: /v}]}\n  restartPolicy: Never\n  volumes: [{name: v, emptyDir: {}}]\n";
    ns.apply(&pod("ordered", "cat /v/log", more))?;
    ns.wait("jsonpath={.status.phase}=Succeeded", &["pod/ordered"])?;
    equal("the order", ns.kubectl(&["logs", "ordered"])?.as_str(), "a\nb\n")
}

pub fn security(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("security")?;
    let more = "    securityContext: {runAsUser: 1000, runAsGroup: 2000, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}\n    resources: {limits: {memory: 64Mi, cpu: 100m}}\n";
    ns.apply(&pod("locked", "sleep 1000", more))?;
    ns.wait("condition=Ready", &["pod/locked"])?;
    let script = "id -u; id -g; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; touch /x 2>&1; cat /proc/kcore 2>&1 | head -c 1 | wc -c";
    let text = ns.kubectl(&["exec", "locked", "--", "sh", "-c", script])?;
    contains(
        &text,
        &[
            "1000\n2000\n",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "Read-only file system",
        ],
    )?;
    ns.apply(&pod("plain", "sleep 1000", ""))?;
    ns.wait("condition=Ready", &["pod/plain"])?;
    let script = "for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max /sys/fs/cgroup/x /proc/sys/kernel/domainname; do echo 1 > $f; done; grep -E '^(CapEff|Seccomp):' /proc/self/status; head -c 1 /proc/kcore | wc -c; mount -t tmpfs x /tmp || echo no mount";
    let output =
        crate::shell::run(&mut ns.command(&["exec", "plain", "--", "sh", "-c", script]), "")?;
    // The default capabilities, filter and masks of a container that asks for nothing.
    contains(&output.stdout, &["Seccomp:\t2", "CapEff:\t00000000a80425fb", "\n0\nno mount"])?;
    equal("writes to the kernel that failed", output.stderr.matches("can't create").count(), 4)?;
    let qos = ns.kubectl(&["get", "pod", "locked", "-o", "jsonpath={.status.qosClass}"])?;
    equal("the quality of service", qos.as_str(), "Guaranteed")
}
