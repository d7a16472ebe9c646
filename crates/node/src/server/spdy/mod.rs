//! The part of SPDY/3.1 that kubectl and API servers speak to kubelets: streams opened by the
//! client, data in both directions, no flow control (upstream's implementation has none either, so
//! that waiting for window updates would wait for ever).

mod connection;
#[cfg(test)]
pub use connection::client;
mod dictionary;
pub(crate) mod frame;

pub use connection::{Connection, Stream, serve};
