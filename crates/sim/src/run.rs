//! One run of the simulation.

use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;
use timonier_meta::Environment;
use tokio::time::sleep;

use crate::audit::Audit;
use crate::disk::Accident;
use crate::environment::{Random, SimEnvironment};
use crate::faults::Faults;
use crate::nodes::{self, Reach};
use crate::processes::{Ground, Processes, resources};
use crate::rest::await_rest;
use crate::server::Cluster;
use crate::users::Users;
use crate::wishes;

/// What a run did.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    pub writes: u64,
    /// How often the API server was started.
    pub starts: u64,
    /// Virtual time from the healing until all wishes were fulfilled.
    pub healed_in: Duration,
    /// Of everything written, and when.
    pub trace: u64,
}

/// How much happens in a run.
struct Size {
    nodes: usize,
    /// Changes and accidents of the first part.
    steps: u64,
    /// The most seconds between two of them.
    gap: u64,
}

impl Size {
    /// Most runs are small, because most faults need little; some are large.
    fn of(random: &Random) -> Size {
        match random.below(20) {
            0 if random.chance(500) => Size { nodes: 5, steps: 100, gap: 8 },
            0..4 => Size { nodes: 3, steps: 40, gap: 15 },
            4..9 => Size { nodes: 3, steps: 30, gap: 2 },
            _ => Size { nodes: 2, steps: 15, gap: 10 },
        }
    }
}

/// Runs the simulation of a seed; the error says what was violated.
pub fn run(seed: u64) -> Result<Report, String> {
    run_seed(seed, false)
}

/// As [`run`], and prints every write and accident.
pub fn run_aloud(seed: u64) -> Result<Report, String> {
    run_seed(seed, true)
}

fn run_seed(seed: u64, aloud: bool) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(simulate(seed, aloud)).map_err(|why| format!("seed {seed}: {why}"))
}

/// Everything that runs, and the hands of chance on it.
struct Run {
    random: Random,
    cluster: Arc<Cluster>,
    faults: Arc<Faults>,
    reach: Reach,
    names: Vec<SmolStr>,
    processes: Processes,
    users: Users,
}

async fn simulate(seed: u64, aloud: bool) -> Result<Report, String> {
    let random = Random::new(seed);
    let size = Size::of(&random);
    let env: Arc<dyn Environment> = Arc::new(SimEnvironment::new(random.next()));
    let cluster = Cluster::new(env.clone(), Audit::new(env.clone(), aloud), random.next());
    tokio::spawn(cluster.clone().supervise());
    cluster.running().await;
    let faults = Faults::new(random.next());
    let ground =
        Ground { cluster: cluster.clone(), resources: resources(), faults: faults.clone(), env };
    let mut users = Users::new(&cluster, random.next());
    users.begin().await;
    let reach = Reach::default();
    let names = nodes::names(size.nodes);
    tokio::spawn(nodes::run(ground.clone(), reach.clone(), names.clone()));
    let processes = Processes::start(ground);
    let mut run = Run { random, cluster, faults, reach, names, processes, users };
    for _ in 0..size.steps {
        sleep(Duration::from_millis(run.random.below(size.gap * 1000))).await;
        run.step().await;
        run.stop_at_violation()?;
    }
    run.heal().await;
    let healed_in = await_rest(&run.cluster.audit).await;
    run.stop_at_violation()?;
    let healed_in = healed_in?;
    // What is left after a restart is exactly what was there, and what is in use.
    run.cluster.disk.kill();
    run.cluster.running().await;
    run.stop_at_violation()?;
    if let Some(wrong) = wishes::misreserved(&run.cluster.audit) {
        return Err(wrong);
    }
    let (audit, starts) = (&run.cluster.audit, run.cluster.starts());
    Ok(Report { seed, writes: audit.writes().0, starts, healed_in, trace: audit.trace() })
}

impl Run {
    /// One change or accident.
    async fn step(&mut self) {
        let node = self.random.pick(&self.names).cloned().unwrap_or_default();
        let disk = &self.cluster.disk;
        let what = self.random.below(36);
        self.cluster.audit.say(&format!("step {what} {node}"));
        match what {
            0 => self.processes.kill_controllers(),
            1 => self.processes.kill_scheduler(),
            2..5 => self.processes.revive(),
            5 => self.reach.lose(&node),
            6 | 7 => self.reach.restore_all(),
            8 => disk.set_full(true),
            9 => disk.set_slow(true),
            10 => self.die(),
            11 => disk.order(Some(Accident::DiesBefore)),
            12 => disk.order(Some(Accident::DiesAfter)),
            13 => disk.order(Some(Accident::SyncLost)),
            14 => disk.order(Some(Accident::SyncKept)),
            15 => self.users.cordon(&node, true).await,
            16 => self.users.cordon(&node, false).await,
            17 if self.random.chance(300) => {
                self.reach.give_up(&node);
                self.users.delete_node(&node).await;
            }
            18 => self.users.drain(&node).await,
            _ => self.users.act().await,
        }
        let disk = &self.cluster.disk;
        if self.random.chance(500) {
            disk.set_full(false);
            disk.set_slow(false);
        }
        if disk.has_failed() && self.random.chance(500) {
            self.die();
        }
    }

    /// The API server dies; often with the controllers, which are of the same process outside
    /// of the simulation.
    fn die(&mut self) {
        self.cluster.disk.kill();
        if self.random.chance(500) {
            self.processes.kill_controllers();
            self.processes.kill_scheduler();
        }
    }

    /// From now on everything works.
    async fn heal(&mut self) {
        self.faults.heal();
        let disk = &self.cluster.disk;
        disk.set_full(false);
        disk.set_slow(false);
        disk.order(None);
        self.reach.restore_all();
        self.cluster.running().await;
        self.processes.revive();
        self.users.settle().await;
    }

    fn stop_at_violation(&self) -> Result<(), String> {
        match self.cluster.audit.violations().as_slice() {
            [] => Ok(()),
            some => Err(some.join("; ")),
        }
    }
}
