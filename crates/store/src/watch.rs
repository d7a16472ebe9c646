//! A watcher: a bounded queue of the events of one prefix.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use futures::Stream;
use smol_str::SmolStr;
use tokio::sync::mpsc;

use crate::shared::Shared;
use crate::{Event, WatchEnd};

/// The store's end of a watcher's queue.
#[derive(Debug)]
pub(crate) struct Feed {
    pub id: u64,
    pub sender: mpsc::Sender<Arc<Event>>,
    pub end: Arc<OnceLock<WatchEnd>>,
    /// Events up to this revision are not for this watcher.
    pub after: u64,
}

/// The events of one prefix in order, from one revision on. Dropping it ends the watch.
///
/// After the last event of a watch that ended comes the reason, and then nothing.
#[derive(Debug)]
pub struct Watcher {
    pub(crate) prefix: SmolStr,
    pub(crate) id: u64,
    /// What had happened before the watch began, still to be given out.
    pub(crate) backlog: VecDeque<Arc<Event>>,
    pub(crate) receiver: mpsc::Receiver<Arc<Event>>,
    pub(crate) end: Arc<OnceLock<WatchEnd>>,
    pub(crate) ended: bool,
    pub(crate) shared: Weak<Shared>,
}

impl Watcher {
    /// The next event; waits for it.
    pub async fn next(&mut self) -> Result<Arc<Event>, WatchEnd> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The next event if it is there already.
    pub fn try_next(&mut self) -> Option<Result<Arc<Event>, WatchEnd>> {
        if let Some(event) = self.backlog.pop_front() {
            return Some(Ok(event));
        }
        match self.receiver.try_recv() {
            Ok(event) => Some(Ok(event)),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(Err(self.reason())),
        }
    }

    /// A revision up to which this watcher has given out every event, for a bookmark. `None`
    /// while events are waiting.
    pub fn progress(&self) -> Option<u64> {
        // The revision is read first: an event published in between only makes the answer `None`.
        let delivered = self.shared.upgrade()?.delivered();
        (self.backlog.is_empty() && self.receiver.is_empty() && self.end.get().is_none())
            .then_some(delivered)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Event>, WatchEnd>> {
        if let Some(event) = self.backlog.pop_front() {
            return Poll::Ready(Ok(event));
        }
        match self.receiver.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(event)) => Poll::Ready(Ok(event)),
            Poll::Ready(None) => Poll::Ready(Err(self.reason())),
        }
    }

    fn reason(&self) -> WatchEnd {
        self.end.get().copied().unwrap_or(WatchEnd::Closed)
    }
}

impl Stream for Watcher {
    type Item = Result<Arc<Event>, WatchEnd>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.poll_event(cx).map(|result| {
            self.ended = result.is_err();
            Some(result)
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.forget(&self.prefix, self.id);
        }
    }
}
