//! The Reconciler trait, plans, and the driver without I/O.
