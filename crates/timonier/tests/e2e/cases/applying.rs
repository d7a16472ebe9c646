//! Objects that come, change and go as a whole.

use std::fs;

use crate::background::Background;
use crate::cases::pods::pod;
use crate::cluster::Cluster;
use crate::shell::{Result, contains, equal, run};

pub fn deletion_forms(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("deletes")?;
    // A pod that would take its 600 seconds.
    let stubborn = pod("stubborn", "trap '' TERM; while :; do sleep 1; done", "")
        .replace("PeriodSeconds: 1", "PeriodSeconds: 600");
    ns.apply(&stubborn)?;
    ns.ready(&["stubborn"])?;
    ns.kubectl(&["delete", "pod", "stubborn", "--wait=false"])?;
    contains(&ns.kubectl(&["get", "pod", "stubborn"])?, &["Terminating"])?;
    equal(
        "its grace",
        ns.value("pod/stubborn", "{.metadata.deletionGracePeriodSeconds}")?.as_str(),
        "600",
    )?;
    ns.kubectl(&["delete", "pod", "stubborn", "--force", "--timeout=30s"])?;
    contains(&ns.kubectl_fails(&["get", "pod", "stubborn"], "")?, &["NotFound"])?;
    ns.apply(&pod("now", "sleep 1000", ""))?;
    contains(&ns.kubectl(&["delete", "pod", "now", "--now"])?, &["pod \"now\" deleted"])?;
    ns.kubectl(&[
        "create",
        "deployment",
        "web",
        "--image=busybox:e2e",
        "--replicas=1",
        "--",
        "sleep",
        "1000",
    ])?;
    ns.wait("jsonpath={.status.readyReplicas}=1", &["deployment/web"])?;
    let set = ns.kubectl(&["get", "replicasets", "-o", "name"])?.trim().to_owned();
    ns.kubectl(&["delete", "deployment", "web", "--cascade=background", "--timeout=30s"])?;
    ns.wait("delete", &[&set])
}

pub fn deletions_of_many(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("deletes-many")?;
    ns.kubectl(&["create", "configmap", "kept"])?;
    ns.kubectl(&[
        "patch",
        "configmap",
        "kept",
        "-p",
        r#"{"metadata":{"finalizers":["e2e.example/keep"]}}"#,
    ])?;
    ns.kubectl(&["delete", "configmap", "kept", "--wait=false"])?;
    equal(
        "a finalizer keeps it",
        ns.value("cm/kept", "{.metadata.finalizers[0]}")?.as_str(),
        "e2e.example/keep",
    )?;
    ns.kubectl(&[
        "patch",
        "configmap",
        "kept",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
    ])?;
    ns.wait("delete", &["configmap/kept"])?;
    for name in ["a", "b", "c"] {
        ns.kubectl(&["create", "configmap", name])?;
    }
    ns.kubectl(&["label", "configmap", "a", "b", "go=yes"])?;
    equal(
        "by label",
        ns.kubectl(&["delete", "configmaps", "-l", "go=yes", "-o", "name"])?.as_str(),
        "configmap/a\nconfigmap/b\n",
    )?;
    contains(
        &ns.kubectl_fails(&["delete", "configmap", "a"], "")?,
        &["configmaps \"a\" not found"],
    )?;
    ns.kubectl(&["delete", "configmap", "a", "--ignore-not-found"])?;
    equal(
        "a dry run",
        ns.kubectl(&["delete", "configmap", "c", "--dry-run=server", "-o", "name"])?.as_str(),
        "configmap/c\n",
    )?;
    ns.kubectl(&["delete", "configmaps", "--all"])?;
    contains(&ns.kubectl_fails(&["get", "configmap", "c"], "")?, &["NotFound"])
}

pub fn waiting_forms(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("waits")?;
    let late =
        Background::start(&mut ns.command(&["wait", "--for=create", "pod/late", "--timeout=60s"]))?;
    ns.apply(&pod("late", "sleep 1000", ""))?;
    late.expect("pod/late condition met")?;
    ns.wait("condition=Ready", &["pod/late"])?;
    ns.wait("condition=Ready=true", &["pod", "--all"])?;
    ns.wait("jsonpath={.status.phase}=Running", &["pod/late"])?;
    ns.wait("jsonpath={.status.podIP}", &["pod/late"])?;
    contains(
        &ns.kubectl_fails(
            &["wait", "--for=condition=Ready=false", "pod/late", "--timeout=1s"],
            "",
        )?,
        &["timed out waiting for the condition on pods/late"],
    )?;
    contains(
        &ns.kubectl_fails(&["wait", "--for=condition=Ready", "pod/never"], "")?,
        &["pods \"never\" not found"],
    )?;
    let gone =
        Background::start(&mut ns.command(&["wait", "--for=delete", "pod/late", "--timeout=60s"]))?;
    ns.kubectl(&["delete", "pod", "late"])?;
    gone.expect("pod/late condition met")?;
    equal("a wait's exit code", gone.finish()?, 0)
}

pub fn applied_and_replaced(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("applies")?;
    let dir = cluster.scratch("applies/deep")?;
    let map = |name: &str, value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: e2e}}}}\ndata: {{v: '{value}'}}\n"
        )
    };
    let write = |file: &str, text: &str| fs::write(dir.join(file), text).map_err(|e| e.to_string());
    write("a.yaml", &map("a", "1"))?;
    write(
        "b.json",
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b","labels":{"set":"e2e"}},"data":{"v":"1"}}"#,
    )?;
    let parent = dir.parent().unwrap_or(&dir).to_string_lossy().into_owned();
    contains(
        &ns.kubectl(&["apply", "-R", "-f", &parent])?,
        &["configmap/a created", "configmap/b created"],
    )?;
    contains(&ns.kubectl(&["apply", "view-last-applied", "configmap/a"])?, &["v: \"1\""])?;
    fs::remove_file(dir.join("b.json")).map_err(|e| e.to_string())?;
    write("a.yaml", &map("a", "2"))?;
    let pruned = ns.kubectl(&[
        "apply",
        "-R",
        "-f",
        &parent,
        "--prune",
        "-l",
        "set=e2e",
        "--prune-allowlist=core/v1/ConfigMap",
    ])?;
    contains(&pruned, &["configmap/a configured", "configmap/b pruned"])?;
    write("kustomization.yaml", "resources: [a.yaml]\nnamePrefix: my-\n")?;
    contains(&ns.kubectl(&["apply", "-k", &dir.to_string_lossy()])?, &["configmap/my-a created"])?;
    let replaced = ns.kubectl_with(&["replace", "--force", "-f", "-"], &map("a", "3"))?;
    contains(&replaced, &["configmap \"a\" deleted", "configmap/a replaced"])?;
    equal("the new value", ns.value("cm/a", "{.data.v}")?.as_str(), "3")?;
    contains(
        &ns.kubectl_fails(&["replace", "-f", "-"], &map("none", "1"))?,
        &["configmaps \"none\" not found"],
    )?;
    let same = run(&mut ns.command(&["diff", "-f", "-"]), &map("a", "3"))?;
    equal("no difference", (same.status, same.stdout.as_str()), (0, ""))?;
    let new = run(&mut ns.command(&["diff", "-f", "-"]), &map("new", "3"))?;
    equal("something new", new.status, 1)?;
    contains(&new.stdout, &["+  name: new"])?;
    contains(
        &ns.kubectl_fails(
            &["create", "-f", "-"],
            "apiVersion: v1\nkind: Nothing\nmetadata: {name: x}\n",
        )?,
        &["no matches for kind \"Nothing\" in version \"v1\""],
    )
}
