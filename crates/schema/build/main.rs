//! Joins the facts with the schemas of `k8s-openapi` and writes the built-in tables.

mod emit;
mod facts;
mod schemas;

use std::io::Write;
use std::path::Path;
use std::{env, fs};

use flate2::Compression;
use flate2::write::ZlibEncoder;

fn main() {
    println!("cargo::rerun-if-changed=facts");
    println!("cargo::rerun-if-changed=build");
    let structs = facts::read(Path::new("facts"));
    let tables = emit::Tables::build(&structs, &schemas::Schemas::collect());
    let all = [&tables.definition_descriptions[..], &tables.property_descriptions[..]].concat();
    let descriptions = all.join("\0");
    let source = tables.source(0);
    let hash = fnv(source.as_bytes(), fnv(descriptions.as_bytes(), 0xcbf2_9ce4_8422_2325));
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let out = Path::new(&out);
    fs::write(out.join("tables.rs"), tables.source(hash)).expect("OUT_DIR is writable");
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(descriptions.as_bytes()).expect("memory is writable");
    let packed = packed.finish().expect("memory is writable");
    fs::write(out.join("descriptions.z"), packed).expect("OUT_DIR is writable");
}

fn fnv(bytes: &[u8], seed: u64) -> u64 {
    bytes.iter().fold(seed, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}
