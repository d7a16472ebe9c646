//! Compressed layers: what was compressed comes out, and nonsense ends.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use timonier_oci::fuzz;

use crate::Target;

/// Bombs are cut off here.
const MOST: u64 = 8 << 20;

pub const TARGET: Target = Target {
    name: "compression",
    run,
    seeds: || {
        let plain = b"some text, some text, some text".repeat(20);
        let frame = zstd::encode_all(&plain[..], 3).unwrap_or_default();
        vec![gzip(&plain), frame, plain, b"\xfd7zXZ\0\0\x04".to_vec()]
    },
    words: &["\x1f", "\u{8b}", "7zXZ", "\0\0\0\0"],
};

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(plain);
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}

fn run(input: &[u8]) {
    drop(fuzz::decompress(input, MOST));
    let length = input.len() as u64;
    assert_eq!(fuzz::decompress(&gzip(input), MOST).ok(), Some(length), "gzip lost something");
}
