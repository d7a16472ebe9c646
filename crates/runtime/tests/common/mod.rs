//! A runtime in a temporary directory with a root file system of one static busybox, and nothing
//! left behind afterwards.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use timonier_runtime::*;

pub struct Fixture {
    pub runtime: EmbeddedRuntime,
    pub dir: tempfile::TempDir,
    pub cgroup: String,
}

const APPLETS: [&str; 30] = [
    "sh", "true", "false", "sleep", "cat", "echo", "id", "ls", "mount", "umount", "mkdir", "rm",
    "env", "head", "tail", "dd", "grep", "kill", "ps", "stty", "tty", "hostname", "pwd", "touch",
    "nc", "wc", "mknod", "unshare", "chmod", "df",
];

impl Fixture {
    /// `None`, with a message, where containers cannot be run.
    pub async fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let busybox = fs::read("/bin/busybox").or_else(|_| fs::read("/usr/bin/busybox"));
        let Ok(busybox) = busybox else {
            eprintln!("skipped: needs Debian's busybox-static");
            return None;
        };
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/timonier-test-{}-{number}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        layer(&dir.path().join("layer"), &busybox);
        let runtime = open(dir.path(), &cgroup).await;
        Some(Self { runtime, dir, cgroup })
    }

    /// A second daemon on the same state, as after a restart.
    pub async fn reopen(&self) -> EmbeddedRuntime {
        open(self.dir.path(), &self.cgroup).await
    }

    pub fn sandbox_config(&self, name: &str) -> SandboxConfig {
        SandboxConfig {
            name: name.into(),
            namespace: "default".into(),
            uid: format!("uid-{name}"),
            cgroup_parent: format!("{}/pod-{name}", self.cgroup),
            ..SandboxConfig::default()
        }
    }

    pub async fn sandbox(&self, name: &str) -> String {
        self.runtime.run_sandbox(self.sandbox_config(name)).await.unwrap()
    }

    pub fn config(&self, argv: &[&str]) -> ContainerConfig {
        ContainerConfig {
            name: "main".into(),
            argv: argv.iter().map(|s| s.to_string()).collect(),
            env: vec!["PATH=/bin".into()],
            rootfs: Rootfs::Overlay { lower_dirs: vec![self.dir.path().join("layer")] },
            log_path: Some(self.log_path()),
            ..ContainerConfig::default()
        }
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("logs/0.log")
    }

    /// Creates and starts a container.
    pub async fn start(&self, sandbox: &str, config: ContainerConfig) -> String {
        let id = self.runtime.create_container(sandbox, config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    /// Runs a shell script to its end in a new pod; its exit and its standard output.
    pub async fn script(
        &self,
        text: &str,
        change: impl FnOnce(&mut ContainerConfig),
    ) -> (Exit, String) {
        let name = format!("s{}", fresh());
        let sandbox = self.sandbox(&name).await;
        let mut config = self.config(&["sh", "-c", text]);
        config.log_path = Some(self.dir.path().join(format!("logs/{name}.log")));
        change(&mut config);
        let log = config.log_path.clone().unwrap();
        let id = self.start(&sandbox, config).await;
        let exit = exited(&self.runtime, &id).await;
        let output = output(&log);
        self.runtime.remove_sandbox(&sandbox).await.unwrap();
        (exit, output)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let cgroups = Cgroups::detect().unwrap();
        let _ = cgroups.remove(&self.cgroup);
        let state = self.dir.path().join("state");
        for entry in fs::read_dir(&state).into_iter().flatten().flatten() {
            let point = entry.path().join("shm");
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
        assert!(!cgroups.exists(&self.cgroup), "cgroup {} is left", self.cgroup);
    }
}

pub fn fresh() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

async fn open(dir: &Path, cgroup: &str) -> EmbeddedRuntime {
    let config = Config {
        state_dir: dir.join("state"),
        executable: env!("CARGO_BIN_EXE_timonier-shim").into(),
        shim_cgroup: format!("{cgroup}/shims"),
    };
    EmbeddedRuntime::open(config).await.unwrap()
}

fn layer(dir: &Path, busybox: &[u8]) {
    for name in ["bin", "etc", "tmp", "root"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::write(dir.join("bin/busybox"), busybox).unwrap();
    fs::set_permissions(dir.join("bin/busybox"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(dir.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    for applet in APPLETS {
        symlink("busybox", dir.join("bin").join(applet)).unwrap();
    }
    fs::write(dir.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/tmp:/bin/sh\n")
        .unwrap();
    fs::write(dir.join("etc/group"), "root:x:0:\nweb:x:1001:\nlog:x:4:web\n").unwrap();
}

/// Waits for a container's end.
pub async fn exited(runtime: &EmbeddedRuntime, id: &str) -> Exit {
    let mut found = None;
    until(async || {
        if let ContainerState::Exited { exit, .. } =
            runtime.container_status(id).await.unwrap().state
        {
            found = Some(exit);
        }
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// Asks again and again; a test that waits for nothing fails here.
pub async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The text of a log's standard output.
pub fn output(log: &Path) -> String {
    records(log).into_iter().filter(|r| r.0 == "stdout").map(|r| r.2).collect::<Vec<_>>().join("\n")
}

/// Stream, tag and text of every record.
pub fn records(log: &Path) -> Vec<(String, String, String)> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .map(|line| {
            let mut parts = line.splitn(4, ' ').skip(1).map(String::from);
            (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or_default())
        })
        .collect()
}
