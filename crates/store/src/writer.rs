//! The way of a request to the committer: on the caller's thread, or through a queue to a thread
//! or task that commits whatever has come together while the disk was busy.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::backend::Backend;
use crate::commit::{BATCH, BATCH_BYTES, Committer, Request};
use crate::shared::Shared;
use crate::{Error, Options, Pace, Snapshot};

/// Requests that may wait for the thread; more wait in their callers.
const QUEUE: usize = 2 * BATCH;

pub(crate) enum Writer {
    Inline(Mutex<Option<Committer>>),
    /// To a thread, or to a task.
    Queue(mpsc::Sender<Message>),
    #[cfg(feature = "etcd")]
    Etcd(crate::etcd::Etcd),
}

pub(crate) enum Message {
    Write(Request),
    /// Answered when the backend is let go of.
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// A writer that commits each request before `send` returns.
    pub fn inline(
        backend: Box<dyn Backend>,
        options: Options,
    ) -> Result<(Arc<Shared>, Writer), Error> {
        let committer = Committer::open(backend, options)?;
        Ok((committer.shared().clone(), Writer::Inline(Mutex::new(Some(committer)))))
    }

    /// A writer with a thread of its own, on which the backend is opened and loaded too.
    pub async fn thread(
        backend: impl FnOnce() -> Result<Box<dyn Backend>, Error> + Send + 'static,
        options: Options,
    ) -> Result<(Arc<Shared>, Writer), Error> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (opened, opening) = oneshot::channel();
        let body = move || match backend().and_then(|b| Committer::open(b, options)) {
            Ok(committer) => {
                if opened.send(Ok(committer.shared().clone())).is_ok() {
                    run(committer, receiver);
                }
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        thread::Builder::new().name("store".into()).spawn(body).map_err(|error| Error::Open {
            at: "a new thread".into(),
            reason: error.to_string(),
        })?;
        let shared = opening.await.unwrap_or(Err(Error::Closed))?;
        Ok((shared, Writer::Queue(sender)))
    }

    /// A writer with a task of the runtime that this is called in.
    pub fn task(
        backend: Box<dyn Backend>,
        options: Options,
        pace: Pace,
    ) -> Result<(Arc<Shared>, Writer), Error> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let committer = Committer::open(backend, options)?;
        let shared = committer.shared().clone();
        tokio::spawn(run_paced(committer, receiver, pace));
        Ok((shared, Writer::Queue(sender)))
    }

    /// Hands over a request; its answer comes through its own channel.
    pub async fn send(&self, request: Request) -> Result<(), Error> {
        match self {
            Writer::Inline(committer) => {
                match &mut *committer.lock().unwrap_or_else(PoisonError::into_inner) {
                    Some(committer) => committer.commit(vec![request]),
                    None => return Err(Error::Closed),
                }
                Ok(())
            }
            Writer::Queue(queue) => {
                queue.send(Message::Write(request)).await.map_err(|_| Error::Closed)
            }
            #[cfg(feature = "etcd")]
            Writer::Etcd(etcd) => {
                let Request { key, intent, expect, reply } = request;
                // The receiver may have gone, as a caller may stop waiting.
                let _ = reply.send(etcd.write(key, intent, expect).await);
                Ok(())
            }
        }
    }

    /// The state with all that was written to the keys with a prefix, by whomever.
    pub async fn fresh(&self, shared: &Shared, _prefix: &str) -> Result<Snapshot, Error> {
        match self {
            // Nobody else writes, and what is answered is visible.
            Writer::Inline(_) | Writer::Queue(_) => Ok(shared.snapshot()),
            #[cfg(feature = "etcd")]
            Writer::Etcd(etcd) => etcd.fresh(_prefix).await,
        }
    }

    /// Finishes what was sent before and lets go of the backend.
    pub async fn close(&self) {
        match self {
            Writer::Inline(committer) => {
                drop(committer.lock().unwrap_or_else(PoisonError::into_inner).take());
            }
            Writer::Queue(queue) => {
                let (done, closed) = oneshot::channel();
                if queue.send(Message::Close(done)).await.is_ok() {
                    // An error means that another call has closed it meanwhile.
                    let _ = closed.await;
                }
            }
            // Ends with the rest of the store.
            #[cfg(feature = "etcd")]
            Writer::Etcd(_) => {}
        }
    }
}

/// The thread: ends when the store is closed, or its last clone is gone.
fn run(mut committer: Committer, mut queue: mpsc::Receiver<Message>) {
    let mut close = None;
    while close.is_none()
        && let Some(first) = queue.blocking_recv()
    {
        close = commit(&mut committer, first, &mut queue);
    }
    end(committer, close);
}

/// As [`run`], where time passes between the first request of a batch and its commit.
async fn run_paced(mut committer: Committer, mut queue: mpsc::Receiver<Message>, mut pace: Pace) {
    let mut close = None;
    while close.is_none()
        && let Some(first) = queue.recv().await
    {
        tokio::time::sleep(pace()).await;
        close = commit(&mut committer, first, &mut queue);
    }
    end(committer, close);
}

/// Commits what waits, in one batch that begins with `first`; gives whom to tell of the closing.
fn commit(
    committer: &mut Committer,
    first: Message,
    queue: &mut mpsc::Receiver<Message>,
) -> Option<oneshot::Sender<()>> {
    let mut close = None;
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(message) = next.take() {
        match message {
            Message::Close(done) => close = Some(done),
            Message::Write(request) => {
                bytes += request.size();
                batch.push(request);
                if batch.len() < BATCH && bytes < BATCH_BYTES {
                    next = queue.try_recv().ok();
                }
            }
        }
    }
    committer.commit(batch);
    close
}

fn end(committer: Committer, close: Option<oneshot::Sender<()>>) {
    let shared = committer.shared().clone();
    drop(committer);
    shared.close();
    if let Some(done) = close {
        let _ = done.send(());
    }
}
