//! All controllers and the scheduler over the API server, with simulated nodes, under virtual time
//! and without faults: every kind that there is is observed, and each step is waited for.

use std::sync::Arc;
use std::time::Duration;

use timonier_client::{Client, DeleteOptions, ListOptions, PatchType, WriteOptions};
use timonier_meta::gvk::resources::{
    CRONJOBS, DAEMONSETS, DEPLOYMENTS, ENDPOINTSLICES, JOBS, NAMESPACES, PODS, REPLICASETS,
    SERVICES, STATEFULSETS,
};
use timonier_meta::{Environment, GroupVersionResource};
use timonier_object::{Value, value};
use timonier_reconcile::ResourceInfo;
use timonier_schema::Catalogue;
use timonier_sim::environment::SimEnvironment;
use timonier_sim::faults::Faults;
use timonier_sim::nodes::{self, Reach};
use timonier_sim::processes::{Ground, Processes};
use timonier_sim::{Audit, server};

struct Cluster {
    client: Arc<dyn Client>,
    audit: Arc<Audit>,
    _processes: Processes,
}

impl Cluster {
    async fn start() -> Cluster {
        let env: Arc<dyn Environment> = Arc::new(SimEnvironment::new(7));
        let audit = Audit::new(env.clone(), false);
        let cluster = server::Cluster::new(env.clone(), audit.clone(), 7);
        tokio::spawn(cluster.clone().supervise());
        cluster.running().await;
        let client = cluster.line("admin", &["system:masters"]);
        let catalogue = Catalogue::builtin();
        let observed = catalogue.rows().filter(|r| r.verbs.has("list") && r.verbs.has("watch"));
        let resources = observed
            .map(|row| ResourceInfo {
                resource: row.gvr.clone(),
                kind: row.gvk.kind.clone(),
                namespaced: row.namespaced,
            })
            .collect();
        let faults = Faults::new(1);
        faults.heal();
        let ground = Ground { cluster, resources, faults, env };
        tokio::spawn(nodes::run(ground.clone(), Reach::default(), nodes::names(2)));
        let _processes = Processes::start(ground);
        Cluster { client, audit, _processes }
    }

    async fn create(&self, resource: &GroupVersionResource, object: Value) {
        let namespace = object.namespace().to_string();
        let options = WriteOptions::default();
        // The default ServiceAccount comes a moment after its namespace.
        let mut last = None;
        for _ in 0..100 {
            let object = object.clone();
            match self.client.create(resource, &namespace, "", "", object, &options).await {
                Ok(_) => return,
                Err(e) => last = Some(e),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("not created: {last:?}; {:?}", self.audit.violations())
    }

    async fn patch(&self, resource: &GroupVersionResource, name: &str, patch: Value) {
        let (kind, options) = (PatchType::Merge, WriteOptions::default());
        let patched = self.client.patch(resource, "app", name, "", kind, patch, &options).await;
        patched.unwrap_or_else(|e| panic!("{e}; {:?}", self.audit.violations()));
    }

    async fn get(&self, resource: &GroupVersionResource, name: &str) -> Option<Arc<Value>> {
        self.client.get(resource, "app", name).await.ok()
    }

    async fn list(&self, resource: &GroupVersionResource) -> Vec<Arc<Value>> {
        let list = self.client.list(resource, "app", &ListOptions::default()).await;
        list.unwrap_or_else(|e| panic!("{e}; {:?}", self.audit.violations())).items
    }

    /// Waits until an object is as wanted.
    async fn until(
        &self,
        resource: &GroupVersionResource,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Arc<Value> {
        let mut last = None;
        for _ in 0..600 {
            last = self.get(resource, name).await;
            if let Some(object) = last.as_ref().filter(|o| wanted(o)) {
                return object.clone();
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let pods = self.list(&PODS).await;
        panic!("it stays {last:?}; pods: {pods:?}")
    }

    async fn delete(&self, resource: &GroupVersionResource, namespace: &str, name: &str) {
        let object = self.client.get(resource, namespace, name).await.unwrap();
        self.audit.asked_to_delete(&object);
        let options = DeleteOptions::default();
        self.client.delete(resource, namespace, name, &options).await.unwrap();
    }
}

fn template(app: &str, restart: &str) -> Value {
    value!({
        "metadata": { "labels": { "app": app } },
        "spec": { "restartPolicy": restart, "containers": [{ "name": "c", "image": "x:1" }] },
    })
}

fn workload(api: &str, kind: &str, name: &str, extra: Value) -> Value {
    let mut spec = value!({
        "selector": { "matchLabels": { "app": name } }, "template": (template(name, "Always")),
    });
    for (k, v) in extra.entries() {
        spec.set(k, v);
    }
    value!({ "apiVersion": api, "kind": kind,
             "metadata": { "name": name, "namespace": "app" }, "spec": spec })
}

fn count(object: &Value, field: &str) -> i64 {
    object.at("status").at(field).int_or(0)
}

#[tokio::test(start_paused = true)]
async fn workloads_come_up_roll_out_and_go_with_their_namespace() {
    let cluster = Cluster::start().await;
    let namespace =
        value!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "app" } });
    cluster.create(&NAMESPACES, namespace).await;
    let web = workload("apps/v1", "Deployment", "web", value!({ "replicas": 3 }));
    cluster.create(&DEPLOYMENTS, web).await;
    let service = value!({ "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web", "namespace": "app" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] } });
    cluster.create(&SERVICES, service).await;
    let agent = workload("apps/v1", "DaemonSet", "agent", value!({}));
    cluster.create(&DAEMONSETS, agent).await;
    let db =
        workload("apps/v1", "StatefulSet", "db", value!({ "replicas": 2, "serviceName": "db" }));
    cluster.create(&STATEFULSETS, db).await;
    let job = value!({ "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": "once", "namespace": "app" },
        "spec": { "completions": 2, "parallelism": 2, "template": (template("once", "Never")) } });
    cluster.create(&JOBS, job).await;
    let cron = value!({ "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": { "name": "often", "namespace": "app" },
        "spec": { "schedule": "* * * * *", "jobTemplate": { "spec": {
            "template": (template("often", "Never")) } } } });
    cluster.create(&CRONJOBS, cron).await;

    let progress =
        |d: &Value| d.condition("Progressing").map_or("", |c| c.at("reason").str()).to_string();
    let complete = |d: &Value| {
        count(d, "updatedReplicas") == 3
            && count(d, "availableReplicas") == 3
            && count(d, "replicas") == 3
            && count(d, "observedGeneration") == d.generation()
            && progress(d) == "NewReplicaSetAvailable"
    };
    let first = cluster.until(&DEPLOYMENTS, "web", complete).await;
    assert_eq!(first.annotation("deployment.kubernetes.io/revision"), Some("1"));
    cluster.until(&DAEMONSETS, "agent", |d| count(d, "numberAvailable") == 2).await;
    cluster.until(&STATEFULSETS, "db", |s| count(s, "availableReplicas") == 2).await;
    assert!(cluster.get(&PODS, "db-1").await.is_some());
    let job = cluster.until(&JOBS, "once", |j| j.condition_is_true("Complete")).await;
    assert_eq!(count(&job, "succeeded"), 2);
    cluster.until(&CRONJOBS, "often", |c| !c.at("status.lastSuccessfulTime").is_empty()).await;
    let slices = cluster.list(&ENDPOINTSLICES).await;
    let ready = slices.iter().flat_map(|s| s.at("endpoints").items());
    assert_eq!(ready.filter(|e| e.at("conditions.ready").bool()).count(), 3);

    let mut next = template("web", "Always");
    next.entry("spec.containers").make_array()[0].set("image", "x:2");
    cluster.patch(&DEPLOYMENTS, "web", value!({ "spec": { "template": next } })).await;
    let revised = |d: &Value| d.annotation("deployment.kubernetes.io/revision") == Some("2");
    cluster.until(&DEPLOYMENTS, "web", |d| complete(d) && revised(d)).await;
    assert_eq!(cluster.list(&REPLICASETS).await.len(), 2);

    cluster.delete(&DEPLOYMENTS, "app", "web").await;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if cluster.list(&REPLICASETS).await.is_empty() {
            break;
        }
    }
    assert!(cluster.list(&REPLICASETS).await.is_empty(), "the garbage collector has not come by");

    cluster.delete(&NAMESPACES, "", "app").await;
    for _ in 0..400 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if cluster.client.get(&NAMESPACES, "", "app").await.is_err() {
            assert_eq!(cluster.audit.violations(), [""; 0]);
            return;
        }
    }
    panic!("the namespace stays: {:?}", cluster.client.get(&NAMESPACES, "", "app").await)
}
