//! Which endpoint goes into which slice: as few slices as needed, and few of them changed.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_object::Value;

/// The most endpoints of a slice (upstream's `--max-endpoints-per-slice`).
const MAX_ENDPOINTS: usize = 100;

pub struct Filled {
    /// Per present slice its endpoints; `None` where it is not needed any more.
    pub kept: Vec<Option<Vec<Value>>>,
    /// The endpoints of slices to create.
    pub new: Vec<Vec<Value>>,
}

/// Spreads endpoints over slices of the same ports.
pub fn fill(slices: &[Arc<Value>], endpoints: Vec<Value>) -> Filled {
    let nothing_wanted = endpoints.is_empty();
    let mut missing: BTreeMap<String, Value> =
        endpoints.into_iter().map(|e| (identity(&e), e)).collect();
    let mut kept: Vec<(bool, Vec<Value>)> = Vec::new();
    for slice in slices {
        let mut changed = false;
        let mut stay = Vec::new();
        for old in slice.at("endpoints").items() {
            match missing.remove(&identity(old)) {
                Some(new) => {
                    changed |= new != *old;
                    stay.push(new);
                }
                None => changed = true,
            }
        }
        kept.push((changed, stay));
    }
    let mut missing: Vec<Value> = missing.into_values().collect();
    // Slices that change anyway come first, then the fullest that has room.
    let mut order: Vec<usize> = (0..kept.len()).collect();
    order.sort_by_key(|i| (!kept[*i].0, usize::MAX - kept[*i].1.len()));
    for i in order {
        let room = MAX_ENDPOINTS.saturating_sub(kept[i].1.len()).min(missing.len());
        kept[i].1.extend(missing.drain(..room));
    }
    let mut new: Vec<Vec<Value>> = missing.chunks(MAX_ENDPOINTS).map(<[Value]>::to_vec).collect();
    let mut spare = nothing_wanted;
    let kept = kept
        .into_iter()
        .map(|(_, stay)| {
            let placeholder = stay.is_empty() && core::mem::take(&mut spare);
            (placeholder || !stay.is_empty()).then_some(stay)
        })
        .collect();
    if spare && slices.is_empty() {
        new.push(Vec::new());
    }
    Filled { kept, new }
}

/// An endpoint is the same as long as it is the same pod at the same address.
fn identity(endpoint: &Value) -> String {
    let address = endpoint.at("addresses").items().first().map_or("", Value::str);
    let mut text = endpoint.at("targetRef.uid").str().to_string();
    text.push('/');
    text.push_str(address);
    text
}
