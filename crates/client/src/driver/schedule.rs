//! Runs the scheduler: feeds it what the caches observe and carries out its decisions.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use timonier_meta::gvk::resources::PODS;
use timonier_meta::{ApiError, Environment, ObjectKey, SmolStr, Time};
use timonier_reconcile::{Change, Task, World};
use timonier_scheduler::{Action, Config, Decision, Scheduler};

use super::execute::execute;
use crate::cache::{Caches, Notice};
use crate::events::Recorder;
use crate::{Client, WriteOptions};

/// Decisions that are carried out at the same time.
const MAX_RUNNING: usize = 64;
/// After this long without a reply the outcome of a binding counts as unknown.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the scheduler's loop needs.
pub struct Setup {
    pub client: Arc<dyn Client>,
    /// Observes at least [`Scheduler::watches`]; nothing is decided before all of it was listed.
    pub caches: Arc<Caches>,
    pub env: Arc<dyn Environment>,
    pub config: Config,
}

/// Runs the scheduler until the future is dropped.
pub async fn run(setup: Setup) {
    let Setup { client, caches, env, config } = setup;
    let hands = Hands {
        recorder: Recorder::new(client.clone(), env.clone(), config.name.clone(), ""),
        client,
        name: config.name.clone(),
    };
    let mut notices = caches.subscribe();
    let mut scheduler = start(&config, &caches.world(), env.now());
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < MAX_RUNNING
            && let Some(decision) = scheduler.next(env.now())
        {
            running.push(hands.clone().carry_out(decision));
        }
        let wake_at = scheduler.next_at(env.now()).filter(|_| running.len() < MAX_RUNNING);
        let timer = async {
            match wake_at {
                Some(at) => tokio::time::sleep((at - env.now()).to_core()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In a fixed order, so that a simulation repeats itself.
            biased;
            some = notices.recv() => {
                let world = caches.world();
                if some.iter().any(|n| matches!(n, Notice::Lost)) {
                    // Bindings under way report to a scheduler that does not know them; what
                    // they did is seen in the pods.
                    scheduler = start(&config, &world, env.now());
                } else {
                    take_note(&mut scheduler, some, &world, env.now());
                }
            }
            Some(bound) = running.next() => {
                if let Some(said) = report(&mut scheduler, bound, env.now()) {
                    running.push(hands.clone().carry_out(said));
                }
            }
            () = timer => {}
        }
    }
}

/// A scheduler that knows the world as it is.
fn start(config: &Config, world: &World, now: Time) -> Scheduler {
    let mut scheduler = Scheduler::new(config.clone());
    for resource in Scheduler::watches() {
        for object in world.table(&resource).iter() {
            let change = Change {
                resource: resource.group_resource(),
                key: object.key(),
                old: None,
                new: Some(object.clone()),
            };
            scheduler.on_change(&change, now);
        }
    }
    sync(&mut scheduler, world);
    scheduler
}

fn sync(scheduler: &mut Scheduler, world: &World) {
    if Scheduler::watches().iter().all(|r| world.table(r).synced().is_some()) {
        scheduler.on_synced();
    }
}

fn take_note(scheduler: &mut Scheduler, notices: Vec<Notice>, world: &World, now: Time) {
    for notice in notices {
        if let Notice::Changed(change) = notice {
            scheduler.on_change(&change, now);
        }
    }
    sync(scheduler, world);
}

/// What became of a binding; `None` for other decisions.
type Bound = Option<(ObjectKey, SmolStr, Result<(), ApiError>)>;

fn report(scheduler: &mut Scheduler, bound: Bound, now: Time) -> Option<Decision> {
    match bound? {
        (pod, uid, Ok(())) => {
            scheduler.on_bound(&pod, &uid);
            None
        }
        (pod, uid, Err(error)) => {
            tracing::debug!(%pod, %error, "a binding failed");
            scheduler.on_failed(&pod, &uid, &error, now)
        }
    }
}

#[derive(Clone)]
struct Hands {
    client: Arc<dyn Client>,
    recorder: Recorder,
    name: SmolStr,
}

impl Hands {
    async fn carry_out(self, decision: Decision) -> Bound {
        let Decision { pod, uid, action, because } = decision;
        match action {
            Action::Bind { binding, .. } => {
                let options =
                    WriteOptions { field_manager: self.name.clone(), ..WriteOptions::default() };
                let (pods, namespace, name) = (PODS, &pod.namespace, &pod.name);
                let call = self.client.create(&pods, namespace, name, "binding", binding, &options);
                let result = match tokio::time::timeout(PATIENCE, call).await {
                    Ok(result) => result.map(drop),
                    Err(_) => Err(ApiError::unavailable("the request timed out")),
                };
                if result.is_ok() {
                    because.into_iter().for_each(|reason| self.recorder.record(reason));
                }
                Some((pod, uid, result))
            }
            Action::Write(writes) => {
                because.into_iter().for_each(|reason| self.recorder.record(reason));
                let controller = "scheduler";
                let task = Task { id: 0, controller, key: pod, writes, because: Vec::new() };
                execute(self.client, task, self.recorder, self.name).await;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
