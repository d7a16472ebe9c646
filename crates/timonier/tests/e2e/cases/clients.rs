//! Other versions of kubectl, and helm.

use std::fs;
use std::path::PathBuf;

use crate::cases::pods::pod;
use crate::cluster::{Cluster, Namespace};
use crate::shell::{Result, contains, equal, succeed, tools};

/// The core of daily work with another kubectl.
fn core(ns: &Namespace<'_>, kubectl: &str, version: &str) -> Result {
    let binary = tools().join(kubectl);
    let with = |arguments: &[&str], input: &str| {
        let mut command = ns.cluster.kubectl(&binary, &["-n", &ns.name]);
        succeed(command.args(arguments), input)
    };
    let k = |arguments: &[&str]| with(arguments, "");
    contains(&k(&["version"])?, &[version, "Server Version: v1.35"])?;
    let name = kubectl;
    with(&["apply", "-f", "-"], &pod(name, "echo hello; sleep 1000", ""))?;
    k(&["wait", "--for=condition=Ready", "--timeout=60s", &format!("pod/{name}")])?;
    contains(&k(&["get", "pods", "-o", "wide"])?, &[name, "1/1", "Running"])?;
    equal("logs", k(&["logs", name])?.as_str(), "hello\n")?;
    equal("exec", with(&["exec", "-i", name, "--", "cat"], "through\n")?.as_str(), "through\n")?;
    contains(&k(&["describe", "pod", name])?, &["Successfully assigned"])?;
    contains(
        &with(&["apply", "-f", "-"], &pod(name, "echo hello; sleep 1000", ""))?,
        &["unchanged"],
    )?;
    k(&["label", "pod", name, "a=b"])?;
    k(&["annotate", "pod", name, "a=b"])?;
    k(&["patch", "pod", name, "-p", r#"{"metadata":{"labels":{"c":"d"}}}"#])?;
    equal(
        "labels",
        k(&["get", "pod", name, "-o", "jsonpath={.metadata.labels}"])?.as_str(),
        r#"{"a":"b","c":"d"}"#,
    )?;
    let deployment = format!("d-{name}");
    k(&[
        "create",
        "deployment",
        &deployment,
        "--image=busybox:e2e",
        "--replicas=2",
        "--",
        "sleep",
        "1000",
    ])?;
    k(&["rollout", "status", &format!("deployment/{deployment}"), "--timeout=60s"])?;
    k(&["scale", &format!("deployment/{deployment}"), "--replicas=1"])?;
    k(&["set", "env", &format!("deployment/{deployment}"), "X=1"])?;
    k(&["rollout", "status", &format!("deployment/{deployment}"), "--timeout=60s"])?;
    k(&["rollout", "undo", &format!("deployment/{deployment}")])?;
    contains(&k(&["explain", "pod.spec.containers", "--recursive"])?, &["imagePullPolicy"])?;
    contains(&k(&["api-resources"])?, &["deployments"])?;
    contains(&k(&["auth", "can-i", "create", "pods"])?, &["yes"])?;
    contains(&k(&["events"])?, &["Scheduled"])?;
    k(&[
        "cp",
        &format!("{name}:/etc/passwd"),
        &ns.cluster.scratch(name)?.join("passwd").to_string_lossy(),
    ])?;
    k(&["delete", "deployment", &deployment])?;
    contains(&k(&["delete", "pod", name])?, &["deleted"])
}

pub fn older_and_newer_kubectl(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("versions")?;
    core(&ns, "kubectl-old", "Client Version: v1.32")?;
    core(&ns, "kubectl-new", "Client Version: v1.37")
}

/// A chart of a Deployment with a hook in front, written for the case.
fn chart(cluster: &Cluster) -> Result<PathBuf> {
    let dir = cluster.scratch("chart")?;
    let write = |file: &str, text: &str| {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap_or(&dir))
            .and_then(|()| fs::write(path, text))
            .map_err(|e| e.to_string())
    };
    write("Chart.yaml", "apiVersion: v2\nname: small\nversion: 0.1.0\nappVersion: \"1\"\n")?;
    write("values.yaml", "replicas: 1\nword: first\n")?;
    write(
        "templates/config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {word: {{ .Values.word | quote }}, version: {{ .Capabilities.KubeVersion.Version | quote }}}\n",
    )?;
    write(
        "templates/deployment.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: {{ .Release.Name }}, labels: {release: {{ .Release.Name }}}}\nspec:\n  replicas: {{ .Values.replicas }}\n  selector: {matchLabels: {app: {{ .Release.Name }}}}\n  template:\n    metadata: {labels: {app: {{ .Release.Name }}}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers: [{name: main, image: 'busybox:e2e', command: [sleep, '1000'], env: [{name: WORD, value: {{ .Values.word }}}]}]\n",
    )?;
    write(
        "templates/hook.yaml",
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {{ .Release.Name }}-before\n  annotations: {helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-delete-policy: 'before-hook-creation,hook-succeeded'}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: 'busybox:e2e', command: ['true']}]}}}\n",
    )?;
    Ok(dir)
}

pub fn helm_releases(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("helm")?;
    let chart = chart(cluster)?.to_string_lossy().into_owned();
    let helm = |arguments: &[&str]| {
        let mut command = cluster.program(&tools().join("helm"));
        command.args(["--kube-context", &cluster.name, "-n", &ns.name]);
        succeed(command.args(arguments), "")
    };
    contains(
        &helm(&["install", "web", &chart, "--wait", "--timeout=90s"])?,
        &["STATUS: deployed", "REVISION: 1"],
    )?;
    equal("values", ns.value("cm/web", "{.data.word} {.data.version}")?.as_str(), "first v1.35.0")?;
    contains(
        &helm(&[
            "upgrade",
            "web",
            &chart,
            "--set",
            "word=second,replicas=2",
            "--wait",
            "--timeout=90s",
        ])?,
        &["REVISION: 2"],
    )?;
    equal("new values", ns.value("cm/web", "{.data.word}")?.as_str(), "second")?;
    equal("pods", ns.value("deploy/web", "{.status.readyReplicas}")?.as_str(), "2")?;
    contains(&helm(&["history", "web"])?, &["superseded", "deployed"])?;
    contains(
        &helm(&["rollback", "web", "1", "--wait", "--timeout=90s"])?,
        &["Rollback was a success"],
    )?;
    equal("the first values", ns.value("cm/web", "{.data.word}")?.as_str(), "first")?;
    contains(&helm(&["list"])?, &["web", "small-0.1.0", "deployed"])?;
    contains(&helm(&["uninstall", "web", "--wait"])?, &["release \"web\" uninstalled"])?;
    contains(&ns.kubectl_fails(&["get", "deployment", "web"], "")?, &["NotFound"])?;
    let left = ns.kubectl(&["get", "secrets", "-l", "owner=helm", "-o", "name"])?;
    equal("what helm left", left.as_str(), "")
}
