//! One controller, one file.
