//! Controllers at work on real pods.

use crate::cluster::Cluster;
use crate::shell::{Result, contains, equal};

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 3\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers:\n      - {name: main, image: 'busybox:e2e', command: [sleep, '1000']}\n";

pub fn rolling_update_and_undo(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("rolling")?;
    ns.apply(DEPLOYMENT)?;
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    contains(&ns.kubectl(&["get", "deployment", "web"])?, &["3/3"])?;
    ns.kubectl(&["set", "env", "deployment/web", "X=1"])?;
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    contains(&ns.kubectl(&["rollout", "history", "deployment/web"])?, &["1", "2"])?;
    ns.kubectl(&["rollout", "undo", "deployment/web"])?;
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let env = ns.kubectl(&[
        "get",
        "deployment",
        "web",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].env}",
    ])?;
    equal("the environment after undo", env.as_str(), "")?;
    ns.kubectl(&["rollout", "restart", "deployment/web"])?;
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    ns.kubectl(&["scale", "deployment/web", "--replicas=5"])?;
    ns.wait("jsonpath={.status.readyReplicas}=5", &["deployment/web"])?;
    let pods = ns.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "--field-selector=status.phase=Running",
        "-o",
        "name",
    ])?;
    let name = pods.lines().next().unwrap_or_default().to_owned();
    ns.kubectl(&["delete", &name])?;
    ns.wait("jsonpath={.status.readyReplicas}=5", &["deployment/web"])
}

pub fn jobs_complete(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("jobs")?;
    ns.apply("apiVersion: batch/v1\nkind: Job\nmetadata: {name: three}\nspec:\n  completions: 3\n  parallelism: 2\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - {name: main, image: 'busybox:e2e', command: [echo, done]}\n")?;
    ns.wait("condition=Complete", &["job/three"])?;
    let count = ns.kubectl(&["get", "job", "three", "-o", "jsonpath={.status.succeeded}"])?;
    equal("successes", count.as_str(), "3")?;
    ns.apply("apiVersion: batch/v1\nkind: Job\nmetadata: {name: fails}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - {name: main, image: 'busybox:e2e', command: [sh, -c, exit 1]}\n")?;
    ns.wait("condition=Failed", &["job/fails"])
}

pub fn daemonsets_cover_nodes(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("daemons")?;
    ns.apply("apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {app: d}}\n  template:\n    metadata: {labels: {app: d}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers:\n      - {name: main, image: 'busybox:e2e', command: [sleep, '1000']}\n")?;
    ns.wait("jsonpath={.status.numberAvailable}=1", &["daemonset/d"])
}

pub fn deletion_cascades(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("cascade")?;
    ns.apply(DEPLOYMENT)?;
    ns.wait("jsonpath={.status.readyReplicas}=3", &["deployment/web"])?;
    ns.kubectl(&["delete", "deployment", "web", "--cascade=orphan"])?;
    contains(&ns.kubectl(&["get", "replicasets", "-o", "name"])?, &["replicaset.apps/web-"])?;
    ns.kubectl(&[
        "delete",
        "replicaset",
        "-l",
        "app=web",
        "--cascade=foreground",
        "--timeout=60s",
    ])?;
    let left = ns.kubectl(&["get", "pods", "-o", "name"])?;
    equal("pods after a foreground deletion", left.as_str(), "")
}
