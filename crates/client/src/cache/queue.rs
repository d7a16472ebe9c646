//! What a subscriber has not taken yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use timonier_meta::GroupResource;
use timonier_reconcile::Change;
use tokio::sync::Notify;

use super::lock;

/// More than this many untaken notices are replaced by [`Notice::Lost`].
const MAX_NOTICES: usize = 100_000;

/// Something that the caches learnt.
#[derive(Clone, Debug)]
pub enum Notice {
    Changed(Change),
    /// The resource was observed further, without a change.
    Progressed(GroupResource),
    /// The subscriber was too slow: look at the whole world again.
    Lost,
}

#[derive(Default)]
pub(super) struct Queue {
    notices: Mutex<VecDeque<Notice>>,
    wake: Notify,
}

impl Queue {
    pub fn push(&self, new: &[Notice]) {
        if new.is_empty() {
            return;
        }
        let mut notices = lock(&self.notices);
        if notices.len() + new.len() > MAX_NOTICES {
            notices.clear();
            notices.push_back(Notice::Lost);
        } else {
            notices.extend(new.iter().cloned());
        }
        self.wake.notify_one();
    }
}

/// The changes since it was made. Dropping it ends it.
pub struct Subscription {
    queue: Arc<Queue>,
}

impl Subscription {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Subscription { queue }
    }

    /// All notices that wait, at least one, in order. May be cancelled without loss.
    pub async fn recv(&mut self) -> Vec<Notice> {
        loop {
            let taken = self.take();
            if !taken.is_empty() {
                return taken;
            }
            self.queue.wake.notified().await;
        }
    }

    /// All notices that wait; none is fine.
    pub fn take(&mut self) -> Vec<Notice> {
        lock(&self.queue.notices).drain(..).collect()
    }
}
