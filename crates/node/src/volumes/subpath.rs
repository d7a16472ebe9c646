//! Sub-paths of volumes, opened so that no link leads out of the volume.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2};

use super::host::Mounts;

/// Makes `sub` of a volume available at `target`, as a mount of its own: what it names is fixed
/// now, and a link put in its place later leads nowhere else. Missing directories are made, with
/// the mode of the volume's root: whoever may write to the volume may write there.
pub(crate) fn expose(
    mounts: &dyn Mounts,
    volume: &Path,
    sub: &str,
    target: &Path,
) -> io::Result<PathBuf> {
    let root = open(volume, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let found = open_below(&root, sub)?;
    let stat = rustix::fs::fstat(&found)?;
    let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    // A restart of the agent finds it in place.
    if mounts.is_point(target)? {
        return Ok(target.to_path_buf());
    }
    if directory {
        fs::create_dir_all(target)?;
    } else if fs::symlink_metadata(target).is_err() {
        fs::File::create_new(target)?;
    }
    // The descriptor's name in /proc is the thing itself, whatever its path has become.
    let from = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    mounts.bind(&from, target)?;
    Ok(target.to_path_buf())
}

/// Opens a path below a directory. Links are followed as long as they stay below it.
fn open_below(root: &OwnedFd, sub: &str) -> io::Result<OwnedFd> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let get = |path: &Path| openat2(root, path, flags, Mode::empty(), how);
    let mode = Mode::from_raw_mode(rustix::fs::fstat(root)?.st_mode & 0o7777);
    let mut path = PathBuf::new();
    let mut last = get(Path::new("."))?;
    for part in Path::new(sub).components() {
        let std::path::Component::Normal(part) = part else {
            if matches!(part, std::path::Component::CurDir) {
                continue;
            }
            return Err(io::Error::other(format!("subpath {sub:?} not within volume path")));
        };
        path.push(part);
        last = match get(&path) {
            Ok(found) => found,
            Err(rustix::io::Errno::NOENT) => {
                // The parent is the one just opened, so a link cannot be slipped in between.
                let made = match mkdirat(&last, part, mode) {
                    Ok(()) => true,
                    Err(rustix::io::Errno::EXIST) => false,
                    Err(e) => return Err(e.into()),
                };
                let found = get(&path).map_err(|e| escape(e, sub))?;
                if made {
                    set_mode(&found, mode)?;
                }
                found
            }
            Err(e) => return Err(escape(e, sub)),
        };
    }
    Ok(last)
}

/// Whatever the umask was.
fn set_mode(directory: &OwnedFd, mode: Mode) -> io::Result<()> {
    let itself = format!("/proc/self/fd/{}", directory.as_raw_fd());
    Ok(rustix::fs::chmod(itself, mode)?)
}

fn escape(e: rustix::io::Errno, sub: &str) -> io::Error {
    match e {
        rustix::io::Errno::XDEV => {
            io::Error::other(format!("subpath {sub:?} not within volume path"))
        }
        e => e.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::fake::NoMounts;
    use super::*;

    #[test]
    fn links_may_not_leave_the_volume() {
        let base = std::env::temp_dir().join(format!("timonier-subpath-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let volume = base.join("volume");
        fs::create_dir_all(volume.join("real")).unwrap();
        std::os::unix::fs::symlink("real", volume.join("inside")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../..", volume.join("up")).unwrap();
        std::os::unix::fs::symlink("/nowhere", volume.join("dangling")).unwrap();
        let go = |sub: &str| expose(&NoMounts, &volume, sub, &base.join("out").join(sub));
        assert_eq!(fs::canonicalize(go("inside").unwrap()).unwrap(), volume.join("real"));
        assert_eq!(fs::canonicalize(go("new/deep").unwrap()).unwrap(), volume.join("new/deep"));
        for bad in ["absolute", "absolute/passwd", "up", "up/x", "dangling", "dangling/x"] {
            assert!(go(bad).is_err(), "{bad}");
        }
        assert!(!Path::new("/nowhere").exists());
        fs::write(volume.join("file"), "x").unwrap();
        assert_eq!(fs::read_to_string(go("file").unwrap()).unwrap(), "x");
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn what_is_missing_gets_the_mode_of_the_root() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir().unwrap();
        let volume = base.path().join("volume");
        fs::create_dir(&volume).unwrap();
        let mode =
            |path: &str| fs::metadata(volume.join(path)).unwrap().permissions().mode() & 0o7777;
        for (bits, sub) in [(0o777, "a/b"), (0o2770, "c/d")] {
            fs::set_permissions(&volume, fs::Permissions::from_mode(bits)).unwrap();
            expose(&NoMounts, &volume, sub, &base.path().join(format!("out/{sub}"))).unwrap();
            assert_eq!((mode(&sub[..1]), mode(sub)), (bits, bits));
        }
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o700)).unwrap();
        expose(&NoMounts, &volume, "a", &base.path().join("out/again")).unwrap();
        assert_eq!(mode("a"), 0o777, "what was there stays");
    }
}
