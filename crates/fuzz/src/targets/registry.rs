//! Paths of requests to the registry server.

use http::Method;
use timonier_oci::fuzz;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "registry",
    run,
    seeds: || {
        texts(&[
            "/v2/",
            "/v2/_catalog",
            "/v2/a/b/manifests/latest",
            "/v2/a/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "/v2/a/blobs/uploads/0123456789abcdef0123456789abcdef",
            "/v2/a/tags/list",
            "/v2/a/referrers/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ])
    },
    words: &[
        "/",
        "..",
        "/v2",
        "/manifests/",
        "/blobs/",
        "/uploads/",
        "/tags/list",
        "sha256:",
        "%2f",
        "_",
        ".",
    ],
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        fuzz::route(&method, text);
    }
}
