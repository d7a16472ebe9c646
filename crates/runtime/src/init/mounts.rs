//! The new mount API, and paths that cannot leave the container's root.
//!
//! Every mount is made detached, configured, and then moved onto a descriptor of its target. No
//! path is looked up twice, so that a link swapped in between leads nowhere.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::{Explain, Outcome};

/// As many links as the kernel follows in one path.
const MAX_LINKS: u32 = 40;

pub const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
pub const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
pub const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
pub const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
pub const NONE: MountAttrFlags = MountAttrFlags::empty();

/// A detached copy of what is mounted at a host's path, with everything below.
pub fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags)?)
}

/// A detached copy of one open file or directory.
pub fn clone_of(fd: BorrowedFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(fd, "", flags)?)
}

/// A new detached file system; options without `=` are flags.
pub fn fresh(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(&fs, *key)?;
        } else {
            fsconfig_set_string(&fs, *key, *value)?;
        }
    }
    fsconfig_create(&fs)?;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Mounts a detached tree onto an open target.
pub fn attach(mount: &OwnedFd, target: BorrowedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Adds attributes to a mount, and sets its propagation when that is not 0.
pub fn set_attributes(
    mount: BorrowedFd,
    attributes: MountAttrFlags,
    propagation: libc::c_ulong,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: u64::from(attributes.bits()),
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the attribute block has the kernel's layout and lives across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &attr,
            size_of::<MountAttr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Opens a path as a process inside the root would, without following magic links.
pub fn open_in(root: BorrowedFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // The kernel asks to try again when something else was renamed meanwhile.
    for _ in 0..64 {
        match openat2(root, relative, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// Opens a mount target inside the root; what is missing of it is created.
pub fn target(root: BorrowedFd, path: &str, directory: bool) -> Outcome<OwnedFd> {
    if !path.starts_with('/') {
        return Err(format!("mount target {path:?} is not an absolute path"));
    }
    if path.split('/').any(|p| p == "..") {
        return Err(format!("mount target {path:?} contains \"..\""));
    }
    let mut rest: VecDeque<String> = components(path).collect();
    let mut done = Vec::<String>::new();
    let mut links = 0;
    let mut at = open_in(root, "/").explain(|| "open the root".into())?;
    while let Some(name) = rest.pop_front() {
        done.push(name.clone());
        let so_far = done.join("/");
        match open_in(root, &so_far) {
            Ok(fd) => {
                at = fd;
                continue;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).explain(|| format!("open mount target {path:?}")),
        }
        match make(at.as_fd(), &name, directory || !rest.is_empty()) {
            Ok(()) => {
                at = open_in(root, &so_far).explain(|| format!("open mount target {path:?}"))?
            }
            Err(Errno::EXIST) => {
                // A link to something missing: its own target is created instead.
                links += 1;
                let link = readlinkat(&at, name.as_str(), Vec::new())
                    .explain(|| format!("open mount target {path:?}"))?;
                let link = link.to_string_lossy().into_owned();
                if links > MAX_LINKS || link.split('/').any(|p| p == "..") {
                    return Err(format!(
                        "mount target {path:?} follows a dangling link to {link:?}"
                    ));
                }
                done.pop();
                if link.starts_with('/') {
                    done.clear();
                }
                for part in components(&link).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(part);
                }
                at = open_in(root, &done.join("/")).explain(|| "open the root".into())?;
            }
            Err(e) => return Err(e).explain(|| format!("create mount target {path:?}")),
        }
    }
    Ok(at)
}

fn components(path: &str) -> impl Iterator<Item = String> + '_ {
    path.split('/').filter(|p| !p.is_empty() && *p != ".").map(String::from)
}

fn make(parent: BorrowedFd, name: &str, directory: bool) -> Result<(), Errno> {
    if directory {
        return mkdirat(parent, name, Mode::from_raw_mode(0o755));
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}

/// Whether an open file is a directory.
pub fn is_directory(fd: BorrowedFd) -> io::Result<bool> {
    let stat = rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn targets_are_created_inside() {
        let (dir, fd) = root();
        target(fd.as_fd(), "/a/b/c", true).unwrap();
        target(fd.as_fd(), "/etc/x/file", false).unwrap();
        assert!(dir.path().join("a/b/c").is_dir());
        assert!(dir.path().join("etc/x/file").is_file());
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let (dir, fd) = root();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink("/run/later", dir.path().join("dangling")).unwrap();
        symlink("../../../..", dir.path().join("up")).unwrap();
        target(fd.as_fd(), "/out/x", true).unwrap();
        target(fd.as_fd(), "/dangling/y", true).unwrap();
        target(fd.as_fd(), "/up/z", true).unwrap();
        assert!(dir.path().join("run/later/y").is_dir());
        assert!(dir.path().join("z").is_dir());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn bad_targets_are_refused() {
        let (dir, fd) = root();
        fs::write(dir.path().join("file"), "").unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        symlink("../gone", dir.path().join("gone")).unwrap();
        for path in ["a", "/a/../b", "/file/x", "/loop", "/gone"] {
            assert!(target(fd.as_fd(), path, true).is_err(), "{path}");
        }
    }
}
