//! The node in the API: registered, kept alive by a lease, its status kept up to date.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use timonier_client::{Client, PatchType, WriteOptions};
use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, Time};
use timonier_object::{Value, value};
use timonier_pod::Event;
use tokio::sync::Notify;

use crate::config::NodeConfig;
use crate::machine::{Machine, pressure};
use crate::node_object::{Facts, node, same, status};
use crate::shared::Shared;
use crate::watching::{Change, Followed, field, follow};

const LEASES: &str = "kube-node-lease";
/// The status is written this often even if nothing has changed (upstream's).
const STATUS_PERIOD: timonier_meta::Duration = timonier_meta::Duration::from_secs(300);
const RETRY: Duration = Duration::from_millis(500);

fn options() -> WriteOptions {
    WriteOptions { field_manager: "kubelet".into(), ..WriteOptions::default() }
}

/// Registers a node that does not run yet, so that it can be given its pod range. The pair tells
/// the Node, and whether it was made by this call.
pub async fn register(client: &dyn Client, name: &str) -> Result<(Arc<Value>, bool), ApiError> {
    let wanted = node(&NodeConfig::new(name, "/"), &Machine::read(Path::new("/")));
    match client.create(&resources::NODES, "", "", "", wanted, &options()).await {
        Ok(node) => Ok((node, true)),
        Err(error) if error.is_already_exists() => {
            Ok((client.get(&resources::NODES, "", name).await?, false))
        }
        Err(error) => Err(error),
    }
}

/// What the API says of this node.
pub(crate) struct Registration {
    shared: Arc<Shared>,
    machine: Machine,
    api: Arc<Mutex<Option<Arc<Value>>>>,
    changed: Arc<Notify>,
    sent: Option<(Value, Time)>,
    lease: Option<Arc<Value>>,
    /// What was last told about it by an Event.
    unschedulable: bool,
}

impl Registration {
    pub fn new(shared: Arc<Shared>, machine: Machine) -> Self {
        Registration {
            shared,
            machine,
            api: Arc::default(),
            changed: Arc::new(Notify::new()),
            sent: None,
            lease: None,
            unschedulable: false,
        }
    }

    /// Registers, then keeps lease and status for ever. `images_changed` asks for a new status.
    pub async fn run(mut self, images_changed: Arc<Notify>) {
        while let Err(error) = self.register().await {
            tracing::warn!(%error, "registering the node");
            tokio::time::sleep(RETRY).await;
        }
        self.tell("Starting", "Starting kubelet.".into());
        let watch = self.watch();
        tokio::pin!(watch);
        let mut tick = tokio::time::interval(self.shared.config.lease_period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let changed = self.changed.clone();
        loop {
            tokio::select! {
                () = &mut watch => {}
                _ = tick.tick() => {
                    self.renew().await;
                    self.report().await;
                }
                () = changed.notified() => self.report().await,
                () = images_changed.notified() => self.report().await,
            }
        }
    }

    /// Follows the node's own object: others write its conditions, too.
    fn watch(&self) -> impl Future<Output = ()> + Send + 'static {
        let what = Followed {
            resource: resources::NODES,
            namespace: String::new(),
            fields: field("metadata.name", &self.shared.config.name),
        };
        let (api, changed) = (self.api.clone(), self.changed.clone());
        follow(self.shared.client.clone(), what, move |change| {
            if let Change::Set(node) = change {
                let ready = node.condition_is_true("Ready");
                let unschedulable = |n: &Value| n.at("spec.unschedulable").bool();
                let after = unschedulable(&node);
                let before = api.lock().expect("no panic holds it").replace(node);
                if !ready || before.is_some_and(|b| unschedulable(&b) != after) {
                    changed.notify_one();
                }
            }
        })
    }

    async fn register(&mut self) -> Result<(), ApiError> {
        let client = &self.shared.client;
        let wanted = node(&self.shared.config, &self.machine);
        let name = self.shared.config.name.as_str();
        let made = client.create(&resources::NODES, "", "", "", wanted.clone(), &options()).await;
        let node = match made {
            Err(error) if error.is_already_exists() => {
                let patch = value!({ "metadata": { "labels": (wanted.at("metadata.labels")) },
                    "spec": (wanted.at("spec")) });
                let merge = PatchType::Merge;
                client.patch(&resources::NODES, "", name, "", merge, patch, &options()).await?
            }
            other => other?,
        };
        *self.api.lock().expect("no panic holds it") = Some(node);
        self.report_now().await
    }

    async fn report(&mut self) {
        if let Err(error) = self.report_now().await {
            tracing::warn!(%error, "writing the status of the node");
        }
    }

    /// Writes the status where it has changed, where the API's differs, or where it is time.
    async fn report_now(&mut self) -> Result<(), ApiError> {
        let images = self.shared.images.list().await.unwrap_or_default();
        let api = self.api.lock().expect("no panic holds it").clone();
        self.tell_schedulable(api.as_deref());
        let before = api.as_ref().map_or(&Value::Null, |n| n.at("status")).clone();
        let now = self.shared.now();
        let facts = Facts {
            config: &self.shared.config,
            machine: &self.machine,
            pressure: pressure(&self.shared.images.dir()),
            images: &images,
            runtime: &self.shared.runtime.version(),
            before: &before,
            now,
        };
        let mut wanted = status(&facts);
        let ready = api.as_ref().is_some_and(|n| n.condition_is_true("Ready"));
        if let Some((sent, at)) = &self.sent
            && ready
            && now - *at < STATUS_PERIOD
            && same(sent, &wanted)
        {
            return Ok(());
        }
        let keep = wanted.clone();
        if let Some(list) = wanted.get_mut("addresses").and_then(Value::as_array_mut) {
            list.insert(0, value!({ "$patch": "replace" }));
        }
        let patch = value!({ "status": wanted });
        let (name, strategic) = (self.shared.config.name.as_str(), PatchType::Strategic);
        let client = &self.shared.client;
        let node = client
            .patch(&resources::NODES, "", name, "status", strategic, patch, &options())
            .await?;
        let was_ready = before_ready(&before);
        *self.api.lock().expect("no panic holds it") = Some(node);
        self.sent = Some((keep, now));
        if !was_ready {
            for reason in [
                "NodeHasSufficientMemory",
                "NodeHasNoDiskPressure",
                "NodeHasSufficientPID",
                "NodeReady",
            ] {
                self.tell(reason, format!("Node {name} status is now: {reason}"));
            }
        }
        Ok(())
    }

    /// Tells once when somebody has cordoned or uncordoned the node.
    fn tell_schedulable(&mut self, node: Option<&Value>) {
        let now = node.is_some_and(|n| n.at("spec.unschedulable").bool());
        if now == self.unschedulable {
            return;
        }
        self.unschedulable = now;
        let reason = if now { "NodeNotSchedulable" } else { "NodeSchedulable" };
        self.tell(reason, format!("Node {} status is now: {reason}", self.shared.config.name));
    }

    fn tell(&self, reason: &str, message: String) {
        let name = self.shared.config.name.as_str();
        // Upstream's kubelet names the node as its own uid.
        let about = value!({ "kind": "Node", "name": name, "uid": name, "apiVersion": "v1" });
        self.shared.recorder.record(about, Event::normal(reason, message));
    }

    /// Renews the lease; a failure is tried again at the next tick, long before it ends.
    async fn renew(&mut self) {
        if let Err(error) = self.renew_now().await {
            self.lease = None;
            tracing::warn!(%error, "renewing the lease of the node");
        }
    }

    async fn renew_now(&mut self) -> Result<(), ApiError> {
        let client: &Arc<dyn Client> = &self.shared.client;
        let name = self.shared.config.name.clone();
        let now = self.shared.now().rfc3339_micro();
        let known = match self.lease.take() {
            Some(lease) => Some(lease),
            None => match client.get(&resources::LEASES, LEASES, &name).await {
                Ok(lease) => Some(lease),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error),
            },
        };
        let seconds = self.shared.config.lease_period.as_secs() as i64 * 4;
        let spec = value!({ "holderIdentity": (name.as_str()), "leaseDurationSeconds": seconds,
            "renewTime": now });
        let lease = match known {
            Some(lease) => {
                let mut lease = (*lease).clone();
                lease.set("spec", spec);
                client.update(&resources::LEASES, LEASES, &name, "", lease, &options()).await?
            }
            None => {
                let uid = self
                    .api
                    .lock()
                    .expect("no panic holds it")
                    .as_ref()
                    .map(|n| n.uid().to_string());
                let lease = value!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": { "name": (name.as_str()), "namespace": LEASES,
                        "ownerReferences": [{ "apiVersion": "v1", "kind": "Node",
                            "name": (name.as_str()), "uid": (uid.unwrap_or_default()) }] },
                    "spec": spec });
                client.create(&resources::LEASES, LEASES, "", "", lease, &options()).await?
            }
        };
        self.lease = Some(lease);
        Ok(())
    }
}

fn before_ready(status: &Value) -> bool {
    let conditions = status.at("conditions").items();
    conditions.iter().any(|c| c.at("type").str() == "Ready" && c.at("status").str() == "True")
}
