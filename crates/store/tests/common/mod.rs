//! What the store's tests share: a seeded random source, and a disk that loses power.
#![allow(dead_code)]

pub mod disk;

use bytes::Bytes;
use timonier_store::Options;

/// SplitMix64: small, seeded, the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The stamp of the tests: the revision in front of the value.
pub fn stamp(value: &Bytes, revision: u64) -> Bytes {
    Bytes::from([format!("{revision}:").as_bytes(), value].concat())
}

pub fn options() -> Options {
    Options { stamp, ..Options::default() }
}

/// What the stamp makes of a value.
pub fn stamped(value: &str, revision: u64) -> Bytes {
    stamp(&Bytes::copy_from_slice(value.as_bytes()), revision)
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
