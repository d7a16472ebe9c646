//! Several clusters on one host.

use std::fs;
use std::net::TcpListener;

use crate::cases::images;
use crate::cluster::{Cluster, Namespace};
use crate::leftovers;
use crate::shell::{Result, contains, equal, eventually, kubectl, succeed};

/// A pod that serves a page, a Service in front, and a pod that asks. `PAGE` is replaced.
const WEB: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: main\n    image: busybox:e2e\n    command: [sh, -c, 'mkdir /www; echo PAGE >/www/index.html; exec httpd -f -p 8080 -h /www']\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  selector: {app: web}\n  ports: [{port: 80, targetPort: 8080}]\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: asker}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers: [{name: main, image: 'busybox:e2e', command: [sleep, '100000']}]\n";

fn deploy(ns: &Namespace<'_>) -> Result {
    ns.apply(&WEB.replace("PAGE", &ns.cluster.name))?;
    ns.wait("condition=Ready", &["pod/web", "pod/asker"])
}

/// The page that a pod gets by the Service's name must be this cluster's.
fn answers(ns: &Namespace<'_>) -> Result {
    let page = eventually("the Service answers by its name", || {
        ns.kubectl(&[
            "exec",
            "asker",
            "--",
            "timeout",
            "2",
            "wget",
            "-q",
            "-O-",
            "http://web.side/",
        ])
    })?;
    equal("the page of the Service", page.trim(), ns.cluster.name.as_str())
}

pub fn side_by_side(first: &Cluster) -> Result {
    let home_ns = first.namespace("side")?;
    deploy(&home_ns)?;
    answers(&home_ns)?;
    let before = leftovers::snapshot();
    foreign_context(first)?;
    let second = first.neighbour("next")?;
    second.start(images::busybox)?;
    let ns = second.namespace("side")?;
    deploy(&ns)?;
    for _ in 0..2 {
        answers(&ns)?;
        answers(&home_ns)?;
    }
    let pid = second.server_pid()?;
    contains(&second.timonier(&["up"])?, &["runs already"])?;
    equal("the second server's process", second.server_pid()?, pid)?;
    let contexts = ["other", &first.name, &second.name];
    contains(&config(first, &["get-contexts", "-o", "name"])?, &contexts)?;
    equal("the current context", config(first, &["current-context"])?.trim(), &*first.name)?;
    contains(&second.timonier(&["down"])?, &["is down"])?;
    leftovers::compare(&before, &leftovers::snapshot())?;
    works_as_before(&home_ns)?;
    let before = leftovers::snapshot();
    resumes(&second, &ns)?;
    reset_with_another_kubeconfig(&second)?;
    leftovers::compare(&before, &leftovers::snapshot())?;
    let left = config(first, &["get-contexts", "-o", "name"])?;
    contains(&left, &["other", &first.name])?;
    equal("the deleted cluster's context", left.contains(&second.name), false)?;
    answers(&home_ns)
}

/// `kubectl config` on the user's kubeconfig.
fn config(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new(kubectl());
    command.arg("config").args(arguments).arg("--kubeconfig").arg(cluster.user_kubeconfig());
    succeed(&mut command, "")
}

fn foreign_context(cluster: &Cluster) -> Result {
    config(cluster, &["set-cluster", "other", "--server=https://192.0.2.9"])?;
    config(cluster, &["set-credentials", "other", "--token=secret"])?;
    config(cluster, &["set-context", "other", "--cluster=other", "--user=other"]).map(drop)
}

fn works_as_before(first: &Namespace<'_>) -> Result {
    answers(first)?;
    first.kubectl(&["delete", "pod", "web"])?;
    deploy(first)?;
    answers(first)
}

/// A cluster that was down has its old workloads, and a port that somebody took is named.
fn resumes(second: &Cluster, ns: &Namespace<'_>) -> Result {
    let text = fs::read_to_string(second.data.join("cluster.json")).map_err(|e| e.to_string())?;
    let port = text
        .lines()
        .find_map(|l| l.trim().strip_prefix("\"api_port\": "))
        .and_then(|p| p.trim_end_matches(',').parse::<u16>().ok())
        .ok_or("cluster.json has no port")?;
    let taken = TcpListener::bind(("0.0.0.0", port)).map_err(|e| e.to_string())?;
    let output = crate::shell::run(&mut second.command(&["up"]), "")?;
    equal("up on a taken port", output.status, 1)?;
    let who =
        format!("the API server's port {port} cannot be used: process {} (", std::process::id());
    contains(&output.stderr, &[&who])?;
    drop(taken);
    second.timonier(&["up"])?;
    ns.wait("condition=Ready", &["pod/web", "pod/asker"])?;
    answers(ns)
}

/// The context leaves the file into which `up` put it, whatever `$KUBECONFIG` says now.
fn reset_with_another_kubeconfig(cluster: &Cluster) -> Result {
    let own = cluster.data.join("admin.kubeconfig");
    succeed(cluster.command(&["down"]).env("KUBECONFIG", &own), "")?;
    let text = fs::read_to_string(&own).map_err(|e| e.to_string())?;
    contains(&text, &[&cluster.name])?;
    succeed(cluster.command(&["reset"]).env("KUBECONFIG", &own), "")?;
    equal("the data directory after reset", cluster.data.exists(), false)
}
