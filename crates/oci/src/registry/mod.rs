//! The client of registries: OCI's distribution protocol.

pub mod auth;

mod client;
mod download;
mod fetch;
mod http;
mod proxy;
mod pull;
mod push;
pub(crate) mod token;

pub use auth::{Auth, DockerConfig};

pub(crate) use fetch::fetch;
pub(crate) use pull::blocking;
pub(crate) use token::escape;
