//! Container logs: reading and following. The node rotates them.

mod files;
mod follow;
mod read;

pub use follow::serve;
pub use read::Options;
