//! Image layers: nothing gets out of the directory that they are unpacked into.
//!
//! An input is a list of members, a line each: type, name and link. A mutated archive would mostly
//! have a wrong checksum; one made of mutated members has not. Input that begins with a zero byte is
//! taken for an archive as it is.

use std::fs;
use std::path::Path;

use timonier_oci::fuzz;

use crate::{Target, texts};

/// More members are not needed to do harm.
const MEMBERS: usize = 50;

pub const TARGET: Target = Target {
    name: "layer",
    run,
    seeds: || {
        texts(&[
            "5 d/\n0 d/f\n1 d/g d/f\n2 l ../../outside\n0 l\n",
            "2 a /\n0 a/outside\n5 b\n2 b/c ..\n0 b/c/../../x\n",
            "0 .wh.x\n0 d/.wh..wh..opq\n5 d\n0 d/.wh.f\n6 p\n",
            "0 ../outside\n0 /etc/outside\n0 ./././y\n2 z z\n0 z\n",
            "5 q/r/s\n2 q/r/s/t ../../../..\n1 h q/r/s/t/outside\n0 h\n",
        ])
    },
    words: &[
        "../",
        "/",
        "..",
        ".wh.",
        ".wh..wh..opq",
        "outside",
        "\n0 ",
        "\n1 ",
        "\n2 ",
        "\n5 ",
        "\n6 ",
        "\n7 ",
        "./",
        "//",
        "a",
        "d/",
        "\nL ",
        "\nx ",
        "\ng ",
    ],
};

fn run(input: &[u8]) {
    let archive = match input.split_first() {
        Some((0, raw)) => raw.to_vec(),
        _ => archive(input),
    };
    let Ok(place) = tempfile::tempdir_in(memory()) else { return };
    let (root, outside) = (place.path().join("root"), place.path().join("outside"));
    if fs::create_dir(&root).and(fs::write(&outside, "safe")).is_err() {
        return;
    }
    drop(fuzz::layer(&archive, &root));
    assert_eq!(
        fs::read(&outside).ok().as_deref(),
        Some(&b"safe"[..]),
        "a file outside was changed"
    );
    let there = fs::read_dir(place.path()).map_or(0, Iterator::count);
    assert_eq!(there, 2, "a file was made outside");
    let links = fs::metadata(&outside).map_or(0, |m| std::os::unix::fs::MetadataExt::nlink(&m));
    assert_eq!(links, 1, "a file outside was linked to");
}

fn memory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

fn archive(list: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in list.split(|b| *b == b'\n').take(MEMBERS) {
        let mut parts = line.splitn(3, |b| *b == b' ');
        let (Some(kind), Some(name)) = (parts.next(), parts.next()) else { continue };
        let kind = kind.first().copied().unwrap_or(b'0');
        out.extend(header(kind, name, parts.next().unwrap_or_default()));
        if matches!(kind, b'0' | b'L' | b'x' | b'g') {
            let mut block = [0; 512];
            block[..4].copy_from_slice(b"data");
            out.extend(block);
        }
    }
    out.extend([0; 1024]);
    out
}

fn header(kind: u8, name: &[u8], link: &[u8]) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, most: usize, bytes: &[u8]| {
        let n = bytes.len().min(most);
        block[at..at + n].copy_from_slice(&bytes[..n]);
    };
    put(0, 100, name);
    put(100, 8, b"0000644");
    put(108, 8, b"0000000");
    put(116, 8, b"0000000");
    let size =
        if matches!(kind, b'0' | b'L' | b'x' | b'g') { b"00000000004" } else { b"00000000000" };
    put(124, 12, size);
    put(136, 12, b"00000000000");
    put(148, 8, b"        ");
    put(156, 1, &[kind]);
    put(157, 100, link);
    put(257, 8, b"ustar\x0000");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}
