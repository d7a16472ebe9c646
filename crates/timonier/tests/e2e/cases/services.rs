//! Services, DNS, and the way from outside into a pod.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::background::Background;
use crate::cluster::{Cluster, Namespace};
use crate::shell::{Result, contains, equal, eventually};

/// The mission's Deployment of three nginx 1.7.9, and a Service in front.
const NGINX: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: nginx-deployment\n  labels: {app: nginx}\nspec:\n  replicas: 3\n  selector: {matchLabels: {app: nginx}}\n  template:\n    metadata: {labels: {app: nginx}}\n    spec:\n      containers:\n      - name: nginx\n        image: nginx:1.7.9\n        ports: [{containerPort: 80}]\n---\napiVersion: v1\nkind: Service\nmetadata: {name: nginx}\nspec:\n  selector: {app: nginx}\n  ports: [{port: 80}]\n";

/// The page at an address: `host[:port][/path]`, port 80 without one.
pub fn fetch(url: &str) -> Result<String> {
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    let address = if host.contains(':') { host.into() } else { format!("{host}:80") };
    let get = || -> std::io::Result<String> {
        let target = address.parse().map_err(std::io::Error::other)?;
        let mut connection = TcpStream::connect_timeout(&target, Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(connection, "GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = get().map_err(|e| format!("http://{address}/{path}: {e}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, page)) if head.contains(" 200 ") => Ok(page.trim().to_owned()),
        _ => Err(format!("http://{address}/{path} answered {answer:?}")),
    }
}

/// Asks an address until these names, and no others, have answered.
fn answered_by(address: &str, names: &BTreeSet<String>) -> Result {
    let mut seen = BTreeSet::new();
    eventually("every pod answers on the Service", || {
        let name = fetch(address)?;
        if !names.contains(&name) {
            seen.clear();
            return Err(format!("{name} answered, expected one of {names:?}"));
        }
        seen.insert(name);
        if seen == *names { Ok(()) } else { Err(format!("only {seen:?} answered")) }
    })
}

fn pod_names(ns: &Namespace<'_>) -> Result<BTreeSet<String>> {
    let list = ns.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=nginx",
        "--field-selector=status.phase=Running",
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ])?;
    Ok(list.split_whitespace().map(str::to_owned).collect())
}

pub fn nginx_behind_a_service(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("java")?;
    ns.apply(NGINX)?;
    ns.kubectl(&["rollout", "status", "deployment/nginx-deployment", "--timeout=60s"])?;
    let address = ns.kubectl(&["get", "service", "nginx", "-o", "jsonpath={.spec.clusterIP}"])?;
    let names = pod_names(&ns)?;
    equal("pods", names.len(), 3)?;
    answered_by(&address, &names)?;
    ns.kubectl(&["run", "client", "--image=busybox:e2e", "--command", "--", "sleep", "1000"])?;
    ns.wait("condition=Ready", &["pod/client"])?;
    for name in [address.as_str(), "nginx", "nginx.java", "nginx.java.svc.cluster.local"] {
        let url = format!("http://{name}/");
        let text = ns.kubectl(&["exec", "client", "--", "wget", "-q", "-O", "-", &url])?;
        if !names.contains(text.trim()) {
            return Err(format!("{url} answered {text:?}"));
        }
    }
    let victim = names.iter().next().cloned().unwrap_or_default();
    ns.kubectl(&["delete", "pod", &victim, "--timeout=60s"])?;
    ns.kubectl(&["rollout", "status", "deployment/nginx-deployment", "--timeout=60s"])?;
    let names = pod_names(&ns)?;
    equal("the victim is gone", names.contains(&victim), false)?;
    answered_by(&address, &names)
}

pub fn dns_names_resolve(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("names")?;
    ns.kubectl(&["run", "client", "--image=busybox:e2e", "--command", "--", "sleep", "1000"])?;
    ns.wait("condition=Ready", &["pod/client"])?;
    let lookup = |name: &str| ns.kubectl(&["exec", "client", "--", "nslookup", name]);
    contains(&lookup("kubernetes.default.svc.cluster.local")?, &["Address"])?;
    let missing = crate::shell::run(
        &mut ns.command(&["exec", "client", "--", "nslookup", "nothing.names.svc.cluster.local"]),
        "",
    )?;
    contains(&format!("{}{}", missing.stdout, missing.stderr), &["NXDOMAIN"])
}

pub fn port_forward_reaches_a_pod(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("forward")?;
    ns.kubectl(&["run", "web", "--image=nginx:1.7.9", "--port=80"])?;
    ns.wait("condition=Ready", &["pod/web"])?;
    // Ready says that the process runs; it has no probe that would tell when it listens.
    let pod = ns.kubectl(&["get", "pod", "web", "-o", "jsonpath={.status.podIP}"])?;
    eventually("the pod listens", || fetch(&pod))?;
    let forward = Background::start(&mut ns.command(&["port-forward", "pod/web", ":80"]))?;
    forward.expect("Forwarding from ")?;
    // Forwarding from 127.0.0.1:40123 -> 80
    let address = forward.expect(" -> 80")?;
    let address = address.trim_end_matches(" -> 80");
    equal("the forwarded answer", fetch(address)?.as_str(), "web")?;
    equal("a second one", fetch(address)?.as_str(), "web")
}
