//! A machine that loses its power.

use crate::cases::images;
use crate::cluster::{Cluster, Namespace};
use crate::machine::Machine;
use crate::shell::{Result, contains, equal, eventually};

/// A Deployment whose pod counts its starts on a volume, and a Service in front.
const COUNTER: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: counter}\nspec:\n  replicas: 2\n  selector: {matchLabels: {app: counter}}\n  template:\n    metadata: {labels: {app: counter}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers:\n      - name: main\n        image: busybox:e2e\n        command: [sh, -c, 'echo start >>/data/index.html; cat /settings/color; echo; exec httpd -f -p 8080 -h /data']\n        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}\n        volumeMounts: [{name: data, mountPath: /data}, {name: settings, mountPath: /settings}]\n      volumes: [{name: data, emptyDir: {}}, {name: settings, configMap: {name: settings}}]\n---\napiVersion: v1\nkind: Service\nmetadata: {name: counter}\nspec:\n  selector: {app: counter}\n  ports: [{port: 80, targetPort: 8080}]\n";

pub fn power_loss(_: &Cluster) -> Result {
    let mut cluster = Cluster::alone("reboot", Some(Machine::boot()?))?;
    cluster.start(images::busybox)?;
    let identity = deploy(&cluster)?;
    let cgroup = format!("timonier-{}", cluster.name);
    for start in 1..=2 {
        let machine = cluster.machine().ok_or("no machine")?;
        machine.power_off(&cgroup)?;
        machine.power_on()?;
        cluster.timonier(&["up"])?;
        after_reboot(&cluster, &identity, start).map_err(|why| {
            let mut told = cluster.kubectl(&crate::shell::kubectl(), &["-n", "reboot", "get"]);
            let told = crate::shell::succeed(told.args(["pods,events", "-o", "wide"]), "");
            let log = std::fs::read_to_string(cluster.data.join("server.log"));
            format!("{why}\n{}\n{}", told.unwrap_or_default(), log.unwrap_or_default())
        })?;
    }
    contains(&cluster.timonier(&["status"])?, &["Ready", "running"])
}

fn namespace(cluster: &Cluster) -> Result<Namespace<'_>> {
    cluster.namespace("reboot")
}

/// Names, identities and addresses of the pods' objects.
fn identity(ns: &Namespace<'_>) -> Result<String> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{'\\n'}{end}";
    ns.kubectl(&["get", "pods", "-o", path])
}

fn deploy(cluster: &Cluster) -> Result<String> {
    // The namespace stays over the reboot.
    let ns = std::mem::ManuallyDrop::new(namespace(cluster)?);
    ns.kubectl(&["create", "configmap", "settings", "--from-literal=color=blue"])?;
    ns.apply(COUNTER)?;
    ns.wait("jsonpath={.status.readyReplicas}=2", &["deployment/counter"])?;
    equal("a pod's page", page(&ns)?.as_str(), "start\n")?;
    identity(&ns)
}

/// What the Service answers to a program on the machine.
fn page(ns: &Namespace<'_>) -> Result<String> {
    let address = ns.kubectl(&["get", "service", "counter", "-o", "jsonpath={.spec.clusterIP}"])?;
    eventually("the Service answers", || {
        let mut command = ns.cluster.program("busybox".as_ref());
        let url = format!("http://{address}/");
        crate::shell::succeed(
            command.args(["timeout", "2", "busybox", "wget", "-q", "-O-", &url]),
            "",
        )
    })
}

fn after_reboot(cluster: &Cluster, before: &str, restarts: usize) -> Result {
    let ns = std::mem::ManuallyDrop::new(Namespace { cluster, name: "reboot".into() });
    let count = format!("jsonpath={{.status.containerStatuses[0].restartCount}}={restarts}");
    ns.wait(&count, &["pods", "-l", "app=counter"])?;
    ns.wait("condition=Ready", &["pods", "-l", "app=counter"])?;
    ns.wait("jsonpath={.status.readyReplicas}=2", &["deployment/counter"])?;
    equal("the pods after the reboot", identity(&ns)?.as_str(), before)?;
    equal("the volume", page(&ns)?, "start\n".repeat(restarts + 1))?;
    contains(&ns.kubectl(&["logs", "deployment/counter"])?, &["blue"])?;
    equal(
        "exec after the reboot",
        ns.kubectl(&["exec", "deployment/counter", "--", "echo", "x"])?.as_str(),
        "x\n",
    )
}
