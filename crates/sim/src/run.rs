//! One run of the simulation.

use std::sync::Arc;
use std::time::Duration;

use timonier_meta::Environment;
use tokio::time::sleep;

use crate::api::{Api, resources};
use crate::environment::{Random, SimEnvironment};
use crate::faults::Faults;
use crate::nodes::{self, Reach};
use crate::processes::{Ground, Processes};
use crate::rest::await_rest;
use crate::users::Users;

/// Changes and accidents of the first part.
const STEPS: u64 = 30;
/// The most seconds between two of them.
const GAP: u64 = 15;
const NODES: usize = 3;

/// What a run did.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    pub writes: u64,
    /// Virtual time from the healing until all wishes were fulfilled.
    pub healed_in: Duration,
}

/// Runs the simulation of a seed; the error says what was violated.
pub fn run(seed: u64) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(simulate(seed)).map_err(|why| format!("seed {seed}: {why}"))
}

async fn simulate(seed: u64) -> Result<Report, String> {
    let random = Random::new(seed);
    let env: Arc<dyn Environment> = Arc::new(SimEnvironment::new(random.next()));
    let api = Api::new(env.clone());
    let faults = Faults::new(random.next());
    let ground = Ground { api: api.clone(), resources: resources(), faults: faults.clone(), env };
    let mut users = Users::new(api.clone(), random.next());
    users.begin().await.map_err(|e| e.to_string())?;
    let reach = Reach::default();
    let names = nodes::names(NODES);
    tokio::spawn(nodes::run(ground.clone(), reach.clone(), names.clone()));
    let mut processes = Processes::start(ground);
    for _ in 0..STEPS {
        sleep(Duration::from_millis(random.below(GAP * 1000))).await;
        let node = random.pick(&names).cloned().unwrap_or_default();
        match random.below(20) {
            0 => processes.kill_controllers(),
            1 => processes.kill_scheduler(),
            2 | 3 => processes.revive(),
            4 => reach.lose(&node),
            5 => reach.restore_all(),
            6 => faults.fill_disk(true),
            7 => users.cordon(&node, true).await,
            8 if random.chance(300) => users.delete_node(&node).await,
            9 => users.cordon(&node, false).await,
            _ => users.act().await,
        }
        if random.chance(500) {
            faults.fill_disk(false);
        }
        stop_at_violation(&api)?;
    }
    faults.heal();
    reach.restore_all();
    processes.revive();
    users.settle().await;
    let healed_in = await_rest(&api).await;
    stop_at_violation(&api)?;
    Ok(Report { seed, writes: api.writes().0, healed_in: healed_in? })
}

fn stop_at_violation(api: &Api) -> Result<(), String> {
    match api.violations().as_slice() {
        [] => Ok(()),
        some => Err(some.join("; ")),
    }
}
