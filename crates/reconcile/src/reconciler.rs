//! The contract of a controller.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{ApiError, GroupResource, GroupVersionResource, ObjectKey, Time, names};
use timonier_object::Value;

use crate::{Plan, World};

/// A controller. Its keys are what it calls them: mostly the key of the object that it is about.
pub trait Reconciler: Send + Sync {
    /// The component's name in Events and logs, such as `deployment-controller`.
    fn name(&self) -> &'static str;

    /// The resources whose changes concern this controller and that its decisions read. A key
    /// runs only after all of them were listed.
    fn watches(&self) -> Vec<GroupVersionResource>;

    /// Whether the controller watches every resource there is, `watches` being only those that
    /// it cannot do without.
    fn watches_all(&self) -> bool {
        false
    }

    /// The keys that a change touches.
    fn concerns(&self, change: &Change, world: &World) -> Vec<ObjectKey>;

    /// What should be done about a key, as things are.
    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan;
}

/// A change of one object in the world: created (no `old`), changed, or gone (no `new`).
#[derive(Clone, Debug)]
pub struct Change {
    pub resource: GroupResource,
    pub key: ObjectKey,
    pub old: Option<Arc<Value>>,
    pub new: Option<Arc<Value>>,
}

impl Change {
    /// Whether the change is of this resource.
    pub fn is(&self, resource: &GroupVersionResource) -> bool {
        self.resource.resource == resource.resource && self.resource.group == resource.group
    }

    /// The states that the change knows: the old one, the new one.
    pub fn states(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain(self.new.iter())
    }

    /// The keys of the controllers of this kind that the object had and has.
    pub fn controllers(&self, group: &str, kind: &str) -> Vec<ObjectKey> {
        let mut keys: Vec<ObjectKey> = Vec::new();
        for state in self.states() {
            let Some(owner) = state.controller() else { continue };
            if owner.kind != kind || group_of(&owner.api_version) != group {
                continue;
            }
            let key = ObjectKey::new(self.key.namespace.clone(), owner.name);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// What a decision may know besides the world.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub now: Time,
    /// The seed of this run's randomness.
    pub seed: u64,
    /// The failure of the key's last run, if it failed.
    pub failure: Option<&'a Failure>,
    /// What the key's last run that succeeded wanted remembered.
    pub memory: Option<&'a Value>,
}

impl Context<'_> {
    /// A context for tests and tools.
    pub fn at(now: Time, seed: u64) -> Self {
        Context { now, seed, failure: None, memory: None }
    }

    /// The `n`th random number of this run.
    pub fn random(&self, n: u64) -> u64 {
        mix(self.seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// The `n`th generated name of this run, as the server would make it from `generateName`.
    pub fn generate_name(&self, base: &str, n: u64) -> String {
        names::generate(base, self.random(n))
    }
}

/// The finaliser of splitmix64.
pub(crate) fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// A write that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub resource: GroupResource,
    pub key: ObjectKey,
    /// `create`, `update`, `patch` or `delete`.
    pub verb: SmolStr,
    pub error: ApiError,
}
