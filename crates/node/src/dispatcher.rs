//! From the pods of this node in the API to their workers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use timonier_meta::gvk::resources;
use timonier_object::Value;
use timonier_pod::Event;
use timonier_pod::admission::{self, Rejection};
use timonier_runtime::remove_tree;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

use crate::cgroups::Cgroups;
use crate::shared::Shared;
use crate::volumes;
use crate::watching::{Change, Followed, field, follow};
use crate::worker::observe::orphan;
use crate::worker::{Message, Worker};

/// A worker that failed starts again after this time.
const AFTER_PANIC: Duration = Duration::from_secs(10);

/// What the runtime had at the start: the sandboxes by the pod's uid, and a pod made up from them.
pub(crate) type Found = BTreeMap<String, (BTreeSet<String>, Arc<Value>)>;

/// Reads what the runtime has.
pub(crate) async fn found(shared: &Shared) -> Result<Found, timonier_runtime::Error> {
    let containers = shared.runtime.list_containers(None).await?;
    let mut out = Found::new();
    for sandbox in shared.runtime.list_sandboxes().await? {
        let uid = sandbox.config.uid.clone();
        let entry = out.entry(uid.clone()).or_insert_with(|| {
            let own: Vec<_> = containers
                .iter()
                .filter(|c| {
                    c.sandbox == sandbox.id
                        || c.config.labels.get(crate::worker::observe::POD_UID) == Some(&uid)
                })
                .cloned()
                .collect();
            (BTreeSet::new(), Arc::new(orphan(&sandbox.config, &own)))
        });
        entry.0.insert(sandbox.id);
    }
    Ok(out)
}

struct Handle {
    to: mpsc::UnboundedSender<Message>,
    pod: Arc<Value>,
    /// It has left the API, or was not taken: it does not count for others.
    out: bool,
}

struct Dispatcher {
    shared: Arc<Shared>,
    found: Found,
    workers: BTreeMap<String, Handle>,
    tasks: JoinSet<()>,
    ids: BTreeMap<Id, String>,
    cgroups: Option<Cgroups>,
    synced: bool,
}

/// Runs the pods of the node for ever; dropping the future ends the workers, not the pods.
pub(crate) async fn run(shared: Arc<Shared>, found: Found, cgroups: Option<Cgroups>) {
    let (to, mut changes) = mpsc::unbounded_channel();
    let what = Followed {
        resource: resources::PODS,
        namespace: String::new(),
        fields: field("spec.nodeName", &shared.config.name),
    };
    let feed = follow(shared.client.clone(), what, move |change| {
        // The receiver lives as long as this future.
        let _ = to.send(change);
    });
    tokio::pin!(feed);
    let mut dispatcher = Dispatcher {
        shared,
        found,
        workers: BTreeMap::new(),
        tasks: JoinSet::new(),
        ids: BTreeMap::new(),
        cgroups,
        synced: false,
    };
    loop {
        tokio::select! {
            () = &mut feed => {}
            Some(change) = changes.recv() => dispatcher.take(change),
            Some(ended) = dispatcher.tasks.join_next_with_id(), if !dispatcher.tasks.is_empty() => {
                match ended {
                    Ok((id, ())) => dispatcher.ended(id, false),
                    Err(error) => dispatcher.ended(error.id(), error.is_panic()),
                }
            }
        }
    }
}

impl Dispatcher {
    fn take(&mut self, change: Change) {
        match change {
            Change::Set(pod) => match self.workers.get_mut(pod.uid()) {
                Some(handle) => {
                    handle.pod = pod.clone();
                    let _ = handle.to.send(Message::Pod(pod));
                }
                None => {
                    let sandboxes =
                        self.found.remove(pod.uid()).map(|(ids, _)| ids).unwrap_or_default();
                    let rejection = self.check(&pod, &sandboxes);
                    self.spawn(pod, sandboxes, None, rejection);
                    self.share();
                }
            },
            Change::Gone(pod) => {
                if let Some(handle) = self.workers.get_mut(pod.uid()) {
                    handle.out = true;
                    let _ = handle.to.send(Message::Pod(pod.clone()));
                    let _ = handle.to.send(Message::Gone);
                }
            }
            Change::Synced if !self.synced => {
                self.synced = true;
                self.end_orphans();
            }
            Change::Synced => {}
        }
    }

    /// Whether a pod that is new here fits. One that has been taken once stays.
    fn check(&self, pod: &Value, sandboxes: &BTreeSet<String>) -> Option<Rejection> {
        let taken = !sandboxes.is_empty() || !pod.at("status.startTime").is_null();
        if taken || pod.is_deleting() || admission::is_over(pod) {
            return None;
        }
        let others = self.workers.values().filter(|h| !h.out).map(|h| &*h.pod);
        let rejection = admission::admit(pod, others, &self.shared.facts).err()?;
        let event = Event::warning(&rejection.reason, rejection.message.clone());
        self.shared.recorder.pod(pod, event);
        Some(rejection)
    }

    fn spawn(
        &mut self,
        pod: Arc<Value>,
        sandboxes: BTreeSet<String>,
        delay: Option<Duration>,
        rejection: Option<Rejection>,
    ) {
        let uid = pod.uid().to_string();
        let (mut worker, to) = Worker::new(self.shared.clone(), pod.clone(), sandboxes);
        let out = rejection.is_some();
        if let Some(rejection) = rejection {
            worker.reject(rejection);
        }
        let task = self.tasks.spawn(async move {
            if let Some(delay) = delay {
                tokio::time::sleep(delay).await;
            }
            worker.run().await;
        });
        self.ids.insert(task.id(), uid.clone());
        self.workers.insert(uid, Handle { to, pod, out });
    }

    fn ended(&mut self, id: Id, panicked: bool) {
        let Some(uid) = self.ids.remove(&id) else { return };
        let Some(handle) = self.workers.remove(&uid) else { return };
        if panicked {
            tracing::error!(pod = %handle.pod.key(), "a pod's worker failed and starts again");
            let sandboxes = self.sandboxes_of(&handle.to);
            self.spawn(handle.pod, sandboxes, Some(AFTER_PANIC), None);
        }
        self.share();
    }

    /// The sandboxes whose events went to a worker.
    fn sandboxes_of(&self, to: &mpsc::UnboundedSender<Message>) -> BTreeSet<String> {
        let all = self.shared.sandboxes.lock().expect("no panic holds it");
        all.iter().filter(|(_, t)| t.same_channel(to)).map(|(id, _)| id.clone()).collect()
    }

    /// Ends the pods that the API does not know any more, and removes what is left of others.
    fn end_orphans(&mut self) {
        for (uid, (sandboxes, pod)) in std::mem::take(&mut self.found) {
            tracing::info!(pod = %pod.key(), "a pod is gone from the API");
            self.spawn(pod, sandboxes, None, None);
            let _ = self.workers[&uid].to.send(Message::Gone);
        }
        // What is left over is settled now: what a pod that arrives later makes is in no list.
        let live: BTreeSet<String> = self.workers.keys().cloned().collect();
        let dirs = leftovers(&self.shared, &live);
        let mut nets = self.shared.network.list();
        nets.retain(|net| !live.contains(&net.uid));
        let shared = self.shared.clone();
        tokio::spawn(async move {
            for net in nets {
                if let Err(error) = shared.network.detach(&net.uid).await {
                    tracing::warn!(%error, uid = net.uid, "removing the network of a pod");
                }
            }
            let clean = move || remove_leftovers(&shared, &dirs);
            if let Err(error) = tokio::task::spawn_blocking(clean).await {
                tracing::error!(%error, "removing the files of pods that are gone");
            }
        });
    }

    /// Gives the class of burstable pods its shares.
    fn share(&mut self) {
        if let Some(cgroups) = &mut self.cgroups {
            cgroups.update(self.workers.values().map(|h| &*h.pod));
        }
    }
}

/// Directories of pods that are neither in the API nor in the runtime.
struct Leftovers {
    pods: Vec<PathBuf>,
    logs: Vec<PathBuf>,
}

fn leftovers(shared: &Shared, live: &BTreeSet<String>) -> Leftovers {
    let list = |name: &str| {
        let entries = std::fs::read_dir(shared.config.data_dir.join(name));
        let paths = entries.into_iter().flatten().flatten().map(|e| e.path());
        // The logs of a pod are named after its namespace, its name and its uid.
        let over = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !live.contains(name.rsplit('_').next().unwrap_or_default())
        };
        paths.filter(over).collect()
    };
    Leftovers { pods: list("pods"), logs: list("logs") }
}

fn remove_leftovers(shared: &Shared, leftovers: &Leftovers) {
    for dir in &leftovers.pods {
        // Mounts first: what is mounted is not ours to delete.
        let result = volumes::unmount(dir, &*shared.mounts)
            .and_then(|()| remove_tree(dir).map_err(|e| e.to_string()));
        if let Err(error) = result {
            tracing::warn!(%error, dir = %dir.display(), "removing a pod's files");
        }
    }
    for dir in &leftovers.logs {
        if let Err(error) = remove_tree(dir) {
            tracing::warn!(%error, dir = %dir.display(), "removing a pod's logs");
        }
    }
}
