//! What kubectl changes.

use std::fs;

use crate::cluster::{Cluster, Namespace};
use crate::shell::{Result, contains, equal, run};

pub fn settings_and_jobs_created(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("creates")?;
    let dir = cluster.scratch("creates")?;
    let (file, pairs) = (dir.join("settings.txt"), dir.join("pairs.env"));
    fs::write(&file, "line\n")
        .and_then(|()| fs::write(&pairs, "A=1\nB=two\n"))
        .map_err(|e| e.to_string())?;
    let create = |arguments: &[&str]| ns.kubectl(&[&["create"], arguments].concat());
    create(&["configmap", "from-file", &format!("--from-file={}", file.display())])?;
    equal("a file's map", ns.value("cm/from-file", r"{.data.settings\.txt}")?.as_str(), "line\n")?;
    create(&["configmap", "from-env", &format!("--from-env-file={}", pairs.display())])?;
    equal("pairs", ns.value("cm/from-env", "{.data}")?.as_str(), r#"{"A":"1","B":"two"}"#)?;
    let registry = ["--docker-server=r.example", "--docker-username=u", "--docker-password=p"];
    create(&[&["secret", "docker-registry", "pull"], &registry[..]].concat())?;
    equal(
        "its type",
        ns.value("secret/pull", "{.type}")?.as_str(),
        "kubernetes.io/dockerconfigjson",
    )?;
    let pki = cluster.data.join("pki");
    let (cert, key) = (
        format!("--cert={}", pki.join("apiserver.crt").display()),
        format!("--key={}", pki.join("apiserver.key").display()),
    );
    create(&["secret", "tls", "tls", &cert, &key])?;
    contains(&create(&["serviceaccount", "robot"])?, &["serviceaccount/robot created"])?;
    let token = create(&["token", "robot", "--duration=15m", "--audience=api"])?;
    equal("parts of a token", token.trim().split('.').count(), 3)?;
    create(&[
        "cronjob",
        "yearly",
        "--image=busybox:e2e",
        "--schedule=0 0 1 1 *",
        "--",
        "echo",
        "now",
    ])?;
    create(&["job", "now", "--from=cronjob/yearly"])?;
    ns.wait("condition=Complete", &["job/now"])?;
    equal("the job's log", ns.kubectl(&["logs", "job/now"])?.as_str(), "now\n")?;
    equal(
        "its owner",
        ns.value("job/now", "{.metadata.ownerReferences[0].name}")?.as_str(),
        "yearly",
    )
}

pub fn services_and_rules_created(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("creates-more")?;
    let create = |arguments: &[&str]| ns.kubectl(&[&["create"], arguments].concat());
    create(&["quota", "small", "--hard=pods=30,configmaps=20"])?;
    create(&["poddisruptionbudget", "pdb", "--selector=app=web", "--max-unavailable=1"])?;
    create(&["ingress", "web", "--rule=web.example/*=web:80,tls=tls", "--class=none"])?;
    create(&["role", "reader", "--verb=get,list", "--resource=pods,deployments.apps"])?;
    equal("rules", ns.value("role/reader", "{.rules[*].apiGroups[0]}")?.as_str(), " apps")?;
    create(&["rolebinding", "readers", "--role=reader", "--serviceaccount=creates-more:robot"])?;
    create(&["service", "clusterip", "inside", "--tcp=80:8080"])?;
    create(&["service", "nodeport", "outside", "--tcp=80"])?;
    create(&["service", "externalname", "alias", "--external-name=example.org"])?;
    create(&["service", "loadbalancer", "balanced", "--tcp=80"])?;
    contains(
        &ns.kubectl(&["get", "services"])?,
        &["ClusterIP", "NodePort", "ExternalName", "LoadBalancer", "<pending>"],
    )?;
    create(&["deployment", "web", "--image=busybox:e2e", "--replicas=0", "--port=80"])?;
    equal(
        "a port",
        ns.value("deploy/web", "{.spec.template.spec.containers[0].ports[0].containerPort}")?
            .as_str(),
        "80",
    )?;
    let dry = create(&["deployment", "dry", "--image=x", "--dry-run=client", "-o", "yaml"])?;
    contains(
        &ns.kubectl_with(&["create", "-f", "-", "-o", "name"], &dry)?,
        &["deployment.apps/dry"],
    )?;
    let global = ["clusterrole", "e2e-nodes", "--verb=get", "--resource=nodes"];
    create(&global)?;
    contains(
        &ns.kubectl_fails(&[&["create"], &global[..]].concat(), "")?,
        &["clusterroles.rbac.authorization.k8s.io \"e2e-nodes\" already exists"],
    )?;
    create(&["clusterrolebinding", "e2e-nodes", "--clusterrole=e2e-nodes", "--group=crew"])?;
    create(&["priorityclass", "e2e-high", "--value=1000", "--description=x"])?;
    ns.kubectl(&[
        "delete",
        "clusterrole/e2e-nodes",
        "clusterrolebinding/e2e-nodes",
        "priorityclass/e2e-high",
    ])
    .map(drop)
}

/// `kubectl edit` with a shell script as the editor.
fn edit(ns: &Namespace<'_>, script: &str, what: &[&str]) -> Result<crate::shell::Output> {
    let dir = ns.cluster.scratch(&format!("editor-{}", ns.name))?;
    let editor = dir.join("editor");
    fs::write(&editor, format!("#!/bin/sh\n{script}\n")).map_err(|e| e.to_string())?;
    let mut command = ns.command(&[&["edit"], what].concat());
    command.env("KUBE_EDITOR", format!("sh {}", editor.display())).env("TMPDIR", &dir);
    run(&mut command, "")
}

pub fn edited_by_an_editor(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("edits")?;
    ns.kubectl(&["create", "configmap", "text", "--from-literal=color=blue"])?;
    let done = edit(&ns, "sed -i 's/color: blue/color: green/' $1", &["configmap", "text"])?;
    contains(&done.stdout, &["configmap/text edited"])?;
    equal("the edited value", ns.value("cm/text", "{.data.color}")?.as_str(), "green")?;
    let same = edit(&ns, "true", &["configmap", "text"])?;
    contains(&same.stderr, &["Edit cancelled, no changes made."])?;
    // Refused: kubectl opens the file again with the reason in it, and gives up when it stays.
    let bad = "grep '^# . metadata.labels' $1 >> $(dirname $1)/reasons; grep -q '^  labels' $1 || sed -i 's/^  name: text/  name: text\\n  labels: {x: -bad-}/' $1";
    let refused = edit(&ns, bad, &["configmap", "text"])?;
    equal("an exit code", refused.status, 1)?;
    contains(&refused.stderr, &["configmaps \"text\" is invalid"])?;
    let reasons = fs::read_to_string(cluster.scratch("editor-edits")?.join("reasons"))
        .map_err(|e| e.to_string())?;
    contains(&reasons, &["metadata.labels: Invalid value: \"-bad-\": a valid label must be"])?;
    equal("labels after a refused edit", ns.value("cm/text", "{.metadata.labels}")?.as_str(), "")?;
    ns.kubectl(&["create", "deployment", "web", "--image=busybox:e2e", "--replicas=0"])?;
    let done = edit(
        &ns,
        "sed -i 's/\"replicas\": 0/\"replicas\": 0, \"minReadySeconds\": 3/' $1",
        &["deployment/web", "-o", "json"],
    )?;
    // With -o, kubectl shows the object instead of saying that it was edited.
    contains(&done.stdout, &["\"minReadySeconds\": 3"])?;
    equal("a JSON edit", ns.value("deploy/web", "{.spec.minReadySeconds}")?.as_str(), "3")
}

pub fn three_kinds_of_patches(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("patches")?;
    ns.kubectl(&["create", "deployment", "web", "--image=one:1", "--replicas=0"])?;
    let patch = |kind: &str, text: &str| {
        ns.kubectl(&["patch", "deployment", "web", &format!("--type={kind}"), "-p", text])
    };
    let names = "{.spec.template.spec.containers[*].name}";
    let add = r#"{"spec":{"template":{"spec":{"containers":[{"name":"two","image":"two:1"}]}}}}"#;
    patch("strategic", add)?;
    equal("a strategic patch merges by name", ns.value("deploy/web", names)?.as_str(), "two one")?;
    let remove =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"two","$patch":"delete"}]}}}}"#;
    patch("strategic", remove)?;
    equal("and deletes", ns.value("deploy/web", names)?.as_str(), "one")?;
    patch("merge", add)?;
    equal("a merge patch replaces lists", ns.value("deploy/web", names)?.as_str(), "two")?;
    let test = r#"[{"op":"test","path":"/spec/replicas","value":0},{"op":"replace","path":"/spec/template/spec/containers/0/name","value":"three"}]"#;
    patch("json", test)?;
    equal("a JSON patch", ns.value("deploy/web", names)?.as_str(), "three")?;
    let fails = ns.kubectl_fails(
        &["patch", "deploy", "web", "--type=json", "-p", &test.replace(":0}", ":5}")],
        "",
    )?;
    contains(&fails, &["The request is invalid"])?;
    equal("after a failed test", ns.value("deploy/web", names)?.as_str(), "three")?;
    equal(
        "no change",
        patch("merge", r#"{"spec":{"replicas":0}}"#)?.trim(),
        "deployment.apps/web patched (no change)",
    )?;
    ns.kubectl(&[
        "patch",
        "deploy",
        "web",
        "--subresource=scale",
        "--type=merge",
        "-p",
        r#"{"spec":{"replicas":0}}"#,
    ])?;
    let bad =
        ns.kubectl_fails(&["patch", "deploy", "web", "-p", r#"{"spec":{"replicas":-1}}"#], "")?;
    contains(&bad, &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"])
}

pub fn labels_and_annotations(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("labels")?;
    ns.kubectl(&["create", "configmap", "a"])?;
    ns.kubectl(&["create", "configmap", "b"])?;
    contains(
        &ns.kubectl(&["label", "configmaps", "a", "b", "tier=x"])?,
        &["configmap/a labeled", "configmap/b labeled"],
    )?;
    let held = ns.kubectl_fails(&["label", "configmap", "a", "tier=y"], "")?;
    contains(&held, &["'tier' already has a value (x), and --overwrite is false"])?;
    ns.kubectl(&["label", "configmap", "a", "tier=y", "--overwrite"])?;
    equal(
        "overwritten",
        ns.kubectl(&["get", "cm", "-l", "tier=y", "-o", "name"])?.as_str(),
        "configmap/a\n",
    )?;
    contains(
        &ns.kubectl(&["label", "configmaps", "-l", "tier", "tier-"])?,
        &["configmap/a unlabeled", "configmap/b unlabeled"],
    )?;
    let bad = ns.kubectl_fails(&["label", "configmap", "a", "x=in valid"], "")?;
    contains(&bad, &["invalid label value"])?;
    contains(
        &ns.kubectl(&["annotate", "configmap", "a", "note=some text, with: signs"])?,
        &["configmap/a annotated"],
    )?;
    equal(
        "an annotation",
        ns.value("cm/a", "{.metadata.annotations.note}")?.as_str(),
        "some text, with: signs",
    )?;
    contains(&ns.kubectl(&["annotate", "configmap", "a", "--list"])?, &["note=some text"])?;
    ns.kubectl(&["annotate", "configmap", "a", "note-"])?;
    equal("none are left", ns.value("cm/a", "{.metadata.annotations}")?.as_str(), "")?;
    let stale =
        ns.kubectl_fails(&["label", "configmap", "a", "x=y", "--resource-version=1"], "")?;
    contains(&stale, &["the object has been modified"])
}

pub fn fields_set(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("sets")?;
    ns.kubectl(&["create", "deployment", "web", "--image=one:1", "--replicas=0"])?;
    ns.kubectl(&["create", "configmap", "map", "--from-literal=FROM=map"])?;
    let set = |arguments: &[&str]| ns.kubectl(&[&["set"], arguments].concat());
    let container = |path: &str| ns.value("deploy/web", &format!("{{.spec.template.spec{path}}}"));
    equal(
        "its answer",
        set(&["image", "deployment/web", "one=two:2"])?.trim(),
        "deployment.apps/web image updated",
    )?;
    equal("the image", container(".containers[0].image")?.as_str(), "two:2")?;
    set(&["env", "deployment/web", "A=1", "B=2"])?;
    set(&["env", "deployment/web", "A-", "--from=configmap/map"])?;
    equal("environment", container(".containers[0].env[*].name")?.as_str(), "B FROM")?;
    contains(
        &set(&["env", "deployment/web", "--list"])?,
        &["B=2", "# FROM from configmap map, key FROM"],
    )?;
    set(&["resources", "deployment/web", "--limits=cpu=200m,memory=64Mi", "--requests=cpu=100m"])?;
    equal(
        "limits",
        container(".containers[0].resources.limits")?.as_str(),
        r#"{"cpu":"200m","memory":"64Mi"}"#,
    )?;
    ns.kubectl(&["create", "serviceaccount", "robot"])?;
    set(&["serviceaccount", "deployment/web", "robot"])?;
    equal("the account", container(".serviceAccountName")?.as_str(), "robot")?;
    ns.kubectl(&["create", "service", "clusterip", "web", "--tcp=80"])?;
    set(&["selector", "service", "web", "app=other"])?;
    equal("the selector", ns.value("svc/web", "{.spec.selector}")?.as_str(), r#"{"app":"other"}"#)?;
    ns.kubectl(&["create", "rolebinding", "bind", "--role=r", "--user=a"])?;
    set(&["subject", "rolebinding", "bind", "--user=b", "--serviceaccount=sets:robot"])?;
    equal("subjects", ns.value("rolebinding/bind", "{.subjects[*].name}")?.as_str(), "a b robot")?;
    contains(
        &ns.kubectl_fails(&["set", "image", "deployment/web", "nope=x"], "")?,
        &["unable to find container named \"nope\""],
    )
}

/// The rows of a table under its title and header.
fn rows(text: &str) -> Vec<String> {
    let rows = text.lines().skip(2).filter(|l| !l.is_empty());
    rows.map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

pub fn rollouts_pause_and_resume(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("rollouts")?;
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
    ns.kubectl(&[
        "patch",
        "deploy",
        "web",
        "-p",
        r#"{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":0}}}}"#,
    ])?;
    let rollout = |arguments: &[&str]| ns.kubectl(&[&["rollout"], arguments].concat());
    rollout(&["status", "deployment/web", "--timeout=60s"])?;
    equal("paused", rollout(&["pause", "deployment/web"])?.trim(), "deployment.apps/web paused")?;
    contains(
        &ns.kubectl_fails(&["rollout", "pause", "deployment/web"], "")?,
        &["is already paused"],
    )?;
    let before = ns.value("deploy/web", "{.status.observedGeneration}")?;
    ns.kubectl(&["set", "env", "deployment/web", "X=1"])?;
    ns.wait(
        "jsonpath={.status.conditions[?(@.type==\"Progressing\")].reason}=DeploymentPaused",
        &["deployment/web"],
    )?;
    crate::shell::eventually("the controller has seen the change", || {
        let now = ns.value("deploy/web", "{.status.observedGeneration} {.metadata.generation}")?;
        let (seen, is) = now.split_once(' ').unwrap_or_default();
        if seen == is && seen != before { Ok(()) } else { Err(format!("{now}, before {before}")) }
    })?;
    let revisions = ns.kubectl(&["get", "replicasets", "-o", "name"])?.lines().count();
    equal("replica sets while paused", revisions, 2)?;
    contains(
        &ns.kubectl_fails(&["rollout", "undo", "deployment/web"], "")?,
        &["cannot rollback a paused deployment"],
    )?;
    rollout(&["resume", "deployment/web"])?;
    rollout(&["status", "deployment/web", "--timeout=60s"])?;
    equal("after resuming", ns.kubectl(&["get", "replicasets", "-o", "name"])?.lines().count(), 3)?;
    ns.kubectl(&["annotate", "deployment/web", "kubernetes.io/change-cause=set X"])?;
    crate::shell::eventually("the change's cause is in the history", || {
        let history = rows(&rollout(&["history", "deployment/web"])?);
        equal(
            "the history",
            history,
            vec!["1 <none>".to_owned(), "2 <none>".into(), "3 set X".into()],
        )
    })?;
    contains(&rollout(&["history", "deployment/web", "--revision=3"])?, &["X:\t1", "busybox:e2e"])?;
    rollout(&["undo", "deployment/web", "--to-revision=1"])?;
    rollout(&["status", "deployment/web", "--timeout=60s"])?;
    equal("revision 1 became 4", rows(&rollout(&["history", "deployment/web"])?).len(), 3)?;
    contains(
        &ns.kubectl_fails(&["rollout", "undo", "deployment/web", "--to-revision=9"], "")?,
        &["unable to find specified revision 9 in history"],
    )
}

pub fn run_and_expose(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("exposed")?;
    let script = "mkdir /w; echo page > /w/index.html; exec httpd -f -p 8080 -h /w";
    ns.kubectl(&[
        "run",
        "web",
        "--image=busybox:e2e",
        "--port=8080",
        "--labels=app=web,tier=x",
        "--env=A=b",
        "--annotations=n=1",
        "--command",
        "--",
        "sh",
        "-c",
        script,
    ])?;
    equal(
        "its environment",
        ns.value("pod/web", "{.spec.containers[0].env[0].value}")?.as_str(),
        "b",
    )?;
    ns.kubectl(&[
        "expose",
        "pod",
        "web",
        "--name=front",
        "--port=80",
        "--target-port=8080",
        "--selector=tier=x",
    ])?;
    ns.ready(&["web"])?;
    let address = ns.value("svc/front", "{.spec.clusterIP}")?;
    crate::shell::eventually("the Service answers", || {
        equal("the page", crate::cases::services::fetch(&address)?.as_str(), "page")
    })?;
    ns.kubectl(&["create", "deployment", "many", "--image=busybox:e2e", "--replicas=0"])?;
    contains(
        &ns.kubectl_fails(&["expose", "deployment", "many"], "")?,
        &["couldn't find port via --port flag or introspection"],
    )?;
    ns.kubectl(&["expose", "deployment", "many", "--port=5", "--protocol=UDP", "--type=NodePort"])?;
    contains(&ns.kubectl(&["get", "service", "many"])?, &["NodePort", "5:", "/UDP"])?;
    let both = ns.kubectl(&[
        "run",
        "dry",
        "--image=x",
        "--dry-run=server",
        "-o",
        "jsonpath={.spec.containers[0].imagePullPolicy}",
    ])?;
    equal("defaults of a dry run", both.as_str(), "Always")
}
