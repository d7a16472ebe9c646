//! A pod's life on a node, as decisions.
