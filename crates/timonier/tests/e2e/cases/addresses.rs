//! Ways to pods: node ports, host ports, affinity, names without addresses.

use std::collections::BTreeSet;

use crate::cases::pods::pod;
use crate::cases::services::fetch;
use crate::cluster::{Cluster, Namespace};
use crate::shell::{Result, contains, equal, eventually, run};

/// A pod that says its name over HTTP; Ready once it does.
fn web(name: &str, port: u16, more: &str) -> String {
    let script = format!("mkdir /w; hostname > /w/index.html; exec httpd -f -p {port} -h /w");
    let probe = format!(
        "    readinessProbe: {{httpGet: {{path: /, port: {port}}}, periodSeconds: 1}}\n{more}"
    );
    pod(name, &script, &probe)
        .replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, labels: {{app: web}}}}"))
}

/// Asks inside of a pod with its own wget.
fn ask(ns: &Namespace<'_>, client: &str, url: &str) -> Result<String> {
    Ok(ns.kubectl(&["exec", client, "--", "wget", "-qO-", url])?.trim().to_owned())
}

pub fn node_ports_and_host_ports(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("ports")?;
    // Another run on this host takes another port.
    let host_port = 20_000 + std::process::id() % 9_000;
    ns.apply(&web(
        "one",
        8080,
        &format!("    ports: [{{containerPort: 8080, hostPort: {host_port}, name: web}}]\n"),
    ))?;
    ns.apply(&pod("client", "sleep 1000", ""))?;
    ns.ready(&["one", "client"])?;
    ns.kubectl(&["expose", "pod", "one", "--port=80", "--target-port=web", "--type=NodePort"])?;
    let port = ns.value("svc/one", "{.spec.ports[0].nodePort}")?;
    equal("a port of the range", (30000..32768).contains(&port.parse::<u32>().unwrap_or(0)), true)?;
    let host = ns.value("pod/one", "{.status.hostIP}")?;
    let (node, cluster_ip) = (format!("{host}:{port}"), ns.value("svc/one", "{.spec.clusterIP}")?);
    for address in [&node, &cluster_ip, &format!("{host}:{host_port}")] {
        eventually("the port answers on the host", || {
            equal(address, fetch(address)?.as_str(), "one")
        })?;
        equal(
            "from another pod",
            ask(&ns, "client", &format!("http://{address}/"))?.as_str(),
            "one",
        )?;
        equal(
            "from the pod itself",
            ask(&ns, "one", &format!("http://{address}/"))?.as_str(),
            "one",
        )?;
    }
    // As upstream's nftables mode: node ports are not on the loopback.
    if let Ok(page) = fetch(&format!("127.0.0.1:{port}")) {
        return Err(format!("the node port answers on the loopback: {page}"));
    }
    // Another pod that wants the host port has no place on this node.
    ns.apply(&web(
        "two",
        8080,
        &format!("    ports: [{{containerPort: 8080, hostPort: {host_port}}}]\n"),
    ))?;
    ns.wait("condition=PodScheduled=false", &["pod/two"])?;
    contains(
        &ns.value("pod/two", "{.status.conditions[?(@.type==\"PodScheduled\")].message}")?,
        &["1 node(s) didn't have free ports for the requested pod ports"],
    )?;
    ns.kubectl(&["delete", "pod", "one"])?;
    ns.ready(&["two"])?;
    eventually("the port is the other pod's", || {
        equal("the page", fetch(&format!("{host}:{host_port}"))?.as_str(), "two")
    })?;
    // A Service without endpoints refuses at once.
    ns.kubectl(&["patch", "service", "one", "-p", r#"{"spec":{"selector":{"app":"nobody"}}}"#])?;
    eventually("connections are refused", || match fetch(&cluster_ip) {
        Err(why) => contains(&why, &["refused"]),
        Ok(page) => Err(format!("{page} answers")),
    })?;
    let held = ns.kubectl_fails(
        &["create", "service", "nodeport", "same", "--tcp=80", &format!("--node-port={port}")],
        "",
    )?;
    contains(&held, &["provided port is already allocated"])
}

pub fn client_affinity(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("affinity")?;
    for name in ["one", "two", "three"] {
        ns.apply(&web(name, 80, ""))?;
    }
    ns.ready(&["one", "two", "three"])?;
    ns.kubectl(&[
        "expose",
        "pod",
        "one",
        "--name=sticky",
        "--port=80",
        "--selector=app=web",
        "--session-affinity=ClientIP",
    ])?;
    ns.kubectl(&["expose", "pod", "one", "--name=any", "--port=80", "--selector=app=web"])?;
    equal(
        "its time",
        ns.value("svc/sticky", "{.spec.sessionAffinityConfig.clientIP.timeoutSeconds}")?.as_str(),
        "10800",
    )?;
    let address = |name: &str| ns.value(&format!("svc/{name}"), "{.spec.clusterIP}");
    let (sticky, any) = (address("sticky")?, address("any")?);
    let mut seen = BTreeSet::new();
    eventually("all three answer without affinity", || {
        seen.insert(fetch(&any)?);
        if seen.len() == 3 { Ok(()) } else { Err(format!("{seen:?}")) }
    })?;
    let first = eventually("the sticky one answers", || fetch(&sticky))?;
    for _ in 0..20 {
        equal("the same pod again", fetch(&sticky)?, first.clone())?;
    }
    ns.kubectl(&["delete", "pod", &first])?;
    let next = eventually("another takes over", || match fetch(&sticky)? {
        page if page != first => Ok(page),
        page => Err(format!("{page} still answers")),
    })?;
    for _ in 0..10 {
        equal("and stays", fetch(&sticky)?, next.clone())?;
    }
    Ok(())
}

pub fn names_without_addresses(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("aliases")?;
    ns.apply(&web("web", 80, ""))?;
    ns.apply(&pod("client", "sleep 1000", ""))?;
    ns.ready(&["web", "client"])?;
    ns.kubectl(&["expose", "pod", "web", "--port=80"])?;
    ns.kubectl(&[
        "create",
        "service",
        "externalname",
        "alias",
        "--external-name=web.aliases.svc.cluster.local",
    ])?;
    equal("an alias has no address", ns.value("svc/alias", "{.spec.clusterIP}")?.as_str(), "")?;
    let lookup =
        ns.kubectl(&["exec", "client", "--", "nslookup", "alias.aliases.svc.cluster.local"])?;
    contains(
        &lookup,
        &[
            "canonical name = web.aliases.svc.cluster.local",
            &ns.value("svc/web", "{.spec.clusterIP}")?,
        ],
    )?;
    eventually("the alias leads to the pod", || {
        equal("the page", ask(&ns, "client", "http://alias/")?.as_str(), "web")
    })?;
    // An address of one's own in front of a pod: endpoints that somebody wrote.
    let address = ns.value("pod/web", "{.status.podIP}")?;
    let manual = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: manual}}\nspec: {{ports: [{{port: 81, targetPort: 80}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: manual-1, labels: {{kubernetes.io/service-name: manual}}}}\naddressType: IPv4\nports: [{{port: 80}}]\nendpoints: [{{addresses: ['{address}'], conditions: {{ready: true}}}}]\n"
    );
    ns.apply(&manual)?;
    eventually("written endpoints answer", || {
        equal("the page", ask(&ns, "client", "http://manual:81/")?.as_str(), "web")
    })?;
    // A name that the host knows goes to the host's own servers, or fails as such.
    let output = run(
        &mut ns.command(&["exec", "client", "--", "nslookup", "nothing.svc.cluster.local"]),
        "",
    )?;
    contains(&(output.stdout + &output.stderr), &["NXDOMAIN"])
}

pub fn names_of_a_stateful_set(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("stateful")?;
    let manifest = "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {clusterIP: None, selector: {app: db}, ports: [{port: 80, name: http}]}\n---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n  serviceName: db\n  replicas: 2\n  selector: {matchLabels: {app: db}}\n  template:\n    metadata: {labels: {app: db}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers:\n      - name: main\n        image: busybox:e2e\n        command: [sh, -c, 'mkdir /w; hostname -f > /w/index.html; exec httpd -f -p 80 -h /w']\n        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}\n";
    ns.apply(manifest)?;
    ns.apply(&pod("client", "sleep 1000", ""))?;
    ns.kubectl(&["rollout", "status", "statefulset/db", "--timeout=60s"])?;
    ns.ready(&["client"])?;
    for number in [0, 1] {
        let name = format!("db-{number}.db");
        let page =
            eventually("each has its name", || ask(&ns, "client", &format!("http://{name}/")))?;
        equal("its own full name", page, format!("{name}.stateful.svc.cluster.local"))?;
    }
    let addresses =
        ns.kubectl(&["get", "pods", "-l", "app=db", "-o", "jsonpath={.items[*].status.podIP}"])?;
    let all = ns.kubectl(&["exec", "client", "--", "nslookup", "db.stateful.svc.cluster.local"])?;
    contains(&all, &addresses.split(' ').collect::<Vec<_>>())?;
    let ports = ns.kubectl(&[
        "exec",
        "client",
        "--",
        "nslookup",
        "-type=srv",
        "_http._tcp.db.stateful.svc.cluster.local",
    ])?;
    contains(
        &ports,
        &["80 db-0.db.stateful.svc.cluster.local", "80 db-1.db.stateful.svc.cluster.local"],
    )?;
    // A new pod of the same name has the name's new address.
    let before = ns.value("pod/db-1", "{.metadata.uid}")?;
    ns.kubectl(&["delete", "pod", "db-1"])?;
    eventually("a pod of the same name comes back", || {
        match ns.value("pod/db-1", "{.metadata.uid}")? {
            uid if uid != before => Ok(()),
            _ => Err("the old one is there".into()),
        }
    })?;
    ns.ready(&["db-1"])?;
    let address = ns.value("pod/db-1", "{.status.podIP}")?;
    eventually("the name leads to it", || {
        contains(
            &ns.kubectl(&[
                "exec",
                "client",
                "--",
                "nslookup",
                "db-1.db.stateful.svc.cluster.local",
            ])?,
            &[&address],
        )
    })
}
