//! What a deciding crate may not take for itself: the time and randomness.

use crate::Time;

/// The clock and the source of randomness of a process. The simulation has its own, driven by
/// virtual time and a seed.
pub trait Environment: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Time;

    /// A random number.
    fn random(&self) -> u64;

    /// A version 4 UUID, as upstream's uids are.
    fn uid(&self) -> alloc::string::String {
        let (a, b) = (self.random(), self.random());
        alloc::format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        )
    }
}
