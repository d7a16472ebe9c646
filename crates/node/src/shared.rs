//! What all workers of a node share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use timonier_client::Client;
use timonier_meta::{Environment, Time};
use timonier_oci::Image;
use timonier_pod::NodeFacts;
use timonier_runtime::Runtime;
use tokio::sync::mpsc;

use crate::config::NodeConfig;
use crate::objects::Objects;
use crate::pod_table::PodTable;
use crate::recorder::Recorder;
use crate::seams::{Images, Network};
use crate::services::Services;
use crate::volumes::host::Mounts;
use crate::worker::Message;

/// Shared by all workers of a node.
pub(crate) struct Shared {
    pub config: NodeConfig,
    pub facts: Arc<NodeFacts>,
    pub client: Arc<dyn Client>,
    pub runtime: Arc<dyn Runtime>,
    pub images: Arc<dyn Images>,
    pub network: Arc<dyn Network>,
    pub env: Arc<dyn Environment>,
    pub mounts: Arc<dyn Mounts>,
    pub objects: Objects,
    pub services: Arc<Services>,
    pub recorder: Recorder,
    pub table: PodTable,
    /// Whom to tell of a sandbox's events.
    pub sandboxes: Mutex<BTreeMap<String, mpsc::UnboundedSender<Message>>>,
    /// The images that runs of containers use: by the pod's uid and the container's id, the
    /// image's id. A run that is being made has an entry, too.
    pub images_in_use: Mutex<BTreeMap<(String, String), String>>,
    /// Held to look an image up and note that it is used; alone, to collect the others.
    pub collecting: tokio::sync::RwLock<()>,
}

impl Shared {
    pub fn now(&self) -> Time {
        self.env.now()
    }

    /// Tells the worker of a sandbox that something has changed there.
    pub fn nudge(&self, sandbox: &str) {
        self.tell(sandbox, Message::Runtime);
    }

    /// Tells the worker of a sandbox.
    pub fn tell(&self, sandbox: &str, message: Message) {
        let sandboxes = self.sandboxes.lock().expect("no panic holds it");
        if let Some(to) = sandboxes.get(sandbox) {
            let _ = to.send(message);
        }
    }

    /// Tells all workers.
    pub fn nudge_all(&self) {
        for to in self.sandboxes.lock().expect("no panic holds it").values() {
            let _ = to.send(Message::Runtime);
        }
    }
}

/// An image that stays while this exists.
pub(crate) struct HeldImage {
    pub image: Image,
    shared: Arc<Shared>,
    key: (String, String),
}

impl HeldImage {
    /// Notes that a run of a pod uses an image. Call it with `collecting` held.
    pub fn new(shared: &Arc<Shared>, uid: &str, run: String, image: Image) -> Self {
        let key = (uid.to_string(), run);
        let mut used = shared.images_in_use.lock().expect("no panic holds it");
        used.insert(key.clone(), image.id.as_str().into());
        HeldImage { image, shared: shared.clone(), key }
    }

    /// The run exists now, under this id.
    pub fn belongs_to(&self, container: &str) {
        let mut used = self.shared.images_in_use.lock().expect("no panic holds it");
        used.insert((self.key.0.clone(), container.into()), self.image.id.as_str().into());
    }
}

impl Drop for HeldImage {
    fn drop(&mut self) {
        let mut used = self.shared.images_in_use.lock().expect("no panic holds it");
        used.remove(&self.key);
    }
}
