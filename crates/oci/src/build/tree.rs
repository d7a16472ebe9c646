//! Where files to be copied come from: the context, another stage, another image.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::ignore::Ignore;
use super::pattern;
use crate::error::{Error, IoContext, Result};
use crate::tar::show;
use crate::unpack::path::{self, look};

/// A directory that sources are looked up in; links resolve within it.
pub struct Tree {
    pub root: OwnedFd,
    pub ignore: Ignore,
    /// Files of the context belong to root in the image, others keep their owner.
    pub is_context: bool,
}

/// A source that was found.
pub struct Picked {
    /// Its place in the tree.
    pub parts: Vec<Vec<u8>>,
    pub stat: Stat,
}

/// A file, directory or link under a source.
pub struct Item<'a> {
    /// Relative to the source; empty for the source itself.
    pub rel: &'a [Vec<u8>],
    /// The directory it is in, and its name there.
    pub dir: BorrowedFd<'a>,
    pub name: &'a [u8],
    pub stat: Stat,
}

/// Takes the items of a walk, directories before what is in them.
pub type Visit<'a> = &'a mut dyn FnMut(&Item<'_>) -> Result<()>;

const DEPTH_LIMIT: usize = 500;

impl Tree {
    /// The build context with its `.dockerignore`; one named after the Dockerfile goes first.
    pub fn context(dir: &Path, dockerfile: &Path) -> Result<Tree> {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        let mut ignore = Ignore::default();
        for candidate in [Path::new(&own), &dir.join(".dockerignore")] {
            match std::fs::read(candidate) {
                Ok(bytes) => {
                    ignore = Ignore::parse(&String::from_utf8_lossy(&bytes));
                    break;
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e).at("read", candidate),
            }
        }
        Ok(Tree { root: path::open_root(dir)?, ignore, is_context: true })
    }

    /// The sources that a name or pattern stands for, in order.
    pub fn select(&self, source: &str) -> Result<Vec<Picked>> {
        let parts = path::clean(source.as_bytes()).map_err(|_| {
            Error::Invalid(format!("forbidden path outside the build context: {source}"))
        })?;
        let mut found: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
        for part in parts {
            let text = String::from_utf8_lossy(&part).into_owned();
            if !pattern::is_glob(&text) {
                let plain = text.replace('\\', "").into_bytes();
                found.iter_mut().for_each(|f| f.push(plain.clone()));
                continue;
            }
            let mut next = Vec::new();
            for place in &found {
                for name in self.names(place)? {
                    if pattern::matches(&text, &String::from_utf8_lossy(&name)) {
                        next.push([&place[..], &[name]].concat());
                    }
                }
            }
            found = next;
        }
        let mut picked = Vec::new();
        for place in found {
            if let Some(stat) = self.stat(&place)? {
                picked.push(Picked { parts: place, stat });
            }
        }
        if picked.is_empty() {
            return Err(Error::Invalid(format!(
                "{:?}: not found",
                format!("/{}", source.trim_start_matches('/'))
            )));
        }
        Ok(picked)
    }

    /// The names in a directory, sorted; none if it is no directory.
    fn names(&self, place: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        match path::open_in(self.root.as_fd(), place, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => list(&fd),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(Vec::new()),
            Err(e) => Err(e).during(|| format!("open {}", show(&path::join(place)))),
        }
    }

    fn stat(&self, place: &[Vec<u8>]) -> Result<Option<Stat>> {
        let fd = match path::open_in(self.root.as_fd(), place, OFlags::PATH) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(e).during(|| format!("open {}", show(&path::join(place)))),
        };
        let stat = rustix::fs::fstat(&fd).during(|| "stat".to_owned())?;
        // An ignored directory may still have something in it that counts.
        let kept = path::is_dir(&stat) && self.ignore.has_exceptions();
        Ok((place.is_empty() || kept || !self.ignore.ignores(place)).then_some(stat))
    }

    /// Opens a source for reading. Links are followed.
    pub fn open(&self, picked: &Picked) -> Result<OwnedFd> {
        // Without NONBLOCK the opening of a FIFO would wait for a writer.
        path::open_in(self.root.as_fd(), &picked.parts, OFlags::RDONLY | OFlags::NONBLOCK)
            .during(|| format!("open {}", show(&path::join(&picked.parts))))
    }

    /// Visits a source and all in it, sorted by name. Links under it are not followed.
    pub fn walk(&self, picked: &Picked, visit: Visit<'_>) -> Result<()> {
        if !path::is_dir(&picked.stat) {
            // Through links to where it really is.
            let fd = path::open_in(self.root.as_fd(), &picked.parts, OFlags::PATH)
                .during(|| format!("open {}", show(&path::join(&picked.parts))))?;
            return visit(&Item { rel: &[], dir: fd.as_fd(), name: b"", stat: picked.stat });
        }
        let fd = self.open(picked)?;
        visit(&Item { rel: &[], dir: fd.as_fd(), name: b".", stat: picked.stat })?;
        self.walk_dir(&fd, &mut picked.parts.clone(), &mut Vec::new(), visit)
    }

    fn walk_dir(
        &self,
        dir: &OwnedFd,
        place: &mut Vec<Vec<u8>>,
        rel: &mut Vec<Vec<u8>>,
        visit: Visit<'_>,
    ) -> Result<()> {
        if rel.len() > DEPTH_LIMIT {
            return Err(Error::TooLarge(format!("directories over {DEPTH_LIMIT} deep")));
        }
        for name in list(dir)? {
            let Some(stat) = look(dir.as_fd(), &name)? else { continue };
            place.push(name.clone());
            rel.push(name.clone());
            let out = self.ignore.ignores(place);
            if !out {
                visit(&Item { rel, dir: dir.as_fd(), name: &name, stat })?;
            }
            if path::is_dir(&stat) && (!out || self.ignore.has_exceptions()) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(dir, &name[..], flags, Mode::empty())
                    .during(|| format!("open {}", show(&path::join(place))))?;
                self.walk_dir(&fd, place, rel, visit)?;
            }
            place.pop();
            rel.pop();
        }
        Ok(())
    }
}

impl Item<'_> {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens a regular file's content.
    pub fn open(&self) -> Result<std::fs::File> {
        use std::os::fd::AsRawFd;
        let what = || format!("open {}", show(&path::join(self.rel)));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = if self.name.is_empty() {
            // The descriptor is the file itself.
            let own = format!("/proc/self/fd/{}", self.dir.as_raw_fd());
            rustix::fs::openat(rustix::fs::CWD, own, flags, Mode::empty()).during(what)?
        } else {
            rustix::fs::openat(self.dir, self.name, flags | OFlags::NOFOLLOW, Mode::empty())
                .during(what)?
        };
        Ok(fd.into())
    }

    /// The target of a link.
    pub fn link(&self) -> Result<Vec<u8>> {
        let target = rustix::fs::readlinkat(self.dir, self.name, Vec::new())
            .during(|| format!("read link {}", show(&path::join(self.rel))))?;
        Ok(target.into_bytes())
    }
}

fn list(dir: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let what = || "read directory".to_owned();
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).during(what)? {
        let name = entry.during(what)?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
