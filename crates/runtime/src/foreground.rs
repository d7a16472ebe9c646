//! One isolated command in the foreground, for the steps of an image build.
//!
//! The binary executes itself anew, because a process may only be prepared in one that has a
//! single thread. That helper ends the command when it loses its parent.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio as Redirect;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::Command;

use crate::cgroup::Cgroups;
use crate::error::{Context, Error, Result};
use crate::executable::Executable;
use crate::init::{Job, PidNamespace, Plan, Report, Stdio, devices, launch};
use crate::seccomp;
use crate::shim::{setup, wire};
use crate::spec::{ContainerConfig, Mount, Resources, Rootfs, Security};

/// What to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Foreground {
    /// Used as it is, and written to.
    pub rootfs: PathBuf,
    pub argv: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub security: Security,
    pub mounts: Vec<Mount>,
    pub resources: Resources,
    /// The host's network; otherwise an empty one with a loopback interface.
    pub host_network: bool,
    pub hostname: String,
    /// The command's own cgroup, made and removed around it.
    pub cgroup: String,
    /// An empty directory for the run's own files; it is not removed.
    pub scratch: PathBuf,
}

/// What the helper reads: the command and its compiled filter.
#[derive(Serialize, Deserialize)]
struct Order {
    run: Foreground,
    filter: Option<Vec<u8>>,
}

/// Kills the command and removes its cgroup, also when the future is dropped half-way.
struct Cleanup {
    cgroups: Cgroups,
    cgroup: String,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // In place: a process that ended before a thread of its own had done it would leave it.
        let _ = self.cgroups.remove(&self.cgroup);
    }
}

/// Runs a command to its end and copies what it prints (both streams, in order) to `output`.
/// Returns its exit code, 128 + signal when killed.
///
/// `executable` is the program that calls [`crate::reexec_main`] first thing, usually
/// `/proc/self/exe`.
pub async fn run_foreground(
    executable: &Path,
    run: Foreground,
    output: &mut (dyn AsyncWrite + Send + Unpin),
) -> Result<i32> {
    let filter = seccomp::program(&run.security)?;
    let cgroups = Cgroups::detect().context(|| "find cgroups".into())?;
    let rules = devices::rules_of(&run.security, &[]).map_err(Error::Invalid)?;
    let cleanup = Cleanup { cgroups: cgroups.clone(), cgroup: run.cgroup.clone() };
    fs::create_dir_all(run.scratch.join("rootfs"))
        .and_then(|()| cgroups.create(&run.cgroup))
        .and_then(|()| cgroups.apply(&run.cgroup, &run.resources))
        .and_then(|()| cgroups.restrict_devices(&run.cgroup, &rules))
        .context(|| "prepare the command".into())?;
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .context(|| "make a pipe".into())?;
    let again = writer.try_clone().context(|| "make a pipe".into())?;
    let executable =
        Executable::open(executable).context(|| "prepare the helper's program".into())?;
    let mut child = Command::new(executable.path())
        .arg0("timonier-run")
        .arg(crate::RUN_COMMAND)
        .arg("-")
        .current_dir("/")
        .env_clear()
        .stdin(Redirect::piped())
        .stdout(Redirect::from(writer))
        .stderr(Redirect::from(again))
        .kill_on_drop(true)
        .spawn()
        .context(|| "start the command's helper".into())?;
    let order = serde_json::to_vec(&Order { run, filter }).context(|| "write the order".into())?;
    let mut stdin = child.stdin.take();
    if let Some(stdin) = &mut stdin {
        let length = (order.len() as u64).to_le_bytes();
        stdin.write_all(&length).await.context(|| "order the command".into())?;
        stdin.write_all(&order).await.context(|| "order the command".into())?;
    }
    let mut reader = tokio::net::unix::pipe::Receiver::from_owned_fd(reader)
        .context(|| "read the command's output".into())?;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = reader.read(&mut buffer).await.context(|| "read the command's output".into())?;
        if n == 0 {
            break;
        }
        output.write_all(&buffer[..n]).await.context(|| "write the command's output".into())?;
    }
    let status = child.wait().await.context(|| "wait for the command".into())?;
    drop(stdin);
    // Not on a worker: the kernel may take some milliseconds.
    let _ = tokio::task::spawn_blocking(move || drop(cleanup)).await;
    status.code().ok_or_else(|| Error::Start("the command's helper was killed".into()))
}

/// The helper's life; returns its exit code.
pub fn main() -> i32 {
    match carry_out() {
        Ok(code) => code,
        Err(text) => {
            eprintln!("{text}");
            125
        }
    }
}

fn carry_out() -> std::result::Result<i32, String> {
    let order = read_order().map_err(|e| format!("read the order: {e}"))?;
    let run = order.run;
    isolate(&run)?;
    let cgroups = Cgroups::detect().map_err(|e| e.to_string())?;
    let config = ContainerConfig {
        argv: run.argv,
        env: run.env,
        cwd: run.cwd,
        security: run.security,
        mounts: run.mounts,
        rootfs: Rootfs::Directory(run.rootfs),
        ..ContainerConfig::default()
    };
    let plan = Plan { config, cgroup: run.cgroup, dir: run.scratch, shm: None, mqueue: true };
    let stdio = streams().map_err(|e| format!("open streams: {e}"))?;
    let children = setup::child_signals().map_err(|e| e.to_string())?;
    let (sync, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|e| e.to_string())?;
    let job = Job::Container { plan: &plan, pid: PidNamespace::New };
    launch(&cgroups, &job, &stdio, order.filter.as_deref(), &theirs).map_err(|e| e.to_string())?;
    drop((theirs, stdio));
    let pid = started(&sync)?;
    wait(pid, &children, &cgroups, &plan.cgroup)
}

fn read_order() -> io::Result<Order> {
    let mut stdin = io::stdin().lock();
    let mut length = [0; 8];
    stdin.read_exact(&mut length)?;
    let mut bytes = Vec::new();
    stdin.take(u64::from_le_bytes(length)).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn isolate(run: &Foreground) -> std::result::Result<(), String> {
    let mut flags = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if !run.host_network {
        flags |= libc::CLONE_NEWNET;
    }
    // SAFETY: a plain system call in a single-threaded process.
    if unsafe { libc::unshare(flags) } < 0 {
        return Err(format!("unshare: {}", io::Error::last_os_error()));
    }
    if !run.hostname.is_empty() {
        rustix::system::sethostname(run.hostname.as_bytes()).map_err(|e| e.to_string())?;
    }
    if !run.host_network {
        loopback_up().map_err(|e| format!("bring the loopback interface up: {e}"))?;
    }
    Ok(())
}

fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: the request is initialised and lives across the calls, which read and write it.
    unsafe {
        let mut request = std::mem::zeroed::<libc::ifreq>();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn streams() -> io::Result<Stdio> {
    let copy = |fd: std::os::fd::BorrowedFd| fd.try_clone_to_owned();
    Ok(Stdio::Pipes {
        stdin: fs::File::open("/dev/null")?.into(),
        stdout: copy(io::stdout().as_fd())?,
        stderr: copy(io::stderr().as_fd())?,
    })
}

fn started(sync: &OwnedFd) -> std::result::Result<i32, String> {
    let (mut pid, mut buffer) = (None, Vec::new());
    loop {
        match wire::receive::<Report>(sync, &mut buffer) {
            Ok(Some((Report::Pid(number), _))) => pid = Some(number),
            Ok(Some((Report::Terminal, _))) => {}
            Ok(Some((Report::Failed(text), _))) => return Err(text),
            Ok(None) => return pid.ok_or_else(|| "the command died while starting".into()),
            Err(e) => return Err(e.to_string()),
        }
    }
}

/// Waits for the command, or for the loss of the parent, whose pipe is the standard input.
fn wait(
    pid: i32,
    children: &OwnedFd,
    cgroups: &Cgroups,
    cgroup: &str,
) -> std::result::Result<i32, String> {
    let stdin = io::stdin();
    loop {
        let mut status = 0;
        // SAFETY: asks without waiting; other children (the helper of the start) are collected by
        // the end of this process.
        let ended = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
        if ended == pid {
            cgroups.kill(cgroup);
            return Ok(if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            });
        }
        let mut fds = [
            PollFd::from_borrowed_fd(children.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
        ];
        let _ = poll(&mut fds, None);
        if !fds[1].revents().is_empty() {
            cgroups.kill(cgroup);
            return Err("the builder is gone".into());
        }
        let mut info = [0u8; 1024];
        while rustix::io::read(children, &mut info[..]).is_ok_and(|n| n > 0) {}
    }
}
