//! Mounts of the host: in memory for secrets, and their removal.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// What volumes need of the host's mount table. Tests stand in where they have no right to mount.
pub(crate) trait Mounts: Send + Sync + 'static {
    /// Mounts memory at a directory; `size` in bytes.
    fn tmpfs(&self, at: &Path, size: Option<i64>) -> io::Result<()>;
    /// Binds what an open path names to another path.
    fn bind(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// The mount points at and below a directory, the deepest first.
    fn below(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Whether something is mounted at exactly this path. Costs the same however many mounts the
    /// host has, which the list of them does not.
    fn is_point(&self, at: &Path) -> io::Result<bool>;
    fn unmount(&self, at: &Path) -> io::Result<()>;
}

/// The kernel's mount table.
pub(crate) struct Kernel;

impl Mounts for Kernel {
    fn tmpfs(&self, at: &Path, size: Option<i64>) -> io::Result<()> {
        let options = match size {
            Some(size) => format!("mode=0777,size={size}"),
            None => "mode=0777".into(),
        };
        let options = std::ffi::CString::new(options).expect("no NUL in numbers");
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        Ok(mount("tmpfs", at, "tmpfs", flags, Some(options.as_c_str()))?)
    }

    fn bind(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::mount::mount_bind(from, to)?)
    }

    fn below(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        // The table has no links in its paths.
        let dir = match fs::canonicalize(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let points = table.lines().filter_map(|l| l.split(' ').nth(4)).map(unescape);
        let below = points.filter(|p| Path::new(&**p).starts_with(&dir));
        let mut out: Vec<PathBuf> = below.map(|p| p.into_owned().into()).collect();
        // Later mounts lie over earlier ones.
        out.reverse();
        out.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
        Ok(out)
    }

    fn is_point(&self, at: &Path) -> io::Result<bool> {
        match statx(CWD, at, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()) {
            Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn unmount(&self, at: &Path) -> io::Result<()> {
        match unmount(at, UnmountFlags::NOFOLLOW) {
            Ok(()) => Ok(()),
            // Somebody still has a file open: gone from sight now, and for good with the last.
            Err(rustix::io::Errno::BUSY) => {
                Ok(unmount(at, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?)
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// The mount table writes blanks and backslashes as octal numbers.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let code = text.get(i + 1..i + 4).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (bytes[i], code) {
            (b'\\', Some(c)) => {
                out.push(c);
                i += 4;
            }
            (c, _) => {
                out.push(c);
                i += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
pub(crate) mod fake {
    use super::*;

    /// Mounts nothing; binds by a link.
    pub struct NoMounts;

    impl Mounts for NoMounts {
        fn tmpfs(&self, _: &Path, _: Option<i64>) -> io::Result<()> {
            Ok(())
        }
        fn bind(&self, from: &Path, to: &Path) -> io::Result<()> {
            let real = fs::canonicalize(from)?;
            let _ = fs::remove_file(to).or_else(|_| fs::remove_dir(to));
            std::os::unix::fs::symlink(real, to)
        }
        fn below(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }
        fn is_point(&self, _: &Path) -> io::Result<bool> {
            Ok(false)
        }
        fn unmount(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_mount_points() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
        assert_eq!(unescape("/plain"), "/plain");
    }

    #[test]
    fn mounts_are_found_behind_a_link() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        let dir = tempfile::tempdir().unwrap();
        let point = fs::canonicalize(dir.path()).unwrap().join("real/point");
        fs::create_dir_all(&point).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        Kernel.tmpfs(&point, None).unwrap();
        let found = Kernel.below(&dir.path().join("link"));
        Kernel.unmount(&point).unwrap();
        assert_eq!(found.unwrap(), [point]);
        assert!(Kernel.below(&dir.path().join("missing")).unwrap().is_empty());
    }

    #[test]
    fn mount_points_are_told_from_other_paths() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Kernel.is_point(Path::new("/proc")).unwrap());
        assert!(!Kernel.is_point(Path::new("/proc/self")).unwrap());
        assert!(!Kernel.is_point(dir.path()).unwrap());
        assert!(!Kernel.is_point(&dir.path().join("missing")).unwrap());
    }
}
