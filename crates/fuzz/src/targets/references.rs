//! Names of images, digests and platforms: as text they are read back the same.

use timonier_oci::{Digest, Platform, Reference};

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "references",
    run,
    seeds: || {
        texts(&[
            "nginx:1.29",
            "docker.io/library/nginx@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "localhost:5000/a/b_c-d.e:tag",
            "[::1]:5000/x",
            "linux/arm64/v8",
            "amd64",
        ])
    },
    words: &[
        "/",
        ":",
        "@",
        "sha256:",
        "sha512:",
        ".",
        "_",
        "__",
        "-",
        "localhost",
        "docker.io",
        "index.docker.io",
        "library/",
        "latest",
        "linux/",
        "aarch64",
        "x86_64",
    ],
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(reference) = Reference::parse(text) {
        let again = reference.to_string();
        assert_eq!(Reference::parse(&again).ok(), Some(reference), "read back from {again:?}");
    }
    if let Ok(reference) = Reference::parse_untagged(text) {
        drop(reference.to_string());
    }
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(Digest::parse(&digest.to_string()).ok(), Some(digest));
    }
    if let Ok(platform) = Platform::parse(text) {
        assert_eq!(Platform::parse(&platform.to_string()).ok(), Some(platform));
    }
}
