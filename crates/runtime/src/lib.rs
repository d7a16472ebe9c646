//! The runtime trait, the embedded runtime and its shim.
