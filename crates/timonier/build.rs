//! Links the binary at a fixed address.
//!
//! Every pod has a process of this binary, its shim. Linked to run at any address, each would work
//! through some hundred thousand relocations at its start and keep the pages that these write,
//! almost all of its memory, for itself. At a fixed address the pages stay the file's, and all
//! processes share them. Stack, heap and libraries are still at random addresses, as with the Go
//! programs that other clusters consist of.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-no-pie");
}
