//! Virtual time and seeded randomness.

use std::sync::atomic::{AtomicU64, Ordering};

use timonier_meta::{Environment, Time};
use tokio::time::Instant;

/// Where virtual time starts: 2026-01-01T00:00:00Z.
const EPOCH: i64 = 1_767_225_600;

/// The environment of a run.
pub struct SimEnvironment {
    start: Instant,
    random: Random,
}

impl SimEnvironment {
    /// Must be called within the runtime whose clock it reads.
    pub fn new(seed: u64) -> Self {
        SimEnvironment { start: Instant::now(), random: Random::new(seed) }
    }
}

impl Environment for SimEnvironment {
    fn now(&self) -> Time {
        let micros = Instant::now().duration_since(self.start).as_micros();
        Time(EPOCH * 1_000_000 + i64::try_from(micros).expect("a run lasts less than an age"))
    }

    fn random(&self) -> u64 {
        self.random.next()
    }
}

/// splitmix64. One thread uses it; it is atomic only to be shared.
pub struct Random(AtomicU64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(AtomicU64::new(seed))
    }

    pub fn next(&self) -> u64 {
        let n = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    /// A number below `n`, which is not zero.
    pub fn below(&self, n: u64) -> u64 {
        self.next() % n
    }

    /// True in `per_mille` of a thousand cases.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of the items.
    pub fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len() as u64) as usize) }
    }
}
