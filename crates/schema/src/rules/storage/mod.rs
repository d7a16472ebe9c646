//! Storage: claims, volumes, classes, drivers, attachments.

pub mod claims;
pub mod sources;

pub use claims::claim_template;
