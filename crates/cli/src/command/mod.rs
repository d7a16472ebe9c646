//! One command a file.

pub mod build;
pub mod down;
pub mod example;
pub mod image;
pub mod images;
pub mod pull;
pub mod registry;
pub mod reset;
pub mod status;
pub mod token;
pub mod up;
