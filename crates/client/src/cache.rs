//! The caches that components decide on: one list and watch per resource, one shared [`World`].

mod definitions;
mod queue;
mod reflector;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};

use timonier_meta::{Environment, GroupResource};
use timonier_reconcile::{Change, ResourceInfo, World};
use tokio::sync::Notify;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::AbortHandle;

use crate::Client;
pub use definitions::follow_definitions;
use queue::Queue;
pub use queue::{Notice, Subscription};

/// Keeps a [`World`] up to date and tells its subscribers what changed. The watches end when the
/// last handle is dropped.
pub struct Caches {
    client: Arc<dyn Client>,
    env: Arc<dyn Environment>,
    world: RwLock<World>,
    subscribers: Mutex<Vec<Weak<Queue>>>,
    reflectors: Mutex<BTreeMap<GroupResource, Reflector>>,
}

/// The task of one resource, as seen from outside.
struct Reflector {
    task: AbortHandle,
    orders: Arc<Orders>,
    /// The number of the last order that a list has carried out.
    done: Receiver<u64>,
}

/// Lists asked for; a number per order.
struct Orders {
    last: Mutex<u64>,
    wake: Notify,
}

impl Caches {
    /// Caches without resources. Must be called, as all of this, within a tokio runtime.
    pub fn new(client: Arc<dyn Client>, env: Arc<dyn Environment>) -> Arc<Self> {
        Arc::new(Caches {
            client,
            env,
            world: RwLock::new(World::new()),
            subscribers: Mutex::new(Vec::new()),
            reflectors: Mutex::new(BTreeMap::new()),
        })
    }

    /// Starts to observe a resource; does nothing where it is observed in this form already.
    pub fn add(self: &Arc<Self>, info: ResourceInfo) {
        let name = info.resource.group_resource();
        let mut reflectors = lock(&self.reflectors);
        if reflectors.contains_key(&name) {
            if self.world().info(&name) == Some(&info) {
                return;
            }
            drop(reflectors);
            self.remove(&name);
            reflectors = lock(&self.reflectors);
        }
        self.write(|world| {
            world.register(info.clone());
            Vec::new()
        });
        let orders = Arc::new(Orders { last: Mutex::new(0), wake: Notify::new() });
        let (sender, done): (Sender<u64>, _) = channel(0);
        let run = reflector::run(Arc::downgrade(self), info, orders.clone(), sender);
        let task = tokio::spawn(run).abort_handle();
        reflectors.insert(name, Reflector { task, orders, done });
    }

    /// Stops observing a resource (a CustomResourceDefinition that was deleted) and forgets its
    /// objects.
    pub fn remove(&self, resource: &GroupResource) {
        if let Some(reflector) = lock(&self.reflectors).remove(resource) {
            reflector.task.abort();
        }
        self.write(|world| world.forget(resource).into_iter().map(Notice::Changed).collect());
    }

    /// The world as observed. Hold the guard briefly, and never across an await.
    pub fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that changes from now on.
    pub fn subscribe(&self) -> Subscription {
        let queue = Arc::new(Queue::default());
        lock(&self.subscribers).push(Arc::downgrade(&queue));
        Subscription::new(queue)
    }

    /// Waits until every resource was listed.
    pub async fn synced(&self) {
        let mut changes = self.subscribe();
        loop {
            let unlisted = {
                let world = self.world();
                world.resources().any(|i| world.table(&i.resource).synced().is_none())
            };
            if !unlisted {
                return;
            }
            changes.recv().await;
        }
    }

    /// Waits until a list that started after this call has replaced the resource's table. Gives
    /// false where the resource is not observed any more.
    pub async fn relist(&self, resource: &GroupResource) -> bool {
        let (number, mut done) = {
            let reflectors = lock(&self.reflectors);
            let Some(reflector) = reflectors.get(resource) else { return false };
            let mut last = lock(&reflector.orders.last);
            *last += 1;
            reflector.orders.wake.notify_one();
            (*last, reflector.done.clone())
        };
        done.wait_for(|d| *d >= number).await.is_ok()
    }

    /// Changes the world and tells everybody, in one order.
    fn write(&self, change: impl FnOnce(&mut World) -> Vec<Notice>) {
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        let notices = change(&mut world);
        lock(&self.subscribers).retain(|subscriber| {
            let Some(queue) = subscriber.upgrade() else { return false };
            queue.push(&notices);
            true
        });
    }
}

impl Drop for Caches {
    fn drop(&mut self) {
        for reflector in lock(&self.reflectors).values() {
            reflector.task.abort();
        }
    }
}

fn changed(change: Option<Change>, otherwise: GroupResource) -> Vec<Notice> {
    vec![change.map_or(Notice::Progressed(otherwise), Notice::Changed)]
}

/// A lock whose holder panicked still guards usable data: every change here is a single call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
