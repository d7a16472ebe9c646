//! The scheduler as a process.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use smol_str::SmolStr;
use timonier_client::cache::{Caches, Notice};
use timonier_client::events::Recorder;
use timonier_client::{Client, PatchType, WriteOptions};
use timonier_meta::gvk::resources::PODS;
use timonier_meta::{ApiError, Environment, ObjectKey};
use timonier_reconcile::{Operation, PatchKind, Reason, Write};
use timonier_scheduler::{Action, Config, Decision, Scheduler};

/// What became of a decision.
type Done = (ObjectKey, SmolStr, Option<ApiError>);

/// Schedules until the future is dropped.
pub async fn run(
    client: Arc<dyn Client>,
    caches: Arc<Caches>,
    env: Arc<dyn Environment>,
    seed: u64,
) {
    let mut scheduler = Scheduler::new(Config { seed, ..Config::default() });
    let recorder = Recorder::new(client.clone(), env.clone(), "default-scheduler", "");
    let mut notices = caches.subscribe();
    caches.synced().await;
    let mut synced = false;
    let mut running = FuturesUnordered::new();
    loop {
        while let Some(decision) = scheduler.next(env.now()) {
            running.push(act(client.clone(), recorder.clone(), decision));
        }
        let next = scheduler.next_at(env.now());
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep((at - env.now()).to_core()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            some = notices.recv() => {
                for notice in some {
                    match notice {
                        Notice::Changed(change) => scheduler.on_change(&change, env.now()),
                        Notice::Progressed(_) => {}
                        Notice::Lost => unreachable!("a simulated world is small"),
                    }
                }
                if !synced {
                    synced = true;
                    scheduler.on_synced();
                }
            }
            Some((pod, uid, error)) = running.next() => match error {
                None => scheduler.on_bound(&pod, &uid),
                Some(error) => {
                    if let Some(decision) = scheduler.on_failed(&pod, &uid, &error, env.now()) {
                        running.push(act(client.clone(), recorder.clone(), decision));
                    }
                }
            },
            () = timer => {}
        }
    }
}

async fn act(client: Arc<dyn Client>, recorder: Recorder, decision: Decision) -> Done {
    let Decision { pod, uid, action, because } = decision;
    let tell = |because: Vec<Reason>| because.into_iter().for_each(|r| recorder.record(r));
    match action {
        Action::Bind { binding, .. } => {
            let options = WriteOptions::default();
            let (namespace, name) = (&pod.namespace, &pod.name);
            let result = client.create(&PODS, namespace, name, "binding", binding, &options).await;
            if result.is_ok() {
                tell(because);
            }
            (pod, uid, result.err())
        }
        Action::Write(writes) => {
            tell(because);
            for write in writes {
                if carry_out(&*client, &write).await.is_err() {
                    break;
                }
            }
            // Reported as bound: a decision without a binding has nothing to take back.
            (pod, SmolStr::default(), None)
        }
    }
}

async fn carry_out(client: &dyn Client, write: &Write) -> Result<(), ApiError> {
    let (namespace, name) = (&write.key.namespace, &write.key.name);
    let options = WriteOptions::default();
    let resource = &write.resource;
    match &write.operation {
        Operation::Patch { subresource, kind, patch } => {
            let kind = match kind {
                PatchKind::Json => PatchType::Json,
                PatchKind::Merge => PatchType::Merge,
                PatchKind::Strategic => PatchType::Strategic,
            };
            let patch = patch.clone();
            client.patch(resource, namespace, name, subresource, kind, patch, &options).await?;
        }
        Operation::Delete { .. } => {
            client.delete(resource, namespace, name, &Default::default()).await?;
        }
        other => unreachable!("the scheduler neither creates nor updates: {other:?}"),
    }
    Ok(())
}
