//! The machine's own clock and randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use timonier_meta::{Environment, Time};

/// The wall clock and the kernel's random numbers.
pub struct System;

impl Environment for System {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Time(since.map_or(0, |d| d.as_micros() as i64))
    }

    fn random(&self) -> u64 {
        getrandom::u64().expect("the kernel gives random numbers to whoever asks")
    }
}
