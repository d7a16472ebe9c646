//! What may come from outside the workspace.

/// Licences under which a dependency may be part of the binary.
pub const LICENCES: &[&str] = &[
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Why licences are limited.
pub const LICENCE_REASON: &str = "the binary is distributed under Apache-2.0, so what is linked into it must allow that without conditions on the whole; see crates/tidy/src/packages.rs";

/// Packages under another licence, which one, and why that is no harm.
pub const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("imbl", "MPL-2.0+", "conditions apply to its own files alone, which are used unchanged"),
    ("imbl-sized-chunks", "MPL-2.0+", "conditions apply to its own files alone, unchanged here"),
    (
        "libfuzzer-sys",
        "(MIT OR Apache-2.0) AND NCSA",
        "it asks for its notice alone, and is not part of the binary",
    ),
];

/// Where packages may come from: crates.io, which keeps every version for ever.
pub const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Why sources are limited.
pub const SOURCE_REASON: &str =
    "a package comes from crates.io or from the workspace, so that every version can be had again";

/// Packages that must not come in, and why.
pub const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "TLS is rustls: one implementation, no library of the host"),
    ("native-tls", "TLS is rustls: one implementation, no library of the host"),
    ("libcontainer", "the runtime has its own start path (ARCHITECTURE.md, deliberately absent)"),
    ("etcd-client", "it needs protoc (ARCHITECTURE.md, deliberately absent)"),
    ("kube", "there are no typed API structs at run time (ARCHITECTURE.md)"),
    ("async-std", "the asynchronous runtime is tokio"),
];

/// Packages that only build scripts may use, and why.
pub const BUILD_ONLY: &[(&str, &str)] =
    &[("k8s-openapi", "there are no typed API structs at run time (ARCHITECTURE.md)")];

/// Packages of which Linux builds have more than one version, because dependencies disagree.
pub const DUPLICATES: &[&str] = &[
    // RustCrypto's generations: certificates and tokens have moved on, others have not.
    "block-buffer",
    "const-oid",
    "cpufeatures",
    "crypto-common",
    "digest",
    "sha2",
    // Random numbers, of the same generations.
    "getrandom",
    "rand",
    "rand_core",
    // Elsewhere.
    "base64",
    "syn",
    "synstructure",
];

/// Why duplicates are listed.
pub const DUPLICATE_REASON: &str = "a second version of a package costs build time and size, and types of the two do not mix; choose the version that is there, or list the package in crates/tidy/src/packages.rs";
