//! The pods that wait for a node: those to be tried now, those that back off after a failure,
//! and those that wait for something in the cluster to change. The rules and figures are
//! upstream's scheduling queue.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;

use timonier_meta::{Duration, ObjectKey, Time};

use crate::facts::PodFacts;

/// The wait after the first failure; it doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// A pod that waits for a change this long is tried again without.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// See the file's text.
#[derive(Debug, Default)]
pub struct Queue {
    entries: BTreeMap<ObjectKey, Entry>,
    /// The most important first, then who has waited longest (`PrioritySort`).
    active: BTreeSet<(Reverse<i64>, Time, u64, ObjectKey)>,
    backing_off: BTreeSet<(Time, ObjectKey)>,
    waiting: BTreeSet<(Time, ObjectKey)>,
    sequence: u64,
}

/// A pod of the queue.
#[derive(Clone, Debug)]
pub struct Entry {
    pub pod: Arc<PodFacts>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was tried last.
    tried: Time,
    /// The plug-ins that kept it out.
    pub kept_out_by: BTreeSet<&'static str>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Active(Time, u64),
    BackingOff(Time),
    Waiting(Time),
    /// Behind scheduling gates.
    Gated,
}

impl Queue {
    /// Takes up a pod that is new, or changed while it waited. A changed pod is tried again if it
    /// asks for something else, or its last gate fell.
    pub fn put(&mut self, pod: Arc<PodFacts>, now: Time) {
        let key = pod.key.clone();
        let known = self.entries.get_mut(&key).filter(|e| e.pod.uid == pod.uid);
        let Some(entry) = known else {
            self.remove(&key);
            let gated = pod.gates > 0;
            let (tried, place) = (now, Place::Gated);
            let kept_out_by = BTreeSet::new();
            self.entries.insert(key.clone(), Entry { pod, attempts: 0, tried, kept_out_by, place });
            if !gated {
                self.activate(&key, now);
            }
            return;
        };
        let old = core::mem::replace(&mut entry.pod, pod);
        let (new, place) = (entry.pod.clone(), entry.place);
        match place {
            _ if new.gates > 0 => self.put_in(&key, Place::Gated),
            Place::Gated => self.activate(&key, now),
            Place::Active(since, n) if new.priority != old.priority => {
                self.active.remove(&(Reverse(old.priority), since, n, key.clone()));
                self.active.insert((Reverse(new.priority), since, n, key));
            }
            Place::Waiting(_) if new.asks_differently(&old) => self.move_on(&key, now),
            _ => {}
        }
    }

    /// Takes a pod out.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Entry> {
        self.leave(key);
        self.entries.remove(key)
    }

    /// The next pod to try; it leaves the queue.
    pub fn pop(&mut self, now: Time) -> Option<Entry> {
        self.flush(now);
        let key = self.active.first()?.3.clone();
        let mut entry = self.remove(&key)?;
        entry.attempts += 1;
        entry.tried = now;
        Some(entry)
    }

    /// Puts a pod back that fits nowhere, to wait until something changes.
    pub fn wait(&mut self, mut entry: Entry, kept_out_by: BTreeSet<&'static str>, now: Time) {
        entry.kept_out_by = kept_out_by;
        self.put_back(entry, Place::Waiting(now));
    }

    /// Puts a pod back that failed for no fault of its own, to be tried again after a back-off.
    pub fn retry(&mut self, mut entry: Entry) {
        entry.kept_out_by.clear();
        let place = Place::BackingOff(entry.tried + backoff(entry.attempts));
        self.put_back(entry, place);
    }

    /// Moves the waiting pods on for which `helps` is true.
    pub fn wake(&mut self, now: Time, helps: impl Fn(&Entry) -> bool) {
        let helped = |(_, key): &&(Time, ObjectKey)| self.entries.get(key).is_some_and(&helps);
        let keys: Vec<ObjectKey> =
            self.waiting.iter().filter(helped).map(|(_, key)| key.clone()).collect();
        for key in keys {
            self.move_on(&key, now);
        }
    }

    /// When there is something to do, if nothing changes before.
    pub fn next_at(&self, now: Time) -> Option<Time> {
        if !self.active.is_empty() {
            return Some(now);
        }
        let backing_off = self.backing_off.first().map(|(at, _)| *at);
        let waiting = self.waiting.first().map(|(since, _)| *since + LONGEST_WAIT);
        backing_off.into_iter().chain(waiting).min()
    }

    /// The pod as the queue knows it.
    pub fn get(&self, key: &ObjectKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// How many pods are to be tried, back off, and wait (behind gates included).
    pub fn lengths(&self) -> (usize, usize, usize) {
        let (active, backing_off) = (self.active.len(), self.backing_off.len());
        (active, backing_off, self.entries.len() - active - backing_off)
    }

    fn flush(&mut self, now: Time) {
        while let Some((at, key)) = self.backing_off.first().cloned() {
            if at > now {
                break;
            }
            self.activate(&key, now);
        }
        while let Some((since, key)) = self.waiting.first().cloned() {
            if since + LONGEST_WAIT > now {
                break;
            }
            self.move_on(&key, now);
        }
    }

    /// From waiting to active, or to the rest of the back-off.
    fn move_on(&mut self, key: &ObjectKey, now: Time) {
        let Some(entry) = self.entries.get(key) else { return };
        let ready = entry.tried + backoff(entry.attempts);
        match entry.attempts > 0 && ready > now {
            true => self.put_in(key, Place::BackingOff(ready)),
            false => self.activate(key, now),
        }
    }

    fn activate(&mut self, key: &ObjectKey, now: Time) {
        self.sequence += 1;
        self.put_in(key, Place::Active(now, self.sequence));
    }

    fn put_back(&mut self, entry: Entry, place: Place) {
        let key = entry.pod.key.clone();
        self.remove(&key);
        // Without a place yet, as there is none to leave.
        self.entries.insert(key.clone(), Entry { place: Place::Gated, ..entry });
        self.put_in(&key, place);
    }

    fn put_in(&mut self, key: &ObjectKey, place: Place) {
        self.leave(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.place = place;
        let key = key.clone();
        match place {
            Place::Active(since, n) => {
                self.active.insert((Reverse(entry.pod.priority), since, n, key));
            }
            Place::BackingOff(until) => {
                self.backing_off.insert((until, key));
            }
            Place::Waiting(since) => {
                self.waiting.insert((since, key));
            }
            Place::Gated => {}
        }
    }

    fn leave(&mut self, key: &ObjectKey) {
        let Some(entry) = self.entries.get(key) else { return };
        let key = key.clone();
        match entry.place {
            Place::Active(since, n) => {
                self.active.remove(&(Reverse(entry.pod.priority), since, n, key));
            }
            Place::BackingOff(until) => {
                self.backing_off.remove(&(until, key));
            }
            Place::Waiting(since) => {
                self.waiting.remove(&(since, key));
            }
            Place::Gated => {}
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    let doubled = FIRST_BACKOFF.0 << attempts.saturating_sub(1).min(10);
    Duration(doubled.min(LONGEST_BACKOFF.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::pod;
    use timonier_object::value;

    fn facts(name: &str, priority: i64) -> Arc<PodFacts> {
        Arc::new(pod(name, value!({ "priority": priority })))
    }

    fn at(seconds: i64) -> Time {
        Time::from_unix(seconds)
    }

    fn pop(queue: &mut Queue, seconds: i64) -> Option<SmolName> {
        queue.pop(at(seconds)).map(|e| e.pod.key.name.clone())
    }

    type SmolName = smol_str::SmolStr;

    #[test]
    fn by_priority_and_then_by_age() {
        let mut q = Queue::default();
        for (name, priority, time) in [("a", 0, 1), ("b", 5, 2), ("c", 0, 0), ("d", 5, 3)] {
            q.put(facts(name, priority), at(time));
        }
        q.put(facts("d", 9), at(4));
        let order: Vec<_> = core::iter::from_fn(|| pop(&mut q, 5)).collect();
        assert_eq!(order, ["d", "b", "c", "a"]);
        assert_eq!(q.next_at(at(5)), None);
    }

    #[test]
    fn back_off_doubles_up_to_ten_seconds() {
        let mut q = Queue::default();
        q.put(facts("a", 0), at(0));
        let mut now = 0;
        for seconds in [1, 2, 4, 8, 10, 10] {
            let entry = q.pop(at(now)).unwrap();
            q.retry(entry);
            assert_eq!(q.next_at(at(now)), Some(at(now + seconds)));
            assert!(q.pop(at(now + seconds) - Duration(1)).is_none());
            now += seconds;
        }
    }

    #[test]
    fn waits_for_a_change_or_five_minutes() {
        let mut q = Queue::default();
        q.put(facts("a", 0), at(0));
        q.put(facts("b", 0), at(0));
        for _ in 0..2 {
            let entry = q.pop(at(0)).unwrap();
            q.wait(entry, BTreeSet::from(["X"]), at(0));
        }
        assert_eq!((q.lengths(), q.next_at(at(0))), ((0, 0, 2), Some(at(300))));
        q.wake(at(0), |e| e.pod.key.name == "a" && e.kept_out_by.contains("X"));
        assert_eq!(q.lengths(), (0, 1, 1));
        assert_eq!(pop(&mut q, 1), Some("a".into()));
        q.wake(at(100), |_| true);
        assert_eq!(pop(&mut q, 100), Some("b".into()), "its back-off is over");

        q.put(facts("c", 0), at(200));
        let entry = q.pop(at(200)).unwrap();
        q.wait(entry, BTreeSet::new(), at(200));
        assert_eq!((pop(&mut q, 499), pop(&mut q, 500)), (None, Some("c".into())));
    }

    #[test]
    fn a_changed_pod_is_tried_again() {
        let mut q = Queue::default();
        q.put(facts("a", 0), at(0));
        let entry = q.pop(at(0)).unwrap();
        q.wait(entry, BTreeSet::new(), at(0));
        q.put(facts("a", 0), at(10));
        assert_eq!(q.lengths(), (0, 0, 1), "only the status changed");
        let asks = pod("a", value!({ "priority": 0, "tolerations": [{ "operator": "Exists" }] }));
        q.put(Arc::new(asks), at(10));
        assert_eq!(pop(&mut q, 10), Some("a".into()));
    }

    #[test]
    fn gates_hold_a_pod() {
        let mut q = Queue::default();
        let gated = pod("a", value!({ "schedulingGates": [{ "name": "g" }] }));
        q.put(Arc::new(gated.clone()), at(0));
        q.wake(at(0), |_| true);
        assert_eq!((q.lengths(), q.next_at(at(0)), pop(&mut q, 1000)), ((0, 0, 1), None, None));
        q.put(facts("a", 0), at(1));
        assert_eq!(q.lengths(), (1, 0, 0));
        q.put(Arc::new(gated), at(1));
        assert_eq!(q.lengths(), (0, 0, 1));
        q.remove(&ObjectKey::new("ns", "a"));
        assert_eq!(q.lengths(), (0, 0, 0));
    }

    #[test]
    fn a_pod_of_the_same_name_starts_anew() {
        let mut q = Queue::default();
        q.put(facts("a", 0), at(0));
        let entry = q.pop(at(0)).unwrap();
        q.retry(entry);
        let other = PodFacts { uid: "other".into(), ..(*facts("a", 0)).clone() };
        q.put(Arc::new(other), at(0));
        let entry = q.pop(at(0)).unwrap();
        assert_eq!((entry.pod.uid.as_str(), entry.attempts), ("other", 1));
    }
}
