//! The runtime trait, and the runtime inside this binary.
//!
//! ```text
//! node ──Runtime──► EmbeddedRuntime ⇄ shim (one per pod) ─► helper ─► the container's process
//!                        │                  │ logs, exit records, terminals, attached streams
//!                        └─ cgroups, files  └─ survives the daemon, holds the pod's namespaces
//! ```
//!
//! Invariants:
//! - Processes are prepared only in single-threaded re-executions of the binary: see
//!   [`reexec_main`]. The daemon itself never forks.
//! - A container's end is on disk before anybody hears of it. A restarted daemon finds every pod
//!   through its shim's socket; a pod whose shim is gone is killed, never half-watched.
//! - A container cannot write to its cgroup, leave its root through a link in its image, use a
//!   device of the host, or run without the system call filter it was meant to have; commands run
//!   in it later are held to the same.
//! - Mounts of a container exist only in its own mount namespace. On the host a pod has one mount
//!   (its `/dev/shm`), one cgroup and one directory.
//!
//! Both versions of cgroups are served. The integration tests run on what the host has;
//! `tools/cgroup2-vm.sh` runs all of them with cgroup v2 on Debian's own kernel in an emulated
//! machine.
//!
//! Deliberately absent: images (`timonier-oci`), networks (`timonier-network`), user namespaces,
//! SELinux and AppArmor labels, checkpoints. No `libcontainer`: in its version 0.7.0 commands run
//! in a container escape the filter, mount propagation is ignored, supplementary groups of the
//! caller stay, and masked comparisons of filters are swapped.
#![allow(unsafe_code)]

pub mod api;
mod cgroup;
mod disk_usage;
mod embedded;
mod error;
mod executable;
mod file_watch;
mod files;
mod foreground;
mod init;
mod owned;
mod remove;
mod seccomp;
mod shim;
mod spec;

use std::ffi::OsString;

pub use api::*;
pub use cgroup::{Cgroups, OOM_GROUP};
pub use disk_usage::DiskUsage;
pub use embedded::{Config, EmbeddedRuntime};
pub use file_watch::FileWatch;
pub use foreground::{Foreground, run_foreground};
pub use remove::remove_tree;

/// Hidden first arguments that make the binary something else.
const SHIM_COMMAND: &str = "__shim";
const RUN_COMMAND: &str = "__run";

/// Runs this process as a shim or as a helper of [`run_foreground`] when its arguments say so. Call
/// it first thing in `main`, before any thread exists, and exit with the code it returns.
pub fn reexec_main(args: impl IntoIterator<Item = OsString>) -> Option<i32> {
    let mut args = args.into_iter().skip(1);
    let command = args.next()?;
    match (command.to_str()?, args.next()) {
        (SHIM_COMMAND, Some(dir)) => Some(shim::main(dir.as_ref())),
        (RUN_COMMAND, Some(_)) => Some(foreground::main()),
        _ => None,
    }
}
