//! Deletes what no manifest needs any more.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::UNIX_EPOCH;

use timonier_meta::{Duration, Time};

use super::RegistryServer;
use super::manifests::Known;
use super::storage::{list, remove_file};
use crate::digest::Digest;
use crate::error::Result;

/// What a collection did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    pub blobs: u64,
    /// Bytes given back.
    pub freed: u64,
    /// Uploads that nobody went on with.
    pub uploads: u64,
}

impl RegistryServer {
    /// Deletes blobs that no manifest of any repository names, and uploads under way, if they
    /// are older than `grace`: younger ones may belong to a push that is not done. Blocks.
    pub fn collect(&self, now: Time, grace: Duration) -> Result<Collected> {
        let mut done = Collected::default();
        let mut live: BTreeSet<String> = BTreeSet::new();
        let old = |path: &Path| {
            path.metadata().is_ok_and(|m| {
                let changed = m
                    .modified()
                    .ok()
                    .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
                    .unwrap_or_default();
                now - Time(changed.as_micros() as i64) >= grace
            })
        };
        for repository in self.storage.repositories()? {
            let mut named = BTreeSet::new();
            for hex in self.storage.marks(&repository, "_manifests")? {
                let Ok(digest) = Digest::parse(&format!("sha256:{hex}")) else { continue };
                named.insert(hex);
                if let Some((_, bytes)) = self.storage.manifest(&repository, &digest)?
                    && let Ok(known) = Known::parse(&bytes)
                {
                    let blobs = known.config.iter().chain(&known.layers);
                    named.extend(blobs.map(|b| b.digest.hex().to_owned()));
                }
            }
            for hex in self.storage.marks(&repository, "_blobs")? {
                let mark = self.storage.repository(&repository).join("_blobs").join(&hex);
                if !named.contains(&hex) && old(&mark) {
                    remove_file(&mark)?;
                } else {
                    live.insert(hex);
                }
            }
            live.extend(named);
        }
        let blobs = self.storage.uploads().with_file_name("blobs");
        for hex in list(&blobs)? {
            let path = blobs.join(&hex);
            if !live.contains(&hex) && old(&path) {
                let size = path.metadata().map_or(0, |m| m.len());
                if remove_file(&path)? {
                    done.blobs += 1;
                    done.freed += size;
                }
            }
        }
        for name in list(&self.storage.uploads())? {
            let path = self.storage.uploads().join(name);
            if old(&path) && remove_file(&path)? {
                done.uploads += 1;
            }
        }
        Ok(done)
    }
}
