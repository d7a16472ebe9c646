//! A pod's life: hooks, probes, the order of starts and ends, images.

use std::fs;

use crate::background::Background;
use crate::cases::pods::pod;
use crate::cluster::{Cluster, Namespace};
use crate::grpc::Health;
use crate::shell::{Result, contains, equal, eventually};

/// Reads what a pod has written to a file in a directory of the host, which outlives it.
fn written(cluster: &Cluster, dir: &str) -> Result<String> {
    fs::read_to_string(cluster.scratch(dir)?.join("log")).map_err(|e| e.to_string())
}

/// A volume `v` of a directory of the host, as lines of a pod.
fn volume(cluster: &Cluster, dir: &str) -> Result<String> {
    let path = cluster.scratch(dir)?;
    Ok(format!(
        "  volumes: [{{name: v, hostPath: {{path: '{}', type: Directory}}}}]\n",
        path.display()
    ))
}

fn events(ns: &Namespace<'_>, pod: &str, reason: &str) -> Result<String> {
    let selector = format!("--field-selector=involvedObject.name={pod},reason={reason}");
    ns.kubectl(&["get", "events", &selector, "-o", "jsonpath={range .items[*]}{.message};{end}"])
}

/// Waits until an Event of a reason has a message.
fn told(ns: &Namespace<'_>, pod: &str, reason: &str, message: &str) -> Result {
    eventually(reason, || contains(&events(ns, pod, reason)?, &[message]))
}

pub fn hooks_frame_a_life(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("hooks")?;
    let script = "trap 'echo term >> /v/log; exit 0' TERM; echo start >> /v/log; while :; do sleep 0.1; done";
    let more = "    lifecycle:\n      postStart: {exec: {command: [sh, -c, 'while ! grep -q start /v/log; do :; done; echo post >> /v/log']}}\n      preStop: {exec: {command: [sh, -c, 'sleep 1; echo stop >> /v/log']}}\n    volumeMounts: [{name: v, mountPath: /v}]\n";
    let text = pod("hooked", script, more).replace("PeriodSeconds: 1", "PeriodSeconds: 30");
    ns.apply(&(text + &volume(cluster, "hooks")?))?;
    ns.ready(&["hooked"])?;
    ns.kubectl(&["delete", "pod", "hooked", "--timeout=25s"])?;
    equal("the order", written(cluster, "hooks")?.as_str(), "start\npost\nstop\nterm\n")?;
    // A hook that sleeps keeps the container up; SIGTERM comes after it.
    let slow =
        "trap 'echo term >> /v/log; exit 0' TERM; while :; do date +%s > /v/last; sleep 0.1; done";
    let more = "    lifecycle: {preStop: {sleep: {seconds: 2}}}\n    volumeMounts: [{name: v, mountPath: /v}]\n";
    let text = pod("sleeps", slow, more).replace("PeriodSeconds: 1", "PeriodSeconds: 30");
    ns.apply(&(text + &volume(cluster, "hooks-sleep")?))?;
    ns.ready(&["sleeps"])?;
    ns.kubectl(&["delete", "pod", "sleeps", "--wait=false"])?;
    let since = ns.value("pod/sleeps", "{.metadata.deletionTimestamp}")?;
    equal("the pod is being deleted", since.ends_with('Z'), true)?;
    ns.wait("delete", &["pod/sleeps"])?;
    equal("it was told to end", written(cluster, "hooks-sleep")?.as_str(), "term\n")
}

pub fn hooks_over_http(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("hooks-http")?;
    let more = "    volumeMounts: [{name: v, mountPath: /v}]\n    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}\n";
    let script = "mkdir -p /w/cgi-bin; echo ok > /w/index.html; printf '#!/bin/sh\\necho \"$QUERY_STRING\" >> /v/log\\nprintf \"Content-Type: text/plain\\r\\n\\r\\nok\"\\n' > /w/cgi-bin/tell; chmod +x /w/cgi-bin/tell; exec httpd -f -p 80 -h /w";
    ns.apply(&(pod("listener", script, more) + &volume(cluster, "hooks-http")?))?;
    ns.ready(&["listener"])?;
    let address = ns.value("pod/listener", "{.status.podIP}")?;
    let hook = |what: &str| {
        format!("{{httpGet: {{host: '{address}', port: 80, path: '/cgi-bin/tell?{what}'}}}}")
    };
    let more = format!(
        "    lifecycle: {{postStart: {}, preStop: {}}}\n",
        hook("started"),
        hook("stopping")
    );
    ns.apply(&pod("hooked", "sleep 1000", &more))?;
    ns.ready(&["hooked"])?;
    equal("after the start", written(cluster, "hooks-http")?.as_str(), "started\n")?;
    ns.kubectl(&["delete", "pod", "hooked"])?;
    equal("after the end", written(cluster, "hooks-http")?.as_str(), "started\nstopping\n")
}

pub fn failed_hooks_end_containers(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("hooks-fail")?;
    let more = "    lifecycle: {postStart: {exec: {command: [sh, -c, exit 4]}}}\n";
    ns.apply(&pod("unhooked", "sleep 1000", more))?;
    ns.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", &["pod/unhooked"])?;
    told(&ns, "unhooked", "FailedPostStartHook", "PostStartHook failed")?;
    equal(
        "ready",
        ns.value("pod/unhooked", "{.status.containerStatuses[0].ready}")?.as_str(),
        "false",
    )?;
    // A failed hook before the end is told, and the end comes all the same.
    let more = "    lifecycle: {preStop: {exec: {command: [sh, -c, exit 5]}}}\n";
    ns.apply(&pod("stops", "sleep 1000", more))?;
    ns.ready(&["stops"])?;
    ns.kubectl(&["delete", "pod", "stops"])?;
    told(&ns, "stops", "FailedPreStopHook", "PreStopHook failed")
}

pub fn startup_probes_come_first(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("startup")?;
    let more = "    startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 600}\n    livenessProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 1}\n    readinessProbe: {exec: {command: ['true']}, periodSeconds: 1}\n";
    ns.apply(&pod("starts", "sleep 1000", more))?;
    told(&ns, "starts", "Unhealthy", "Startup probe failed")?;
    let status = "{.status.containerStatuses[0].started} {.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount}";
    equal("before it is up", ns.value("pod/starts", status)?.as_str(), "false false 0")?;
    ns.shell("starts", "touch /tmp/up")?;
    ns.ready(&["starts"])?;
    equal("once it is up", ns.value("pod/starts", status)?.as_str(), "true true 0")?;
    ns.shell("starts", "rm /tmp/up")?;
    ns.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", &["pod/starts"])?;
    // One that never comes up is restarted for it.
    let more = "    startupProbe: {tcpSocket: {port: 9}, periodSeconds: 1, failureThreshold: 1}\n";
    ns.apply(&pod("never", "sleep 1000", more))?;
    ns.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", &["pod/never"])?;
    told(&ns, "never", "Killing", "Container main failed startup probe, will be restarted")
}

pub fn liveness_probes_restart(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("liveness")?;
    let script = "mkdir /w; echo ok > /w/health; exec httpd -f -p 80 -h /w";
    let more = "    livenessProbe: {httpGet: {path: /health, port: 80}, periodSeconds: 1, failureThreshold: 2}\n    readinessProbe: {httpGet: {path: /health, port: 80, httpHeaders: [{name: X, value: 'y'}]}, periodSeconds: 1}\n";
    ns.apply(&pod("alive", script, more))?;
    ns.ready(&["alive"])?;
    ns.shell("alive", "rm /w/health")?;
    ns.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", &["pod/alive"])?;
    told(
        &ns,
        "alive",
        "Unhealthy",
        "Liveness probe failed: HTTP probe failed with statuscode: 404",
    )?;
    told(&ns, "alive", "Killing", "Container main failed liveness probe, will be restarted")?;
    ns.ready(&["alive"])
}

/// The server runs in the test; the pod shares the host's network, so that its address leads there.
pub fn grpc_probes(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("grpc")?;
    let health = Health::start().map_err(|e| e.to_string())?;
    let more = format!(
        "    readinessProbe: {{grpc: {{port: {}, service: x}}, periodSeconds: 1}}\n  hostNetwork: true\n",
        health.port
    );
    ns.apply(&pod("checked", "sleep 1000", &more))?;
    ns.ready(&["checked"])?;
    equal("somebody asked", health.asked() > 0, true)?;
    health.set(false);
    ns.wait("condition=Ready=false", &["pod/checked"])?;
    told(
        &ns,
        "checked",
        "Unhealthy",
        "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")",
    )?;
    health.set(true);
    ns.ready(&["checked"])
}

/// nginx with a certificate that nobody trusts: probes do not look at it.
pub fn https_probes(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("https")?;
    let pki = cluster.data.join("pki");
    let (cert, key) = (
        format!("--cert={}", pki.join("kubelet.crt").display()),
        format!("--key={}", pki.join("kubelet.key").display()),
    );
    ns.kubectl(&["create", "secret", "tls", "tls", &cert, &key])?;
    let site = "server { listen 443 ssl; ssl_certificate /tls/tls.crt; ssl_certificate_key /tls/tls.key; location /up { return 200 up; } location /down { return 503; } }";
    ns.kubectl(&["create", "configmap", "site", &format!("--from-literal=site.conf={site}")])?;
    let more = |path: &str| {
        format!(
            "    readinessProbe: {{httpGet: {{scheme: HTTPS, port: 443, path: {path}}}, periodSeconds: 1}}\n    volumeMounts: [{{name: tls, mountPath: /tls}}, {{name: site, mountPath: /etc/nginx/conf.d}}]\n  volumes: [{{name: tls, secret: {{secretName: tls}}}}, {{name: site, configMap: {{name: site}}}}]\n"
        )
    };
    let nginx = |name: &str, path: &str| {
        pod(name, "exec nginx -g 'daemon off;'", &more(path)).replace("busybox:e2e", "nginx:1.7.9")
    };
    ns.apply(&nginx("up", "/up"))?;
    ns.apply(&nginx("down", "/down"))?;
    ns.ready(&["up"])?;
    told(&ns, "down", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
}

pub fn sidecars_outlive_and_end_last(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("sidecars")?;
    let side = "  initContainers:\n  - name: side\n    image: busybox:e2e\n    restartPolicy: Always\n    command: [sh, -c, \"trap 'echo side ends >> /v/log; exit 0' TERM; echo side >> /v/log; while :; do sleep 0.1; done\"]\n    startupProbe: {exec: {command: [grep, -q, side, /v/log]}, periodSeconds: 1}\n    volumeMounts: [{name: v, mountPath: /v}]\n  - {name: after, image: 'busybox:e2e', command: [sh, -c, 'echo after >> /v/log'], volumeMounts: [{name: v, mountPath: /v}]}\n";
    let mount = "    volumeMounts: [{name: v, mountPath: /v}]\n";
    let script = "trap 'echo main ends >> /v/log; exit 0' TERM; echo main >> /v/log; while :; do sleep 0.1; done";
    let text = pod("both", script, &format!("{mount}{side}"))
        .replace("PeriodSeconds: 1", "PeriodSeconds: 30");
    ns.apply(&(text + &volume(cluster, "sidecars")?))?;
    ns.ready(&["both"])?;
    contains(&ns.kubectl(&["get", "pod", "both"])?, &["2/2"])?;
    ns.kubectl(&["delete", "pod", "both", "--timeout=25s"])?;
    equal(
        "the order",
        written(cluster, "sidecars")?.as_str(),
        "side\nafter\nmain\nmain ends\nside ends\n",
    )?;
    // A job's pod is done when its main container is, whatever its sidecar does.
    let text = pod("done", "echo done", &format!("{mount}{side}  restartPolicy: Never\n"));
    ns.apply(&(text + &volume(cluster, "sidecars-done")?))?;
    ns.wait("jsonpath={.status.phase}=Succeeded", &["pod/done"])
}

pub fn pull_policies(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("policies")?;
    let policy = |name: &str, image: &str, policy: &str| {
        ns.apply(
            &pod(name, "sleep 1000", &format!("    imagePullPolicy: {policy}\n"))
                .replace("busybox:e2e", image),
        )
    };
    policy("here", "busybox:e2e", "Never")?;
    policy("near", "busybox:e2e", "IfNotPresent")?;
    policy("absent", "absent:1", "Never")?;
    policy("unreachable", "127.0.0.1:1/absent:1", "IfNotPresent")?;
    policy("invalid", "Not:An:Image", "IfNotPresent")?;
    ns.ready(&["here", "near"])?;
    let present =
        "Container image \"busybox:e2e\" already present on machine and can be accessed by the pod";
    told(&ns, "here", "Pulled", present)?;
    told(&ns, "near", "Pulled", present)?;
    let waiting = |pod: &str, reason: &str| {
        ns.wait(
            &format!("jsonpath={{.status.containerStatuses[0].state.waiting.reason}}={reason}"),
            &[&format!("pod/{pod}")],
        )
    };
    waiting("absent", "ErrImageNeverPull")?;
    told(
        &ns,
        "absent",
        "ErrImageNeverPull",
        "Container image \"absent:1\" is not present with pull policy of Never",
    )?;
    waiting("unreachable", "ImagePullBackOff")?;
    told(&ns, "unreachable", "Pulling", "Pulling image \"127.0.0.1:1/absent:1\"")?;
    told(&ns, "unreachable", "Failed", "Error: ErrImagePull")?;
    told(&ns, "unreachable", "BackOff", "Back-off pulling image \"127.0.0.1:1/absent:1\"")?;
    waiting("invalid", "InvalidImageName")?;
    told(&ns, "invalid", "InspectFailed", "Failed to apply default image tag \"Not:An:Image\"")?;
    // Present after all: the pod starts without being touched.
    let tag =
        Background::start(&mut cluster.command(&["image", "tag", "busybox:e2e", "absent:1"]))?;
    equal("tagging", tag.finish()?, 0)?;
    ns.ready(&["absent"])
}
