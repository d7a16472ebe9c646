//! The daemon's side of a shim's socket.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use rustix::net::connect;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::{Shared, sandboxes};
use crate::error::{Error, Result};
use crate::shim::protocol::{Answer, Call, Message, Request};
use crate::shim::wire;

type Reply = (std::result::Result<Answer, String>, Vec<OwnedFd>);

/// A connection that many calls share. When it ends, every waiting call fails.
pub struct Client {
    sandbox: String,
    socket: AsyncFd<OwnedFd>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    closed: bool,
    replies: BTreeMap<u64, Pending>,
    execs: BTreeMap<String, oneshot::Sender<i32>>,
}

struct Pending {
    reply: oneshot::Sender<Reply>,
    /// The container that a successful reply means is running. It is marked by the reader, so
    /// that its end, which may come right behind, finds it running.
    starts: Option<String>,
}

/// What a refused call says, told apart from a lost shim.
pub enum Failure {
    Refused(String),
    Lost(Error),
}

impl Failure {
    /// For calls whose refusal is about the state of things.
    pub fn into_error(self) -> Error {
        match self {
            Self::Refused(text) => Error::WrongState(text),
            Self::Lost(error) => error,
        }
    }
}

impl Client {
    /// Connects, and reads messages until the shim or the daemon is gone.
    pub fn connect(shared: &Arc<Shared>, sandbox: &str, dir: &Path) -> io::Result<Arc<Self>> {
        let socket = wire::packet_socket()?;
        let (_open, address) = wire::address(dir)?;
        connect(&socket, &address)?;
        let client = Arc::new(Self {
            sandbox: sandbox.to_string(),
            // SAFETY: the descriptor is owned by the registration and never replaced.
            socket: unsafe { AsyncFd::register(socket)? },
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
        });
        tokio::spawn(read(Arc::downgrade(shared), client.clone()));
        Ok(client)
    }

    pub async fn call(
        &self,
        call: Call,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Vec<OwnedFd>), Failure> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let starts = match &call {
            Call::Start { container } => Some(container.clone()),
            _ => None,
        };
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.closed {
                return Err(self.lost("it is gone"));
            }
            waiting.replies.insert(id, Pending { reply, starts });
        }
        if let Err(e) = self.send(&Request { id, call }, fds).await {
            self.lock().replies.remove(&id);
            return Err(self.lost(&e.to_string()));
        }
        match answer.await {
            Ok((Ok(answer), fds)) => Ok((answer, fds)),
            Ok((Err(text), _)) => Err(Failure::Refused(text)),
            Err(_) => Err(self.lost("it went away")),
        }
    }

    /// Waits for the end of a command; register before starting it.
    pub fn expect_exec(&self, exec: &str) -> oneshot::Receiver<i32> {
        let (sender, receiver) = oneshot::channel();
        self.lock().execs.insert(exec.to_string(), sender);
        receiver
    }

    pub fn forget_exec(&self, exec: &str) {
        self.lock().execs.remove(exec);
    }

    async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket
            .async_io(Interest::WRITABLE, |socket| wire::send(socket.as_fd(), request, fds))
            .await
    }

    fn lost(&self, reason: &str) -> Failure {
        Failure::Lost(Error::Shim { sandbox: self.sandbox.clone(), reason: reason.to_string() })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn dispatch(&self, shared: &Shared, message: Message, fds: Vec<OwnedFd>) {
        match message {
            Message::Reply { id, result } => {
                let Some(pending) = self.lock().replies.remove(&id) else { return };
                if let (Some(container), Ok(Answer::Started { pid, started_at })) =
                    (&pending.starts, &result)
                {
                    shared.container_started(container, *pid, *started_at);
                }
                let _ = pending.reply.send((result, fds));
            }
            Message::ExecExited { exec, code } => {
                if let Some(waiting) = self.lock().execs.remove(&exec) {
                    let _ = waiting.send(code);
                }
            }
            news @ Message::Exited { .. } => shared.news(news),
        }
    }
}

async fn read(shared: Weak<Shared>, client: Arc<Client>) {
    let mut buffer = Vec::new();
    loop {
        let received = client
            .socket
            .async_io(Interest::READABLE, |socket| wire::receive::<Message>(socket, &mut buffer))
            .await;
        let Some(shared) = shared.upgrade() else { return };
        match received {
            Ok(Some((message, fds))) => client.dispatch(&shared, message, fds),
            Ok(None) | Err(_) => {
                {
                    let mut waiting = client.lock();
                    waiting.closed = true;
                    waiting.replies.clear();
                    waiting.execs.clear();
                }
                sandboxes::lost(&shared, &client.sandbox).await;
                return;
            }
        }
    }
}
