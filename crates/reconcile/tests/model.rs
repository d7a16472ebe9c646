//! A controller over a store whose cache lags, whose replies get lost, and whose driver is killed:
//! at no moment may there be more objects than wanted, and in the end there are as many.

use std::collections::BTreeMap;
use std::sync::Arc;

use timonier_meta::gvk::resources::{PODS, REPLICASETS};
use timonier_meta::{ApiError, Duration, GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, value};
use timonier_reconcile::{
    Change, Config, Context, Driver, Operation, Outcome, Plan, Reconciler, ResourceInfo, Task,
    World, Write,
};

const WANTED: usize = 3;
const SEEDS: u64 = 2000;
const STEPS: usize = 150;

/// Makes pods until there are as many as wanted, and deletes what is too much.
struct Replicas;

impl Reconciler for Replicas {
    fn name(&self) -> &'static str {
        "replicas"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![REPLICASETS, PODS]
    }

    fn concerns(&self, _: &Change, _: &World) -> Vec<ObjectKey> {
        vec![ObjectKey::new("ns", "set")]
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        if world.get(&REPLICASETS, key).is_none() {
            return Plan::nothing();
        }
        let pods: Vec<_> = world.table(&PODS).iter().collect();
        let create = |n: usize| {
            let name = context.generate_name("set-", n as u64);
            Write::create(&PODS, value!({ "metadata": { "name": name, "namespace": "ns" } }))
        };
        let mut plan = Plan::nothing();
        plan.writes.extend((pods.len()..WANTED).map(create));
        let surplus = pods.len().saturating_sub(WANTED);
        plan.writes.extend(pods.into_iter().take(surplus).map(|p| Write::delete(&PODS, p)));
        plan
    }
}

/// What is true, and what of it was told.
struct Model {
    random: u64,
    revision: u64,
    pods: BTreeMap<ObjectKey, Arc<Value>>,
    /// Changes of pods that the cache does not know yet; `false` for a deletion.
    untold: Vec<(bool, Arc<Value>)>,
    world: World,
    driver: Driver,
    now: Time,
    most: usize,
}

fn object(name: &str, revision: u64) -> Arc<Value> {
    let (uid, version) = (format!("{name}-{revision}"), revision.to_string());
    Arc::new(value!({ "metadata": { "name": name, "namespace": "ns", "uid": uid,
                                    "resourceVersion": version } }))
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut model = Model {
            random: seed,
            revision: 1,
            pods: BTreeMap::new(),
            untold: Vec::new(),
            world: World::new(),
            driver: Driver::new(Vec::new(), Config::default()),
            now: Time::from_unix(1),
            most: 0,
        };
        model.restart();
        model
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(97);
        (self.random >> 33) % n
    }

    /// A new driver with nothing but a fresh list.
    fn restart(&mut self) {
        let seed = self.below(u64::MAX >> 33);
        self.driver = Driver::new(vec![Arc::new(Replicas)], Config { seed, ..Config::default() });
        self.world = World::new();
        for (resource, kind) in [(REPLICASETS, "ReplicaSet"), (PODS, "Pod")] {
            self.world.register(ResourceInfo { resource, kind: kind.into(), namespaced: true });
        }
        let sets = vec![object("set", 1)];
        self.world.replace(&REPLICASETS.group_resource(), sets, self.revision, self.now);
        self.list();
        self.driver.resync(&self.world);
    }

    fn list(&mut self) {
        self.untold.clear();
        let pods = self.pods.values().cloned().collect();
        let changes = self.world.replace(&PODS.group_resource(), pods, self.revision, self.now);
        changes.iter().for_each(|c| self.driver.observe(c, &self.world));
        self.driver.progressed(&PODS.group_resource(), &self.world);
    }

    /// Tells the cache the next change.
    fn tell(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        let (put, object) = self.untold.remove(0);
        let pods = PODS.group_resource();
        let change = match put {
            true => self.world.put(&pods, object, self.now),
            false => self.world.remove(&pods, &object, self.now),
        };
        match change {
            Some(change) => self.driver.observe(&change, &self.world),
            None => self.driver.progressed(&pods, &self.world),
        }
    }

    fn delete(&mut self, key: &ObjectKey) -> bool {
        let Some(old) = self.pods.remove(key) else { return false };
        self.revision += 1;
        let mut last = Value::clone(&old);
        last.set("metadata.resourceVersion", self.revision.to_string());
        self.untold.push((false, Arc::new(last)));
        true
    }

    fn write(&mut self, write: &Write) -> Result<u64, ApiError> {
        let pods = PODS.group_resource();
        match &write.operation {
            Operation::Create { .. } if self.pods.contains_key(&write.key) => {
                return Err(ApiError::already_exists(&pods, &write.key.name));
            }
            Operation::Create { .. } => {
                self.revision += 1;
                let made = object(&write.key.name, self.revision);
                self.pods.insert(write.key.clone(), made.clone());
                self.untold.push((true, made));
                self.most = self.most.max(self.pods.len());
            }
            Operation::Delete { preconditions, .. } => {
                let same = |p: &Arc<Value>| preconditions.uid.as_deref() == Some(p.uid());
                if !self.pods.get(&write.key).is_some_and(same) {
                    return Err(ApiError::not_found(&pods, &write.key.name));
                }
                self.delete(&write.key);
            }
            other => unreachable!("not planned here: {other:?}"),
        }
        Ok(self.revision)
    }

    /// Carries out a task; with faults requests and replies get lost.
    fn carry_out(&mut self, task: Task, faults: bool) {
        let mut outcomes = Vec::new();
        for write in &task.writes {
            let lost = |what: &str| Outcome::failed(write, ApiError::unavailable(what));
            let luck = if faults { self.below(10) } else { 9 };
            let outcome = match luck {
                0 => lost("the request was lost"),
                1 => {
                    drop(self.write(write));
                    lost("the reply was lost")
                }
                2 => Outcome::failed(write, ApiError::bad_request("refused")),
                _ => match self.write(write) {
                    Ok(revision) => Outcome::done(write, revision),
                    Err(error) => Outcome::failed(write, error),
                },
            };
            let done = outcome.is_done();
            outcomes.push(outcome);
            if !done {
                break;
            }
        }
        self.driver.finish(task.id, outcomes, self.now);
    }

    fn relist(&mut self) {
        for (resource, number) in self.driver.take_relists() {
            self.list();
            self.driver.relisted(&resource, number, &self.world);
        }
    }

    fn step(&mut self) {
        match self.below(12) {
            0..4 => self.tell(),
            4..8 => {
                if let Some(task) = self.driver.next(&self.world, self.now) {
                    self.carry_out(task, true);
                }
            }
            8 => self.relist(),
            9 => self.now = self.now + Duration::from_millis(self.below(3000) as i64),
            10 if self.below(4) == 0 => self.restart(),
            _ => {
                let n = self.below(4) as usize;
                if let Some(key) = self.pods.keys().nth(n).cloned() {
                    self.delete(&key);
                }
            }
        }
    }

    /// Everything works from now on, until there is nothing to do.
    fn settle(&mut self) {
        for _ in 0..200 {
            while !self.untold.is_empty() {
                self.tell();
            }
            self.relist();
            while let Some(task) = self.driver.next(&self.world, self.now) {
                self.carry_out(task, false);
            }
            if let Some(at) = self.driver.wake_at() {
                self.now = self.now.max(at);
            }
        }
    }
}

#[test]
fn there_are_never_more_than_wanted_and_in_the_end_as_many() {
    for seed in 0..SEEDS {
        let mut model = Model::new(seed);
        for _ in 0..STEPS {
            model.step();
            assert!(model.most <= WANTED, "seed {seed}: {} at once", model.most);
        }
        model.settle();
        assert_eq!(model.pods.len(), WANTED, "seed {seed}");
        assert!(model.driver.is_idle(), "seed {seed}");
        assert!(model.most <= WANTED, "seed {seed}: {} at once", model.most);
    }
}
