//! What the daemon asks for.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::SystemTime;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_send_signal};

use super::log::Log;
use super::protocol::{Answer, Call, Known, Message, Request, VERSION};
use super::streams::{Attachment, Sink, Streams};
use super::{Container, Kind, Shim, Starting};
use crate::files;
use crate::init::{Job, PidNamespace, Plan, ProcessSpec, Stdio, launch};
use crate::owned;
use crate::spec::PidMode;

/// What a call leads to at once; `None` when the reply comes later.
type Reply = Result<Option<(Answer, Vec<OwnedFd>)>, String>;

impl Shim {
    pub(super) fn call(&mut self, client: u64, request: Request, fds: Vec<OwnedFd>) {
        let id = request.id;
        let (result, fds) = match self.carry_out(client, request, fds) {
            Ok(None) => return,
            Ok(Some((answer, fds))) => (Ok(answer), fds),
            Err(text) => (Err(text), Vec::new()),
        };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.send(client, &Message::Reply { id, result }, &fds);
    }

    fn carry_out(&mut self, client: u64, request: Request, fds: Vec<OwnedFd>) -> Reply {
        let done = || Ok(Some((Answer::Done, Vec::new())));
        match request.call {
            Call::Hello { version } => self.hello(version),
            Call::Start { container } => self.start(client, request.id, &container).map(|()| None),
            Call::Signal { container, signal, all } => {
                self.signal(&container, signal, all)?;
                done()
            }
            Call::Exec { exec, container, process } => {
                self.exec(client, request.id, exec, &container, &process, fds).map(|()| None)
            }
            Call::SignalExec { exec, signal } => {
                if let Some(exec) = self.execs.get(&exec) {
                    // SAFETY: the process was not reaped yet, so that its number is its own.
                    unsafe { libc::kill(exec.pid, signal) };
                }
                done()
            }
            Call::Attach { container, stdin, stdout, stderr } => {
                self.attach(&container, [stdin, stdout, stderr], fds)?;
                done()
            }
            Call::Resize { container, size } => {
                let terminal = self.running(&container)?.streams.as_ref();
                if let Some(terminal) = terminal.and_then(|s| s.terminal.as_ref()) {
                    files::resize(terminal.as_fd(), size);
                }
                done()
            }
            Call::ReopenLog { container } => {
                if let Some(streams) = self.running(&container)?.streams.as_mut() {
                    streams.log.reopen().map_err(|e| format!("reopen the log: {e}"))?;
                }
                done()
            }
            Call::Delete { container } => {
                if self.containers.get(&container).is_some_and(|c| c.exit.is_none()) {
                    return Err("the container is running".into());
                }
                self.containers.remove(&container);
                done()
            }
            Call::Sockets => sockets(),
            Call::Stop => {
                self.stopping = Some((client, request.id));
                for cgroup in self.own_cgroups() {
                    self.cgroups.kill(&cgroup);
                }
                Ok(None)
            }
        }
    }

    fn hello(&mut self, version: u32) -> Reply {
        if version < 1 {
            return Err(format!("protocol version {version} is not understood"));
        }
        self.lonely_until = None;
        let containers = self.containers.iter().map(|(id, c)| Known {
            container: id.clone(),
            pid: c.pid,
            started_at: c.started_at,
            exit: c.exit.clone(),
        });
        let pid = std::process::id() as i32;
        let containers = containers.collect();
        Ok(Some((Answer::Hello { version: VERSION, pid, containers }, Vec::new())))
    }

    fn start(&mut self, client: u64, request: u64, id: &str) -> Result<(), String> {
        if self.containers.contains_key(id) || self.stopping.is_some() {
            return Err("the container was started before, or the pod is stopping".into());
        }
        let dir = self.container_dir(id);
        let plan: Plan = files::read_json(&dir.join("plan.json")).map_err(|e| e.to_string())?;
        let filter = read_filter(&dir)?;
        let log =
            Log::open(plan.config.log_path.clone()).map_err(|e| format!("open the log: {e}"))?;
        let mut streams = Streams::new(log, plan.config.stdin_once);
        let stdio = if plan.config.tty {
            Stdio::Terminal
        } else {
            pipes(&mut streams, plan.config.stdin).map_err(|e| format!("make pipes: {e}"))?
        };
        let (pid, own_pids) = self.pid_namespace(&plan)?;
        let (sync, theirs) = sync_pair().map_err(|e| format!("make a socket pair: {e}"))?;
        let job = Job::Container { plan: &plan, pid };
        let helper = launch(&self.cgroups, &job, &stdio, filter.as_deref(), &theirs)
            .map_err(|e| format!("fork: {e}"))?;
        drop(job);
        self.helpers.insert(helper);
        let container = Container {
            plan,
            pid: None,
            pidfd: None,
            started_at: None,
            exit: None,
            streams: Some(streams),
            own_pids,
        };
        self.containers.insert(id.to_string(), container);
        self.expect(client, request, sync, Kind::Container(id.to_string()));
        Ok(())
    }

    fn pid_namespace(&self, plan: &Plan) -> Result<(PidNamespace, bool), String> {
        Ok(match plan.config.pid.as_ref().unwrap_or(&self.config.sandbox.pid) {
            PidMode::Container => (PidNamespace::New, true),
            PidMode::Host => (PidNamespace::Inherit, false),
            PidMode::Pod => {
                let (_, namespace) =
                    self.pause.as_ref().ok_or("the pod shares no PID namespace")?;
                let namespace = namespace.try_clone().map_err(|e| e.to_string())?;
                (PidNamespace::Join(namespace), false)
            }
            PidMode::Target(id) => {
                let pid = self.containers.get(id).filter(|c| c.exit.is_none()).and_then(|c| c.pid);
                let pid = pid.ok_or_else(|| format!("target container {id:?} is not running"))?;
                let namespace = File::open(format!("/proc/{pid}/ns/pid"))
                    .map_err(|e| format!("open the target's PID namespace: {e}"))?;
                (PidNamespace::Join(namespace.into()), false)
            }
        })
    }

    fn signal(&mut self, id: &str, signal: i32, all: bool) -> Result<(), String> {
        let container = self.running(id)?;
        if all {
            let cgroup = container.plan.cgroup.clone();
            self.cgroups.kill(&cgroup);
            return Ok(());
        }
        let Some(pidfd) = &container.pidfd else { return Err("the container is starting".into()) };
        // SAFETY: checked by the kernel; an unknown number is an error.
        let result = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0usize, 0)
        };
        if result < 0 {
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::ESRCH) {
                return Err(format!("send signal {signal}: {error}"));
            }
        }
        Ok(())
    }

    fn exec(
        &mut self,
        client: u64,
        request: u64,
        exec: String,
        id: &str,
        process: &ProcessSpec,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let filter = read_filter(&self.container_dir(id))?;
        let mut fds = fds.into_iter();
        let stdio = match (process.terminal, fds.next(), fds.next(), fds.next()) {
            (true, ..) => Stdio::Terminal,
            (false, Some(stdin), Some(stdout), Some(stderr)) => {
                Stdio::Pipes { stdin, stdout, stderr }
            }
            _ => return Err("descriptors are missing".into()),
        };
        let (sync, theirs) = sync_pair().map_err(|e| format!("make a socket pair: {e}"))?;
        let container = self.containers.get(id).filter(|c| c.exit.is_none());
        let container = container.ok_or("container not running")?;
        let init = container.pidfd.as_ref().ok_or("container not running")?;
        let job = Job::Exec { plan: &container.plan, init: init.as_fd(), process };
        let helper = launch(&self.cgroups, &job, &stdio, filter.as_deref(), &theirs)
            .map_err(|e| format!("fork: {e}"))?;
        self.helpers.insert(helper);
        self.expect(client, request, sync, Kind::Exec(exec));
        Ok(())
    }

    fn expect(&mut self, client: u64, request: u64, sync: OwnedFd, kind: Kind) {
        let id = self.fresh();
        let starting =
            Starting { sync, client, request, kind, pid: None, terminal: None, failure: None };
        self.starting.insert(id, starting);
    }

    fn attach(&mut self, id: &str, wanted: [bool; 3], fds: Vec<OwnedFd>) -> Result<(), String> {
        if fds.len() != wanted.iter().filter(|w| **w).count() {
            return Err("descriptors are missing".into());
        }
        for fd in &fds {
            nonblocking(fd).map_err(|e| e.to_string())?;
        }
        let mut fds = fds.into_iter();
        let [stdin, stdout, stderr] = wanted.map(|w| if w { fds.next() } else { None });
        let streams = self.running(id)?.streams.as_mut().ok_or("container not running")?;
        streams.attach(Attachment {
            stdin,
            stdout: stdout.map(Sink::new),
            stderr: stderr.map(Sink::new),
        });
        Ok(())
    }

    fn running(&mut self, id: &str) -> Result<&mut Container, String> {
        self.containers
            .get_mut(id)
            .filter(|c| c.exit.is_none())
            .ok_or_else(|| "container not running".to_string())
    }

    pub(super) fn own_cgroups(&self) -> Vec<String> {
        owned::all(&self.dir, &self.config.sandbox.cgroup_parent)
    }

    /// Answers whoever asked to stop once everything is gone.
    pub(super) fn finish_stopping(&mut self) {
        let Some((client, id)) = self.stopping else { return };
        let busy = !self.starting.is_empty() || self.containers.values().any(|c| c.exit.is_none());
        if busy || self.own_cgroups().iter().any(|c| !self.cgroups.processes(c).is_empty()) {
            return;
        }
        let point = self.dir.join("shm");
        let _ = rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH);
        let _ = std::fs::remove_file(self.dir.join(super::protocol::SOCKET));
        self.send(client, &Message::Reply { id, result: Ok(Answer::Done) }, &[]);
        self.done = true;
    }

    /// Marks a started container as running.
    pub(super) fn running_now(
        &mut self,
        id: &str,
        pid: i32,
        terminal: Option<OwnedFd>,
    ) -> SystemTime {
        let now = SystemTime::now();
        if let Some(container) = self.containers.get_mut(id) {
            container.pid = Some(pid);
            container.started_at = Some(now);
            container.pidfd = Pid::from_raw(pid)
                .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
            if let (Some(streams), Some(terminal)) = (&mut container.streams, terminal) {
                let _ = nonblocking(&terminal);
                streams.terminal = Some(terminal);
            }
            if self.stopping.is_some()
                && let Some(pidfd) = &container.pidfd
            {
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
            }
        }
        now
    }
}

fn read_filter(dir: &std::path::Path) -> Result<Option<Vec<u8>>, String> {
    match std::fs::read(dir.join("seccomp.bpf")) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            // Only the plan's word counts: a lost file must not mean "no filter".
            if dir.join("seccomp.none").exists() {
                Ok(None)
            } else {
                Err("the seccomp filter of the container is missing".into())
            }
        }
        Err(e) => Err(format!("read the seccomp filter: {e}")),
    }
}

fn pipes(streams: &mut Streams, stdin: bool) -> std::io::Result<Stdio> {
    let theirs_in = if stdin {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        nonblocking(&writer)?;
        streams.stdin = Some(writer);
        reader
    } else {
        File::open("/dev/null")?.into()
    };
    let output = || -> std::io::Result<(OwnedFd, OwnedFd)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        nonblocking(&reader)?;
        Ok((reader, writer))
    };
    let ((out, theirs_out), (err, theirs_err)) = (output()?, output()?);
    streams.stdout = Some(out);
    streams.stderr = Some(err);
    Ok(Stdio::Pipes { stdin: theirs_in, stdout: theirs_out, stderr: theirs_err })
}

fn nonblocking(fd: &OwnedFd) -> std::io::Result<()> {
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

fn sync_pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// They belong to the network namespace that the shim is in, whoever connects them.
fn sockets() -> Reply {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let make = |family| socket_with(family, SocketType::STREAM, flags, None);
    let mut fds = vec![make(AddressFamily::INET).map_err(|e| format!("make a socket: {e}"))?];
    fds.extend(make(AddressFamily::INET6));
    Ok(Some((Answer::Sockets, fds)))
}
