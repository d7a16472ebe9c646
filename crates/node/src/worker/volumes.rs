//! The pod's volumes: what they are made from is gathered, then they are made or renewed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use timonier_meta::gvk::resources;
use timonier_meta::{Duration, SmolStr, Time};
use timonier_object::Value;
use timonier_pod::volumes::{self as kinds, Volume};
use timonier_pod::{Event, Step, sources, status};

use super::{Outcome, Worker};
use crate::objects::PodSources;
use crate::shared::Shared;
use crate::tokens::Tokens;
use crate::volumes::{self, Inputs};

/// After a failed renewal.
const RETRY: Duration = Duration::from_secs(10);

/// The renewal of volumes whose objects have changed.
#[derive(Default)]
pub(super) struct Refresh {
    pub wanted: bool,
    busy: bool,
    retry_at: Option<Time>,
}

impl Worker {
    /// What the volumes are made from, as far as it is known without waiting.
    pub(super) fn inputs(&self) -> Inputs {
        Inputs {
            pod: self.pod.clone(),
            dir: self.shared.config.pod_dir(self.pod.uid()),
            sources: PodSources::default(),
            facts: self.shared.facts.clone(),
            pod_ips: status::pod_ips(&self.pod, &self.observed, &self.shared.facts),
            claims: BTreeMap::new(),
            now: self.shared.now(),
        }
    }

    pub(super) fn mount_volumes(&mut self) {
        let (shared, inputs, tokens) = (self.shared.clone(), self.inputs(), self.tokens.clone());
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            let work = mount(shared, inputs, tokens.clone());
            tokio::select! {
                (result, tokens) = work => Outcome::Mounted(result, tokens),
                () = cancel.cancelled() => Outcome::Mounted(Err("the pod ends".into()), tokens),
            }
        });
    }

    /// Renews volumes where their objects have changed or a token comes to its end.
    pub(super) fn keep_volumes(&mut self, now: Time) {
        let token_due = self.tokens.renew_at().is_some_and(|at| at <= now);
        let retry_due = self.refresh.retry_at.is_some_and(|at| at <= now);
        let due = self.refresh.wanted || token_due || retry_due;
        let steady = self.memory.volumes == Step::Done && self.memory.ending.is_none();
        if !due || !steady || self.refresh.busy {
            return;
        }
        self.refresh = Refresh { busy: true, ..Refresh::default() };
        let (shared, inputs, tokens) = (self.shared.clone(), self.inputs(), self.tokens.clone());
        self.tasks.spawn(async move {
            let (result, tokens) = renew(shared, inputs, tokens).await;
            Outcome::Refreshed(result, tokens)
        });
    }

    /// When volumes are to be renewed.
    pub(super) fn volumes_due(&self) -> Option<Time> {
        let steady = self.memory.volumes == Step::Done && self.memory.ending.is_none();
        if !steady || self.refresh.busy {
            return None;
        }
        [self.refresh.retry_at, self.tokens.renew_at()].into_iter().flatten().min()
    }

    pub(super) fn refreshed(&mut self, result: Result<(), String>, now: Time) -> Option<Event> {
        self.refresh.busy = false;
        let message = result.err()?;
        self.refresh.retry_at = Some(now + RETRY);
        Some(Event::warning("FailedMount", message))
    }
}

/// Gathers the objects, tokens and claims that the pod reads.
async fn gather(
    shared: &Arc<Shared>,
    inputs: &mut Inputs,
    tokens: &mut Tokens,
) -> Result<(), String> {
    let pod = inputs.pod.clone();
    let wanted = sources::tokens(&pod);
    let now = inputs.now;
    inputs.sources.tokens = tokens.fetch(&shared.client, &pod, &wanted, now).await;
    gather_objects(shared, inputs).await
}

/// Gathers the objects and claims that the pod reads.
pub(crate) async fn gather_objects(
    shared: &Arc<Shared>,
    inputs: &mut Inputs,
) -> Result<(), String> {
    let pod = inputs.pod.clone();
    let wanted = sources::references(&pod);
    inputs.sources.objects = shared.objects.read(pod.namespace(), &wanted).await?;
    for volume in pod.at("spec.volumes").items() {
        if let Volume::Claim { name, .. } = kinds::read(&pod, volume, &inputs.facts) {
            let path = claim(shared, pod.namespace(), &name).await;
            inputs.claims.insert(volume.at("name").smol(), path);
        }
    }
    Ok(())
}

async fn mount(
    shared: Arc<Shared>,
    mut inputs: Inputs,
    mut tokens: Tokens,
) -> (Result<(), String>, Tokens) {
    if let Err(why) = gather(&shared, &mut inputs, &mut tokens).await {
        return (Err(why), tokens);
    }
    let mounts = shared.mounts.clone();
    let result = blocking(move || volumes::mount(&inputs, &*mounts)).await;
    (result, tokens)
}

async fn renew(
    shared: Arc<Shared>,
    mut inputs: Inputs,
    mut tokens: Tokens,
) -> (Result<(), String>, Tokens) {
    if let Err(why) = gather(&shared, &mut inputs, &mut tokens).await {
        return (Err(why), tokens);
    }
    (blocking(move || volumes::refresh(&inputs)).await, tokens)
}

/// Runs file work off the loop.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The path of a claim whose volume is a directory of this node.
async fn claim(shared: &Arc<Shared>, namespace: &str, name: &SmolStr) -> Result<PathBuf, String> {
    let claims = &resources::PERSISTENTVOLUMECLAIMS;
    let claim = shared.client.get(claims, namespace, name).await.map_err(|e| e.message.clone())?;
    let volume = claim.at("spec.volumeName").str();
    if volume.is_empty() || claim.at("status.phase").str() != "Bound" {
        return Err(format!("PersistentVolumeClaim is not bound: {name:?}", name = name.as_str()));
    }
    let volumes = &resources::PERSISTENTVOLUMES;
    let volume: Arc<Value> =
        shared.client.get(volumes, "", volume).await.map_err(|e| e.message.clone())?;
    for path in ["spec.local.path", "spec.hostPath.path"] {
        if let Some(path) = volume.at(path).as_str() {
            return Ok(path.into());
        }
    }
    Err(format!("no volume plugin matched for volume {:?}", volume.name()))
}
