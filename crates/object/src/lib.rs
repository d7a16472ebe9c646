//! The compact object value that all API machinery works on, and its text codecs.
//!
//! ```text
//! bytes ──json::decode──► Value ──json::encode──► bytes
//!                          │ ▲
//!            at/find/set ──┘ └── value!({ "kind": "Pod" })
//! ```
//!
//! Invariants: field order is kept; nothing is dropped, unknown fields and nulls included; a
//! value of hostile depth or size is refused, never a panic. A node is 24 bytes, because a cluster
//! holds hundreds of thousands of objects.
//! Deliberately absent: knowledge of kinds (`timonier-schema`), typed structs.
#![no_std]
extern crate alloc;

pub mod json;
mod map;
mod metadata;
mod order;
mod selector;
mod serde_impl;
mod value;
pub mod yaml;

pub use map::Map;
pub use metadata::OwnerReference;
pub use order::Ordered;
pub use selector::{label_selector, node_requirement};
pub use smol_str::SmolStr;
pub use value::Value;

/// A [`Value`] written like JSON. A value that is neither a literal nor a name stands in
/// parentheses, and so does a key that is not a literal.
///
/// ```
/// use timonier_object::value;
/// let name = "web";
/// let pod = value!({ "kind": "Pod", "metadata": { "name": name, "labels": { (name): "x" } },
///                    "spec": { "priority": (1 + 2), "containers": [] } });
/// assert_eq!(pod.at("spec.priority").as_i64(), Some(3));
/// ```
#[macro_export]
macro_rules! value {
    (null) => { $crate::Value::Null };
    ({ $($k:tt : $v:tt),* $(,)? }) => {{
        #[allow(unused_mut)]
        let mut map = $crate::Map::new();
        $( map.insert($crate::SmolStr::from($k), $crate::value!($v)); )*
        $crate::Value::Object(map)
    }};
    ([ $($v:tt),* $(,)? ]) => {
        $crate::Value::array([ $( $crate::value!($v) ),* ])
    };
    ($e:expr) => { $crate::Value::from($e) };
}
