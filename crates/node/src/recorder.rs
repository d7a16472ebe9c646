//! Events: written one after the other, repeated ones counted, floods held back.

use std::collections::BTreeMap;
use std::sync::Arc;

use timonier_client::{Client, PatchType, WriteOptions};
use timonier_meta::gvk::resources;
use timonier_meta::{Environment, Time};
use timonier_object::{Value, value};
use timonier_pod::Event;
use tokio::sync::mpsc;

/// Events that wait to be written; more are dropped.
const QUEUE: usize = 1_000;
/// Series that are remembered.
const REMEMBERED: usize = 4_096;
/// Upstream's limits per object: so many at once, then one per five minutes.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// Writes Events of this node's kubelet.
#[derive(Clone)]
pub(crate) struct Recorder {
    to: mpsc::Sender<(Value, Event, Time)>,
    env: Arc<dyn Environment>,
}

struct Series {
    namespace: String,
    name: String,
    count: i64,
}

struct Writer {
    client: Arc<dyn Client>,
    node: String,
    series: BTreeMap<String, Series>,
    budgets: BTreeMap<String, (f64, Time)>,
    /// Nanoseconds in the name of the last Event.
    stamp: i64,
}

/// The reference of an Event to the object that it is about.
pub(crate) fn reference(kind: &str, object: &Value) -> Value {
    let mut out = value!({ "kind": kind, "name": (object.name()), "uid": (object.uid()),
        "apiVersion": "v1" });
    if !object.namespace().is_empty() {
        out.set("namespace", object.namespace());
    }
    if !object.resource_version().is_empty() {
        out.set("resourceVersion", object.resource_version());
    }
    out
}

impl Recorder {
    /// A recorder and the task that writes.
    pub fn new(
        client: Arc<dyn Client>,
        node: &str,
        env: Arc<dyn Environment>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (to, mut from) = mpsc::channel::<(Value, Event, Time)>(QUEUE);
        let mut writer = Writer {
            client,
            node: node.to_string(),
            series: BTreeMap::new(),
            budgets: BTreeMap::new(),
            stamp: 0,
        };
        let run = async move {
            while let Some((about, event, at)) = from.recv().await {
                writer.write(about, event, at).await;
            }
        };
        (Recorder { to, env }, run)
    }

    /// Records an Event about an object ([`reference`]). Never waits.
    pub fn record(&self, mut about: Value, event: Event) {
        if !event.field_path.is_empty() {
            about.set("fieldPath", event.field_path.as_str());
        }
        if self.to.try_send((about, event, self.env.now())).is_err() {
            tracing::warn!("too many events, one is dropped");
        }
    }

    /// Records an Event about a pod.
    pub fn pod(&self, pod: &Value, event: Event) {
        self.record(reference("Pod", pod), event);
    }
}

impl Writer {
    async fn write(&mut self, about: Value, event: Event, at: Time) {
        let uid = about.at("uid").str().to_string();
        if !self.allowed(&uid, at) {
            return;
        }
        let path = about.at("fieldPath").str();
        let key = format!("{uid}|{}|{}|{path}", event.reason, event.message);
        if self.count(&key, at).await {
            return;
        }
        let namespace = match about.at("namespace").str() {
            "" => "default",
            ns => ns,
        };
        let name = format!("{}.{:x}", about.at("name").str(), self.stamp(at));
        let (now, node) = (at.rfc3339(), self.node.as_str());
        let object = value!({ "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": (&name), "namespace": namespace },
            "involvedObject": (&about),
            "reason": (&event.reason), "message": (event.message.as_str()),
            "source": { "component": "kubelet", "host": node },
            "firstTimestamp": (now.as_str()), "lastTimestamp": (now.as_str()), "count": 1,
            "type": (if event.warning { "Warning" } else { "Normal" }),
            "eventTime": null,
            "reportingComponent": "kubelet", "reportingInstance": node });
        let options = WriteOptions { field_manager: "kubelet".into(), ..WriteOptions::default() };
        let result =
            self.client.create(&resources::EVENTS, namespace, "", "", object, &options).await;
        match result {
            Ok(_) => {
                if self.series.len() >= REMEMBERED {
                    self.series.clear();
                    self.budgets.clear();
                }
                let namespace = namespace.to_string();
                self.series.insert(key, Series { namespace, name, count: 1 });
            }
            Err(error) => tracing::warn!(%error, reason = %event.reason, "event not written"),
        }
    }

    /// The time for an Event's name. Names sort as the Events occurred: clients show those of one
    /// second in the order of names. Two never get the same one.
    fn stamp(&mut self, at: Time) -> i64 {
        self.stamp = (at.0 * 1_000).max(self.stamp + 1);
        self.stamp
    }

    /// Counts one more of a known series. False where there is none to count.
    async fn count(&mut self, key: &str, at: Time) -> bool {
        let Some(series) = self.series.get_mut(key) else { return false };
        let patch = value!({ "count": (series.count + 1), "lastTimestamp": (at.rfc3339()) });
        let options = WriteOptions { field_manager: "kubelet".into(), ..WriteOptions::default() };
        let result = self
            .client
            .patch(
                &resources::EVENTS,
                &series.namespace,
                &series.name,
                "",
                PatchType::Merge,
                patch,
                &options,
            )
            .await;
        match result {
            Ok(_) => {
                series.count += 1;
                true
            }
            Err(error) => {
                // It has expired.
                tracing::debug!(%error, "event not counted");
                self.series.remove(key);
                false
            }
        }
    }

    fn allowed(&mut self, uid: &str, at: Time) -> bool {
        let (tokens, before) = self.budgets.get(uid).copied().unwrap_or((BURST, at));
        let refill = (at - before).0 as f64 / 1e6 / REFILL_SECONDS;
        let tokens = (tokens + refill.max(0.0)).min(BURST);
        let ok = tokens >= 1.0;
        self.budgets.insert(uid.to_string(), (if ok { tokens - 1.0 } else { tokens }, at));
        ok
    }
}
