//! What the fuzzer reaches into: decoders that are private otherwise.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use crate::archive;
use crate::build::dockerfile;
use crate::build::ignore::Ignore;
use crate::config::ConfigFile;
use crate::distribution::manifests::Known;
use crate::distribution::route::Route;
use crate::error::{IoContext, Result};
use crate::manifest::{self, Document};
use crate::registry::token;
use crate::unpack::{self, Limits, Options, compression, path};

/// Reads a Dockerfile; gives how many instructions it has.
pub fn dockerfile(text: &str) -> Result<usize> {
    dockerfile::parse(text, "Dockerfile").map(|file| file.instructions.len())
}

/// Whether a `.dockerignore` leaves a path out.
pub fn ignores(text: &str, path: &str) -> bool {
    let names: Vec<Vec<u8>> = path.split('/').map(|name| name.as_bytes().to_vec()).collect();
    Ignore::parse(text).ignores(&names)
}

/// Takes a compression off; gives how many bytes there were, up to `most`.
pub fn decompress(bytes: &[u8], most: u64) -> Result<u64> {
    let (_, decoder) = compression::decode(bytes)?;
    std::io::copy(&mut decoder.take(most), &mut std::io::sink()).during(|| "read".to_owned())
}

/// Unpacks a plain archive as a layer into a directory, within small limits.
pub fn layer(archive: &[u8], root: &Path) -> Result<u64> {
    let fd = path::open_root(root)?;
    let limits = Limits { entries: 200, bytes: 1 << 20 };
    let options = Options { limits, layer: true, ..Options::default() };
    unpack::unpack(archive, fd.as_fd(), &options).map(|done| done.entries)
}

/// Reads bytes as every document of an image or a registry; gives how many of them they are.
pub fn documents(bytes: &[u8]) -> usize {
    let types = ["", "application/vnd.oci.image.index.v1+json"];
    let manifests = types.iter().filter_map(|t| manifest::parse(bytes, t).ok());
    let mut found = 0;
    for document in manifests {
        found += 1;
        if let Document::Manifest(manifest) = document {
            let again = manifest::parse(&manifest.to_bytes(), "");
            assert!(matches!(again, Ok(Document::Manifest(m)) if m == manifest));
        }
    }
    found += usize::from(ConfigFile::parse(bytes).is_ok());
    found += usize::from(archive::named(bytes).is_ok());
    found += usize::from(Known::parse(bytes).is_ok());
    found + usize::from(token::parse_token(bytes).is_ok())
}

/// Reads the path of a request to the registry server.
pub fn route(method: &http::Method, path: &str) -> bool {
    Route::parse(method, path).is_ok()
}
