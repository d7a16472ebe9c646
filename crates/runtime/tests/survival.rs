//! Daemons and shims that die, and hosts that reboot.

mod common;

use std::time::Duration;

use common::{Fixture, exited, output, until};
use timonier_runtime::*;

fn running_pid(status: &ContainerStatus) -> i32 {
    match status.state {
        ContainerState::Running { pid, .. } => pid,
        ref other => panic!("not running: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_daemon_finds_everything_running() {
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("keep").await;
    let long = f
        .start(
            &sandbox,
            f.config(&["sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.05; done"]),
        )
        .await;
    let short = f.start(&sandbox, f.config(&["sh", "-c", "exit 6"])).await;
    let fresh = f.runtime.create_container(&sandbox, f.config(&["true"])).await.unwrap();
    exited(&f.runtime, &short).await;
    let before = f.runtime.container_status(&long).await.unwrap();

    let second = f.reopen().await;
    assert_eq!(second.container_status(&long).await.unwrap(), before, "not restarted");
    assert_eq!(second.sandbox_status(&sandbox).await.unwrap().state, SandboxState::Ready);
    assert_eq!(exited(&second, &short).await.code, 6);
    assert_eq!(second.container_status(&fresh).await.unwrap().state, ContainerState::Created);
    // It can do everything the first one could.
    let got = second.exec_sync(&long, &["true".into()], None).await.unwrap();
    assert_eq!(got.exit_code, 0);
    second.start_container(&fresh).await.unwrap();
    second.stop_container(&long, Duration::from_secs(10)).await.unwrap();
    assert_eq!(exited(&second, &long).await.code, 4);
    second.remove_sandbox(&sandbox).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_while_no_daemon_listens_is_not_lost() {
    let Some(mut f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("unseen").await;
    let config =
        f.config(&["sh", "-c", "while ! test -e /tmp/go; do sleep 0.02; done; echo bye; exit 11"]);
    let id = f.start(&sandbox, config).await;
    let pid = running_pid(&f.runtime.container_status(&id).await.unwrap());
    std::fs::write(format!("/proc/{pid}/root/tmp/go"), "").unwrap();
    // Drop every clone of the first daemon while the container ends.
    let state = f.dir.path().join(format!("state/{sandbox}/containers/{id}/exit.json"));
    until(async || state.exists()).await;
    f.runtime = f.reopen().await;
    let exit = exited(&f.runtime, &id).await;
    assert_eq!((exit.code, output(&f.log_path()).as_str()), (11, "bye"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_takes_its_containers_with_it() {
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("shim").await;
    let id = f.start(&sandbox, f.config(&["sleep", "1000"])).await;
    let pid = running_pid(&f.runtime.container_status(&id).await.unwrap());
    let shim = f.runtime.sandbox_status(&sandbox).await.unwrap().pid.unwrap();
    kill(shim);
    let exit = exited(&f.runtime, &id).await;
    assert_eq!((exit.code, exit.reason.as_str()), (255, "Unknown"));
    until(async || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
    assert_eq!(f.runtime.sandbox_status(&sandbox).await.unwrap().state, SandboxState::NotReady);
    f.runtime.remove_sandbox(&sandbox).await.unwrap();
}

/// A pod whose sandbox died has a second one in the same cgroup.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_sandbox_of_a_pod_goes_without_harm_to_the_new_one() {
    let Some(f) = Fixture::new().await else { return };
    let dead = f.sandbox("pod").await;
    let lost = f.start(&dead, f.config(&["sleep", "1000"])).await;
    kill(f.runtime.sandbox_status(&dead).await.unwrap().pid.unwrap());
    exited(&f.runtime, &lost).await;
    let old = f.sandbox("pod").await;
    let new = f.sandbox("pod").await;
    let id = f.start(&new, f.config(&["sleep", "1000"])).await;
    let before = f.runtime.container_status(&id).await.unwrap();
    f.runtime.remove_sandbox(&old).await.unwrap();
    let second = f.reopen().await;
    second.remove_sandbox(&dead).await.unwrap();
    let got = second.exec_sync(&id, &["true".into()], None).await.unwrap();
    assert_eq!(got.exit_code, 0);
    assert_eq!(second.container_status(&id).await.unwrap(), before);
    second.remove_sandbox(&new).await.unwrap();
}

/// All processes and mounts are gone, the files are still there.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_pods_are_listed_as_over_and_can_be_removed() {
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("boot").await;
    let id = f.start(&sandbox, f.config(&["sleep", "1000"])).await;
    // A second state directory that looks like the first after a reboot.
    let shim = f.runtime.sandbox_status(&sandbox).await.unwrap().pid.unwrap();
    let state = f.dir.path().join("state").join(&sandbox);
    kill(shim);
    exited(&f.runtime, &id).await;
    let _ = std::fs::remove_file(state.join(format!("containers/{id}/exit.json")));
    Cgroups::detect().unwrap().remove(&f.cgroup).unwrap();
    std::fs::write(f.dir.path().join("state/.keep"), "").unwrap();
    std::fs::create_dir(f.dir.path().join("state/torn")).unwrap();

    let second = f.reopen().await;
    assert_eq!(second.list_sandboxes().await.unwrap().len(), 1);
    assert_eq!(second.sandbox_status(&sandbox).await.unwrap().state, SandboxState::NotReady);
    assert_eq!(exited(&second, &id).await.reason, "Unknown");
    assert!(!f.dir.path().join("state/torn").exists());
    second.remove_sandbox(&sandbox).await.unwrap();
    assert!(!state.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn shims_live_outside_of_the_daemons_session_and_cgroup() {
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("apart").await;
    let shim = f.runtime.sandbox_status(&sandbox).await.unwrap().pid.unwrap();
    let cgroup = std::fs::read_to_string(format!("/proc/{shim}/cgroup")).unwrap();
    let shims = format!("{}/shims", f.cgroup);
    assert!(cgroup.lines().all(|l| l.ends_with(&shims)), "{cgroup}");
    let stat = std::fs::read_to_string(format!("/proc/{shim}/stat")).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().to_string();
    assert_eq!(session, shim.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_can_share_processes() {
    let Some(f) = Fixture::new().await else { return };
    let mut config = f.sandbox_config("shared");
    config.pid = PidMode::Pod;
    let sandbox = f.runtime.run_sandbox(config).await.unwrap();
    let first = f.start(&sandbox, f.config(&["sleep", "1234"])).await;
    let mut config = f.config(&["sh", "-c", "ps; ls /proc/1/root/ 2>&1 | head -1"]);
    config.log_path = Some(f.dir.path().join("logs/second.log"));
    let second = f.start(&sandbox, config).await;
    exited(&f.runtime, &second).await;
    let text = output(&f.dir.path().join("logs/second.log"));
    assert!(text.contains("sleep 1234") && text.contains("pause"), "{text}");
    f.runtime.stop_sandbox(&sandbox).await.unwrap();
    assert_eq!(exited(&f.runtime, &first).await.code, 137);

    let sandbox = f.sandbox("own").await;
    let (target, mut config) =
        (f.start(&sandbox, f.config(&["sleep", "4321"])).await, f.config(&["ps"]));
    config.pid = Some(PidMode::Target(target));
    config.log_path = Some(f.dir.path().join("logs/target.log"));
    let id = f.start(&sandbox, config).await;
    exited(&f.runtime, &id).await;
    assert!(output(&f.dir.path().join("logs/target.log")).contains("sleep 4321"));
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// As after a daemon that was killed between the start of a shim and its first word to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_nobody_greets_ends() {
    let Some(f) = Fixture::new().await else { return };
    let dir = f.dir.path().join("state/lonely");
    std::fs::create_dir_all(dir.join("containers")).unwrap();
    let sandbox = SandboxConfig { pid: PidMode::Pod, ..f.sandbox_config("lonely") };
    let cgroups = Cgroups::detect().unwrap();
    cgroups.create(&sandbox.cgroup_parent).unwrap();
    let pause = format!("{}/pause-lonely", sandbox.cgroup_parent);
    let config = serde_json::json!({ "sandbox": sandbox, "patience_ms": 200,
        "shim_cgroup": format!("{}/shims", f.cgroup) });
    std::fs::write(dir.join("shim.json"), config.to_string()).unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_timonier-shim"))
        .arg("__shim")
        .arg(&dir)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let pid: i32 = text.strip_prefix("ready ").unwrap_or_else(|| panic!("{text}")).parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let options = rustix::process::WaitOptions::NOHANG;
    until(async || rustix::process::waitpid(Some(pid), options).unwrap().is_some()).await;
    assert!(!cgroups.exists(&pause), "the pause process's cgroup is left");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("state/lonely/shm"), "{mounts}");
}
