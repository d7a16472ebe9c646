//! Pods played through their lives: the plan is carried out on a toy runtime in virtual time.

use timonier_meta::{Duration, Time};
use timonier_object::{Value, value};
use timonier_pod::observed::{Container, Sandbox, State};
use timonier_pod::probe::Outcome;
use timonier_pod::{
    Action, EndStep, Event, Memory, NodeFacts, Observed, Plan, Stage, StartError, plan, status,
};

/// A pod with a toy runtime: every action succeeds at once unless a test says otherwise.
struct Play {
    pod: Value,
    observed: Observed,
    memory: Memory,
    now: Time,
    log: Vec<String>,
    events: Vec<Event>,
    stage: Stage,
    /// Names of containers whose stops are left hanging.
    stubborn: Vec<String>,
    /// Starts that fail.
    fail_start: Option<StartError>,
    wake_at: Option<Time>,
}

impl Play {
    fn new(spec: Value) -> Play {
        let pod = value!({ "metadata": { "name": "p", "namespace": "n", "uid": "u", "generation": 1 }, "spec": spec });
        Play {
            pod,
            observed: Observed::default(),
            memory: Memory::default(),
            now: Time::from_unix(1_000),
            log: Vec::new(),
            events: Vec::new(),
            stage: Stage::Syncing,
            stubborn: Vec::new(),
            fail_start: None,
            wake_at: None,
        }
    }

    /// Plans and acts until nothing is left to do now.
    fn settle(&mut self) -> &mut Self {
        for _ in 0..100 {
            let Plan { actions, events, wake_at, stage } =
                plan(&self.pod, &self.observed, &mut self.memory, self.now);
            self.events.extend(events);
            self.stage = stage;
            self.wake_at = wake_at;
            self.publish();
            if actions.is_empty() {
                return self;
            }
            for action in actions {
                self.act(action);
            }
        }
        panic!("the plan does not settle: {:?}", self.log);
    }

    fn publish(&mut self) {
        let node = NodeFacts { runtime_name: "timonier".into(), ..NodeFacts::default() };
        let s = status(&self.pod, &self.observed, &self.memory, &node, self.stage, self.now);
        self.pod.set("status", s);
    }

    fn act(&mut self, action: Action) {
        let now = self.now;
        match action {
            Action::MountVolumes => {
                self.log.push("mount".into());
                self.memory.volumes_mounted(Ok(()), now);
            }
            Action::CreateSandbox { attempt, .. } => {
                self.log.push(format!("sandbox {attempt}"));
                self.observed.sandboxes.push(Sandbox {
                    id: format!("s{attempt}").into(),
                    ready: true,
                    attempt,
                    created_at: now,
                    ips: vec!["10.0.0.1".into()],
                });
                self.memory.sandbox_created(Ok(()), now);
            }
            Action::Start { name, attempt } => {
                self.log.push(format!("start {name} {attempt}"));
                if let Some(error) = self.fail_start.clone() {
                    self.memory.start_finished(&name, Err(error), now);
                    return;
                }
                self.observed.containers.push(Container {
                    id: format!("{name}-{attempt}").into(),
                    sandbox_id: self.observed.sandbox().unwrap().id.clone(),
                    name: name.clone(),
                    attempt,
                    state: State::Running,
                    created_at: now,
                    started_at: Some(now),
                    finished_at: None,
                    exit_code: 0,
                    reason: "".into(),
                    message: String::new(),
                    image: "img".into(),
                    image_id: "sha256:1".into(),
                    user: None,
                });
                self.memory.start_finished(&name, Ok(()), now);
            }
            Action::Kill(kill) => {
                self.log.push(format!("kill {} {}", kill.name, kill.grace));
                if !self.stubborn.contains(&kill.name.to_string()) {
                    self.exit(&kill.name, 143);
                    self.memory.kill_finished(&kill.id);
                }
            }
            Action::Probe { name, kind, .. } => self.log.push(format!("probe {name} {kind:?}")),
            Action::RemoveContainer { id } => {
                self.log.push(format!("remove {id}"));
                self.observed.containers.retain(|c| c.id != id);
            }
            Action::RemoveSandbox { id } => {
                self.log.push(format!("remove {id}"));
                self.observed.sandboxes.retain(|s| s.id != id);
            }
            Action::Cancel => self.log.push("cancel".into()),
            Action::StopSandboxes => {
                self.log.push("stop".into());
                self.observed.sandboxes.iter_mut().for_each(|s| s.ready = false);
                self.memory.ended(EndStep::StopSandbox, Ok(()), now);
            }
            Action::UnmountVolumes => {
                self.log.push("unmount".into());
                self.memory.ended(EndStep::Unmount, Ok(()), now);
            }
            Action::Forget => {
                self.log.push("forget".into());
                self.observed = Observed::default();
                self.memory.ended(EndStep::Forget, Ok(()), now);
            }
        }
    }

    fn exit(&mut self, name: &str, code: i32) -> &mut Self {
        let now = self.now;
        let c = self.observed.containers.iter_mut();
        let c = c.filter(|c| c.name == name && c.state == State::Running).last().unwrap();
        c.state = State::Exited;
        c.exit_code = code;
        c.finished_at = Some(now);
        self
    }

    fn pass(&mut self, seconds: i64) -> &mut Self {
        self.now = self.now + Duration::from_secs(seconds);
        self
    }

    fn delete(&mut self, grace: i64) -> &mut Self {
        self.pod.set("metadata.deletionTimestamp", self.now.rfc3339());
        self.pod.set("metadata.deletionGracePeriodSeconds", grace);
        self
    }

    fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    fn at(&self, path: &str) -> String {
        match self.pod.at("status").at(path) {
            Value::Str(s) => s.to_string(),
            v => v.to_string(),
        }
    }

    fn main(&self, i: usize) -> &Value {
        &self.pod.at("status.containerStatuses").items()[i]
    }

    fn probe_result(&mut self, id: &str, kind: timonier_pod::probe::Kind, outcome: Outcome) {
        let event = self.memory.probed(id, kind, &outcome, self.now);
        self.events.extend(event);
    }
}

#[test]
fn a_simple_pod_runs() {
    let mut p = Play::new(value!({ "containers": [{ "name": "b" }, { "name": "a" }] }));
    p.settle();
    assert_eq!(p.take_log(), ["mount", "sandbox 0", "start b 0", "start a 0"]);
    assert_eq!(p.at("phase"), "Running");
    assert_eq!((p.main(0).at("name").str(), p.main(0).at("ready").bool()), ("a", true));
    assert_eq!(p.at("podIP"), "10.0.0.1");
    assert_eq!(p.at("qosClass"), "BestEffort");
    for kind in
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    {
        assert!(p.pod.condition_is_true(kind), "{kind}");
    }
    assert_eq!(p.main(1).at("containerID").str(), "timonier://b-0");
    let before = p.pod.clone();
    p.pass(5).settle();
    assert_eq!(p.pod, before, "nothing changes by itself");
    assert_eq!(p.wake_at, None, "and nothing is waited for");
}

#[test]
fn init_containers_in_order_then_sidecars_then_main() {
    let mut p = Play::new(value!({
        "initContainers": [{ "name": "i1" }, { "name": "s", "restartPolicy": "Always" }, { "name": "i2" }],
        "containers": [{ "name": "m" }] }));
    p.settle();
    assert_eq!(p.take_log(), ["mount", "sandbox 0", "start i1 0"]);
    assert_eq!(p.at("phase"), "Pending");
    assert_eq!(p.main(0).at("state.waiting.reason").str(), "PodInitializing");
    assert_eq!(
        p.pod.condition("Initialized").unwrap().at("message").str(),
        "containers with incomplete status: [i1 s i2]"
    );
    p.exit("i1", 0).settle();
    assert_eq!(p.take_log(), ["start s 0", "start i2 0"]);
    p.pass(1).exit("i2", 1).settle();
    assert_eq!(p.take_log(), ["start i2 1"], "restarted at once the first time");
    p.pass(1).exit("i2", 1).settle();
    assert_eq!(p.take_log(), [""; 0]);
    let i2 = &p.pod.at("status.initContainerStatuses").items()[2];
    assert_eq!(i2.at("state.waiting.reason").str(), "CrashLoopBackOff");
    assert_eq!(i2.at("restartCount").int_or(0), 1);
    p.pass(10).settle();
    p.exit("i2", 0).settle();
    assert_eq!(p.take_log(), ["start i2 2", "remove i2-0", "start m 0"]);
    assert_eq!(p.at("phase"), "Running");
    // A sidecar that dies comes back without the init containers before it.
    p.pass(1).exit("s", 0).settle();
    assert_eq!(p.take_log(), ["start s 1"]);
    assert_eq!(p.at("phase"), "Running");
}

#[test]
fn crash_loops_back_off_and_recover() {
    let mut p = Play::new(value!({ "containers": [{ "name": "m" }] }));
    p.settle();
    p.take_log();
    p.pass(1).exit("m", 3).settle();
    assert_eq!(p.take_log(), ["start m 1"]);
    p.pass(1).exit("m", 3).settle();
    assert_eq!(p.main(0).at("state.waiting.reason").str(), "CrashLoopBackOff");
    assert_eq!(
        p.main(0).at("state.waiting.message").str(),
        "back-off 10s restarting failed container=m pod=p_n(u)"
    );
    assert_eq!(p.main(0).at("lastState.terminated.exitCode").int_or(0), 3);
    assert_eq!(p.at("phase"), "Running");
    assert_eq!(p.wake_at, Some(p.now + Duration::from_secs(10)));
    let told = p.events.iter().filter(|e| e.reason == "BackOff").count();
    assert_eq!(told, 1);
    assert_eq!(
        p.events.last().unwrap().message,
        "Back-off restarting failed container m in pod p_n(u)"
    );
    p.pass(10).settle();
    assert_eq!(p.take_log(), ["start m 2", "remove m-0"]);
    p.pass(1).exit("m", 3).settle();
    assert!(p.main(0).at("state.waiting.message").str().starts_with("back-off 20s"));
    p.pass(20).settle();
    // Ten good minutes are enough to begin anew.
    p.pass(1200).exit("m", 3).settle();
    assert!(p.log.last().unwrap().starts_with("remove"));
    assert_eq!(p.main(0).at("restartCount").int_or(0), 4);
    assert!(p.main(0).at("ready").bool());
}

#[test]
fn restart_policies_end_pods() {
    for (policy, code, phase) in
        [("Never", 0, "Succeeded"), ("Never", 1, "Failed"), ("OnFailure", 0, "Succeeded")]
    {
        let mut p = Play::new(value!({ "restartPolicy": policy, "containers": [{ "name": "m" }] }));
        p.settle().exit("m", code).settle();
        assert_eq!(p.at("phase"), phase);
        assert_eq!(p.stage, Stage::Terminated);
        assert_eq!(&p.log[3..], ["stop", "unmount"]);
        let reason = if phase == "Succeeded" { "PodCompleted" } else { "PodFailed" };
        assert_eq!(p.pod.condition("Ready").unwrap().at("reason").str(), reason);
        assert_eq!(p.at("podIP"), "10.0.0.1", "the address stays readable");
        // Found again after a restart of the node's agent, and after the records are gone.
        p.memory = Memory::default();
        p.observed = Observed::default();
        p.take_log();
        p.settle();
        assert_eq!((p.at("phase").as_str(), p.stage), (phase, Stage::Terminated));
        assert!(!p.log.iter().any(|l| l.starts_with("start") || l.starts_with("sandbox")));
        assert_eq!(p.main(0).at("state.terminated.exitCode").int_or(9), i64::from(code));
    }
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut p = Play::new(value!({ "restartPolicy": "Never", "initContainers": [{ "name": "i" }],
        "containers": [{ "name": "m" }] }));
    p.settle().exit("i", 7).settle();
    assert_eq!((p.at("phase").as_str(), p.stage), ("Failed", Stage::Terminated));
    assert_eq!(p.main(0).at("state.waiting.reason").str(), "PodInitializing");
}

#[test]
fn sidecars_end_after_main_containers_in_reverse() {
    let mut p = Play::new(value!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 30,
        "initContainers": [{ "name": "s1", "restartPolicy": "Always" }, { "name": "s2", "restartPolicy": "Always" }],
        "containers": [{ "name": "m" }] }));
    p.settle().take_log();
    p.stubborn = vec!["m".into(), "s2".into()];
    p.delete(30).settle();
    assert_eq!(p.take_log(), ["kill m 30"]);
    assert_eq!(p.at("phase"), "Running");
    p.pass(20).exit("m", 0).settle();
    assert_eq!(p.take_log(), ["kill s2 10"]);
    p.pass(15).exit("s2", 137).settle();
    assert_eq!(p.take_log(), ["kill s1 2", "stop", "unmount"]);
    assert_eq!((p.at("phase").as_str(), p.stage), ("Succeeded", Stage::Terminated));
    p.memory.gone = true;
    p.settle();
    assert_eq!((p.take_log(), p.stage), (vec!["forget".to_string()], Stage::Forgotten));
}

#[test]
fn a_shorter_grace_kills_again_and_a_longer_one_does_not() {
    let mut p = Play::new(value!({ "containers": [{ "name": "m" }] }));
    p.settle().take_log();
    p.stubborn = vec!["m".into()];
    p.delete(30).settle().pass(5).settle();
    p.delete(3).settle().settle();
    p.delete(60).settle();
    assert_eq!(p.take_log(), ["kill m 30", "kill m 3"]);
    let killing: Vec<_> = p.events.iter().filter(|e| e.reason == "Killing").collect();
    assert_eq!(killing.len(), 1);
    assert_eq!(killing[0].message, "Stopping container m");
    assert_eq!(killing[0].field_path, "spec.containers{m}");
}

#[test]
fn an_end_while_an_image_is_pulled_cancels() {
    let mut p = Play::new(value!({ "containers": [{ "name": "m" }] }));
    p.settle();
    p.exit("m", 0);
    let _ = plan(&p.pod, &p.observed, &mut p.memory, p.now);
    assert!(p.memory.starting.is_some());
    p.take_log();
    p.delete(30).settle();
    assert_eq!(p.take_log(), ["cancel"]);
    let now = p.now;
    p.memory.start_finished("m", Err(StartError::Cancelled), now);
    p.settle();
    assert_eq!(p.take_log(), ["stop", "unmount"]);
}

#[test]
fn pulls_that_fail_back_off() {
    let mut p = Play::new(value!({ "containers": [{ "name": "m", "image": "nope" }] }));
    p.fail_start =
        Some(StartError::Pull { reason: "ErrImagePull".into(), message: "not there".into() });
    p.settle();
    assert_eq!(p.main(0).at("state.waiting.reason").str(), "ErrImagePull");
    assert_eq!(p.at("phase"), "Pending");
    p.pass(2).settle();
    assert_eq!(p.main(0).at("state.waiting.reason").str(), "ImagePullBackOff");
    assert_eq!(
        p.main(0).at("state.waiting.message").str(),
        "Back-off pulling image \"nope\": ErrImagePull: not there"
    );
    p.take_log();
    p.pass(8).settle();
    assert_eq!(p.take_log(), ["start m 0"]);
    p.pass(10).settle();
    assert_eq!(p.take_log(), [""; 0], "twenty seconds now");
    p.fail_start = None;
    p.pass(10).settle();
    assert!(p.main(0).at("ready").bool());
}

#[test]
fn missing_configuration_is_tried_again_when_it_appears() {
    let mut p = Play::new(value!({ "containers": [{ "name": "m" }] }));
    p.fail_start = Some(StartError::Other {
        reason: "CreateContainerConfigError".into(),
        message: "configmap \"x\" not found".into(),
    });
    p.settle();
    assert_eq!(p.main(0).at("state.waiting.reason").str(), "CreateContainerConfigError");
    p.fail_start = None;
    p.take_log();
    let now = p.now;
    p.memory.objects_changed(now);
    p.settle();
    assert_eq!(p.take_log(), ["start m 0"]);
    assert_eq!(p.main(0).at("restartCount").int_or(9), 0);
}

#[test]
fn a_failed_liveness_probe_restarts() {
    use timonier_pod::probe::Kind;
    let mut p =
        Play::new(value!({ "terminationGracePeriodSeconds": 20, "containers": [{ "name": "m",
        "livenessProbe": { "exec": { "command": ["x"] }, "periodSeconds": 1, "failureThreshold": 2,
                           "terminationGracePeriodSeconds": 4 } }] }));
    p.settle();
    assert_eq!(p.log.last().unwrap(), "probe m Liveness");
    p.probe_result("m-0", Kind::Liveness, Outcome::Failure("bad".into()));
    p.pass(1).settle();
    p.probe_result("m-0", Kind::Liveness, Outcome::Failure("bad".into()));
    p.take_log();
    p.settle();
    assert_eq!(p.take_log(), ["kill m 4", "start m 1", "probe m Liveness"]);
    let texts: Vec<_> = p.events.iter().map(|e| e.message.as_str()).collect();
    assert!(texts.contains(&"Liveness probe failed: bad"));
    assert!(texts.contains(&"Container m failed liveness probe, will be restarted"));
    assert_eq!(p.main(0).at("restartCount").int_or(0), 1);
}

#[test]
fn a_restarted_agent_restarts_nothing_and_keeps_readiness() {
    let mut p = Play::new(value!({ "containers": [{ "name": "m",
        "readinessProbe": { "tcpSocket": { "port": 80 } } }] }));
    p.settle();
    assert!(!p.pod.condition_is_true("Ready"));
    p.probe_result("m-0", timonier_pod::probe::Kind::Readiness, Outcome::Success);
    p.settle();
    assert!(p.pod.condition_is_true("Ready"));
    p.memory = Memory::default();
    p.take_log();
    let before = p.pod.clone();
    p.pass(60).settle();
    assert_eq!(p.take_log(), ["probe m Readiness", "mount"]);
    assert_eq!(p.pod, before);
}

#[test]
fn after_a_reboot_the_workload_comes_back() {
    let mut p =
        Play::new(value!({ "initContainers": [{ "name": "i" }], "containers": [{ "name": "m" }] }));
    p.settle().exit("i", 0).settle();
    p.memory = Memory::default();
    p.observed = Observed::default();
    p.take_log();
    p.pass(60).settle();
    assert_eq!(p.take_log(), ["mount", "sandbox 0", "start i 1"]);
    p.exit("i", 0).settle();
    assert_eq!(p.take_log(), ["start m 1"]);
    assert_eq!(p.at("phase"), "Running");
    assert_eq!(p.main(0).at("lastState.terminated.reason").str(), "ContainerStatusUnknown");
}

#[test]
fn a_dead_sandbox_is_replaced() {
    let mut p = Play::new(value!({ "containers": [{ "name": "m" }] }));
    p.settle().take_log();
    p.observed.sandboxes[0].ready = false;
    p.exit("m", 137).settle();
    assert_eq!(p.take_log(), ["sandbox 1", "start m 1"]);
    assert!(p.events.iter().any(|e| e.reason == "SandboxChanged"));
}

#[test]
fn the_deadline_ends_the_pod() {
    let mut p = Play::new(value!({ "activeDeadlineSeconds": 5, "containers": [{ "name": "m" }] }));
    p.settle();
    assert_eq!(p.wake_at, Some(p.now + Duration::from_secs(5)));
    p.pass(5).settle();
    assert_eq!((p.at("phase"), p.at("reason")), ("Failed".into(), "DeadlineExceeded".into()));
    assert_eq!(p.stage, Stage::Terminated);
}

#[test]
fn readiness_gates_hold_a_pod_back() {
    let mut p = Play::new(value!({ "readinessGates": [{ "conditionType": "x/y" }],
        "containers": [{ "name": "m" }] }));
    p.settle();
    let ready = p.pod.condition("Ready").unwrap();
    assert_eq!(ready.at("reason").str(), "ReadinessGatesNotReady");
    let conditions = p.pod.entry("status.conditions").make_array();
    conditions.push(value!({ "type": "x/y", "status": "True" }));
    p.settle();
    assert!(p.pod.condition_is_true("Ready") && p.pod.condition_is_true("x/y"));
}

#[test]
fn a_deleted_pod_that_never_ran_goes_at_once() {
    let mut p = Play::new(value!({ "containers": [{ "name": "m" }] }));
    p.delete(30).settle();
    assert_eq!((p.take_log(), p.stage), (vec!["stop".into(), "unmount".into()], Stage::Terminated));
    assert_eq!(p.at("phase"), "Failed");
}
