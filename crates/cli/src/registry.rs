//! The clusters of this host. A new one takes no name, port or range of another, also while that
//! one is down: it must be able to come back.
//!
//! One symbolic link a cluster, from its name to its data directory. A link whose directory holds
//! no cluster of that name any more counts for nothing.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::cluster::{ClusterConfig, Paths};
use crate::files;

/// Where the links are. No cluster's default directory has this name: names have no dots.
const DIR: &str = "/var/lib/timonier.clusters";

/// The directory with the links.
pub struct Registry {
    dir: PathBuf,
}

/// The registry while nobody else reads or changes it.
pub struct Locked<'a> {
    registry: &'a Registry,
    _lock: Flock<File>,
}

impl Registry {
    /// The host's own.
    pub fn host() -> Self {
        Registry { dir: DIR.into() }
    }

    /// One in a directory of its own.
    pub fn at(dir: &Path) -> Self {
        Registry { dir: dir.to_owned() }
    }

    /// Waits for other commands that are choosing a cluster's settings.
    pub fn lock(&self) -> Result<Locked<'_>> {
        let what = || format!("lock {}", self.dir.display());
        loop {
            files::create_private_dir(&self.dir)?;
            let dir = File::open(&self.dir).with_context(what)?;
            let inode = dir.metadata().with_context(what)?.ino();
            let lock = Flock::lock(dir, FlockArg::LockExclusive).map_err(|(_, e)| e);
            let lock = lock.with_context(what)?;
            // The last cluster that goes removes the directory, possibly between the two steps.
            if fs::metadata(&self.dir).is_ok_and(|now| now.ino() == inode) {
                return Ok(Locked { registry: self, _lock: lock });
            }
        }
    }
}

impl Locked<'_> {
    fn link(&self, name: &str) -> PathBuf {
        self.registry.dir.join(name)
    }

    /// Notes that the name belongs to the data directory; fails if it is another cluster's.
    pub fn claim(&self, name: &str, data: &Path) -> Result<()> {
        let link = self.link(name);
        if let Ok(owner) = fs::read_link(&link) {
            if same(&owner, data) {
                return Ok(());
            }
            if cluster_at(name, &owner).is_some() {
                bail!(
                    "{} holds a cluster named {name:?} already; choose another name with --name, or delete that one with `timonier reset --data-dir {}`",
                    owner.display(),
                    owner.display()
                );
            }
            fs::remove_file(&link).with_context(|| format!("delete {}", link.display()))?;
        }
        symlink(data, &link).with_context(|| format!("create {}", link.display()))
    }

    /// The settings of every cluster but the one of this name.
    pub fn others(&self, name: &str) -> Vec<ClusterConfig> {
        let links = fs::read_dir(&self.registry.dir).into_iter().flatten().flatten();
        links
            .filter(|link| link.file_name() != name)
            .filter_map(|link| {
                let owner = fs::read_link(link.path()).ok()?;
                cluster_at(link.file_name().to_str()?, &owner)
            })
            .collect()
    }

    /// Frees the name if it is the data directory's.
    pub fn release(&self, name: &str, data: &Path) -> Result<()> {
        let link = self.link(name);
        if fs::read_link(&link).is_ok_and(|owner| same(&owner, data)) {
            fs::remove_file(&link).with_context(|| format!("delete {}", link.display()))?;
        }
        // Stays where another cluster has its link.
        let _ = fs::remove_dir(&self.registry.dir);
        Ok(())
    }
}

/// Links of earlier versions name the directory as it was typed.
fn same(owner: &Path, data: &Path) -> bool {
    let real = |path: &Path| path.canonicalize();
    owner == data || matches!((real(owner), real(data)), (Ok(a), Ok(b)) if a == b)
}

fn cluster_at(name: &str, data: &Path) -> Option<ClusterConfig> {
    let config = ClusterConfig::load(&Paths { data: data.to_owned() }).ok().flatten();
    config.filter(|c| c.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_one_directory_until_it_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(&dir.path().join("r"));
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let paths = Paths { data: one.clone() };
        ClusterConfig::load_or_create_in(&registry, &paths, Some("a"), None).unwrap();
        let locked = registry.lock().unwrap();
        locked.claim("a", &one).unwrap();
        let text = locked.claim("a", &two).unwrap_err().to_string();
        assert!(text.contains(&one.display().to_string()), "{text}");
        assert_eq!(locked.others("b").len(), 1);
        assert!(locked.others("a").is_empty());
        locked.release("a", &two).unwrap();
        assert!(locked.claim("a", &two).is_err());
        fs::remove_dir_all(&one).unwrap();
        locked.claim("a", &two).unwrap();
        assert!(locked.others("b").is_empty());
        locked.release("a", &two).unwrap();
        assert!(!dir.path().join("r").exists());
    }
}
