//! What several controllers need.

pub mod claim;
pub mod conditions;
pub mod finalizers;
pub mod hash;
pub mod intstr;
pub mod pods;
pub mod ranking;
pub mod revisions;
pub mod services;
pub mod taints;
#[cfg(test)]
pub mod testing;
