//! The shim: one small process per pod that is the parent of its containers.
//!
//! ```text
//! daemon ⇄ socket ⇄ shim ─┬─ first processes of containers ── logs, terminals, attached streams
//!                         └─ commands (their streams go straight to the daemon)
//! ```
//!
//! It has one thread and one `poll` loop, outlives the daemon, and writes how a container ended to
//! disk before it tells anybody. It holds the pod's namespaces by being in them.

mod calls;
mod children;
mod log;
mod pause;
pub mod protocol;
pub mod setup;
mod streams;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use crate::api::Exit;
use crate::cgroup::Cgroups;
use crate::files;
use crate::init::Plan;
use crate::owned;
use crate::spec::PidMode;
use protocol::{Message, Request, ShimConfig};
use streams::{Sink, Source, Streams};

const MAX_CLIENTS: usize = 16;

/// Runs a shim for a pod's directory; returns the process's exit code.
pub fn main(dir: &Path) -> i32 {
    let shim = Shim::boot(dir);
    let text = match &shim {
        Ok(_) => format!("ready {}", std::process::id()),
        Err(text) => text.clone(),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
    setup::let_go_of_streams();
    match shim {
        Ok(mut shim) => {
            shim.run();
            0
        }
        Err(_) => 1,
    }
}

struct Shim {
    dir: PathBuf,
    config: ShimConfig,
    cgroups: Cgroups,
    listener: OwnedFd,
    children: OwnedFd,
    /// The shared PID namespace: its first process and its file.
    pause: Option<(i32, OwnedFd)>,
    clients: BTreeMap<u64, OwnedFd>,
    containers: BTreeMap<String, Container>,
    /// Running commands by id.
    execs: BTreeMap<String, Exec>,
    starting: BTreeMap<u64, Starting>,
    /// Short-lived children that nobody waits for.
    helpers: BTreeSet<i32>,
    /// Ends of processes whose start was not reported yet.
    early: BTreeMap<i32, libc::c_int>,
    /// Readers that still have to take the last output of an exited container.
    draining: Vec<Sink>,
    /// Who asked to stop, by client and request.
    stopping: Option<(u64, u64)>,
    /// Until when somebody must say hello; `None` once somebody has.
    lonely_until: Option<Instant>,
    next: u64,
    buffer: Vec<u8>,
    done: bool,
}

struct Container {
    plan: Plan,
    pid: Option<i32>,
    pidfd: Option<OwnedFd>,
    started_at: Option<SystemTime>,
    exit: Option<Exit>,
    streams: Option<Streams>,
    /// Its processes end with the first one.
    own_pids: bool,
}

struct Exec {
    pid: i32,
    client: u64,
}

/// A child on its way to `execve`.
struct Starting {
    sync: OwnedFd,
    client: u64,
    request: u64,
    kind: Kind,
    pid: Option<i32>,
    terminal: Option<OwnedFd>,
    failure: Option<String>,
}

enum Kind {
    Container(String),
    Exec(String),
}

#[derive(Clone, Debug)]
enum Token {
    Starting(u64),
    Listener,
    Client(u64),
    Streams(String, Source),
    Draining,
    Children,
}

impl Shim {
    fn boot(dir: &Path) -> Result<Self, String> {
        let config: ShimConfig =
            files::read_json(&dir.join("shim.json")).map_err(|e| e.to_string())?;
        let cgroups = Cgroups::detect().map_err(|e| e.to_string())?;
        setup::settle(&config, &cgroups)?;
        let listener = setup::prepare(dir, &config)?;
        let pause = match config.sandbox.pid {
            PidMode::Pod => {
                let cgroup = owned::pause(dir, &config.sandbox.cgroup_parent);
                Some(pause::start(&cgroups, &cgroup, dir).map_err(|e| e.to_string())?)
            }
            _ => None,
        };
        Ok(Self {
            dir: dir.to_path_buf(),
            lonely_until: Some(Instant::now() + Duration::from_millis(config.patience_ms)),
            config,
            cgroups,
            listener,
            children: setup::child_signals().map_err(|e| e.to_string())?,
            pause,
            clients: BTreeMap::new(),
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            starting: BTreeMap::new(),
            helpers: BTreeSet::new(),
            early: BTreeMap::new(),
            draining: Vec::new(),
            stopping: None,
            next: 1,
            buffer: Vec::new(),
            done: false,
        })
    }

    fn run(&mut self) {
        while !self.done {
            for token in self.wait() {
                self.handle(token);
            }
            for streams in self.containers.values_mut().filter_map(|c| c.streams.as_mut()) {
                streams.sweep();
            }
            if self.lonely_until.is_some_and(|at| at <= Instant::now()) {
                self.give_up();
            }
            self.finish_stopping();
        }
    }

    /// Nobody wants this pod: it ends as if somebody had asked for it. Nothing was started in it.
    fn give_up(&mut self) {
        self.lonely_until = None;
        self.stopping = Some((0, 0));
        for cgroup in self.own_cgroups() {
            let _ = self.cgroups.remove(&cgroup);
        }
    }

    /// Sleeps until something is ready. Ends of children come last, so that what they reported
    /// before is known.
    fn wait(&self) -> Vec<Token> {
        let mut fds: Vec<PollFd> = Vec::new();
        let mut tokens = Vec::new();
        let mut add = |fd, write: bool, token| {
            let flags = if write { PollFlags::OUT } else { PollFlags::IN };
            fds.push(PollFd::from_borrowed_fd(fd, flags));
            tokens.push(token);
        };
        for (id, starting) in &self.starting {
            add(starting.sync.as_fd(), false, Token::Starting(*id));
        }
        if self.clients.len() < MAX_CLIENTS {
            add(self.listener.as_fd(), false, Token::Listener);
        }
        for (id, fd) in &self.clients {
            add(fd.as_fd(), false, Token::Client(*id));
        }
        for (id, container) in &self.containers {
            for interest in container.streams.iter().flat_map(Streams::interests) {
                add(interest.fd, interest.write, Token::Streams(id.clone(), interest.what));
            }
        }
        for sink in &self.draining {
            add(sink.fd(), true, Token::Draining);
        }
        add(self.children.as_fd(), false, Token::Children);
        let patience = self.lonely_until.map(|at| at.saturating_duration_since(Instant::now()));
        match poll(&mut fds, patience.and_then(|p| p.try_into().ok()).as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Vec::new(),
            // Nothing sensible can be waited for; trying again at once would spin.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        let ready = fds.iter().map(|f| !f.revents().is_empty());
        tokens.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(t, _)| t).collect()
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Starting(id) => self.report(id),
            Token::Listener => self.accept(),
            Token::Client(id) => self.request(id),
            Token::Streams(id, what) => {
                let mut buffer = std::mem::take(&mut self.buffer);
                if let Some(s) = self.containers.get_mut(&id).and_then(|c| c.streams.as_mut()) {
                    s.ready(what, &mut buffer);
                }
                self.buffer = buffer;
            }
            Token::Draining => {
                let sinks = std::mem::take(&mut self.draining);
                self.draining = sinks.into_iter().filter_map(Sink::drain).collect();
            }
            Token::Children => self.reap(),
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        if let Ok(client) = accept_with(&self.listener, flags) {
            wire::raise_buffer(&client);
            let id = self.fresh();
            self.clients.insert(id, client);
        }
    }

    fn request(&mut self, client: u64) {
        let Some(socket) = self.clients.get(&client) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = wire::receive::<Request>(socket, &mut buffer);
        self.buffer = buffer;
        match received {
            Ok(Some((request, fds))) => self.call(client, request, fds),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => drop(self.clients.remove(&client)),
        }
    }

    /// A client that does not read is dropped; it learns the state when it comes back.
    fn send(&mut self, client: u64, message: &Message, fds: &[BorrowedFd]) {
        let Some(socket) = self.clients.get(&client) else { return };
        if wire::send(socket.as_fd(), message, fds).is_err() {
            self.clients.remove(&client);
        }
    }

    fn broadcast(&mut self, message: &Message) {
        for client in self.clients.keys().copied().collect::<Vec<_>>() {
            self.send(client, message, &[]);
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn container_dir(&self, id: &str) -> PathBuf {
        files::container_dir(&self.dir, id)
    }
}
