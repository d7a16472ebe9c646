//! The runtime trait, the embedded runtime and its shim.
#![allow(unsafe_code)]

pub mod api;
mod cgroup;
mod embedded;
mod error;
mod files;
mod init;
mod seccomp;
mod shim;
mod spec;

use std::ffi::OsString;

pub use api::*;
pub use cgroup::Cgroups;
pub use embedded::{Config, EmbeddedRuntime};

/// Hidden first argument that makes the binary a shim.
pub(crate) const SHIM_COMMAND: &str = "__shim";

/// Runs this process as a shim when its arguments say so. Call it first thing in
/// `main`, before any thread exists, and exit with the code it returns.
pub fn reexec_main(args: impl IntoIterator<Item = OsString>) -> Option<i32> {
    let mut args = args.into_iter().skip(1);
    let command = args.next()?;
    match (command.to_str()?, args.next()) {
        (SHIM_COMMAND, Some(dir)) => Some(shim::main(dir.as_ref())),
        _ => None,
    }
}
