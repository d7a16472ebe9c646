//! Files that change all at once: upstream's AtomicWriter layout.
//!
//! ```text
//! key      -> ..data/key            links that users see
//! ..data   -> ..2026_11_21_20_28_51.123456
//! ..2026_… /key                     the files of one version
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File as Handle, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use timonier_meta::Time;
use timonier_pod::volumes::File;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Writes a version of the files to a directory, unless they are there already. Gives whether
/// something changed. `group` owns the files and may read them.
pub(crate) fn write(dir: &Path, files: &[File], group: Option<u32>, now: Time) -> io::Result<bool> {
    let old = present(dir)?;
    if let Some(old) = &old
        && same(old, files, group)?
    {
        return Ok(false);
    }
    let version = new_version(dir, now)?;
    let written = write_version(&version, files, group).and_then(|()| {
        let new = dir.join(DATA_NEW);
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        symlink(version.file_name().expect("made above"), &new)?;
        fs::rename(new, dir.join(DATA))
    });
    if let Err(error) = written {
        // The old version stays; the half new one must not.
        let _ = fs::remove_dir_all(&version);
        return Err(error);
    }
    link_names(dir, files)?;
    if let Some(old) = old {
        match fs::remove_dir_all(old) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(true)
}

/// The version that the link names. Containers mount these volumes read-only, but the link decides
/// what is read and removed on the host: one that this writer would not have made counts as none.
fn present(dir: &Path) -> io::Result<Option<PathBuf>> {
    let link = match fs::read_link(dir.join(DATA)) {
        Ok(link) => link,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        // No link at all: the new one takes its place, or says why it cannot.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Ok(None),
        Err(e) => return Err(e),
    };
    let name = link.to_str().unwrap_or_default();
    let stamp = name.strip_prefix("..").unwrap_or_default();
    if !stamp.starts_with(|c: char| c.is_ascii_digit()) || stamp.contains('/') {
        return Ok(None);
    }
    let version = dir.join(name);
    match fs::symlink_metadata(&version) {
        Ok(meta) if meta.is_dir() => Ok(Some(version)),
        Ok(_) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn new_version(dir: &Path, now: Time) -> io::Result<PathBuf> {
    let (y, mo, d, h, mi, s) = now.civil();
    let us = now.0.rem_euclid(1_000_000);
    for n in 0..100 {
        let name = format!("..{y:04}_{mo:02}_{d:02}_{h:02}_{mi:02}_{s:02}.{:09}", us * 1000 + n);
        let path = dir.join(name);
        match fs::create_dir(&path) {
            Ok(()) => {
                fs::set_permissions(&path, Permissions::from_mode(0o755))?;
                return Ok(path);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("no free name for a version of a volume"))
}

fn mode_of(file: &File, group: Option<u32>) -> u32 {
    (file.mode & 0o777) | if group.is_some() { 0o440 } else { 0 }
}

fn write_version(version: &Path, files: &[File], group: Option<u32>) -> io::Result<()> {
    for file in files {
        let path = version.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut handle = Handle::create_new(&path)?;
        handle.write_all(&file.data)?;
        let owner = file.owner.and_then(|o| u32::try_from(o).ok());
        if owner.is_some() || group.is_some() {
            chown(&path, owner, group)?;
        }
        // After the owner, whose change drops bits; and whatever the umask.
        handle.set_permissions(Permissions::from_mode(mode_of(file, group)))?;
    }
    if let Some(group) = group {
        give_directories(version, group)?;
    }
    Ok(())
}

fn give_directories(dir: &Path, group: u32) -> io::Result<()> {
    lchown(dir, None, Some(group))?;
    fs::set_permissions(dir, Permissions::from_mode(0o2755))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give_directories(&entry.path(), group)?;
        }
    }
    Ok(())
}

/// Whether a version holds exactly these files, and nothing but directories and plain files.
fn same(version: &Path, files: &[File], group: Option<u32>) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    match list(version, version, &mut found) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    }
    if found.len() != files.len() {
        return Ok(false);
    }
    for file in files {
        if !found.contains(Path::new(&file.path)) {
            return Ok(false);
        }
        let path = version.join(&file.path);
        let meta = fs::symlink_metadata(&path)?;
        if !meta.is_file()
            || meta.len() != file.data.len() as u64
            || meta.mode() & 0o777 != mode_of(file, group)
            || fs::read(&path)? != file.data
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(root: &Path, dir: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(root, &entry.path(), found)?;
        } else {
            let path = entry.path();
            found.insert(path.strip_prefix(root).expect("below it").to_path_buf());
        }
    }
    Ok(())
}

/// Makes the links that users see, and removes those of keys that are gone.
fn link_names(dir: &Path, files: &[File]) -> io::Result<()> {
    let first = |f: &File| f.path.split('/').next().unwrap_or("").to_string();
    let wanted: BTreeSet<String> = files.iter().map(first).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) && entry.file_type()?.is_symlink() {
            fs::remove_file(entry.path())?;
        }
    }
    for name in wanted {
        match symlink(Path::new(DATA).join(&name), dir.join(&name)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, data: &str) -> File {
        File { path: path.into(), mode: 0o640, data: data.into(), owner: None }
    }

    #[test]
    fn versions_replace_each_other_at_once() {
        let dir = std::env::temp_dir().join(format!("timonier-atomic-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let now = Time::from_unix(1_795_379_331);
        let first = [file("a", "1"), file("sub/b", "2")];
        assert!(write(&dir, &first, None, now).unwrap());
        assert!(!write(&dir, &first, None, now).unwrap(), "nothing changed");
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
        assert_eq!(fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        assert_eq!(fs::metadata(dir.join("a")).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_link(dir.join("a")).unwrap(), Path::new("..data/a"));
        let version = fs::read_link(dir.join(DATA)).unwrap();
        assert!(version.to_str().unwrap().starts_with("..2026_11_2"));
        assert!(write(&dir, &[file("a", "3"), file("c", "4")], None, now).unwrap());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join("sub").exists() && dir.join("c").exists() && !dir.join(version).exists());
        let names = fs::read_dir(&dir).unwrap().count();
        assert_eq!(names, 4, "two links, ..data, one version");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_foreign_link_is_neither_read_nor_removed() {
        let base = tempfile::tempdir().unwrap();
        let (dir, outside) = (base.path().join("volume"), base.path().join("outside"));
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("a"), "theirs").unwrap();
        fs::set_permissions(outside.join("a"), Permissions::from_mode(0o640)).unwrap();
        let now = Time::from_unix(1_795_379_331);
        symlink(&outside, dir.join("..0")).unwrap();
        for link in [outside.to_str().unwrap(), "../outside", "..0", "..0/../../outside"] {
            write(&dir, &[file("a", "1")], None, now).unwrap();
            fs::remove_file(dir.join(DATA)).unwrap();
            symlink(link, dir.join(DATA)).unwrap();
            assert!(write(&dir, &[file("a", "theirs")], None, now).unwrap(), "{link}: not ours");
            assert!(write(&dir, &[file("a", "2")], None, now).unwrap());
            assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "2");
            assert_eq!(fs::read_to_string(outside.join("a")).unwrap(), "theirs", "{link}");
        }
    }
}
