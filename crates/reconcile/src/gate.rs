//! What a key may have to wait for.

use alloc::collections::BTreeMap;

use smol_str::SmolStr;
use timonier_meta::{GroupResource, ObjectKey};

use crate::World;

/// Something that must have been observed before a key may run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gate {
    /// The resource was listed once.
    Listed(GroupResource),
    /// The resource was observed up to a revision: that of a write, or one that a plan waits for.
    Revision(GroupResource, u64),
    /// The object with this uid was seen to be deleted, or to be on its way.
    Gone(GroupResource, ObjectKey, SmolStr),
    /// The resource was listed anew after this number was given out.
    Relisted(GroupResource, u64),
}

/// The highest number of each resource whose list was done.
pub(crate) type Relists = BTreeMap<GroupResource, u64>;

impl Gate {
    /// Whether the key may pass. What is not observed at all cannot be waited for.
    pub fn is_open(&self, world: &World, relists: &Relists) -> bool {
        let resource = self.resource();
        if world.info(resource).is_none() {
            return true;
        }
        let table = world.table_of(resource);
        match self {
            Gate::Listed(_) => table.synced().is_some(),
            Gate::Revision(_, revision) => table.synced().is_some_and(|s| s >= *revision),
            Gate::Gone(_, key, uid) => {
                table.get(key).is_none_or(|o| o.uid() != uid || o.is_deleting())
            }
            Gate::Relisted(_, number) => relists.get(resource).is_some_and(|n| n >= number),
        }
    }

    pub fn resource(&self) -> &GroupResource {
        match self {
            Gate::Listed(r) | Gate::Revision(r, _) | Gate::Gone(r, _, _) | Gate::Relisted(r, _) => {
                r
            }
        }
    }
}
