//! Container logs: reading, following, rotating.

mod files;
mod follow;
mod read;
mod rotate;

pub use follow::serve;
pub use read::Options;
pub use rotate::{Limits, rotate_for_ever};
