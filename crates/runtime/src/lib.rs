//! The runtime trait, the embedded runtime and its shim.
#![allow(unsafe_code)]

pub mod api;
mod error;
mod spec;

pub use api::*;
