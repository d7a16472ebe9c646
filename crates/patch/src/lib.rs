//! What a patch makes of an object: JSON patch, merge patch, strategic merge patch, server-side
//! apply.
//!
//! ```text
//! (object, patch[, schema]) ──► object' | PatchError
//! ```
//!
//! Invariants: the result depends on nothing but the arguments; the object given is never changed;
//! a hostile patch gives an error, never a panic and never unbounded work.
//! Deliberately absent: defaulting, validation and immutability of the result
//! (`timonier-schema`).
#![no_std]
extern crate alloc;

pub mod apply;
mod catalogue;
mod error;
mod json_patch;
mod merge_patch;
mod merge_schema;
mod strategic;

pub use error::PatchError;
pub use json_patch::{MAX_OPERATIONS, apply_json_patch};
pub use merge_patch::apply_merge_patch;
pub use merge_schema::MergeSchema;
pub use strategic::apply_strategic;
