//! One trait, two transports, and the caches that components decide on.
//!
//! ```text
//! controllers, scheduler, node ──► Client ─┬─ in process (timonier-apiserver)
//!                                          └─ HTTPS (here)
//! ```
//!
//! Invariants: an object that a watch or a list hands out is shared, never copied; a watch that
//! falls behind ends with an error and is listed again, it never skips.
//! Deliberately absent: knowledge of kinds; every call names its resource.

mod api;
pub mod cache;
pub mod driver;
pub mod events;

mod connector;
mod https;
mod pin;

pub use api::{
    Client, DeleteOptions, List, ListOptions, PatchType, Preconditions, Propagation, WatchEvent,
    WatchStream, WriteOptions,
};
pub use https::{HttpsClient, HttpsConfig, from_status};
pub use pin::{authority_with_hash, key_hash};
