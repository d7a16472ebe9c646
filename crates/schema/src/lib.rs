//! The catalogue of kinds: what Kubernetes v1.35 knows of each resource, as data.
//!
//! ```text
//! facts/*.facts ─┐ build/  ┌─► tables (constant) ─► Schema ─► defaults, decode, prune, protobuf
//! k8s-openapi ───┘         └─► descriptions (packed) ──► openapi
//! rules ─► what no schema can say, kind by kind
//! resources.rs ─► ResourceRow ─► Catalogue ─► discovery        CRD ─► crd ─► ResourceRow
//! ```
//!
//! Invariants: a catalogue never changes, a change makes a new one; the built-in tables are
//! constant data that cost nothing to load; no input panics.
//! Deliberately absent: storage, HTTP.
#![no_std]
extern crate alloc;

pub mod aggregation;
mod base64;
mod builtin;
mod catalogue;
pub mod columns;
pub mod convert;
pub mod crd;
pub mod decode;
pub mod defaults;
pub mod discovery;
pub mod expressions;
mod node;
pub mod openapi;
pub mod protobuf;
mod row;
pub mod rules;
mod schema;

pub use catalogue::Catalogue;
pub use node::Type;
pub use row::{
    InitialStatus, NameRule, ResourceRow, ScalePaths, Selectable, Strategy, Subresource, Verbs,
};
pub use schema::{Field, ListType, Schema};
