//! Revisions, compare-and-swap, watch, compaction.
