//! Leases: what only coordinated leader election has is dropped, which upstream has off by default.

use timonier_object::Value;

/// Drops the fields.
pub fn drop_disabled(lease: &mut Value) {
    for field in ["spec.strategy", "spec.preferredHolder"] {
        lease.remove(field);
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn the_strategy_is_dropped() {
        let mut lease = value!({ "spec": { "holderIdentity": "a", "strategy": "OldestEmulationVersion", "preferredHolder": "b" } });
        drop_disabled(&mut lease);
        assert_eq!(lease, value!({ "spec": { "holderIdentity": "a" } }));
    }
}
