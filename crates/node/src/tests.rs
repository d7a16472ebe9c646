//! The whole node in virtual time, on a runtime without processes.

use std::fs;
use std::time::Duration;

use timonier_client::{Client, DeleteOptions};
use timonier_meta::gvk::resources;
use timonier_object::{Value, value};

use crate::seams::Network;
use crate::testing::{Bench, ready};

async fn delete(bench: &Bench, name: &str, grace: i64) {
    let options = DeleteOptions { grace_period_seconds: Some(grace), ..DeleteOptions::default() };
    bench.api.delete(&resources::PODS, "ns", name, &options).await.unwrap();
}

fn waiting(pod: &Value) -> String {
    let first = pod.at("status.containerStatuses").items().first();
    first.map(|c| c.at("state.waiting.reason").str().to_string()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_pod_lives_and_goes() {
    let bench = Bench::new("lives");
    bench.pod("p", value!({ "containers": [{ "name": "c", "image": "web:1",
        "env": [{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }] }] }));
    let pod = bench.until("p", ready).await;
    assert_eq!(pod.at("status.phase").str(), "Running");
    assert_eq!(pod.at("status.podIP").str(), "10.244.0.2");
    assert_eq!(pod.at("status.hostIP").str(), "192.168.0.1");
    let status = &pod.at("status.containerStatuses").items()[0];
    assert_eq!(status.at("image").str(), "docker.io/library/web:1");
    assert!(status.at("imageID").str().starts_with("sha256:"));
    let config = bench.runtime.config("c");
    assert!(config.env.contains(&"IP=10.244.0.2".to_string()), "{:?}", config.env);
    assert_eq!(config.argv, ["run"]);
    assert_eq!(config.resources.unified["memory.oom.group"], "1");
    let targets: Vec<_> = config.mounts.iter().map(|m| m.target.as_str()).collect();
    assert_eq!(
        targets,
        ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"]
    );
    let found = bench.table.running("ns", "p", "c").unwrap();
    assert!(found.log_path.ends_with("logs/ns_p_uid-p/c/0.log"));
    let patches = bench.api.patches();
    assert!(patches <= 2, "{patches} writes for one start");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.api.patches(), patches, "an idle pod writes nothing");
    delete(&bench, "p", 30).await;
    bench.holds("the pod leaves the API", || bench.read("p").is_none()).await;
    bench.holds("the node forgets it", || bench.runtime.is_empty()).await;
    bench.holds("its files go", || !bench.file("p", "").exists()).await;
    assert!(bench.table.pod("ns", "p").is_err());
    let events = bench.events("p");
    for text in [
        "Pulled: Container image \"web:1\" already present on machine and can be accessed by the pod",
        "Created: Container created",
        "Started: Container started",
        "Killing: Stopping container c",
    ] {
        assert!(events.iter().any(|e| e == text), "{text} not in {events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn volumes_follow_their_objects() {
    let bench = Bench::new("volumes");
    bench.pod("p", value!({ "serviceAccountName": "sa",
        "volumes": [{ "name": "cm", "configMap": { "name": "cm" } },
            { "name": "token", "projected": { "sources": [{ "serviceAccountToken": { "path": "token", "expirationSeconds": 600 } }] } }],
        "containers": [{ "name": "c", "image": "web:1",
            "volumeMounts": [{ "name": "cm", "mountPath": "/cm" }, { "name": "cm", "mountPath": "/one", "subPath": "a" }] }] }));
    bench.holds("a failed mount is told", || {
        bench.events("p").iter().any(|e| {
            e == "FailedMount: MountVolume.SetUp failed for volume \"cm\" : configmap \"cm\" not found"
        })
    })
    .await;
    bench.until("p", |p| waiting(p) == "ContainerCreating").await;
    let map = |text: &str| value!({ "metadata": { "name": "cm", "namespace": "ns" }, "data": { "a": text } });
    bench.api.put(&resources::CONFIGMAPS, map("1"));
    bench.until("p", ready).await;
    let file = bench.file("p", "volumes/kubernetes.io~configmap/cm/a");
    assert_eq!(fs::read_to_string(&file).unwrap(), "1");
    let mounts = bench.runtime.config("c").mounts;
    let writable: Vec<_> =
        mounts.iter().filter(|m| !m.readonly).map(|m| m.target.as_str()).collect();
    let own = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"];
    assert_eq!(writable, own, "what the node writes is read-only");
    bench.api.put(&resources::CONFIGMAPS, map("2"));
    bench.holds("the file follows", || fs::read_to_string(&file).unwrap() == "2").await;
    let token = bench.file("p", "volumes/kubernetes.io~projected/token/token");
    let first = fs::read_to_string(&token).unwrap();
    assert!(first.starts_with("token-sa-"));
    tokio::time::sleep(Duration::from_secs(470)).await;
    assert_eq!(fs::read_to_string(&token).unwrap(), first);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_ne!(fs::read_to_string(&token).unwrap(), first, "renewed at 80% of its life");
    let sub = bench.file("p", "volume-subpaths/cm/c/1-0");
    assert_eq!(fs::read_to_string(sub).unwrap_or_default(), "", "a sub-path keeps its version");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_read_only_is_mounted_so() {
    let bench = Bench::new("claims");
    bench.api.put(
        &resources::PERSISTENTVOLUMES,
        value!({ "metadata": { "name": "pv" }, "spec": { "hostPath": { "path": "/" } } }),
    );
    bench.api.put(
        &resources::PERSISTENTVOLUMECLAIMS,
        value!({ "metadata": { "name": "data", "namespace": "ns" },
            "spec": { "volumeName": "pv" }, "status": { "phase": "Bound" } }),
    );
    let claim = |read_only: bool| value!({ "claimName": "data", "readOnly": (read_only) });
    bench.pod(
        "p",
        value!({
        "volumes": [{ "name": "ro", "persistentVolumeClaim": (claim(true)) },
            { "name": "rw", "persistentVolumeClaim": (claim(false)) }],
        "containers": [{ "name": "c", "image": "web:1", "volumeMounts": [
            { "name": "ro", "mountPath": "/ro" }, { "name": "rw", "mountPath": "/rw" }] }] }),
    );
    bench.until("p", ready).await;
    let mounts = bench.runtime.config("c").mounts;
    let found: Vec<_> = mounts.iter().map(|m| (m.target.as_str(), m.readonly)).take(2).collect();
    assert_eq!(found, [("/ro", true), ("/rw", false)]);
}

/// Waits until a pod was evicted; gives why.
async fn evicted(bench: &Bench, name: &str) -> String {
    let pod = bench.until(name, |p| p.at("status.phase").str() == "Failed").await;
    assert_eq!(pod.at("status.reason").str(), "Evicted");
    let message = pod.at("status.message").str().to_string();
    let event = format!("Evicted: {message}");
    bench.holds("an Event tells it", || bench.events(name).contains(&event)).await;
    message
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_takes_too_much_disk_goes() {
    let bench = Bench::new("disk");
    let volume = |limit: &str| value!([{ "name": "data", "emptyDir": { "sizeLimit": limit } }]);
    let mounts = value!([{ "name": "data", "mountPath": "/data" }]);
    for (name, limit) in [("small", "1Mi"), ("large", "1Gi")] {
        bench.pod(
            name,
            value!({ "volumes": (volume(limit)),
                "containers": [{ "name": "c", "image": "web:1", "volumeMounts": (&mounts) }] }),
        );
    }
    bench.pod(
        "layer",
        value!({ "containers": [{ "name": "c", "image": "web:1",
            "resources": { "limits": { "ephemeral-storage": "1Mi" } } }] }),
    );
    for name in ["small", "large", "layer"] {
        bench.until(name, ready).await;
    }
    for name in ["small", "large"] {
        let file = bench.file(name, "volumes/kubernetes.io~empty-dir/data/below/file");
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, vec![1; 2 << 20]).unwrap();
        fs::File::open(&file).unwrap().sync_all().unwrap();
    }
    let why = "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". ";
    assert_eq!(evicted(&bench, "small").await, why);
    assert!(ready(&bench.read("layer").unwrap()));
    bench.runtime.fill_layers(2 << 20);
    let why = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
    assert_eq!(evicted(&bench, "layer").await, why);
    assert!(ready(&bench.read("large").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn an_image_stays_while_a_container_is_made_of_it() {
    let bench = Bench::new("held-images");
    let rare = timonier_oci::Digest::of(b"rare:1");
    let kept = || bench.images.kept.lock().unwrap().contains(&rare);
    let held = bench.runtime.creating.lock().await;
    bench.pod("p", value!({ "containers": [{ "name": "c", "image": "rare:1" }] }));
    let collection = Duration::from_secs(310);
    tokio::time::sleep(collection).await;
    assert!(kept(), "while it is made");
    drop(held);
    bench.until("p", ready).await;
    tokio::time::sleep(collection).await;
    assert!(kept(), "while it runs");
    delete(&bench, "p", 0).await;
    tokio::time::sleep(collection).await;
    assert!(!kept(), "nobody uses it any more");
}

#[tokio::test(start_paused = true)]
async fn a_killed_agent_finds_everything_again() {
    let mut bench = Bench::new("found");
    bench.pod(
        "p",
        value!({ "containers": [{ "name": "c", "image": "web:1",
        "readinessProbe": { "exec": { "command": ["ok"] } } }] }),
    );
    bench.pod("gone", value!({ "containers": [{ "name": "g", "image": "web:1" }] }));
    let before = bench.until("p", ready).await;
    bench.until("gone", ready).await;
    bench.stop().await;
    bench.api.erase(&resources::PODS, "ns", "gone");
    bench.runtime.take_log();
    bench.start();
    bench
        .holds("the orphan goes", || {
            bench.table.pod("ns", "p").is_ok() && bench.runtime.log().contains(&"stop g 30".into())
        })
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let log = bench.runtime.log();
    assert!(!log.iter().any(|l| l.starts_with("start") || l.starts_with("sandbox")), "{log:?}");
    assert_eq!(bench.read("p").unwrap().at("status"), before.at("status"));
    assert!(!bench.file("gone", "").exists());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_arrives_while_leftovers_go_keeps_its_own() {
    let mut bench = Bench::new("arrives");
    bench.stop().await;
    let old = timonier_network::PodRequest {
        uid: "uid-old".into(),
        namespace: "ns".into(),
        name: "old".into(),
        host_ports: Vec::new(),
    };
    bench.network.attach(old).await.unwrap();
    let logs = bench.dir.join("logs/ns_old_uid-old");
    fs::create_dir_all(&logs).unwrap();
    fs::create_dir_all(bench.file("old", "volumes")).unwrap();
    let network = bench.network.clone();
    let gate = network.gate.lock().await;
    bench.start();
    let going = || !network.going.lock().unwrap().is_empty();
    bench.holds("the old one's network is to go", going).await;
    bench.pod("p", value!({ "containers": [{ "name": "c", "image": "web:1" }] }));
    bench.until("p", ready).await;
    drop(gate);
    bench.holds("the old one's logs go last", || !logs.exists()).await;
    assert!(!bench.file("old", "").exists());
    assert!(bench.file("p", "etc/hosts").exists(), "the new pod's files are gone");
    assert!(bench.network.list().iter().any(|n| n.uid == "uid-p"), "so is its network");
}

#[tokio::test(start_paused = true)]
async fn a_reboot_brings_the_workload_back() {
    let mut bench = Bench::new("reboot");
    bench.pod("p", value!({ "containers": [{ "name": "c", "image": "web:1" }] }));
    bench.until("p", ready).await;
    bench.stop().await;
    bench.runtime.reboot();
    bench.runtime.take_log();
    bench.start();
    let again = |pod: &Value| {
        ready(pod)
            && pod.at("status.containerStatuses").items()[0].at("restartCount").int_or(0) == 1
    };
    bench.until("p", again).await;
    assert_eq!(bench.runtime.log(), ["sandbox p", "start c 1"]);
}

#[tokio::test(start_paused = true)]
async fn images_that_cannot_be_had() {
    let bench = Bench::new("images");
    let with = |image: &str, policy: &str| value!({ "containers": [{ "name": "c", "image": image, "imagePullPolicy": policy }] });
    bench.pod("absent", with("absent:1", "IfNotPresent"));
    bench.pod("never", with("absent:1", "Never"));
    bench.pod("pulled", with("pulled:1", "IfNotPresent"));
    bench.until("absent", |p| waiting(p) == "ErrImagePull").await;
    bench.until("absent", |p| waiting(p) == "ImagePullBackOff").await;
    bench.until("never", |p| waiting(p) == "ErrImageNeverPull").await;
    bench.until("pulled", ready).await;
    let events = bench.events("absent");
    for text in [
        "Pulling: Pulling image \"absent:1\"",
        "Failed: Failed to pull image \"absent:1\": absent:1: not found",
        "Failed: Error: ErrImagePull",
        "BackOff: Back-off pulling image \"absent:1\"",
        "Failed: Error: ImagePullBackOff",
    ] {
        assert!(events.iter().any(|e| e == text), "{text} not in {events:?}");
    }
    let pulls = || bench.images.pulls.lock().unwrap().iter().filter(|p| *p == "absent:1").count();
    assert_eq!(pulls(), 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(pulls(), 2);
    assert!(
        bench.events("pulled").iter().any(|e| e.starts_with("Pulled: Successfully pulled image"))
    );
    delete(&bench, "absent", 30).await;
    bench.holds("it goes", || bench.read("absent").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn hooks_probes_and_graces() {
    let bench = Bench::new("hooks");
    bench.runtime.stubborn("c");
    bench.pod("p", value!({ "terminationGracePeriodSeconds": 20, "containers": [{ "name": "c", "image": "web:1",
        "lifecycle": { "postStart": { "exec": { "command": ["post"] } },
                       "preStop": { "sleep": { "seconds": 5 } } },
        "livenessProbe": { "exec": { "command": ["live"] }, "periodSeconds": 10, "failureThreshold": 1 } }] }));
    bench.until("p", ready).await;
    bench.holds("the probe runs", || bench.runtime.log().contains(&"exec live".into())).await;
    let log = bench.runtime.log();
    assert_eq!(log, ["sandbox p", "start c 0", "exec post", "exec live"]);
    delete(&bench, "p", 20).await;
    let left = |l: &String| l.starts_with("stop c 1");
    bench.holds("it is stopped", || bench.runtime.log().iter().any(left)).await;
    assert_eq!(bench.runtime.log().last().unwrap(), "stop c 15", "five seconds went to the hook");
    delete(&bench, "p", 1).await;
    bench
        .holds("a shorter time counts", || bench.runtime.log().last().unwrap() == "stop c 2")
        .await;
    bench.holds("it leaves", || bench.read("p").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_draining_pod_tells_whether_it_is_ready() {
    let bench = Bench::new("draining");
    bench.runtime.stubborn("c");
    let exec = |command: &str| value!({ "exec": { "command": [command] }, "periodSeconds": 2 });
    bench.pod(
        "p",
        value!({ "containers": [{ "name": "c", "image": "web:1",
        "readinessProbe": (exec("ask")), "livenessProbe": (exec("live")) }] }),
    );
    bench.until("p", ready).await;
    delete(&bench, "p", 60).await;
    bench.holds("it is being stopped", || bench.runtime.log().contains(&"stop c 60".into())).await;
    bench.runtime.take_log();
    bench.runtime.answer_exec(&[1, 1, 1]);
    let pod = bench.until("p", |p| !ready(p)).await;
    assert!(pod.is_deleting() && pod.at("status.phase").str() == "Running", "{pod}");
    assert!(
        pod.at("status.containerStatuses").items()[0]
            .get("state")
            .is_some_and(|s| s.get("running").is_some())
    );
    let log = bench.runtime.log();
    assert!(log.iter().all(|l| l == "exec ask"), "{log:?}");
    bench.holds("it leaves", || bench.read("p").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_liveness_probe_restarts_the_container() {
    let bench = Bench::new("liveness");
    bench.runtime.answer_exec(&[0, 1, 1]);
    bench.pod("p", value!({ "containers": [{ "name": "c", "image": "web:1",
        "livenessProbe": { "exec": { "command": ["live"] }, "periodSeconds": 5, "failureThreshold": 2 } }] }));
    let restarted = |pod: &Value| {
        let first = pod.at("status.containerStatuses").items().first();
        first.is_some_and(|c| c.at("restartCount").int_or(0) == 1 && c.at("ready").bool())
    };
    let pod = bench.until("p", restarted).await;
    let last = pod.at("status.containerStatuses").items()[0].at("lastState.terminated").clone();
    assert_eq!(last.at("exitCode").int_or(0), 143);
    let events = bench.events("p");
    assert!(events.iter().any(|e| e == "Unhealthy: Liveness probe failed: said"), "{events:?}");
    assert!(
        events.iter().any(|e| e == "Killing: Container c failed liveness probe, will be restarted")
    );
}

#[tokio::test(start_paused = true)]
async fn the_node_registers_and_stays_alive() {
    let mut bench = Bench::new("register");
    let node = || bench.api.read(&resources::NODES, "", "n1");
    bench.holds("it is ready", || node().is_some_and(|n| n.condition_is_true("Ready"))).await;
    let first = node().unwrap();
    assert_eq!(first.at("spec.podCIDR").str(), "10.244.0.0/24");
    assert_eq!(first.label("kubernetes.io/hostname"), Some("n1"));
    assert_eq!(first.at("status.images").items().len(), 2);
    let lease = || bench.api.read(&resources::LEASES, "kube-node-lease", "n1");
    bench.holds("it has a lease", || lease().is_some()).await;
    let renewed = lease().unwrap().at("spec.renewTime").clone();
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_ne!(lease().unwrap().at("spec.renewTime"), &renewed);
    assert_eq!(node().unwrap().revision(), first.revision(), "no change, no write");
    // Somebody thinks that it is dead.
    let mut lost = (*node().unwrap()).clone();
    for c in lost.entry("status.conditions").make_array().iter_mut() {
        c.set("status", "Unknown");
    }
    bench.api.put(&resources::NODES, lost);
    bench.holds("it says that it lives", || node().unwrap().condition_is_true("Ready")).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_watch_loses_nothing() {
    let bench = Bench::new("watch");
    bench.pod("a", value!({ "containers": [{ "name": "c", "image": "web:1" }] }));
    bench.until("a", ready).await;
    bench.api.drop_watches();
    bench.api.erase(&resources::PODS, "ns", "a");
    bench.pod("b", value!({ "containers": [{ "name": "d", "image": "web:1" }] }));
    bench.until("b", ready).await;
    bench.holds("the lost pod goes", || bench.runtime.log().contains(&"stop c 30".into())).await;
    bench.holds("its files go", || !bench.file("a", "").exists()).await;
    assert!(bench.file("b", "").exists());
}

#[tokio::test(start_paused = true)]
async fn a_job_ends_and_its_message_is_read() {
    let bench = Bench::new("job");
    bench.pod(
        "p",
        value!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "web:1" }] }),
    );
    bench.until("p", ready).await;
    fs::write(bench.file("p", "containers/c/termination-0"), "last words").unwrap();
    bench.runtime.exit("c", 3);
    let pod = bench.until("p", |p| p.at("status.phase").str() == "Failed").await;
    let ended = pod.at("status.containerStatuses").items()[0].at("state.terminated").clone();
    assert_eq!((ended.at("exitCode").int_or(0), ended.at("message").str()), (3, "last words"));
    assert_eq!(ended.at("reason").str(), "Error");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.runtime.log(), ["sandbox p", "start c 0"]);
    assert!(bench.table.container("ns", "p", "c").is_ok(), "its log stays readable");
    delete(&bench, "p", 30).await;
    bench.holds("it leaves", || bench.read("p").is_none() && bench.runtime.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_fit_is_rejected() {
    let bench = Bench::new("reject");
    let spec = |cpu: &str| value!({ "containers": [{ "name": "c", "image": "web:1", "resources": { "requests": { "cpu": cpu } } }] });
    bench.pod("small", spec("1m"));
    bench.pod("huge", spec("100k"));
    bench.until("small", ready).await;
    let pod = bench.until("huge", |p| p.at("status.phase").str() == "Failed").await;
    assert_eq!(pod.at("status.reason").str(), "OutOfcpu");
    let message = pod.at("status.message").str();
    assert!(
        message.starts_with(
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 100000000, used: "
        ),
        "{message}"
    );
    assert!(bench.events("huge").iter().any(|e| e.starts_with("OutOfcpu: Node didn't")));
    assert_eq!(bench.runtime.log(), ["sandbox small", "start c 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_runtime_class_is_told() {
    let bench = Bench::new("class");
    bench.pod(
        "p",
        value!({ "runtimeClassName": "fast", "containers": [{ "name": "c", "image": "web:1" }] }),
    );
    bench.holds("it is told", || {
        bench.events("p").iter().any(|e| {
            e == "FailedCreatePodSandBox: Failed to create pod sandbox: failed to get sandbox runtime: runtimeclasses.node.k8s.io \"fast\" not found"
        })
    })
    .await;
    let class = value!({ "metadata": { "name": "fast" }, "handler": "toy" });
    bench.api.put(&resources::RUNTIMECLASSES, class);
    bench.until("p", ready).await;
}
