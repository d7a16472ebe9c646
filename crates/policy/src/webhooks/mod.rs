//! Admission webhooks: which of them a request goes to, what they are sent, what they answer.

mod matching;
mod review;

pub use matching::{Asked, Hook, hooks, is_exempt, rule_matches, selectors_match};
pub use review::{Answer, Review};
