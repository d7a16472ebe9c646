//! Records Events without making anybody wait.

use std::sync::Arc;
use std::time::Duration;

use timonier_meta::gvk::resources::EVENTS;
use timonier_meta::{ApiError, Environment, SmolStr, Time};
use timonier_object::Value;
use timonier_reconcile::{Correlator, Reason, Recorded};
use tokio::sync::mpsc;

use crate::{Client, PatchType, WriteOptions};

/// Events that wait to be sent; more are dropped, as upstream does.
const MAX_WAITING: usize = 1000;
/// Tries per Event and the wait between them (upstream's `maxTriesPerEvent`, `sleepDuration`).
const TRIES: usize = 12;
const BETWEEN_TRIES: Duration = Duration::from_secs(10);

/// Sends the Events of one component. Cheap to clone; ends with its last clone.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<(Reason, Time)>,
    env: Arc<dyn Environment>,
}

impl Recorder {
    /// A recorder for a component on a host (empty for the control plane). Must be called within
    /// a tokio runtime.
    pub fn new(
        client: Arc<dyn Client>,
        env: Arc<dyn Environment>,
        component: impl Into<SmolStr>,
        host: impl Into<SmolStr>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let component = component.into();
        let correlator = Correlator::new(component.clone(), host);
        tokio::spawn(run(client, correlator, component, receiver));
        Recorder { sender, env }
    }

    /// Records that something occurred now.
    pub fn record(&self, reason: Reason) {
        if self.sender.try_send((reason, self.env.now())).is_err() {
            tracing::debug!("an Event was dropped: too many wait");
        }
    }
}

async fn run(
    client: Arc<dyn Client>,
    mut correlator: Correlator,
    component: SmolStr,
    mut receiver: mpsc::Receiver<(Reason, Time)>,
) {
    let options = WriteOptions { field_manager: component, ..WriteOptions::default() };
    while let Some((reason, at)) = receiver.recv().await {
        let recorded = correlator.record(&reason, at);
        for _ in 0..TRIES {
            match send(&*client, &recorded, &options).await {
                Err(e) if may_pass(&e) => tokio::time::sleep(BETWEEN_TRIES).await,
                Err(error) => {
                    tracing::debug!(%error, "an Event was refused");
                    break;
                }
                Ok(()) => break,
            }
        }
    }
}

async fn send(
    client: &dyn Client,
    recorded: &Recorded,
    options: &WriteOptions,
) -> Result<(), ApiError> {
    match recorded {
        Recorded::Dropped => Ok(()),
        Recorded::Create(event) => create(client, event, options).await,
        Recorded::Patch { namespace, name, patch, instead } => {
            let (kind, patch) = (PatchType::Merge, patch.clone());
            match client.patch(&EVENTS, namespace, name, "", kind, patch, options).await {
                Err(e) if e.is_not_found() => create(client, instead, options).await,
                other => other.map(drop),
            }
        }
    }
}

async fn create(
    client: &dyn Client,
    event: &Value,
    options: &WriteOptions,
) -> Result<(), ApiError> {
    let namespace = event.namespace();
    match client.create(&EVENTS, namespace, "", "", event.clone(), options).await {
        Err(e) if e.is_already_exists() => Ok(()),
        other => other.map(drop),
    }
}

/// Whether another try may succeed where this one failed.
fn may_pass(error: &ApiError) -> bool {
    matches!(error.code, 429 | 500 | 503 | 504)
}
