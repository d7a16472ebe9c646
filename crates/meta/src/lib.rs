//! Names, kinds, labels, quantities, times, field paths and `Status` errors: the words every
//! other crate speaks.
//!
//! ```text
//! names ─ gvk ─ labels ─ quantity ─ time ─ field_path ─► status (the error of the whole API)
//! ```
//!
//! Invariants: nothing here knows a kind, reads a clock, or holds an API object.
//! Deliberately absent: object values (`timonier-object`) and schemas (`timonier-schema`).
#![no_std]
extern crate alloc;

pub mod capabilities;
pub mod cidr;
pub mod env;
pub mod field_path;
pub mod gvk;
pub mod labels;
pub mod mountinfo;
pub mod names;
pub mod quantity;
pub mod status;
pub mod time;
pub mod zone;

pub use cidr::Cidr;
pub use env::Environment;
pub use field_path::{ErrorKind, FieldError, FieldPath};
pub use gvk::{GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource, ObjectKey};
pub use labels::{Requirement, Selector};
pub use quantity::Quantity;
pub use smol_str::SmolStr;
pub use status::{ApiError, Cause, Reason};
pub use time::{Duration, Time};
pub use zone::Zone;
