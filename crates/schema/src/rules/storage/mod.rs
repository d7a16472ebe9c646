//! Storage: claims, volumes, classes, drivers, attachments.

pub mod attachments;
pub mod claims;
pub mod classes;
pub mod sources;
pub mod volumes;

pub use claims::claim_template;
pub use sources::csi_driver_name as driver_name;
