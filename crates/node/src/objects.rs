//! The ConfigMaps and Secrets that pods of this node read: one watch per object, shared by the
//! pods that read it and ended with the last of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use timonier_client::Client;
use timonier_meta::gvk::resources;
use timonier_object::Value;
use timonier_pod::sources::{Kind, Reference, Sources, TokenSpec};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::watching::{Change, Followed, field, follow};
use crate::worker::Message;

/// How long a start waits for the first word about an object.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of an object.
#[derive(Clone)]
enum State {
    Unknown,
    Absent,
    Present(Arc<Value>),
}

type Key = (String, Reference);

struct Entry {
    state: watch::Receiver<State>,
    readers: Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<Message>>>>,
    task: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The objects that are read at present.
pub(crate) struct Objects {
    client: Arc<dyn Client>,
    entries: Mutex<BTreeMap<Key, Entry>>,
}

impl Objects {
    pub fn new(client: Arc<dyn Client>) -> Self {
        Objects { client, entries: Mutex::default() }
    }

    /// Has a pod told of changes of exactly these objects from now on.
    pub fn subscribe(
        &self,
        uid: &str,
        namespace: &str,
        wanted: &BTreeSet<Reference>,
        to: &mpsc::UnboundedSender<Message>,
    ) {
        let mut entries = self.entries.lock().expect("no panic holds it");
        for reference in wanted {
            let key = (namespace.to_string(), reference.clone());
            let entry = entries.entry(key).or_insert_with(|| self.open(namespace, reference));
            entry.readers.lock().expect("no panic holds it").insert(uid.to_string(), to.clone());
        }
        entries.retain(|(ns, reference), entry| {
            let mut readers = entry.readers.lock().expect("no panic holds it");
            if ns != namespace || !wanted.contains(reference) {
                readers.remove(uid);
            }
            !readers.is_empty()
        });
    }

    /// The pod reads nothing any more.
    pub fn unsubscribe(&self, uid: &str) {
        self.subscribe_none(uid);
    }

    fn subscribe_none(&self, uid: &str) {
        self.entries.lock().expect("no panic holds it").retain(|_, entry| {
            let mut readers = entry.readers.lock().expect("no panic holds it");
            readers.remove(uid);
            !readers.is_empty()
        });
    }

    fn open(&self, namespace: &str, reference: &Reference) -> Entry {
        let (set, state) = watch::channel(State::Unknown);
        let readers: Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<Message>>>> = Arc::default();
        let told = readers.clone();
        let what = Followed {
            resource: match reference.kind {
                Kind::ConfigMap => resources::CONFIGMAPS,
                Kind::Secret => resources::SECRETS,
            },
            namespace: namespace.to_string(),
            fields: field("metadata.name", &reference.name),
        };
        let task = tokio::spawn(follow(self.client.clone(), what, move |change| {
            match change {
                Change::Set(object) => {
                    set.send_replace(State::Present(object));
                }
                Change::Gone(_) => {
                    set.send_replace(State::Absent);
                }
                // The first word: it is not there. Nobody waits for that but `read`.
                Change::Synced => {
                    set.send_if_modified(|state| {
                        let first = matches!(state, State::Unknown);
                        if first {
                            *state = State::Absent;
                        }
                        first
                    });
                    return;
                }
            }
            for to in told.lock().expect("no panic holds it").values() {
                // A worker that has ended needs no message.
                let _ = to.send(Message::Objects);
            }
        }));
        Entry { state, readers, task: task.abort_handle() }
    }

    /// The objects of a namespace as far as they exist. They must be subscribed to. Waits for the
    /// first word about each; the error is upstream's text for one that does not come.
    pub async fn read(
        &self,
        namespace: &str,
        wanted: &BTreeSet<Reference>,
    ) -> Result<BTreeMap<Reference, Arc<Value>>, String> {
        let mut out = BTreeMap::new();
        for reference in wanted {
            let state = {
                let entries = self.entries.lock().expect("no panic holds it");
                let key = (namespace.to_string(), reference.clone());
                entries.get(&key).map(|e| e.state.clone())
            };
            let Some(mut state) = state else { continue };
            let known = state.wait_for(|s| !matches!(s, State::Unknown));
            match tokio::time::timeout(PATIENCE, known).await {
                Ok(Ok(state)) => {
                    if let State::Present(object) = &*state {
                        out.insert(reference.clone(), object.clone());
                    }
                }
                _ => {
                    let noun = reference.kind.noun();
                    return Err(format!(
                        "failed to sync {noun} cache: timed out waiting for the condition"
                    ));
                }
            }
        }
        Ok(out)
    }
}

/// The contents for one pod, gathered.
#[derive(Clone, Default)]
pub(crate) struct PodSources {
    pub objects: BTreeMap<Reference, Arc<Value>>,
    pub tokens: BTreeMap<TokenSpec, Result<String, String>>,
}

impl Sources for PodSources {
    fn object(&self, reference: &Reference) -> Option<&Value> {
        self.objects.get(reference).map(|o| &**o)
    }

    fn token(&self, spec: &TokenSpec) -> Result<&str, String> {
        match self.tokens.get(spec) {
            Some(Ok(token)) => Ok(token),
            Some(Err(why)) => Err(why.clone()),
            None => Err("token was not asked for".into()),
        }
    }
}
