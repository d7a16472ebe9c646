//! Isolated commands in the foreground, as image builds run them.

mod common;

use std::path::Path;

use common::Fixture;
use timonier_runtime::*;
use tokio::io::AsyncReadExt;

fn run(f: &Fixture, name: &str, script: &str) -> Foreground {
    let root = f.dir.path().join(name);
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(f.dir.path().join("layer"))
        .arg(&root)
        .status()
        .unwrap();
    assert!(copied.success());
    Foreground {
        rootfs: root,
        argv: ["sh", "-c", script].map(String::from).to_vec(),
        env: vec!["PATH=/bin".into(), "STEP=3".into()],
        cwd: "/src".into(),
        security: Security::default(),
        mounts: Vec::new(),
        resources: Resources::default(),
        host_network: false,
        hostname: "build".into(),
        cgroup: format!("{}/build-{name}", f.cgroup),
        scratch: f.dir.path().join(format!("{name}-scratch")),
    }
}

fn executable() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_timonier-shim"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_changes_its_root_and_streams_its_output() {
    let Some(f) = Fixture::new().await else { return };
    let script = "echo $STEP $(pwd) $(hostname); ls /sys/class/net; echo x > made; echo oops >&2;
        grep Seccomp: /proc/self/status; exit 4";
    let order = run(&f, "step", script);
    let made = order.rootfs.join("src/made");
    let cgroup = order.cgroup.clone();
    let mut output = Vec::new();
    let code = run_foreground(executable(), order, &mut output).await.unwrap();
    assert_eq!(code, 4);
    let text = String::from_utf8(output).unwrap();
    assert_eq!(text, "3 /src build\nlo\noops\nSeccomp:\t2\n");
    assert_eq!(std::fs::read_to_string(made).unwrap(), "x\n");
    assert!(!Cgroups::detect().unwrap().exists(&cgroup), "it goes with the step");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_cannot_start_says_why() {
    let Some(f) = Fixture::new().await else { return };
    let mut order = run(&f, "bad", "");
    order.argv = vec!["/bin/nothing".into()];
    let mut output = Vec::new();
    let code = run_foreground(executable(), order, &mut output).await.unwrap();
    assert_eq!(code, 125);
    let text = String::from_utf8(output).unwrap();
    assert!(text.contains("stat /bin/nothing: no such file or directory"), "{text}");
}

/// What a step could overwrite through `/proc/self/exe` would be the host's program.
#[tokio::test(flavor = "multi_thread")]
async fn the_helper_runs_from_a_read_only_mount() {
    let Some(f) = Fixture::new().await else { return };
    let order = run(&f, "helper", "echo up; sleep 1000");
    let cgroup = order.cgroup.clone();
    let (mut seen, mut output) = tokio::io::duplex(64);
    let mut text = [0; 3];
    let check = async {
        seen.read_exact(&mut text).await.unwrap();
        let pid = Cgroups::detect().unwrap().processes(&cgroup)[0];
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status.lines().find_map(|l| l.strip_prefix("PPid:\t")).unwrap();
        let command = std::fs::read_to_string(format!("/proc/{parent}/cmdline")).unwrap();
        assert!(command.starts_with("timonier-run"), "{command}");
        let program = std::fs::File::open(format!("/proc/{parent}/exe")).unwrap();
        let mount = rustix::fs::fstatvfs(&program).unwrap().f_flag;
        assert!(mount.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{mount:?}");
    };
    tokio::select! {
        code = run_foreground(executable(), order, &mut output) => panic!("ended: {code:?}"),
        () = check => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_step_kills_it() {
    let Some(f) = Fixture::new().await else { return };
    let order = run(&f, "drop", "echo up; sleep 1000");
    let cgroup = order.cgroup.clone();
    let cgroups = Cgroups::detect().unwrap();
    let (mut seen, mut output) = tokio::io::duplex(64);
    let mut text = [0; 3];
    tokio::select! {
        code = run_foreground(executable(), order, &mut output) => panic!("ended: {code:?}"),
        read = seen.read_exact(&mut text) => drop(read.unwrap()),
    }
    assert_eq!(&text, b"up\n");
    assert!(!cgroups.exists(&cgroup), "it goes with the step");
}
