//! Who may do what: pure decisions about a request, before anything is read or written.
//!
//! ```text
//! User + verb + resource (Attributes) ──► Authorizer ──► Decision ──► forbidden() (403)
//! object + LimitRange ──► limits ──► filled in, or why not
//! request + webhook configurations ──► webhooks ──► who is asked what, and what the answer means
//! pod + its service account ──► mountable_secrets ──► whether it may use its Secrets
//! request of a node ──► node ──► whether it concerns that node
//! pod + labels of its namespace ──► pod_security ──► refused, warned of
//! request + ValidatingAdmissionPolicy ──► validating ──► what it denies and why
//! object + ResourceQuota ──► quota ──► what is used then, or why not
//! ```
//!
//! Invariants: a decision needs nothing but its arguments; what is not allowed is refused.
//! Deliberately absent: authentication and HTTP (`timonier-apiserver`); role-based access control,
//! which comes as another [`Authorizer`] beside [`Builtin`].
#![no_std]
extern crate alloc;

mod attributes;
mod builtin;
pub mod conditions;
pub mod delegator;
pub mod limits;
pub mod mountable_secrets;
pub mod node;
pub mod pod_security;
pub mod quota;
mod user;
pub mod validating;
pub mod webhooks;

pub use attributes::{Attributes, Authorizer, Decision, forbidden};
pub use builtin::Builtin;
pub use user::{ServiceAccountName, User, groups};
