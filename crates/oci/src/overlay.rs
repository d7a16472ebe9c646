//! overlayfs mounts without a mount point: only whoever holds the descriptor sees them, and they
//! vanish with it, also when the process is killed.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
};

use crate::error::{Error, IoContext, Result};

/// Where changes go: the upper directory and overlayfs's scratch directory beside it.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    pub upper: &'a Path,
    pub work: &'a Path,
}

/// Stacks directories, topmost first, with an upper directory that takes the changes. Features
/// that would leave references to other directories in the upper one are off, and so is
/// `fsync`: after a crash the upper directory is thrown away anyway. Needs root.
pub fn mount(lower: &[PathBuf], upper: Upper<'_>) -> Result<OwnedFd> {
    match mount_detached(lower, upper) {
        // Before Linux 6.5 there is no `lowerdir+`.
        Err(Errno::INVAL | Errno::NOSYS) => mount_and_detach(lower, upper),
        Err(e) => Err(refused(e, upper)),
        Ok(fd) => Ok(fd),
    }
}

/// What the kernel's refusal most likely means.
fn refused(e: Errno, upper: Upper<'_>) -> Error {
    let hint = match e {
        Errno::PERM | Errno::ACCESS => "this needs root",
        Errno::NODEV => "the kernel has no overlayfs (CONFIG_OVERLAY_FS)",
        _ => {
            "overlayfs needs a filesystem such as ext4, xfs or btrfs below; another overlay, as in \
             a container, is none"
        }
    };
    let context = format!("mount overlay on {} ({hint})", upper.upper.display());
    Error::Io { context, source: e.into() }
}

const OPTIONS: [(&str, &str); 3] = [("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")];

fn mount_detached(lower: &[PathBuf], upper: Upper<'_>) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", "timonier")?;
    for dir in lower {
        fsconfig_set_string(&fs, "lowerdir+", dir)?;
    }
    fsconfig_set_string(&fs, "upperdir", upper.upper)?;
    fsconfig_set_string(&fs, "workdir", upper.work)?;
    for (key, value) in OPTIONS {
        fsconfig_set_string(&fs, key, value)?;
    }
    fsconfig_set_flag(&fs, "volatile")?;
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// The old way: mount over the scratch directory's parent entry, open, and detach at once. The
/// directories are named by descriptor, because the kernel takes only a page of options.
fn mount_and_detach(lower: &[PathBuf], upper: Upper<'_>) -> Result<OwnedFd> {
    let open = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).at("open", path)
    };
    let by_fd = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let mut fds = Vec::new();
    for dir in lower {
        fds.push(open(dir)?);
    }
    let (upper_fd, work_fd) = (open(upper.upper)?, open(upper.work)?);
    let lowers: Vec<String> = fds.iter().map(by_fd).collect();
    let mut options = format!(
        "lowerdir={},upperdir={},workdir={},volatile",
        lowers.join(":"),
        by_fd(&upper_fd),
        by_fd(&work_fd)
    );
    for (key, value) in OPTIONS {
        options.push_str(&format!(",{key}={value}"));
    }
    let target = upper.work.with_extension("merged");
    std::fs::create_dir_all(&target).at("create", &target)?;
    let data = std::ffi::CString::new(options).expect("no NUL in descriptors");
    rustix::mount::mount("overlay", &target, "overlay", MountFlags::empty(), data.as_c_str())
        .map_err(|e| refused(e, upper))?;
    // A copy that hangs nowhere can be moved to a place; what is merely detached cannot.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let fd = open_tree(CWD, &target, flags).at("open", &target);
    rustix::mount::unmount(&target, UnmountFlags::DETACH).at("unmount", &target)?;
    std::fs::remove_dir(&target).at("remove", &target)?;
    fd
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn both_ways_stack_and_vanish() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("both_ways_stack_and_vanish: skipped, it needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (top, bottom) = (make("top"), make("bottom"));
        std::fs::write(top.join("a"), "top").unwrap();
        std::fs::write(bottom.join("a"), "bottom").unwrap();
        let lower = [top, bottom];
        for (i, new) in [true, false].into_iter().enumerate() {
            let (upper, work) = (make(&format!("u{i}")), make(&format!("w{i}")));
            let both = Upper { upper: &upper, work: &work };
            let fd =
                if new { mount(&lower, both) } else { mount_and_detach(&lower, both) }.unwrap();
            let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
            assert_eq!(std::fs::read_to_string(format!("{path}/a")).unwrap(), "top");
            std::fs::remove_file(format!("{path}/a")).unwrap();
            std::fs::write(format!("{path}/b"), "x").unwrap();
            // Whoever runs a command in it gives it a place.
            let place = make(&format!("p{i}"));
            let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&fd, "", CWD, &place, flags).unwrap();
            let seen = std::fs::read_to_string(place.join("b"));
            rustix::mount::unmount(&place, UnmountFlags::DETACH).unwrap();
            assert_eq!(seen.unwrap(), "x");
            drop(fd);
            assert_eq!(upper.read_dir().unwrap().count(), 2);
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()));
    }
}
