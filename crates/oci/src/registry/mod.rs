//! The client of registries.

pub mod auth;

pub use auth::{Auth, DockerConfig};
