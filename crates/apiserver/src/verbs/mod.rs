//! What a request does: one verb, one file.

pub mod create;
pub mod delete;
pub mod deletecollection;
pub mod fresh;
pub mod get;
pub mod list;
pub mod patch;
pub mod update;
pub mod watch;
