//! Times and durations.

use std::hint::black_box;

use timonier_meta::Time;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "times",
    run,
    seeds: || {
        texts(&[
            "2026-01-01T00:00:00Z",
            "2024-02-29T23:59:60.123456789+05:30",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59-23:59",
            "1h2m3.5s",
            "-1.5ms",
            "100us",
            "0",
            "1ns2µs",
        ])
    },
    words: &[
        "T", "Z", "+00:00", "-24:00", ".", "h", "m", "s", "ms", "us", "µs", "ns", "-", ":", "99",
    ],
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(time) = Time::parse(text) {
        let again = time.rfc3339_micro();
        assert_eq!(Time::parse(&again), Some(time), "read back from {again:?}");
        drop((time.rfc3339(), time.civil()));
    }
    black_box(timonier_meta::time::parse_go_duration(text));
}
