//! How many requests are answered at once, and whose: nobody takes everybody's room. A small form of
//! upstream's priority and fairness, with its exemptions.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use smol_str::SmolStr;
use timonier_policy::{User, groups, node};

/// Requests of ordinary users, as upstream's limits of reads (400) and writes (200) together.
const USERS: usize = 600;
/// Requests of one ordinary user.
const USER: usize = 200;
/// Requests of nodes.
const NODES: usize = 600;
/// Requests of one node.
const NODE: usize = 100;

/// The control plane's own.
const COMPONENTS: [&str; 3] =
    ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"];

/// Requests under way. Watches count until they have begun.
pub struct Limits {
    users: Room<SmolStr>,
    nodes: Room<SmolStr>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { users: Room::new(USERS, USER), nodes: Room::new(NODES, NODE) }
    }
}

impl Limits {
    /// A place for a request of the user, as long as it is held. The error: there is none.
    pub fn enter(&self, user: &User) -> Result<Option<Place<SmolStr>>, Full> {
        if user.in_group(groups::MASTERS) || COMPONENTS.contains(&user.name.as_str()) {
            return Ok(None);
        }
        let room = if node::node_name(user).is_some() { &self.nodes } else { &self.users };
        room.enter(user.name.clone()).map(Some)
    }
}

/// There is no place.
#[derive(Debug)]
pub struct Full;

/// Places, of which one visitor has a part at most.
pub struct Room<K: Hash + Eq>(Arc<Shared<K>>);

struct Shared<K> {
    all: usize,
    of_one: usize,
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    all: usize,
    by: HashMap<K, usize>,
}

impl<K: Hash + Eq + Clone> Room<K> {
    /// A room with so many places, and so many of one visitor.
    pub fn new(all: usize, of_one: usize) -> Self {
        let taken = Mutex::new(Taken { all: 0, by: HashMap::new() });
        Room(Arc::new(Shared { all, of_one, taken }))
    }

    /// Takes a place.
    pub fn enter(&self, who: K) -> Result<Place<K>, Full> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by.get(&who).copied().unwrap_or(0);
        if taken.all >= self.0.all || own >= self.0.of_one {
            return Err(Full);
        }
        taken.all += 1;
        taken.by.insert(who.clone(), own + 1);
        drop(taken);
        Ok(Place { room: self.0.clone(), who })
    }
}

/// A place; free again when it is dropped.
pub struct Place<K: Hash + Eq> {
    room: Arc<Shared<K>>,
    who: K,
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(own) = taken.by.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_visitor_does_not_fill_the_room() {
        let room = Room::new(5, 3);
        let enter = |who: &str, n: usize| -> Vec<Place<String>> {
            (0..n).filter_map(|_| room.enter(who.into()).ok()).collect()
        };
        let first = enter("a", 9);
        assert_eq!(first.len(), 3);
        let second = enter("b", 9);
        assert_eq!(second.len(), 2, "the room is full");
        assert!(room.enter("c".into()).is_err());
        drop(first);
        assert_eq!(enter("c", 9).len(), 3);
        drop(second);
        assert!(room.0.taken.lock().unwrap().by.is_empty());
    }

    #[test]
    fn masters_and_components_need_no_place() {
        let limits = Limits::default();
        let master = User::authenticated("admin", [groups::MASTERS.into()]);
        let scheduler = User::authenticated("system:kube-scheduler", []);
        let jane = User::authenticated("jane", []);
        let kubelet = User::authenticated("system:node:a", [groups::NODES.into()]);
        let all: Vec<_> = (0..USER).map(|_| limits.enter(&jane).unwrap()).collect();
        assert!(all.iter().all(Option::is_some) && limits.enter(&jane).is_err());
        assert!(limits.enter(&kubelet).unwrap().is_some());
        for _ in 0..2 * USERS {
            assert!(limits.enter(&master).unwrap().is_none());
            assert!(limits.enter(&scheduler).unwrap().is_none());
        }
    }
}
