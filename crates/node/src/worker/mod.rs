//! One pod's worker: it sleeps until something happens, asks `timonier_pod` what is to be done,
//! has it done beside itself, and reports.

mod acting;
pub(crate) mod observe;
mod reporting;
mod resize;
mod sandbox;
pub(crate) mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration as CoreDuration;

use timonier_meta::{ApiError, SmolStr, Time};
use timonier_object::Value;
use timonier_pod::probe::{Kind, Outcome as ProbeOutcome};
use timonier_pod::{EndStep, Event, Memory, Observed, Stage, StartError, eviction};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;
use crate::tokens::Tokens;

/// What a worker is told.
pub(crate) enum Message {
    /// The pod has changed in the API.
    Pod(Arc<Value>),
    /// The pod is gone from the API.
    Gone,
    /// Something has changed in the runtime.
    Runtime,
    /// A ConfigMap or Secret that the pod reads has changed.
    Objects,
    /// The pod takes more than it may, in these words.
    Evict(String),
}

/// What became of work done beside the worker.
pub(crate) enum Outcome {
    Mounted(Result<(), String>, Tokens),
    Refreshed(Result<(), String>, Tokens),
    Sandbox(Result<String, String>),
    Started { name: SmolStr, result: Result<(), StartError> },
    Killed { id: SmolStr },
    Probed { id: SmolStr, name: SmolStr, kind: Kind, outcome: ProbeOutcome },
    Ended(EndStep, Result<(), String>),
    Removed { id: SmolStr },
    Status(Result<Arc<Value>, ApiError>),
    Deleted(Result<(), ApiError>),
}

/// The worker of one pod.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pod: Arc<Value>,
    mailbox: mpsc::UnboundedReceiver<Message>,
    own: mpsc::UnboundedSender<Message>,
    memory: Memory,
    observed: Observed,
    /// The sandboxes of the pod in the runtime.
    sandboxes: BTreeSet<String>,
    /// Termination messages, read once per run.
    messages: BTreeMap<SmolStr, String>,
    tasks: JoinSet<Outcome>,
    cancel: CancellationToken,
    kills: BTreeMap<SmolStr, AbortHandle>,
    tokens: Tokens,
    refresh: volumes::Refresh,
    report: reporting::Report,
    stale: bool,
}

impl Worker {
    /// A worker for a pod, with the sandboxes that the runtime has of it already.
    pub fn new(
        shared: Arc<Shared>,
        pod: Arc<Value>,
        sandboxes: BTreeSet<String>,
    ) -> (Self, mpsc::UnboundedSender<Message>) {
        let (own, mailbox) = mpsc::unbounded_channel();
        let worker = Worker {
            shared,
            pod,
            mailbox,
            own: own.clone(),
            memory: Memory::default(),
            observed: Observed::default(),
            sandboxes: BTreeSet::new(),
            messages: BTreeMap::new(),
            tasks: JoinSet::new(),
            cancel: CancellationToken::new(),
            kills: BTreeMap::new(),
            tokens: Tokens::default(),
            refresh: volumes::Refresh::default(),
            report: reporting::Report::default(),
            stale: true,
        };
        let mut worker = worker;
        for sandbox in sandboxes {
            worker.adopt(sandbox);
        }
        (worker, own)
    }

    /// Has the pod end as failed without having run.
    pub fn reject(&mut self, why: timonier_pod::admission::Rejection) {
        let message = format!("Pod was rejected: {}", why.message);
        let now = self.shared.now();
        self.memory.evict(&why.reason, message, 0, now);
    }

    /// Works until nothing of the pod is left on the node.
    pub async fn run(mut self) {
        self.subscribe();
        loop {
            if std::mem::take(&mut self.stale) {
                self.observe().await;
            }
            let now = self.shared.now();
            let plan = timonier_pod::plan(&self.pod, &self.observed, &mut self.memory, now);
            for event in plan.events {
                self.shared.recorder.pod(&self.pod, event);
            }
            for action in plan.actions {
                self.act(action);
            }
            self.keep_volumes(now);
            self.report(plan.stage, now);
            if plan.stage == Stage::Forgotten {
                break;
            }
            let wake =
                [plan.wake_at, self.volumes_due(), self.report_due()].into_iter().flatten().min();
            self.wait(wake, now).await;
        }
        self.forget();
    }

    /// Waits for a message, an outcome, or a time, and takes everything that has come.
    async fn wait(&mut self, wake: Option<Time>, now: Time) {
        let nap = wake.map(|at| (at - now).to_core());
        tokio::select! {
            message = self.mailbox.recv() => {
                // The worker holds a sender itself: the mailbox never closes.
                if let Some(message) = message {
                    self.take(message);
                }
            }
            Some(outcome) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                self.finish(outcome);
            }
            () = tokio::time::sleep(nap.unwrap_or(CoreDuration::MAX)), if nap.is_some() => {}
        }
        while let Ok(message) = self.mailbox.try_recv() {
            self.take(message);
        }
        while let Some(outcome) = self.tasks.try_join_next() {
            self.finish(outcome);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Pod(pod) => self.updated(pod),
            Message::Gone => self.memory.gone = true,
            Message::Runtime => self.stale = true,
            Message::Objects => {
                let now = self.shared.now();
                self.memory.objects_changed(now);
                self.refresh.wanted = true;
            }
            Message::Evict(why) => self.evict(why),
        }
    }

    fn evict(&mut self, why: String) {
        let now = self.shared.now();
        if self.memory.evict(eviction::REASON, why.clone(), eviction::GRACE, now) {
            self.shared.recorder.pod(&self.pod, Event::warning(eviction::REASON, why));
        }
    }

    fn updated(&mut self, pod: Arc<Value>) {
        if pod.uid() != self.pod.uid() || pod.revision() < self.pod.revision() {
            return;
        }
        let read = |path: &str| pod.at(path) != self.pod.at(path);
        self.refresh.wanted |= read("metadata.labels") || read("metadata.annotations");
        let spec = read("spec");
        let before = std::mem::replace(&mut self.pod, pod);
        self.report.check = true;
        if spec {
            self.subscribe();
            self.resize(&before);
        }
    }

    /// Takes what became of work done beside.
    fn finish(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) if error.is_cancelled() => return,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let now = self.shared.now();
        let event = match outcome {
            Outcome::Mounted(result, tokens) => {
                self.tokens.merge(tokens);
                let event = self.memory.volumes_mounted(result, now);
                event.filter(|_| !self.cancel.is_cancelled())
            }
            Outcome::Refreshed(result, tokens) => {
                self.tokens.merge(tokens);
                self.refreshed(result, now)
            }
            Outcome::Sandbox(result) => {
                self.stale = true;
                let result = result.map(|id| self.adopt(id));
                self.memory.sandbox_created(result, now)
            }
            Outcome::Started { name, result } => {
                self.stale = true;
                self.memory.start_finished(&name, result, now);
                None
            }
            Outcome::Killed { id } => {
                self.stale = true;
                self.kills.remove(&id);
                self.memory.kill_finished(&id);
                None
            }
            Outcome::Probed { id, name, kind, outcome } => {
                let event = self.memory.probed(&id, kind, &outcome, now);
                let spec = timonier_pod::spec::container(&self.pod, &name);
                event.zip(spec).map(|(event, c)| event.about(&c))
            }
            Outcome::Ended(step, result) => {
                self.stale = true;
                if let Err(error) = &result {
                    tracing::warn!(pod = %self.pod.key(), ?step, %error, "ending a pod");
                }
                self.memory.ended(step, result, now);
                None
            }
            Outcome::Removed { id } => {
                self.stale = true;
                self.messages.remove(&id);
                let key = (self.uid(), id.to_string());
                self.shared.images_in_use.lock().expect("no panic holds it").remove(&key);
                None
            }
            Outcome::Status(result) => {
                self.reported(result, now);
                None
            }
            Outcome::Deleted(result) => {
                self.deleted(result, now);
                None
            }
        };
        if let Some(event) = event {
            self.shared.recorder.pod(&self.pod, event);
        }
    }

    fn uid(&self) -> String {
        self.pod.uid().to_string()
    }

    /// Notes a sandbox as this pod's, so that its events come here.
    fn adopt(&mut self, sandbox: String) {
        let mut all = self.shared.sandboxes.lock().expect("no panic holds it");
        all.insert(sandbox.clone(), self.own.clone());
        self.sandboxes.insert(sandbox);
    }

    /// Has changes of the objects that the pod reads told to this worker.
    fn subscribe(&mut self) {
        let wanted = timonier_pod::sources::references(&self.pod);
        let (uid, namespace) = (self.pod.uid(), self.pod.namespace());
        self.shared.objects.subscribe(uid, namespace, &wanted, &self.own);
    }

    /// Removes what others know of the pod.
    fn forget(&mut self) {
        self.shared.objects.unsubscribe(self.pod.uid());
        self.shared.table.remove(self.pod.namespace(), self.pod.name(), self.pod.uid());
        let mut all = self.shared.sandboxes.lock().expect("no panic holds it");
        for sandbox in &self.sandboxes {
            all.remove(sandbox);
        }
        let mut images = self.shared.images_in_use.lock().expect("no panic holds it");
        images.retain(|(uid, _), _| uid != self.pod.uid());
    }
}
