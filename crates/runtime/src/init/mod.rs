//! How a child of the shim becomes a container's first process, or a command inside one.
//!
//! ```text
//! shim ──fork──► helper: joins the cgroup and the PID namespace
//!                  └──clone as the shim's child──► the process: mounts, identity, filter, execve
//! ```
//!
//! Both run only in single-threaded processes: after a fork of a threaded one, taking any lock (an
//! allocation is enough) may hang for ever. A socket pair reports back; it closes on `execve`, so
//! that its end means success.

pub mod capabilities;
mod descriptors;
pub mod devices;
mod directory;
pub mod mounts;
mod process;
mod rootfs;
mod terminal;
mod user;

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroups, fork_into};
use crate::spec::ContainerConfig;

pub use process::ProcessSpec;

/// What a container's first process needs to know; written to the container's directory, so that
/// commands run later find it too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub config: ContainerConfig,
    /// Absolute path of the container's cgroup below every hierarchy.
    pub cgroup: String,
    /// Holds `rootfs` (a mount point), `upper` and `work`.
    pub dir: PathBuf,
    /// The pod's `/dev/shm`.
    pub shm: Option<PathBuf>,
    /// Whether `/dev/mqueue` can be mounted (not with the host's IPC namespace).
    pub mqueue: bool,
}

/// Standard streams of the new process.
pub enum Stdio {
    Pipes {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// A terminal made inside the container; its other end comes back with [`Report::Terminal`].
    Terminal,
}

/// Which process IDs the new process sees.
pub enum PidNamespace {
    New,
    /// That of the shim.
    Inherit,
    /// A PID namespace file.
    Join(OwnedFd),
}

/// What to start.
pub enum Job<'a> {
    Container {
        plan: &'a Plan,
        pid: PidNamespace,
    },
    /// `init` is a pidfd of the container's first process.
    Exec {
        plan: &'a Plan,
        init: BorrowedFd<'a>,
        process: &'a ProcessSpec,
    },
}

impl Stdio {
    fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let fds = match self {
            Stdio::Pipes { stdin, stdout, stderr } => Some([stdin, stdout, stderr]),
            Stdio::Terminal => None,
        };
        fds.into_iter().flatten().map(AsFd::as_fd)
    }
}

impl Job<'_> {
    /// What the new process itself still needs.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Job::Exec { init, .. } => Some(*init),
            Job::Container { .. } => None,
        }
    }
}

/// What the child says. The end of the stream without [`Report::Failed`] is success.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum Report {
    Pid(i32),
    /// With one descriptor.
    Terminal,
    Failed(String),
}

/// Failures inside the child are texts for the user.
type Outcome<T> = Result<T, String>;

trait Explain<T> {
    fn explain(self, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: Into<io::Error>> Explain<T> for Result<T, E> {
    fn explain(self, what: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|e| format!("{}: {}", what(), plain(&e.into())))
    }
}

/// The system's text without Rust's ` (os error 2)`, in lower case like other runtimes write it.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// Starts a job from a single-threaded process. The child reports on `sync`.
pub fn launch(
    cgroups: &Cgroups,
    job: &Job,
    stdio: &Stdio,
    filter: Option<&[u8]>,
    sync: &OwnedFd,
) -> io::Result<i32> {
    // SAFETY: the caller has one thread, so that the child may allocate and take locks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            if let Err(text) = helper(cgroups, job, stdio, filter, sync) {
                send(sync, &Report::Failed(text), None);
            }
            // SAFETY: leaves without running destructors that belong to the parent.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(pid),
    }
}

/// Joins what must be joined before a process exists, then makes the process and goes.
fn helper(
    cgroups: &Cgroups,
    job: &Job,
    stdio: &Stdio,
    filter: Option<&[u8]>,
    sync: &OwnedFd,
) -> Outcome<()> {
    let plan = match job {
        Job::Container { plan, .. } | Job::Exec { plan, .. } => plan,
    };
    if let Some(score) = plan.config.oom_score_adj {
        // Lowering it needs CAP_SYS_RESOURCE, which nested hosts may not have.
        let written = fs::write("/proc/self/oom_score_adj", score.to_string());
        if score >= 0 {
            written.explain(|| format!("set oom_score_adj to {score}"))?;
        }
    }
    let group = cgroups.join(&plan.cgroup).explain(|| "join the container's cgroup".into())?;
    match job {
        Job::Container { pid, .. } => enter_pid_namespace(pid)?,
        Job::Exec { init, .. } => enter_container(init)?,
    }
    // The new process is a sibling, so that the shim reaps it.
    match fork_into(group.as_ref()).explain(|| "clone".into())? {
        0 => {
            let text = match become_process(cgroups, job, stdio, filter, sync) {
                Ok(never) => match never {},
                Err(text) => text,
            };
            send(sync, &Report::Failed(text), None);
            // SAFETY: as above.
            unsafe { libc::_exit(128) }
        }
        pid => {
            send(sync, &Report::Pid(pid), None);
            Ok(())
        }
    }
}

fn enter_pid_namespace(pid: &PidNamespace) -> Outcome<()> {
    // SAFETY: plain system calls on a descriptor that we own.
    let result = match pid {
        PidNamespace::Inherit => return Ok(()),
        PidNamespace::New => unsafe { libc::unshare(libc::CLONE_NEWPID) },
        PidNamespace::Join(ns) => unsafe { libc::setns(ns.as_raw_fd(), libc::CLONE_NEWPID) },
    };
    check(result).explain(|| "enter the PID namespace".into())
}

/// Joins mounts and process IDs of a running container; the shim is in its other namespaces
/// already.
fn enter_container(init: &BorrowedFd) -> Outcome<()> {
    join(init, libc::CLONE_NEWNS | libc::CLONE_NEWPID)
}

fn join(init: &BorrowedFd, flags: libc::c_int) -> Outcome<()> {
    // SAFETY: a plain system call on a borrowed descriptor.
    check(unsafe { libc::setns(init.as_raw_fd(), flags) })
        .explain(|| "enter the container's namespaces".into())
}

/// Runs in the new process and ends in `execve`.
fn become_process(
    cgroups: &Cgroups,
    job: &Job,
    stdio: &Stdio,
    filter: Option<&[u8]>,
    sync: &OwnedFd,
) -> Outcome<std::convert::Infallible> {
    // What the shim holds of the host (its cgroup, sockets, logs of others) must be gone before
    // the first path that a user chose is looked at: `/proc/self/fd/8/../..` would lead out.
    let kept =
        [Some(sync.as_fd()), job.descriptor()].into_iter().flatten().chain(stdio.descriptors());
    descriptors::close_all_but(kept).explain(|| "close descriptors".into())?;
    rustix::process::setsid().explain(|| "setsid".into())?;
    // Nobody in a shared PID namespace may look into this process before it is the container's.
    // SAFETY: plain system calls.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::umask(0o022);
    }
    let spec;
    let process = match job {
        Job::Container { plan, .. } => {
            rootfs::enter(plan, cgroups)?;
            spec = ProcessSpec::of_container(&plan.config);
            &spec
        }
        Job::Exec { process, init, .. } => {
            // Only now: where cgroup namespaces are borders of delegation (systemd mounts them so),
            // nobody inside may be put into the group from outside.
            join(init, libc::CLONE_NEWCGROUP)?;
            *process
        }
    };
    match stdio {
        Stdio::Pipes { stdin, stdout, stderr } => {
            for (fd, to) in [(stdin, 0), (stdout, 1), (stderr, 2)] {
                terminal::duplicate(fd.as_fd(), to)?;
            }
        }
        Stdio::Terminal => {
            let master = terminal::open(matches!(job, Job::Container { .. }))?;
            send(sync, &Report::Terminal, Some(master.as_fd()));
        }
    }
    descriptors::close_all_but([sync.as_fd()]).explain(|| "close descriptors".into())?;
    if let Job::Container { plan, .. } = job {
        rootfs::seal(plan)?;
    }
    process::execute(process, filter)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Best effort: when the shim is gone nobody wants to know.
fn send(sync: &OwnedFd, report: &Report, fd: Option<BorrowedFd>) {
    let bytes = serde_json::to_vec(report).unwrap_or_default();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|f| [f]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let _ = sendmsg(sync, &[io::IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
}
