//! How `RUN` of a Dockerfile runs: an isolated container over the layers so far.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result};
use async_trait::async_trait;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use timonier_oci::overlay::{self, Upper};
use timonier_oci::{Error, MountKind, NetworkMode, OutputFn, RunMount, RunStep, Runner};
use timonier_runtime::{Cgroups, Foreground, Mount, MountSource, Security, User, run_foreground};
use tokio::io::AsyncWrite;

use crate::builds::Builds;
use crate::cluster::Paths;

/// Runs steps with the embedded runtime.
pub struct ContainerRunner {
    cgroup: String,
}

/// What a step with a network sees of the host's name resolution.
const RESOLVER_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

impl ContainerRunner {
    /// Gives this process mounts of its own, so that those of a build vanish with it however it
    /// ends, and clears away what killed builds into this data directory left. Must be called
    /// before the process has threads.
    pub fn prepare(paths: &Paths) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS).context("a build needs root: it mounts layers")?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .context("separate this build's mounts from the host's")?;
        let builds = Builds::of(paths);
        let cgroups = Cgroups::detect().context("find cgroups")?;
        builds.sweep(&cgroups).context("remove the cgroups of earlier builds")?;
        Ok(ContainerRunner { cgroup: builds.own().context("name the build's cgroup")? })
    }
}

#[async_trait]
impl Runner for ContainerRunner {
    async fn run(&self, step: RunStep, output: OutputFn<'_>) -> timonier_oci::Result<i32> {
        let scratch = step.work_dir.with_extension("run");
        let result = run(&step, &self.cgroup, &scratch, output).await;
        // The directory may hold an empty mount point; a failure to remove it harms nobody,
        // because the store clears what an operation left.
        let _ = fs::remove_dir_all(&scratch);
        result.map_err(|error| Error::Invalid(format!("{error:#}")))
    }
}

async fn run(step: &RunStep, cgroup: &str, scratch: &Path, output: OutputFn<'_>) -> Result<i32> {
    let rootfs = Rootfs::mount(step, scratch)?;
    let host_network = step.network != NetworkMode::None;
    let mut mounts: Vec<Mount> = step.mounts.iter().map(mount_of).collect();
    if host_network {
        for file in RESOLVER_FILES.into_iter().filter(|f| Path::new(f).exists()) {
            mounts.push(Mount::bind(file, file).readonly());
        }
    }
    let run = Foreground {
        rootfs: rootfs.0.clone(),
        argv: step.argv.clone(),
        env: step.env.clone(),
        cwd: step.cwd.clone(),
        security: Security {
            user: User {
                uid: Some(step.user.uid),
                gid: Some(step.user.gid),
                supplementary: step.user.groups.clone(),
                strict_groups: true,
                ..User::default()
            },
            ..Security::default()
        },
        mounts,
        resources: Default::default(),
        host_network,
        hostname: "build".into(),
        cgroup: cgroup.into(),
        scratch: scratch.join("own"),
    };
    fs::create_dir_all(&run.scratch)?;
    let mut sink = Sink(output);
    let code = run_foreground(Path::new("/proc/self/exe"), run, &mut sink).await?;
    drop(rootfs);
    Ok(code)
}

fn mount_of(mount: &RunMount) -> Mount {
    let source = match &mount.kind {
        MountKind::Bind { source } => MountSource::Bind(source.clone()),
        MountKind::Tmpfs { size } => MountSource::Tmpfs { size: *size, mode: 0o1777 },
    };
    let mut out = Mount::bind("/", &mount.target);
    out.source = source;
    out.readonly = mount.read_only;
    out
}

/// The layers, mounted; unmounted with the value.
struct Rootfs(PathBuf);

impl Rootfs {
    fn mount(step: &RunStep, scratch: &Path) -> Result<Self> {
        let target = scratch.join("merged");
        fs::create_dir_all(&target)?;
        let upper = Upper { upper: &step.upper_dir, work: &step.work_dir };
        let overlay = overlay::mount(&step.lower_dirs, upper)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(overlay.as_fd(), "", rustix::fs::CWD, &target, flags)
            .with_context(|| format!("mount the layers at {}", target.display()))?;
        Ok(Rootfs(target))
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            tracing::warn!("unmount {}: {error}", self.0.display());
        }
    }
}

/// Passes what the command prints to the builder.
struct Sink<'a>(OutputFn<'a>);

impl AsyncWrite for Sink<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        (self.0)(false, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
