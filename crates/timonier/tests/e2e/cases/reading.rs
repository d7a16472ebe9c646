//! What kubectl reads: watches, forms of output, descriptions, events, discovery.

use crate::background::Background;
use crate::cases::pods::pod;
use crate::cluster::Cluster;
use crate::shell::{Result, contains, equal, run};

pub fn watches_tell_changes(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("watched")?;
    ns.kubectl(&["create", "configmap", "here", "--from-literal=a=1"])?;
    ns.kubectl(&["label", "configmap", "here", "watched=yes"])?;
    let get = ["get", "configmaps", "-l", "watched=yes", "-w", "--output-watch-events"];
    let watch = Background::start(&mut ns.command(&get))?;
    let line = |what: &str| -> Result<Vec<String>> {
        watch.expect(what)?;
        let rest = watch.expect("\n")?;
        Ok(rest.split_whitespace().take(2).map(str::to_owned).collect())
    };
    equal("the header", line("EVENT")?, vec!["NAME".to_owned(), "DATA".into()])?;
    equal("what is there", line("ADDED")?, vec!["here".to_owned(), "1".into()])?;
    ns.kubectl(&["patch", "configmap", "here", "-p", r#"{"data":{"b":"2"}}"#])?;
    equal("a change", line("MODIFIED")?, vec!["here".to_owned(), "2".into()])?;
    ns.kubectl(&["create", "configmap", "new"])?;
    ns.kubectl(&["label", "configmap", "new", "watched=yes"])?;
    equal("one that comes into view", line("ADDED")?, vec!["new".to_owned(), "0".into()])?;
    ns.kubectl(&["label", "configmap", "here", "watched-"])?;
    equal("one that leaves it", line("DELETED")?, vec!["here".to_owned(), "2".into()])?;
    ns.kubectl(&["delete", "configmap", "new"])?;
    equal("a deletion", line("DELETED")?, vec!["new".to_owned(), "0".into()])?;
    let only = ["get", "configmaps", "-o", "name", "--watch-only"];
    let only = Background::start(&mut ns.command(&only))?;
    // A watch without a list must not miss what comes next; the API's own watch says it is open.
    let opened = Background::start(&mut ns.command(&["get", "cm", "-w", "-o", "name"]))?;
    opened.expect("configmap/kube-root-ca.crt\n")?;
    crate::shell::eventually("the watch sees a change", || {
        ns.kubectl(&["annotate", "cm", "kube-root-ca.crt", "--overwrite", "n=1"])?;
        ns.kubectl(&["annotate", "cm", "kube-root-ca.crt", "n-"])?;
        only.expect("configmap/kube-root-ca.crt\n")
    })
    .map(drop)
}

pub fn forms_of_output(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("forms")?;
    for (name, tier, size) in [("b", "x", "2"), ("a", "y", "1"), ("c", "x", "3")] {
        ns.kubectl(&["create", "configmap", name, &format!("--from-literal=size={size}")])?;
        ns.kubectl(&["label", "configmap", name, &format!("tier={tier}")])?;
    }
    let get = |more: &[&str]| ns.kubectl(&[&["get", "configmaps"], more].concat());
    let range = "jsonpath={range .items[?(@.data.size)]}{.metadata.name}={.data.size} {end}";
    equal("jsonpath", get(&["-o", range])?.as_str(), "a=1 b=2 c=3 ")?;
    let columns = "custom-columns=NAME:.metadata.name,SIZE:.data.size,NONE:.data.none";
    let table = get(&["-l", "tier", "-o", columns, "--sort-by=.data.size"])?;
    let cells: Vec<&str> = table.split_whitespace().collect();
    equal("custom columns", cells[..6].to_vec(), vec!["NAME", "SIZE", "NONE", "a", "1", "<none>"])?;
    let names = |selector: &str| get(&["-l", selector, "-o", "name"]);
    equal("in", names("tier in (y,z)")?.as_str(), "configmap/a\n")?;
    equal("notin", names("tier,tier notin (y)")?.as_str(), "configmap/b\nconfigmap/c\n")?;
    equal("!=", names("tier!=x,tier")?.as_str(), "configmap/a\n")?;
    equal("absent", names("!tier")?.as_str(), "configmap/kube-root-ca.crt\n")?;
    let template = "go-template={{range .items}}{{.metadata.name}};{{end}}";
    equal("a template", get(&["-l", "tier=x", "-o", template])?.as_str(), "b;c;")?;
    let labels = get(&["-L", "tier", "--show-labels", "--no-headers", "a"])?;
    contains(&labels, &["y", "tier=y"])?;
    contains(&get(&["--show-kind", "-l", "tier=y"])?, &["configmap/a"])?;
    contains(&get(&["-A", "-l", "tier=y"])?, &["NAMESPACE", "forms"])?;
    let sorted = get(&["-l", "tier", "--sort-by=.metadata.name", "-o", "name"])?;
    equal("sorted", sorted.as_str(), "configmap/a\nconfigmap/b\nconfigmap/c\n")?;
    equal("absent and ignored", get(&["nothing", "--ignore-not-found"])?.as_str(), "")?;
    let many = ns.kubectl(&["get", "configmap/a", "namespace/forms", "-o", "name"])?;
    equal("several kinds", many.as_str(), "configmap/a\nnamespace/forms\n")?;
    let raw = ns.kubectl(&["get", "--raw", "/api/v1/namespaces/forms/configmaps/a"])?;
    contains(&raw, &["\"kind\":\"ConfigMap\"", "\"size\":\"1\""])?;
    let none = run(&mut ns.command(&["get", "pods"]), "")?;
    equal("an empty list", none.stderr.as_str(), "No resources found in forms namespace.\n")?;
    let bad = ns.kubectl_fails(&["get", "cm", "--field-selector=data.size=1"], "")?;
    contains(&bad, &["\"data.size\" is not a known field selector: only \"metadata.name\""])?;
    let wide = ns.kubectl(&["get", "services", "-n", "default", "-o", "wide"])?;
    contains(&wide, &["SELECTOR", "kubernetes", "443/TCP"])
}

pub fn paged_lists(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("paged")?;
    let list: String = (0..7)
        .map(|n| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}}}\n---\n"))
        .collect();
    ns.kubectl_with(&["create", "-f", "-"], &list)?;
    let get = ["get", "configmaps", "--chunk-size=3", "-o", "name", "-v=6"];
    let output = run(&mut ns.command(&get), "")?;
    let names: Vec<String> = (0..7).map(|n| format!("configmap/c{n}")).collect();
    let found: Vec<&str> = output.stdout.lines().filter(|l| l.contains("/c")).collect();
    equal("every name once, in order", found, names.iter().map(String::as_str).collect())?;
    let pages = output.stderr.lines().filter(|l| l.contains("limit=3")).count();
    equal("pages of seven maps and the root certificate", pages, 3)?;
    let page = ns.kubectl(&["get", "--raw", "/api/v1/namespaces/paged/configmaps?limit=3"])?;
    contains(&page, &["\"continue\":\"", "\"remainingItemCount\":5"])?;
    let bad = "/api/v1/namespaces/paged/configmaps?limit=3&continue=nonsense";
    contains(&ns.kubectl_fails(&["get", "--raw", bad], "")?, &["continue key is not valid"])
}

/// Objects of kinds that no `create` subcommand makes.
const KINDS: &str = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: set}\nspec:\n  serviceName: set\n  selector: {matchLabels: {app: set}}\n  template:\n    metadata: {labels: {app: set}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers: [{name: main, image: 'busybox:e2e', command: [sleep, '1000'], resources: {requests: {cpu: 10m}}}]\n---\napiVersion: v1\nkind: Service\nmetadata: {name: set}\nspec: {clusterIP: None, selector: {app: set}, ports: [{port: 80, name: http}]}\n---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: hpa}\nspec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: set}}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: np}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: pvc}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n---\napiVersion: v1\nkind: LimitRange\nmetadata: {name: lr}\nspec: {limits: [{type: Container, default: {memory: 64Mi}}]}\n";

pub fn described_kinds(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("described")?;
    ns.apply(KINDS)?;
    ns.kubectl(&["create", "quota", "quota", "--hard=pods=9"])?;
    ns.kubectl(&["create", "secret", "generic", "secret", "--from-literal=a=bc"])?;
    ns.kubectl(&["create", "ingress", "ing", "--rule=a.b/c*=svc:80"])?;
    ns.kubectl(&["create", "role", "role", "--verb=get", "--resource=pods"])?;
    ns.kubectl(&["create", "rolebinding", "bind", "--role=role", "--user=ann"])?;
    ns.kubectl(&[
        "create",
        "poddisruptionbudget",
        "pdb",
        "--selector=app=set",
        "--min-available=1",
    ])?;
    ns.kubectl(&["create", "cronjob", "cron", "--image=busybox:e2e", "--schedule=@yearly"])?;
    ns.kubectl(&["rollout", "status", "statefulset/set", "--timeout=60s"])?;
    ns.wait("jsonpath={.status.currentHealthy}=1", &["pdb/pdb"])?;
    let node = ns.kubectl(&["get", "nodes", "-o", "name"])?;
    let node = node.lines().next().unwrap_or_default();
    let expected: &[(&str, &[&str])] = &[
        (
            "statefulset/set",
            &[
                "Replicas:           1 desired | 1 total",
                "1 Running",
                "create Pod set-0 in StatefulSet set successful",
            ],
        ),
        (
            "pod/set-0",
            &[
                "Controlled By:  StatefulSet/set",
                "QoS Class:",
                "Burstable",
                "Successfully assigned described/set-0",
            ],
        ),
        ("service/set", &["IP:                       None", "Endpoints:", ":80"]),
        ("endpointslices", &["Hostname:   set-0", "TargetRef:  Pod/set-0"]),
        ("hpa/hpa", &["StatefulSet/set", "Max replicas:"]),
        ("networkpolicy/np", &["Allowing ingress traffic:"]),
        ("pvc/pvc", &["Status:        Pending", "Access Modes:"]),
        ("limitrange/lr", &["Container", "memory", "64Mi"]),
        ("quota/quota", &["pods", "9"]),
        ("secret/secret", &["a:  2 bytes"]),
        ("ingress/ing", &["a.b", "/c", "svc:80"]),
        ("role/role", &["pods", "[get]"]),
        ("rolebinding/bind", &["Kind:  Role", "User  ann"]),
        ("pdb/pdb", &["Min available:", "Current:", "1"]),
        ("cronjob/cron", &["@yearly", "Concurrency Policy:"]),
        ("serviceaccount/default", &["Name:                default"]),
        ("configmap/kube-root-ca.crt", &["BEGIN CERTIFICATE"]),
        ("namespace/described", &["Status:       Active", "Resource Quotas", "Resource Limits"]),
        ("priorityclass/system-node-critical", &["2000001000"]),
        (node, &["Kubelet Version:", "v1.35", "PodCIDR:", "Allocated resources:", "set-0"]),
    ];
    for (object, parts) in expected {
        let text = ns.kubectl(&["describe", object])?;
        contains(&text, parts).map_err(|e| format!("describe {object}: {e}"))?;
    }
    Ok(())
}

/// In the same second, an Event's name tells which came first.
pub fn events_in_order(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("events")?;
    ns.apply(&pod("eventful", "sleep 1000", ""))?;
    ns.ready(&["eventful"])?;
    let reasons = ["Scheduled", "Pulled", "Created", "Started"];
    let found = crate::shell::eventually("every event is written", || {
        let text = ns.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"])?;
        contains(&text, &reasons).map(|()| text)
    })?;
    equal("the order of names", found.split(' ').collect::<Vec<_>>(), reasons.to_vec())?;
    let described = ns.kubectl(&["describe", "pod", "eventful"])?;
    let places: Vec<_> =
        reasons.iter().map(|r| described.rfind(&format!("Normal  {r} "))).collect();
    equal("the order of the description", places.is_sorted(), true)?;
    let events = ns.kubectl(&["events", "--for=pod/eventful"])?;
    contains(
        &events,
        &["Successfully assigned events/eventful", "Pod/eventful", "Container started"],
    )?;
    let warnings = run(&mut ns.command(&["events", "--types=Warning"]), "")?;
    contains(&warnings.stderr, &["No events found in events namespace."])?;
    let one = ["get", "events", "--field-selector=reason=Started,involvedObject.name=eventful"];
    equal("a selected event", ns.kubectl(&[&one[..], &["-o", "name"]].concat())?.lines().count(), 1)
}

pub fn what_the_server_has(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("has")?;
    let list = |more: &[&str]| ns.kubectl(&[&["api-resources"], more].concat());
    let global = list(&["--namespaced=false", "-o", "name"])?;
    contains(&global, &["nodes\n", "namespaces\n", "clusterroles.rbac.authorization.k8s.io\n"])?;
    equal("pods among the global ones", global.lines().any(|l| l == "pods"), false)?;
    contains(
        &list(&["--api-group=apps", "-o", "wide"])?,
        &["deploy", "StatefulSet", "deletecollection", "all"],
    )?;
    let creatable = list(&["--verbs=create,list", "-o", "name"])?;
    equal("component statuses are not created", creatable.contains("componentstatuses"), false)?;
    let versions = ns.kubectl(&["api-versions"])?;
    let expected = [
        "v1",
        "apps/v1",
        "batch/v1",
        "autoscaling/v2",
        "discovery.k8s.io/v1",
        "policy/v1",
        "rbac.authorization.k8s.io/v1",
        "storage.k8s.io/v1",
    ];
    for version in expected {
        equal(version, versions.lines().filter(|l| *l == version).count(), 1)?;
    }
    let explain = ns.kubectl(&["explain", "pod.spec", "--recursive"])?;
    contains(
        &explain,
        &[
            "KIND:       Pod",
            "FIELD: spec <PodSpec>",
            "    livenessProbe\t<Probe>",
            "-required-",
            "enum: Always, Never, OnFailure",
        ],
    )?;
    let old = ns.kubectl(&["explain", "cronjob.spec.schedule", "--output=plaintext-openapiv2"])?;
    contains(&old, &["KIND:     CronJob", "schedule <string>"])?;
    contains(
        &ns.kubectl_fails(&["explain", "pod.spec.nothing"], "")?,
        &["field \"nothing\" does not exist"],
    )?;
    let nothing = ns.kubectl_fails(&["get", "nothings"], "")?;
    equal(
        "an unknown kind",
        nothing.trim(),
        "error: the server doesn't have a resource type \"nothings\"",
    )?;
    let info = ns.kubectl(&["cluster-info"])?;
    contains(&info, &["Kubernetes control plane", "is running at", "https://127.0.0.1:"])?;
    contains(
        &ns.kubectl(&["cluster-info", "dump", "--namespaces=has"])?,
        &["\"kind\": \"NodeList\"", "\"kind\": \"EventList\""],
    )?;
    let version = ns.kubectl(&["version", "-o", "json"])?;
    contains(
        &version,
        &["\"major\": \"1\"", "\"minor\": \"35\"", "\"platform\": \"linux/amd64\""],
    )?;
    equal("health", ns.kubectl(&["get", "--raw", "/readyz"])?.as_str(), "ok")
}

pub fn who_may_what(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("who")?;
    let who = ns.kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.groups}"])?;
    contains(&who, &["system:masters", "system:authenticated"])?;
    let may = |more: &[&str]| run(&mut ns.command(&[&["auth", "can-i"], more].concat()), "");
    equal("everything", may(&["*", "*"])?.stdout.as_str(), "yes\n")?;
    let other = may(&["delete", "pods", "--as=nobody"])?;
    equal("somebody else", (other.stdout.as_str(), other.status), ("no\n", 1))?;
    contains(&may(&["--list"])?.stdout, &["*.*"])?;
    let as_other = ns.kubectl(&[
        "auth",
        "whoami",
        "--as=ann",
        "--as-group=crew",
        "-o",
        "jsonpath={.status.userInfo.username} {.status.userInfo.groups}",
    ])?;
    contains(&as_other, &["ann ", "crew", "system:authenticated"])?;
    let top = ns.kubectl_fails(&["top", "nodes"], "")?;
    contains(&top, &["Metrics API not available"])
}
