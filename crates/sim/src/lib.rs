//! The control plane in one thread under virtual time.
