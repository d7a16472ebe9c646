//! The pods that are measured: one small program from an image that is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use timonier_client::{
    Client, DeleteOptions, HttpsClient, ListOptions, Propagation, WatchEvent, WatchStream,
    WriteOptions,
};
use timonier_meta::gvk::resources::{DEPLOYMENTS, NAMESPACES, PODS, SERVICEACCOUNTS};
use timonier_object::{Value, value};

use crate::bare::BUSYBOX;
use crate::cluster::Cluster;

/// The namespace of everything that is measured.
pub const NAMESPACE: &str = "bench";
const IMAGE: &str = "bench/sleep:1";
const DEPLOYMENT: &str = "sleep";
/// How long anything may take before the measurement gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pods of one cluster, and a watch of them from outside.
pub struct Workload {
    client: HttpsClient,
    events: WatchStream,
    running: BTreeSet<String>,
    here: BTreeSet<String>,
}

impl Workload {
    /// Builds the image, makes the namespace, and begins to watch.
    pub async fn begin(cluster: &Cluster) -> Result<Workload> {
        build_image(cluster)?;
        let client = cluster.client()?;
        let namespace = value!({ "apiVersion": "v1", "kind": "Namespace",
                                 "metadata": { "name": NAMESPACE } });
        match create(&client, &NAMESPACES, "", namespace).await {
            Err(error) if !error.is_already_exists() => return Err(error.into()),
            _ => {}
        }
        let mut accounts =
            client.watch(&SERVICEACCOUNTS, NAMESPACE, &ListOptions::default()).await?;
        // Pods are admitted once the namespace has its service account.
        loop {
            match next(&mut accounts).await? {
                WatchEvent::Added(account) if account.name() == "default" => break,
                _ => {}
            }
        }
        let mut workload = Workload::resume(cluster).await?;
        workload.clear().await?;
        Ok(workload)
    }

    /// Watches what is there.
    pub async fn resume(cluster: &Cluster) -> Result<Workload> {
        let client = cluster.client()?;
        let events = client.watch(&PODS, NAMESPACE, &ListOptions::default()).await?;
        Ok(Workload { client, events, running: BTreeSet::new(), here: BTreeSet::new() })
    }

    /// Creates one pod; the seconds until it is seen as running.
    pub async fn start_one(&mut self, name: &str) -> Result<f64> {
        let mut pod = template();
        pod.set("apiVersion", "v1");
        pod.set("kind", "Pod");
        pod.set("metadata", value!({ "name": name, "namespace": NAMESPACE }));
        let start = Instant::now();
        create(&self.client, &PODS, NAMESPACE, pod).await?;
        self.until(|w| w.running.contains(name)).await?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Creates a Deployment of so many pods; the seconds until all are seen as running.
    pub async fn start_at_once(&mut self, count: usize) -> Result<f64> {
        let mut pod = template();
        pod.set("metadata", value!({ "labels": { "app": DEPLOYMENT } }));
        let replicas = count as i64;
        let deployment = value!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": DEPLOYMENT, "namespace": NAMESPACE },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": DEPLOYMENT } },
                      "template": pod }
        });
        let start = Instant::now();
        create(&self.client, &DEPLOYMENTS, NAMESPACE, deployment).await?;
        self.until(|w| w.running.len() == count).await?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Deletes the Deployment and every pod, and waits until the pods are gone; the seconds that
    /// took.
    pub async fn clear(&mut self) -> Result<f64> {
        let start = Instant::now();
        let options = DeleteOptions {
            propagation: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        match self.client.delete(&DEPLOYMENTS, NAMESPACE, DEPLOYMENT, &options).await {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        let pods = self.client.list(&PODS, NAMESPACE, &ListOptions::default()).await?.items;
        self.here.extend(pods.iter().map(|p| p.name().to_owned()));
        for pod in pods.iter().filter(|p| p.owners().is_empty()) {
            match self.client.delete(&PODS, NAMESPACE, pod.name(), &options).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        self.until(|w| w.here.is_empty()).await?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// The pods as they are, by their container's id and its number of restarts.
    pub async fn containers(&self) -> Result<BTreeSet<(String, i64)>> {
        let pods = self.client.list(&PODS, NAMESPACE, &ListOptions::default()).await?.items;
        let statuses = pods.iter().flat_map(|p| p.at("status.containerStatuses").items());
        Ok(statuses
            .map(|s| (s.at("containerID").str().to_owned(), s.at("restartCount").int_or(0)))
            .collect())
    }

    /// Takes events in until something holds.
    async fn until(&mut self, holds: impl Fn(&Workload) -> bool) -> Result<()> {
        while !holds(self) {
            let event = next(&mut self.events).await.with_context(|| {
                format!("{} pods are here, {} run", self.here.len(), self.running.len())
            })?;
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    let phase = pod.at("status.phase").str();
                    if phase == "Failed" || phase == "Succeeded" {
                        bail!("pod {} {phase}: {}", pod.name(), pod.at("status.message").str());
                    }
                    if phase == "Running" {
                        self.running.insert(pod.name().to_owned());
                    }
                    self.here.insert(pod.name().to_owned());
                }
                WatchEvent::Deleted(pod) => {
                    self.running.remove(pod.name());
                    self.here.remove(pod.name());
                }
                WatchEvent::Bookmark { .. } => {}
            }
        }
        Ok(())
    }
}

/// Creates an object as a user would.
pub async fn create(
    client: &HttpsClient,
    resource: &timonier_meta::GroupVersionResource,
    namespace: &str,
    object: Value,
) -> Result<Arc<Value>, timonier_meta::ApiError> {
    let options =
        WriteOptions { field_manager: "timonier-bench".into(), ..WriteOptions::default() };
    client.create(resource, namespace, "", "", object, &options).await
}

async fn next(events: &mut WatchStream) -> Result<WatchEvent> {
    let event = tokio::time::timeout(PATIENCE, events.next())
        .await
        .with_context(|| format!("nothing happened for {PATIENCE:?}"))?;
    Ok(event.context("the watch ended")??)
}

/// A pod without a name: it sleeps, and ends at once when asked to.
fn template() -> Value {
    value!({
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "sleep", "image": IMAGE, "imagePullPolicy": "Never" }]
        }
    })
}

fn build_image(cluster: &Cluster) -> Result<()> {
    let context = cluster.data().with_file_name("image");
    std::fs::create_dir_all(&context)?;
    std::fs::copy(BUSYBOX, context.join("busybox"))
        .with_context(|| format!("{BUSYBOX} (Debian's busybox-static)"))?;
    let dockerfile = format!(
        "FROM scratch\nCOPY busybox {BUSYBOX}\nCMD [\"{BUSYBOX}\", \"sleep\", \"100000\"]\n"
    );
    std::fs::write(context.join("Dockerfile"), dockerfile)?;
    let built = cluster.timonier(&["build", "-t", IMAGE, &context.to_string_lossy()]);
    std::fs::remove_dir_all(&context)?;
    built
}
