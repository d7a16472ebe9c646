//! Deleting what nobody needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::UNIX_EPOCH;

use timonier_meta::Time;

use super::ImageStore;
use super::index::IndexFile;
use crate::build::cache::CacheEntry;
use crate::digest::Digest;
use crate::error::{IoContext, Result};
use crate::options::{GcLimits, GcReport, Usage};

/// What must stay.
#[derive(Default)]
struct Live {
    blobs: BTreeSet<Digest>,
    chains: BTreeSet<Digest>,
}

impl ImageStore {
    /// Deletes unused images and build cache within the limits, and content that nothing needs.
    /// Images whose ids are in `in_use` stay. Images without a name go once they are older than
    /// `min_age`.
    pub fn gc(&self, in_use: &BTreeSet<Digest>, limits: &GcLimits) -> Result<GcReport> {
        self.change_index(|index| {
            for (id, record) in &mut index.images {
                if in_use.contains(id) {
                    record.used = record.used.max(limits.now.0);
                }
            }
            Ok(())
        })?;
        self.expire_cache(limits)?;
        let mut report =
            GcReport { freed: self.expire_mount_caches(limits)?, ..GcReport::default() };
        let mut expired = self.drop_images(in_use, limits, 0)?;
        report.deleted.append(&mut expired);
        self.sweep_into(&mut report)?;
        while report.freed < limits.bytes_to_free && !report.deferred {
            let mut more = self.drop_images(in_use, limits, 1)?;
            if more.is_empty() {
                break;
            }
            report.deleted.append(&mut more);
            self.sweep_into(&mut report)?;
        }
        Ok(report)
    }

    /// Takes out of the index what is too old or has no name, and `extra` more, the least
    /// recently used first.
    fn drop_images(
        &self,
        in_use: &BTreeSet<Digest>,
        limits: &GcLimits,
        extra: usize,
    ) -> Result<Vec<Digest>> {
        self.change_index(|index| {
            let mut unused: Vec<(i64, Digest)> = index
                .images
                .iter()
                .filter(|(id, record)| {
                    !in_use.contains(*id) && limits.now - Time(record.used) >= limits.min_age
                })
                .map(|(id, record)| (record.used, id.clone()))
                .collect();
            unused.sort();
            let mut gone = Vec::new();
            let mut extra = extra;
            for (used, id) in unused {
                let old = limits.max_age.is_some_and(|max| limits.now - Time(used) > max);
                let named = index.names.values().any(|owner| *owner == id)
                    || !index.images[&id].repo_digests.is_empty();
                if !old && named {
                    if extra == 0 {
                        continue;
                    }
                    extra -= 1;
                }
                index.names.retain(|_, owner| *owner != id);
                index.images.remove(&id);
                gone.push(id);
            }
            Ok(gone)
        })
    }

    /// Removes build cache that is too old; under pressure all of it.
    fn expire_cache(&self, limits: &GcLimits) -> Result<()> {
        let dir = self.dir().join("cache");
        for entry in std::fs::read_dir(&dir).at("read", &dir)? {
            let path = entry.at("read", &dir)?.path();
            if expired(&path, limits) {
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(e).at("remove", &path);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The same for the directories of `RUN --mount=type=cache`, unless a build may use them.
    fn expire_mount_caches(&self, limits: &GcLimits) -> Result<u64> {
        let dir = self.mount_caches();
        let mut freed = 0;
        if !dir.is_dir() {
            return Ok(0);
        }
        let Some(_exclusive) = self.try_exclusive()? else { return Ok(0) };
        for entry in std::fs::read_dir(&dir).at("read", &dir)? {
            let path = entry.at("read", &dir)?.path();
            if expired(&path, limits) {
                freed += disk_use(&path).0;
                std::fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        // Not empty if something in it is still young.
        let _ = std::fs::remove_dir(&dir);
        Ok(freed)
    }

    /// Deletes content that neither an image nor the build cache needs. Does nothing while
    /// somebody adds content; returns the freed bytes, or `None` if it had to wait.
    pub(crate) fn sweep(&self) -> Result<Option<u64>> {
        let Some(exclusive) = self.try_exclusive()? else { return Ok(None) };
        let trash = self.dir().join("tmp").join(format!("trash-{}", std::process::id()));
        std::fs::create_dir_all(&trash).at("create", &trash)?;
        let live = self.live(&self.read_index()?)?;
        let mut freed = 0;
        for (dir, keep) in [("blobs/sha256", &live.blobs), ("layers", &live.chains)] {
            let dir = self.dir().join(dir);
            for entry in std::fs::read_dir(&dir).at("read", &dir)? {
                let entry = entry.at("read", &dir)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let digest = Digest::parse(&format!("sha256:{name}"));
                if digest.is_ok_and(|d| keep.contains(&d)) {
                    continue;
                }
                // Renaming is quick; the slow deletion holds nobody up.
                let to = trash.join(format!(
                    "{}-{name}",
                    dir.file_name().unwrap_or_default().to_string_lossy()
                ));
                freed += disk_use(&entry.path()).0;
                std::fs::rename(entry.path(), &to).at("rename to", &to)?;
            }
        }
        drop(exclusive);
        match std::fs::remove_dir_all(&trash) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("remove", &trash)?,
            _ => {}
        }
        Ok(Some(freed))
    }

    fn sweep_into(&self, report: &mut GcReport) -> Result<()> {
        match self.sweep()? {
            Some(freed) => report.freed += freed,
            None => report.deferred = true,
        }
        Ok(())
    }

    fn live(&self, index: &IndexFile) -> Result<Live> {
        let mut live = Live::default();
        for (id, record) in &index.images {
            live.blobs.insert(id.clone());
            live.chains.extend(record.chain.iter().cloned());
            for digest in &record.manifests {
                live.blobs.insert(digest.clone());
                // A damaged manifest must not keep the collector from the rest.
                if let Ok((_, doc)) = self.manifest(digest) {
                    live.blobs.insert(doc.config.digest);
                    live.blobs.extend(doc.layers.into_iter().map(|l| l.digest));
                }
            }
        }
        self.each_cache_entry(&mut |entry| {
            live.blobs.insert(entry.blob);
            live.chains.insert(entry.chain);
        })?;
        Ok(live)
    }

    fn each_cache_entry(&self, visit: &mut dyn FnMut(CacheEntry)) -> Result<()> {
        let dir = self.dir().join("cache");
        for entry in std::fs::read_dir(&dir).at("read", &dir)? {
            let path = entry.at("read", &dir)?.path();
            let Ok(bytes) = std::fs::read(&path) else { continue };
            match serde_json::from_slice(&bytes) {
                Ok(entry) => visit(entry),
                Err(_) => drop(std::fs::remove_file(&path)),
            }
        }
        Ok(())
    }

    /// Disk use.
    pub fn usage(&self) -> Result<Usage> {
        let index = self.read_index()?;
        let mut usage = Usage::default();
        for (part, sum) in [("blobs", &mut usage.blobs), ("layers", &mut usage.layers)] {
            let (bytes, inodes) = disk_use(&self.dir().join(part));
            *sum = bytes;
            usage.inodes += inodes;
        }
        let images: BTreeSet<&Digest> = index.images.values().flat_map(|r| &r.chain).collect();
        let mut cached = BTreeSet::new();
        self.each_cache_entry(&mut |entry| {
            cached.insert(entry.chain);
        })?;
        for chain in cached.iter().filter(|c| !images.contains(c)) {
            usage.build_cache += disk_use(&self.layer_path(chain)).0;
        }
        usage.build_cache += disk_use(&self.mount_caches()).0;
        Ok(usage)
    }
}

/// Whether a piece of build cache is to go: too old, or there is pressure.
fn expired(path: &Path, limits: &GcLimits) -> bool {
    let modified = path.metadata().and_then(|m| m.modified()).unwrap_or(UNIX_EPOCH);
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = limits.now - Time(since.as_micros() as i64);
    limits.bytes_to_free > 0 || limits.cache_max_age.is_some_and(|max| age > max)
}

/// Bytes on disk and number of files under a path; what vanishes meanwhile does not count.
fn disk_use(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = path.symlink_metadata() else { return (0, 0) };
    let mut sum = (meta.blocks() * 512, 1);
    if meta.is_dir()
        && let Ok(entries) = std::fs::read_dir(path)
    {
        for entry in entries.flatten() {
            let (bytes, inodes) = disk_use(&entry.path());
            sum = (sum.0 + bytes, sum.1 + inodes);
        }
    }
    sum
}
