//! overlayfs mounts without a mount point: only whoever holds the descriptor sees them, and they
//! vanish with it, also when the process is killed.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use crate::error::{IoContext, Result};

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
        Err(Errno::INVAL) => mount_and_detach(lower, upper),
        other => other.during(|| "mount overlay (this needs root)".to_owned()),
    }
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
    let what = || "mount overlay (this needs root)".to_owned();
    let target = upper.work.with_extension("merged");
    std::fs::create_dir_all(&target).at("create", &target)?;
    let data = std::ffi::CString::new(options).expect("no NUL in descriptors");
    rustix::mount::mount("overlay", &target, "overlay", MountFlags::empty(), data.as_c_str())
        .during(what)?;
    let fd = open(&target);
    rustix::mount::unmount(&target, UnmountFlags::DETACH).during(what)?;
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
            drop(fd);
            assert_eq!(upper.read_dir().unwrap().count(), 2);
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()));
    }
}
