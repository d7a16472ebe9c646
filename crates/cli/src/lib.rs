//! Cluster life and container commands.
