//! The container's file system: layers, mounts, devices, hidden paths, and the move into it.
//!
//! Everything happens in the new process's own mount namespace, so that the host never sees it and
//! nothing has to be cleaned up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountPropagationFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, mount_change, unmount,
};

use super::mounts::{self, NODEV, NOEXEC, NONE, NOSUID, RDONLY};
use super::{Explain, Outcome, Plan, check, devices, directory};
use crate::cgroup::Cgroups;
use crate::spec::{Mount, MountSource, Propagation, Rootfs};

/// A mount that is ready to be put at its target.
struct Prepared {
    target: String,
    tree: OwnedFd,
    /// Kernel file systems must not be redirected by a link in the image.
    kernel: bool,
}

/// Builds the root and moves the process into it.
pub fn enter(plan: &Plan, cgroups: &Cgroups) -> Outcome<()> {
    // SAFETY: a plain system call; the process has one thread and shares nothing.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP) })
        .explain(|| "unshare".into())?;
    // Copies of host trees keep their relation to the host only when made before it is cut.
    let binds = bind_mounts(plan)?;
    let nodes = devices::nodes(&plan.config)?;
    let directory = match &plan.config.rootfs {
        Rootfs::Directory(dir) => {
            Some(mounts::clone_tree(dir).explain(|| format!("mount {}", dir.display()))?)
        }
        Rootfs::Overlay { .. } => None,
    };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).explain(|| "make mounts private".into())?;

    let point = plan.dir.join("rootfs");
    match (&plan.config.rootfs, directory) {
        (_, Some(tree)) => attach_at(&tree, &point)?,
        (Rootfs::Overlay { lower_dirs }, _) => overlay(lower_dirs, &plan.dir, &point)?,
        (Rootfs::Directory(_), None) => return Err("the root is missing".into()),
    }
    let root =
        openat(CWD, &point, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .explain(|| "open the container's root".into())?;
    let root = root.as_fd();

    // Before all other mounts: a link of the image then leads to the image's own files only.
    for path in &plan.config.volumes {
        own_mount(root, path)?;
    }
    let user_targets: Vec<String> = binds.iter().map(|m| clean(&m.target)).collect();
    for prepared in kernel_mounts(plan, cgroups)? {
        if !user_targets.contains(&clean(&prepared.target)) {
            place(root, &prepared)?;
        }
    }
    if !user_targets.iter().any(|t| t == "/sys/fs/cgroup") {
        seal_cgroups(root, plan)?;
    }
    if !user_targets.iter().any(|t| t == "/dev") {
        devices::create(root, &nodes)?;
    }
    for prepared in binds {
        place(root, &prepared)?;
    }
    for path in &plan.config.security.readonly_paths {
        make_readonly(root, path, plan)?;
    }
    for path in &plan.config.security.masked_paths {
        hide(root, path, plan)?;
    }
    pivot(root)
}

/// What must wait until everything that writes into the root is done.
pub fn seal(plan: &Plan) -> Outcome<()> {
    // Before the root may become read-only.
    directory::open(&plan.config.cwd)?;
    if plan.config.security.readonly_rootfs {
        let root = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .explain(|| "open the root".into())?;
        mounts::set_attributes(root.as_fd(), RDONLY, 0, false)
            .explain(|| "make the root read-only".into())?;
    }
    Ok(())
}

fn clean(path: &str) -> String {
    path.split('/').filter(|p| !p.is_empty() && *p != ".").fold(String::new(), |p, c| p + "/" + c)
}

fn attach_at(tree: &OwnedFd, point: &Path) -> Outcome<()> {
    let target =
        openat(CWD, point, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .explain(|| format!("open {}", point.display()))?;
    mounts::attach(tree, target.as_fd()).explain(|| "mount the container's root".into())
}

/// The layers, topmost first, below the container's own.
fn overlay(lower: &[PathBuf], dir: &Path, point: &Path) -> Outcome<()> {
    if lower.is_empty() {
        return Err("the image has no layers".into());
    }
    match overlay_by_descriptor(lower, dir) {
        Ok(tree) => attach_at(&tree, point),
        // Kernels before 6.5 do not know `lowerdir+`.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => overlay_by_text(lower, dir, point),
        Err(e) => Err(e).explain(|| "mount overlay".into()),
    }
}

fn overlay_by_descriptor(lower: &[PathBuf], dir: &Path) -> io::Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in lower {
        fsconfig_set_string(&fs, "lowerdir+", layer.as_path())?;
    }
    fsconfig_set_string(&fs, "upperdir", dir.join("upper"))?;
    fsconfig_set_string(&fs, "workdir", dir.join("work"))?;
    fsconfig_create(&fs)?;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, NONE)?)
}

/// One line of options, at most a page: layers are named relative to what they have in common.
fn overlay_by_text(lower: &[PathBuf], dir: &Path, point: &Path) -> Outcome<()> {
    let common = lower.iter().skip(1).fold(lower[0].as_path(), |common, path| {
        common.ancestors().find(|a| path.starts_with(a)).unwrap_or(Path::new("/"))
    });
    let mut names = Vec::new();
    for layer in lower {
        let name = layer.strip_prefix(common).unwrap_or(layer).display().to_string();
        names.push(if name.is_empty() { ".".into() } else { name });
    }
    let text = names.join(":");
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    let options =
        format!("lowerdir={text},upperdir={},workdir={}", upper.display(), work.display());
    if options.len() > 4095 || names.iter().any(|n| n.contains([':', ',', '\\'])) {
        return Err("mount overlay: too many layers for this kernel".into());
    }
    std::env::set_current_dir(common).explain(|| "mount overlay".into())?;
    let options = std::ffi::CString::new(options).map_err(|_| "mount overlay: NUL in a path")?;
    mount("overlay", point, "overlay", rustix::mount::MountFlags::empty(), options.as_c_str())
        .explain(|| "mount overlay".into())
}

/// Makes a directory of the root a mount of its own. It shows what it did, and what is written
/// goes into the container's layer as before.
fn own_mount(root: BorrowedFd, path: &str) -> Outcome<()> {
    let what = || format!("mount the image's volume {path:?}");
    let target = mounts::target(root, path, true)?;
    let tree = mounts::clone_of(target.as_fd()).explain(what)?;
    mounts::attach(&tree, target.as_fd()).explain(what)
}

/// What every container has, in order.
fn kernel_mounts(plan: &Plan, cgroups: &Cgroups) -> Outcome<Vec<Prepared>> {
    let privileged = plan.config.security.privileged;
    let all = NOSUID | NODEV | NOEXEC;
    let sys = if privileged { all } else { all | RDONLY };
    let fresh = |kind: &str, options: &[(&str, &str)], attributes, target: &str| {
        let tree =
            mounts::fresh(kind, options, attributes).explain(|| format!("mount {target}"))?;
        Outcome::Ok(Prepared { target: target.into(), tree, kernel: kind != "tmpfs" })
    };
    let mut list = vec![
        fresh("proc", &[], all, "/proc")?,
        fresh("tmpfs", &[("mode", "755"), ("size", "65536k")], NOSUID, "/dev")?,
        fresh(
            "devpts",
            &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")],
            NOSUID | NOEXEC,
            "/dev/pts",
        )?,
    ];
    if plan.mqueue {
        list.push(fresh("mqueue", &[], all, "/dev/mqueue")?);
    }
    if let Some(shm) = &plan.shm {
        let tree = mounts::clone_tree(shm).explain(|| "mount /dev/shm".into())?;
        list.push(Prepared { target: "/dev/shm".into(), tree, kernel: false });
    }
    list.push(fresh("sysfs", &[], sys, "/sys")?);
    list.extend(cgroup_mounts(plan, cgroups)?);
    Ok(list)
}

/// The container's own groups, readable only: writing there would let it raise its own limits.
fn cgroup_mounts(plan: &Plan, cgroups: &Cgroups) -> Outcome<Vec<Prepared>> {
    let mut attributes = NOSUID | NODEV | NOEXEC;
    if !plan.config.security.privileged {
        attributes |= RDONLY;
    }
    let mut list = Vec::new();
    if !cgroups.is_v2() {
        let tree =
            mounts::fresh("tmpfs", &[("mode", "755"), ("size", "64k")], NOSUID | NODEV | NOEXEC)
                .explain(|| "mount /sys/fs/cgroup".into())?;
        list.push(Prepared { target: "/sys/fs/cgroup".into(), tree, kernel: false });
    }
    for (name, dir) in cgroups.shown_dirs(&plan.cgroup) {
        let tree = mounts::clone_tree(&dir).explain(|| format!("mount cgroup {name}"))?;
        mounts::set_attributes(tree.as_fd(), attributes, libc::MS_PRIVATE, true)
            .explain(|| format!("mount cgroup {name}"))?;
        let target = format!("/sys/fs/cgroup/{name}");
        list.push(Prepared { target: clean(&target), tree, kernel: false });
    }
    Ok(list)
}

/// On v1 the groups' parent is a file system of its own, which must be writable until they are
/// mounted.
fn seal_cgroups(root: BorrowedFd, plan: &Plan) -> Outcome<()> {
    if plan.config.security.privileged {
        return Ok(());
    }
    let parent = mounts::open_in(root, "/sys/fs/cgroup").explain(|| "open cgroups".into())?;
    mounts::set_attributes(parent.as_fd(), RDONLY, 0, false)
        .explain(|| "make cgroups read-only".into())
}

/// The pod's own mounts, parents before what is below them.
fn bind_mounts(plan: &Plan) -> Outcome<Vec<Prepared>> {
    let mut ordered: Vec<&Mount> = plan.config.mounts.iter().collect();
    ordered.sort_by_key(|m| clean(&m.target).matches('/').count());
    ordered.into_iter().map(prepare).collect()
}

fn prepare(mount: &Mount) -> Outcome<Prepared> {
    let inside = clean(&mount.target);
    if inside.is_empty() || inside == "/proc" || inside.starts_with("/proc/") {
        let target = &mount.target;
        return Err(format!("{target:?} cannot be mounted because it is the root or in /proc"));
    }
    let what = || format!("mount {:?}", mount.target);
    let tree = match &mount.source {
        MountSource::Tmpfs { size, mode } => {
            let (size, mode) = (size.map(|s| s.to_string()), format!("{mode:o}"));
            let mut options = vec![("mode", mode.as_str())];
            options.extend(size.as_deref().map(|s| ("size", s)));
            mounts::fresh("tmpfs", &options, NOSUID | NODEV).explain(what)?
        }
        MountSource::Bind(source) => {
            let tree = mounts::clone_tree(source)
                .explain(|| format!("mount {} to {:?}", source.display(), mount.target))?;
            let propagation = match mount.propagation {
                Propagation::Private => libc::MS_PRIVATE,
                Propagation::Slave => libc::MS_SLAVE,
                Propagation::Shared => libc::MS_SHARED,
            };
            mounts::set_attributes(tree.as_fd(), NONE, propagation, true).explain(what)?;
            tree
        }
    };
    if mount.readonly {
        mounts::set_attributes(tree.as_fd(), RDONLY, 0, mount.recursive_readonly).explain(what)?;
    }
    Ok(Prepared { target: mount.target.clone(), tree, kernel: false })
}

fn place(root: BorrowedFd, prepared: &Prepared) -> Outcome<()> {
    let directory = mounts::is_directory(prepared.tree.as_fd()).explain(|| "stat".into())?;
    if prepared.kernel {
        refuse_links(root, &prepared.target)?;
    }
    let target = mounts::target(root, &prepared.target, directory)?;
    let inside_proc =
        rustix::fs::fstatfs(&target).is_ok_and(|s| s.f_type == libc::PROC_SUPER_MAGIC);
    if inside_proc {
        return Err(format!("{:?} cannot be mounted because it is in /proc", prepared.target));
    }
    mounts::attach(&prepared.tree, target.as_fd())
        .explain(|| format!("mount {:?}", prepared.target))
}

/// `/proc` and `/sys` behind a link would leave the real ones unprotected.
fn refuse_links(root: BorrowedFd, target: &str) -> Outcome<()> {
    let relative = target.trim_start_matches('/');
    let link = rustix::fs::readlinkat(root, relative, Vec::new());
    if link.is_ok() {
        return Err(format!("{target} of the image is a link"));
    }
    Ok(())
}

/// Applies to kernel file systems only as they are mounted now; a missing path needs no hiding.
fn make_readonly(root: BorrowedFd, path: &str, plan: &Plan) -> Outcome<()> {
    let Some(target) = existing(root, path, plan)? else { return Ok(()) };
    let tree = mounts::clone_of(target.as_fd()).explain(|| format!("make {path} read-only"))?;
    let attributes = RDONLY | NOSUID | NODEV | NOEXEC;
    mounts::set_attributes(tree.as_fd(), attributes, 0, true)
        .and_then(|()| mounts::attach(&tree, target.as_fd()))
        .explain(|| format!("make {path} read-only"))
}

fn hide(root: BorrowedFd, path: &str, plan: &Plan) -> Outcome<()> {
    let Some(target) = existing(root, path, plan)? else { return Ok(()) };
    let what = || format!("hide {path}");
    let cover = if mounts::is_directory(target.as_fd()).explain(what)? {
        mounts::fresh("tmpfs", &[("size", "0"), ("mode", "755")], RDONLY | NOSUID | NODEV | NOEXEC)
    } else {
        null_device().and_then(|null| mounts::clone_of(null.as_fd()))
    };
    mounts::attach(&cover.explain(what)?, target.as_fd()).explain(what)
}

/// The host's `/dev/null`, made sure to be it.
fn null_device() -> io::Result<OwnedFd> {
    let null = openat(CWD, "/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&null)?;
    if stat.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(io::Error::other("/dev/null of the host is something else"));
    }
    Ok(null)
}

fn existing(root: BorrowedFd, path: &str, plan: &Plan) -> Outcome<Option<OwnedFd>> {
    if plan.config.security.privileged {
        return Ok(None);
    }
    match mounts::open_in(root, path) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(e).explain(|| format!("open {path}")),
    }
}

/// Makes the new root the only one: the old one is unmounted as a whole.
fn pivot(root: BorrowedFd) -> Outcome<()> {
    // SAFETY: plain system calls; `.` is the new root in both places.
    check(unsafe { libc::fchdir(root.as_raw_fd()) }).explain(|| "enter the root".into())?;
    rustix::process::pivot_root(".", ".").explain(|| "pivot_root".into())?;
    unmount(".", UnmountFlags::DETACH).explain(|| "leave the old root".into())?;
    std::env::set_current_dir("/").explain(|| "enter the root".into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Debian 12's kernel takes layers only as text; newer ones must not hide a mistake there.
    #[test]
    fn layers_as_text_mount_too() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        for name in ["layers/a", "layers/b", "upper", "work", "rootfs"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        fs::write(path.join("layers/a/file"), "top").unwrap();
        fs::write(path.join("layers/b/file"), "below").unwrap();
        // Mounts and directory of this thread only.
        let work = std::thread::spawn(move || {
            // SAFETY: changes this thread's own view.
            check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).unwrap();
            let lower = [path.join("layers/a"), path.join("layers/b")];
            overlay_by_text(&lower, &path, &path.join("rootfs")).unwrap();
            assert_eq!(fs::read_to_string(path.join("rootfs/file")).unwrap(), "top");
            fs::write(path.join("rootfs/new"), "x").unwrap();
            assert!(path.join("upper/new").exists());
            let odd = [path.join("layers/a:b"), path.join("layers/b")];
            assert!(overlay_by_text(&odd, &path, &path.join("rootfs")).is_err());
        });
        work.join().unwrap();
    }

    #[test]
    fn targets_are_compared_in_one_form() {
        assert_eq!(clean("//a/./b/"), "/a/b");
        assert_eq!(clean("/"), "");
    }
}
