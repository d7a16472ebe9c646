//! The scheduling cycle.
