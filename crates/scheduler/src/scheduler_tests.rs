use super::*;
use timonier_meta::Duration;
use timonier_object::value;
use timonier_reconcile::{EventType, Operation};

const T0: Time = Time::from_unix(1_000_000);

fn at(seconds: i64) -> Time {
    T0 + Duration::from_secs(seconds)
}

fn node(name: &str, cpu: &str) -> Value {
    value!({ "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "status": { "allocatable": { "cpu": cpu, "memory": "4Gi", "pods": "110" } } })
}

fn pod(name: &str, cpu: &str) -> Value {
    value!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": "ns", "name": name, "uid": (format!("uid-{name}")), "generation": 1 },
        "spec": { "schedulerName": "default-scheduler", "containers": [
            { "name": "c", "resources": { "requests": { "cpu": cpu } } }] },
        "status": { "phase": "Pending" } })
}

fn bound(mut pod: Value, node: &str) -> Value {
    pod.set("spec.nodeName", node);
    pod
}

struct Bench {
    scheduler: Scheduler,
    now: Time,
}

impl Bench {
    fn new(nodes: &[Value]) -> Self {
        let scheduler = Scheduler::new(Config::default());
        let mut bench = Bench { scheduler, now: T0 };
        for node in nodes {
            bench.see(&NODES, node.clone());
        }
        bench.scheduler.on_synced();
        bench
    }

    fn see(&mut self, resource: &GroupVersionResource, object: Value) {
        let change = Change {
            resource: resource.group_resource(),
            key: object.key(),
            old: None,
            new: Some(Arc::new(object)),
        };
        self.scheduler.on_change(&change, self.now);
    }

    fn lose(&mut self, resource: &GroupVersionResource, object: Value) {
        let change = Change {
            resource: resource.group_resource(),
            key: object.key(),
            old: Some(Arc::new(object)),
            new: None,
        };
        self.scheduler.on_change(&change, self.now);
    }

    fn next(&mut self) -> Option<Decision> {
        self.scheduler.next(self.now)
    }

    /// The pod and the node of the next decision, which is to bind.
    fn binds(&mut self) -> (String, String) {
        let decision = self.next().expect("a decision");
        match decision.action {
            Action::Bind { node, .. } => (decision.pod.name.as_str().into(), node.as_str().into()),
            Action::Write(writes) => panic!("{writes:?} {:?}", decision.because),
        }
    }

    /// The writes and the Event's text of the next decision, which is not to bind.
    fn refuses(&mut self) -> (Vec<Write>, String) {
        let decision = self.next().expect("a decision");
        let event = &decision.because[0];
        assert_eq!((event.kind, event.reason.as_str()), (EventType::Warning, "FailedScheduling"));
        match decision.action {
            Action::Write(writes) => (writes, event.message.clone()),
            Action::Bind { node, .. } => panic!("bound to {node}"),
        }
    }
}

fn pair(pod: &str, node: &str) -> (String, String) {
    (pod.into(), node.into())
}

#[test]
fn a_binding_and_its_event_are_upstreams() {
    let mut b = Bench::new(&[node("n1", "4")]);
    b.see(&PODS, pod("web", "1"));
    let decision = b.next().unwrap();
    let Action::Bind { node, binding } = &decision.action else { panic!() };
    assert_eq!(node, "n1");
    assert_eq!(
        *binding,
        value!({ "apiVersion": "v1", "kind": "Binding",
            "metadata": { "namespace": "ns", "name": "web", "uid": "uid-web" },
            "target": { "kind": "Node", "name": "n1" } })
    );
    let event = &decision.because[0];
    assert_eq!((event.kind, event.reason.as_str()), (EventType::Normal, "Scheduled"));
    assert_eq!(event.message, "Successfully assigned ns/web to n1");
    assert!(b.next().is_none());
}

#[test]
fn resources_are_not_promised_twice() {
    let mut b = Bench::new(&[node("n1", "4")]);
    for name in ["a", "b", "c"] {
        b.see(&PODS, pod(name, "2"));
    }
    assert_eq!(b.binds(), pair("a", "n1"));
    assert_eq!(b.binds(), pair("b", "n1"));
    assert_eq!(
        b.refuses().1.split(" preemption").next(),
        Some("0/1 nodes are available: 1 Insufficient cpu.")
    );
    // A late view of a pod that was bound changes nothing.
    b.see(&PODS, pod("a", "2"));
    assert!(b.next().is_none());
    b.scheduler.on_bound(&ObjectKey::new("ns", "a"), "uid-a");
    b.see(&PODS, bound(pod("a", "2"), "n1"));
    assert!(b.next().is_none());
    b.lose(&PODS, bound(pod("a", "2"), "n1"));
    b.now = at(1);
    assert_eq!(b.binds(), pair("c", "n1"));
}

#[test]
fn says_why_and_sets_the_condition_once() {
    let mut b = Bench::new(&[node("n1", "1")]);
    b.see(&PODS, pod("a", "2"));
    let (writes, message) = b.refuses();
    let text = "0/1 nodes are available: 1 Insufficient cpu. \
                preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    assert_eq!(message, text);
    let [Write { operation: Operation::Patch { subresource: "status", patch, .. }, .. }] =
        &writes[..]
    else {
        panic!("{writes:?}")
    };
    let condition = &patch.at("status.conditions").items()[0];
    assert_eq!(condition.at("type").str(), "PodScheduled");
    assert_eq!(condition.at("status").str(), "False");
    assert_eq!(condition.at("reason").str(), "Unschedulable");
    assert_eq!(condition.at("message").str(), text);
    assert_eq!(condition.at("lastTransitionTime").str(), T0.rfc3339());
    assert_eq!(patch.at("metadata.uid").str(), "uid-a");

    // The status comes back, the pod waits; after five minutes it is tried and told again, but
    // its status says so already.
    let mut told = pod("a", "2");
    told.set("status.conditions", patch.at("status.conditions"));
    b.see(&PODS, told);
    assert!(b.next().is_none());
    assert_eq!(b.scheduler.next_at(b.now), Some(at(300)));
    b.now = at(300);
    assert_eq!(b.refuses(), (Vec::new(), text.into()));
}

#[test]
fn waits_for_what_helps() {
    let mut b = Bench::new(&[node("n1", "1")]);
    b.see(&PODS, pod("a", "2"));
    b.refuses();
    b.now = at(20);
    b.see(&NODES, node("n2", "1"));
    b.see(&NODES, node("n1", "1"));
    assert!(b.next().is_none(), "neither node is large enough");
    b.see(&NODES, node("n3", "2"));
    assert_eq!(b.binds(), pair("a", "n3"));
}

#[test]
fn without_nodes_any_node_wakes() {
    let mut b = Bench::new(&[]);
    b.see(&PODS, pod("a", "2"));
    assert_eq!(b.refuses().1, "no nodes available to schedule pods");
    b.see(&NODES, node("n1", "4"));
    assert!(b.next().is_none(), "it backs off");
    assert_eq!(b.scheduler.next_at(b.now), Some(at(1)));
    b.now = at(1);
    assert_eq!(b.binds(), pair("a", "n1"));
}

#[test]
fn a_failed_binding_is_undone_and_tried_again() {
    let mut b = Bench::new(&[node("n1", "2")]);
    b.see(&PODS, pod("a", "2"));
    assert_eq!(b.binds(), pair("a", "n1"));
    let key = ObjectKey::new("ns", "a");
    let error = ApiError::internal("no quorum");
    assert!(b.scheduler.on_failed(&key, "another", &error, b.now).is_none());
    let told = b.scheduler.on_failed(&key, "uid-a", &error, b.now).unwrap();
    assert!(told.because[0].message.starts_with("running Bind plugin \"DefaultBinder\": "));
    assert!(b.next().is_none());
    b.now = at(1);
    assert_eq!(b.binds(), pair("a", "n1"));
    // The reply was lost, but the pod is seen there.
    b.see(&PODS, bound(pod("a", "2"), "n1"));
    assert!(b.scheduler.on_failed(&key, "uid-a", &error, b.now).is_none());
    b.now = at(1000);
    assert!(b.next().is_none());
}

#[test]
fn pods_of_others_and_pods_that_go_are_left_alone() {
    let mut b = Bench::new(&[node("n1", "4")]);
    let mut other = pod("other", "1");
    other.set("spec.schedulerName", "mine");
    b.see(&PODS, other);
    let mut deleting = pod("deleting", "1");
    deleting.set("metadata.deletionTimestamp", T0.rfc3339());
    b.see(&PODS, deleting);
    let mut gated = pod("gated", "1");
    gated.set("spec.schedulingGates", value!([{ "name": "x" }]));
    b.see(&PODS, gated);
    b.see(&PODS, pod("gone", "1"));
    b.lose(&PODS, pod("gone", "1"));
    assert!(b.next().is_none());
    b.see(&PODS, pod("gated", "1"));
    assert_eq!(b.binds(), pair("gated", "n1"));
}

#[test]
fn no_decision_before_everything_is_known() {
    let mut b = Bench::new(&[node("n1", "4")]);
    b.scheduler = Scheduler::new(Config::default());
    b.see(&NODES, node("n1", "4"));
    b.see(&PODS, pod("a", "4"));
    assert!(b.next().is_none() && b.scheduler.next_at(b.now).is_none());
    b.see(&PODS, bound(pod("old", "1"), "n1"));
    b.scheduler.on_synced();
    b.refuses();
}

#[test]
fn finished_pods_and_pods_of_the_same_name_free_their_place() {
    let mut b = Bench::new(&[node("n1", "2")]);
    let mut done = bound(pod("done", "2"), "n1");
    b.see(&PODS, done.clone());
    done.set("status.phase", "Succeeded");
    b.see(&PODS, done);
    b.see(&PODS, pod("a", "2"));
    assert_eq!(b.binds(), pair("a", "n1"));
    // It was deleted and made anew under its name, before anything was heard of it.
    let mut again = pod("a", "2");
    again.set("metadata.uid", "second");
    b.see(&PODS, again);
    assert_eq!(b.binds(), pair("a", "n1"));
}

#[test]
fn pods_of_a_node_that_comes_later_count() {
    let mut b = Bench::new(&[]);
    b.see(&PODS, bound(pod("old", "3"), "n1"));
    b.see(&NODES, node("n1", "4"));
    b.see(&PODS, pod("a", "2"));
    b.refuses();
    b.lose(&NODES, node("n1", "4"));
    b.see(&NODES, node("n1", "8"));
    b.now = at(1);
    assert_eq!(b.binds(), pair("a", "n1"));
}

#[test]
fn an_important_pod_takes_the_place_of_another() {
    let mut b = Bench::new(&[node("n1", "2")]);
    b.see(&PODS, bound(pod("low", "2"), "n1"));
    let mut high = pod("high", "2");
    high.set("spec.priority", 1000);
    b.see(&PODS, high.clone());
    let (writes, message) = b.refuses();
    assert_eq!(message, "0/1 nodes are available: 1 Insufficient cpu.");
    let [condition, delete, status] = &writes[..] else { panic!("{writes:?}") };
    assert!(matches!(&condition.operation, Operation::Patch { patch, .. }
        if patch.at("status.conditions").items()[0].at("type").str() == "DisruptionTarget"));
    assert!(matches!(&delete.operation, Operation::Delete { preconditions, .. }
        if preconditions.uid.as_deref() == Some("uid-low")));
    let told = delete.event.as_ref().unwrap();
    assert_eq!(told.message, "Preempted by pod uid-high on node n1");
    let Operation::Patch { patch, .. } = &status.operation else { panic!() };
    assert_eq!(patch.at("status.nominatedNodeName").str(), "n1");

    // The room is kept while the victim leaves, even for a pod that comes in between.
    high.set("status.nominatedNodeName", "n1");
    b.see(&PODS, high);
    b.lose(&PODS, bound(pod("low", "2"), "n1"));
    b.see(&PODS, pod("quick", "1"));
    assert!(b.refuses().1.starts_with("0/1 nodes are available: 1 Insufficient cpu."));
    b.now = at(1);
    assert_eq!(b.binds(), pair("high", "n1"));
}

#[test]
fn a_more_important_pod_takes_the_room_made_for_another() {
    let mut b = Bench::new(&[node("n1", "2")]);
    b.see(&PODS, bound(pod("low", "2"), "n1"));
    let of = |name: &str, priority: i64| {
        let mut pod = pod(name, "2");
        pod.set("spec.priority", priority);
        pod
    };
    b.see(&PODS, of("mid", 5));
    b.refuses();
    b.see(&PODS, of("high", 10));
    let (writes, _) = b.refuses();
    let nominations: Vec<(&str, &Value)> = writes
        .iter()
        .filter_map(|w| match &w.operation {
            Operation::Patch { patch, .. } => {
                Some((w.key.name.as_str(), patch.at("status").get("nominatedNodeName")?))
            }
            _ => None,
        })
        .collect();
    assert_eq!(nominations, [("mid", &Value::Null), ("high", &Value::from("n1"))]);
    let expected: Vec<_> =
        b.scheduler.cluster.nominated("n1").map(|p| p.key.name.clone()).collect();
    assert_eq!(expected, ["high"]);
    b.now = at(1);
    assert!(b.refuses().1.contains("Insufficient cpu"), "mid looks for another place");
}

#[test]
fn a_pod_kept_out_for_an_empty_zone_is_tried_when_that_is_gone() {
    let zoned = |name: &str, zone: &str, cpu: &str| {
        let mut node = node(name, cpu);
        node.set("metadata.labels", value!({ "zone": zone }));
        node
    };
    let spread = |name: &str| {
        let mut pod = pod(name, "1");
        pod.set("metadata.labels", value!({ "app": "a" }));
        pod.set(
            "spec.topologySpreadConstraints",
            value!([{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": { "matchLabels": { "app": "a" } } }]),
        );
        pod
    };
    let mut b = Bench::new(&[zoned("n1", "full", "8"), zoned("n2", "small", "0")]);
    b.see(&PODS, bound(spread("first"), "n1"));
    b.see(&PODS, spread("second"));
    b.refuses();
    b.lose(&NODES, zoned("n2", "small", "0"));
    b.now = at(1);
    assert_eq!(b.binds(), pair("second", "n1"));
}

#[test]
fn long_messages_are_cut_for_the_event() {
    assert_eq!(cut("short"), "short");
    let long = cut(&"ä".repeat(600));
    assert!(long.len() <= 1024 && long.ends_with("ä ..."), "{}", long.len());
}

/// Random life of a cluster: pods come, are bound, fail to be bound, and go. At no time do the
/// pods on a node ask for more than it has, and in the end nothing waits that would fit.
#[test]
fn random_lives() {
    for seed in 0..60 {
        live(seed);
    }
}

fn live(seed: u64) {
    let mut random = seed;
    let mut draw = |n: u64| {
        random = mix(random);
        random % n
    };
    let mut b = Bench::new(&[node("n0", "4"), node("n1", "4"), node("n2", "2")]);
    b.scheduler.config.seed = seed;
    let mut placed: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut asked: BTreeMap<String, u64> = BTreeMap::new();
    for step in 0..200u64 {
        b.now = at(step as i64);
        match draw(3) {
            0 => {
                let (name, cpu) = (format!("p{step}"), 1 + draw(3));
                b.see(&PODS, pod(&name, &format!("{cpu}")));
                asked.insert(name, cpu);
            }
            1 if !placed.is_empty() => {
                let name = placed.keys().nth(draw(placed.len() as u64) as usize).unwrap().clone();
                let (node, cpu) = placed.remove(&name).unwrap();
                b.lose(&PODS, bound(pod(&name, &format!("{cpu}")), &node));
            }
            _ => {}
        }
        while let Some(decision) = b.next() {
            let Action::Bind { node, .. } = decision.action else { continue };
            let name = decision.pod.name.as_str();
            if draw(4) == 0 {
                b.scheduler.on_failed(
                    &decision.pod,
                    &decision.uid,
                    &ApiError::internal("x"),
                    b.now,
                );
                continue;
            }
            let cpu = asked.remove(name).unwrap();
            b.scheduler.on_bound(&decision.pod, &decision.uid);
            b.see(&PODS, bound(pod(name, &format!("{cpu}")), &node));
            placed.insert(name.into(), (node.as_str().into(), cpu));
        }
        for (node, size) in [("n0", 4), ("n1", 4), ("n2", 2)] {
            let used: u64 = placed.values().filter(|(n, _)| n == node).map(|(_, cpu)| cpu).sum();
            assert!(used <= size, "seed {seed}, step {step}: {used} cores on {node}");
        }
    }
    b.now = at(1000);
    while let Some(decision) = b.next() {
        if let Action::Bind { node, .. } = decision.action {
            let cpu = asked.remove(decision.pod.name.as_str()).unwrap();
            placed.insert(decision.pod.name.as_str().into(), (node.as_str().into(), cpu));
        }
    }
    let free = |node: &str, size: u64| {
        size - placed.values().filter(|(n, _)| n == node).map(|(_, cpu)| cpu).sum::<u64>()
    };
    let most = free("n0", 4).max(free("n1", 4)).max(free("n2", 2));
    assert!(asked.values().all(|cpu| *cpu > most), "seed {seed}: {asked:?} fit in {most}");
}
