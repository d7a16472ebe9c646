//! Services, endpoints and names to rules and answers.
//!
//! ```text
//! Service, EndpointSlice ──facts──► Proxy::set_* ──► Vec<Operation> ──► nf_tables (timonier-network)
//!                        └────────► dns::Index  ──► answers
//! Node                   ──facts──► overlay::peers ──► routes, neighbours, forwarding entries
//! ```
//!
//! Invariants: the operations given for a change turn the rules before into the rules after, and
//! touch nothing that stays equal; the order of changes that arrive does not change the outcome
//! (but for the order of a service's endpoints).
//! Deliberately absent: sockets, clocks, the kernel; NetworkPolicies and Ingresses (to come).
#![no_std]
extern crate alloc;

mod compile;
pub mod dns;
mod facts;
pub mod overlay;
mod proxy;
pub mod rules;
mod select;

pub use facts::{Endpoint, Protocol, Service, ServicePort, Slice, SlicePort};
pub use proxy::Proxy;
pub use select::NodeFacts;
pub use timonier_meta::Cidr;
