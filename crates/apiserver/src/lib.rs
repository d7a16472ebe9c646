//! HTTP, TLS, authentication, the request path, watch streaming.
//!
//! ```text
//! TLS ─► http::connection ─► handle: authenticate ─► authorize ─┬─► endpoints (discovery, health…)
//!                                                               └─► resource: decode ─► verbs
//! client (in process) ─────────────────────────────────────────────────────────────────► │
//!      verbs: default ─► admit ─► validate ─► store (compare-and-swap) ─► answer ◄── watch
//! ```
//!
//! Invariants: there is one path for every kind, and the catalogue's row says what differs; an
//! object at rest is its JSON, which lists and watches send as it is; nothing is answered before
//! it is stored; time and randomness come from [`timonier_meta::Environment`] and tokio's clock.
//! Deliberately absent: handlers of single kinds, knowledge of how anything is reconciled,
//! role-based access control (comes into
//! `timonier-policy`).

mod admission;
mod aggregation;
mod answer;
mod auth;
mod authorize;
mod bootstrap;
mod call;
mod client;
mod config;
mod decode;
mod endpoints;
mod extensions;
mod filter;
#[doc(hidden)]
pub mod fuzz;
mod handle;
mod http;
mod limits;
mod managed;
mod metadata;
mod network;
mod objects;
mod outgoing;
mod particulars;
mod percent;
mod proxy;
mod query;
mod request;
mod resource;
mod reviews;
mod rules;
mod server;
pub mod storage;
mod strategy;
mod structure;
mod subresources;
mod table;
mod verbs;
mod versions;
mod write;

pub use config::{Config, Error, FrontProxy, KubeletTls, ServingTls};
pub use handle::handle;
pub use http::respond::Body;
pub use server::ApiServer;
