//! What a tree of files takes on disk.

use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat,
};
use rustix::io;

/// Files of a tree that are counted at most.
const MAX_COUNTED: u64 = 1_000_000;
/// Bytes of the names of directories that are yet to be looked into, at most.
const MAX_PENDING: usize = 16 << 20;

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    pub bytes: u64,
    pub inodes: u64,
}

impl DiskUsage {
    /// Adds up what is below a directory, without the directory itself. It belongs to somebody
    /// who may change it at any time: links and mounts are never followed, a file with several
    /// names counts once, and what vanishes meanwhile or goes beyond a million files is not
    /// counted. Blocks.
    pub fn below(dir: &Path) -> DiskUsage {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(CWD, dir, flags, Mode::empty()) {
            Ok(root) => Walk::default().run(&root),
            Err(_) => DiskUsage::default(),
        }
    }
}

#[derive(Default)]
struct Walk {
    usage: DiskUsage,
    /// Directories to look into, from the root.
    pending: Vec<PathBuf>,
    pending_bytes: usize,
    /// Files with several names that were counted.
    linked: BTreeSet<u64>,
}

impl Walk {
    fn run(mut self, root: &OwnedFd) -> DiskUsage {
        // Errors: what cannot be read now is not counted.
        let _ = self.directory(root.as_fd(), Path::new(""));
        while let Some(path) = self.pending.pop() {
            self.pending_bytes -= path.as_os_str().len();
            if self.usage.inodes >= MAX_COUNTED {
                break;
            }
            if let Ok(dir) = open_below(root, &path) {
                let _ = self.directory(dir.as_fd(), &path);
            }
        }
        self.usage
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                // One that has vanished.
                let _ = self.entry(dir, name, path);
            }
            if self.usage.inodes >= MAX_COUNTED {
                break;
            }
        }
        Ok(())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &Path) -> io::Result<()> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_dir && stat.st_nlink > 1 && !self.linked.insert(stat.st_ino) {
            return Ok(());
        }
        self.usage.bytes += stat.st_blocks as u64 * 512;
        self.usage.inodes += 1;
        if is_dir {
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            let bytes = below.as_os_str().len();
            if self.pending_bytes + bytes <= MAX_PENDING {
                self.pending_bytes += bytes;
                self.pending.push(below);
            }
        }
        Ok(())
    }
}

/// Opens a directory below another, through no link and no mount.
fn open_below(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(root, path, flags, Mode::empty(), how)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_tree_is_counted_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&other).unwrap();
        let fill = |path: &Path, kib: usize| {
            fs::write(path, vec![1; kib << 10]).unwrap();
            fs::File::open(path).unwrap().sync_all().unwrap();
        };
        fill(&tree.join("a/b/file"), 256);
        fill(&tree.join("top"), 64);
        fill(&other.join("big"), 4096);
        fs::hard_link(tree.join("a/b/file"), tree.join("again")).unwrap();
        std::os::unix::fs::symlink(&other, tree.join("link")).unwrap();
        let usage = DiskUsage::below(&tree);
        assert_eq!(usage.inodes, 5, "two directories, two files, a link");
        let kib = usage.bytes >> 10;
        assert!((320..1024).contains(&kib), "{kib}");
        assert_eq!(DiskUsage::below(&tree.join("link")), DiskUsage::default());
        assert_eq!(DiskUsage::below(&tree.join("missing")), DiskUsage::default());
    }
}
