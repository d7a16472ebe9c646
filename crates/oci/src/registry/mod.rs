//! The client of registries: OCI's distribution protocol.

pub mod auth;

mod client;
mod download;
mod http;
mod pull;
mod push;
mod tls;
mod token;

pub use auth::{Auth, DockerConfig};
