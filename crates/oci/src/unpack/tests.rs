use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;
use crate::tar::{Kind, Writer};

fn root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("{test}: skipped, it needs root");
    }
    root
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry { path: path.into(), kind, mode: 0o755, mtime: (1000, 0), ..Entry::default() }
}

fn file(path: &str, data: &str) -> (Entry, Vec<u8>) {
    let size = data.len() as u64;
    (Entry { size, mode: 0o644, ..entry(path, Kind::File) }, data.into())
}

fn link(path: &str, kind: Kind, target: &str) -> (Entry, Vec<u8>) {
    (Entry { link: target.into(), ..entry(path, kind) }, vec![])
}

fn dir(path: &str) -> (Entry, Vec<u8>) {
    (entry(path, Kind::Directory), vec![])
}

fn archive(members: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in members {
        writer.append(entry, &mut &data[..]).unwrap();
    }
    writer.finish().unwrap()
}

fn layer(members: &[(Entry, Vec<u8>)]) -> (tempfile::TempDir, Result<Unpacked>) {
    let root = tempfile::tempdir().unwrap();
    let result = unpack_layer(&archive(members)[..], root.path(), &[]);
    (root, result)
}

#[test]
fn everything_a_layer_can_hold() {
    if !root_or_skip("everything_a_layer_can_hold") {
        return;
    }
    let mut setuid = file("bin/su", "#!");
    setuid.0.mode = 0o4755;
    setuid.0.uid = 12;
    setuid.0.xattrs = vec![
        ("user.note".into(), b"x".to_vec()),
        ("trusted.overlay.redirect".into(), b"/etc".to_vec()),
    ];
    let mut null = (entry("dev/null", Kind::CharDevice), vec![]);
    null.0.device = (1, 3);
    let (root, result) = layer(&[
        dir("./"),
        dir("bin/"),
        setuid,
        link("bin/sh", Kind::Symlink, "su"),
        link("bin/hard", Kind::Hardlink, "/bin/su"),
        null,
        (entry("run/pipe", Kind::Fifo), vec![]),
        file(".wh.gone", ""),
        dir("whole/"),
        file("whole/.wh..wh..opq", ""),
        file("whole/.wh..wh.plnk", ""),
    ]);
    assert_eq!(result.unwrap(), Unpacked { entries: 11, bytes: 2, newest: 1000 });
    let at = |name: &str| root.path().join(name);
    let su = at("bin/su").metadata().unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.mtime(), su.nlink()), (0o4755, 12, 1000, 2));
    assert_eq!(std::fs::read_link(at("bin/sh")).unwrap().to_str(), Some("su"));
    assert_eq!(at("bin").metadata().unwrap().mtime(), 1000);
    assert_eq!(root.path().metadata().unwrap().mtime(), 1000);
    let null = at("dev/null").metadata().unwrap();
    assert!(null.file_type().is_char_device() && null.rdev() == 0x103);
    assert!(at("run/pipe").metadata().unwrap().file_type().is_fifo());
    let gone = at("gone").metadata().unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(at("whole"), OPAQUE, &mut value).unwrap(), 1);
    assert_eq!(rustix::fs::getxattr(at("bin/su"), "user.note", &mut value).unwrap(), 1);
    assert!(rustix::fs::getxattr(at("bin/su"), "trusted.overlay.redirect", &mut value).is_err());
}

#[test]
fn hostile_members_stay_inside_or_are_refused() {
    if !root_or_skip("hostile_members_stay_inside_or_are_refused") {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    std::fs::write(outside.path().join("secret"), "old").unwrap();
    let up = "../".repeat(30);
    // Through links, absolute and relative: they resolve inside.
    let (root, result) = layer(&[
        link("abs", Kind::Symlink, out),
        file("abs/secret", "new"),
        link("rel", Kind::Symlink, &format!("{up}{}", &out[1..])),
        file("rel/other", "new"),
        link("final", Kind::Symlink, &format!("{out}/secret")),
        file("final", "replaced"),
    ]);
    result.unwrap();
    assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "old");
    assert_eq!(outside.path().read_dir().unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(root.path().join(&out[1..]).join("secret")).unwrap(), "new");
    assert_eq!(std::fs::read_to_string(root.path().join("final")).unwrap(), "replaced");
    for (members, reason) in [
        (vec![file(&format!("{up}x"), "")], "leads outside"),
        (vec![link("h", Kind::Hardlink, &format!("{out}/secret"))], "not in the archive"),
        (
            vec![link("l", Kind::Symlink, out), link("h", Kind::Hardlink, "l/secret")],
            "not in the archive",
        ),
        (vec![link("h", Kind::Hardlink, &format!("{up}etc/passwd"))], "leads outside"),
        (
            vec![link("a", Kind::Symlink, "b"), link("b", Kind::Symlink, "a"), file("a/x", "")],
            "symbolic links",
        ),
        (vec![file("f", ""), file("f/x", "")], "not a directory"),
        (vec![file(".wh..", "")], "whiteout of nothing"),
        (vec![file("", "x")], "must be a directory"),
        (vec![file(&"n".repeat(300), "")], "File name too long"),
        (vec![link("s", Kind::Symlink, "")], "malformed link target"),
        (vec![dir("d"), link("h", Kind::Hardlink, "d")], "hard link to a directory"),
    ] {
        let (_root, result) = layer(&members);
        let error = result.expect_err(reason).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn later_members_replace_earlier_ones() {
    if !root_or_skip("later_members_replace_earlier_ones") {
        return;
    }
    let (root, result) = layer(&[
        dir("d"),
        file("d/x", "1"),
        file("d", "now a file"),
        file(".wh.back", ""),
        dir("back"),
        file("back/y", ""),
        file("kept", "k"),
        file(".wh.kept", ""),
        dir("hides"),
        file(".wh.hides", ""),
    ]);
    result.unwrap();
    let at = |name: &str| root.path().join(name);
    assert_eq!(std::fs::read_to_string(at("d")).unwrap(), "now a file");
    assert_eq!(std::fs::read_to_string(at("kept")).unwrap(), "k");
    let mut value = [0; 8];
    for opaque in ["back", "hides"] {
        assert_eq!(rustix::fs::getxattr(at(opaque), OPAQUE, &mut value).unwrap(), 1, "{opaque}");
    }
}

#[test]
fn left_out_directories_look_like_those_below() {
    if !root_or_skip("left_out_directories_look_like_those_below") {
        return;
    }
    let below = tempfile::tempdir().unwrap();
    std::fs::create_dir(below.path().join("tmp")).unwrap();
    std::fs::set_permissions(below.path().join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    let root = tempfile::tempdir().unwrap();
    let bytes = archive(&[file("tmp/a/b", "")]);
    unpack_layer(&bytes[..], root.path(), &[below.path().to_owned()]).unwrap();
    assert_eq!(root.path().join("tmp").metadata().unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(root.path().join("tmp/a").metadata().unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn limits_hold() {
    let root = tempfile::tempdir().unwrap();
    let fd = path::open_root(root.path()).unwrap();
    let bytes = archive(&[file("a", "12345"), file("b", "12345")]);
    let try_with = |entries, bytes_limit| {
        let limits = Limits { entries, bytes: bytes_limit };
        let options = Options { limits, owner: Some(ids()), ..Options::default() };
        unpack(&bytes[..], fd.as_fd(), &options)
    };
    assert!(matches!(try_with(1, 100), Err(Error::TooLarge(_))));
    assert!(matches!(try_with(9, 9), Err(Error::TooLarge(_))));
    assert!(try_with(2, 10).is_ok());
}

fn ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Mutations of a rich archive: errors are fine, panics and anything outside are not.
#[test]
fn mutated_layers_do_no_harm() {
    if !root_or_skip("mutated_layers_do_no_harm") {
        return;
    }
    let good = archive(&[
        dir("a"),
        file("a/f", "data"),
        link("a/l", Kind::Symlink, "../.."),
        link("a/h", Kind::Hardlink, "a/f"),
        file("a/.wh.x", ""),
        file(&"p/".repeat(70), "x"),
    ]);
    let base = tempfile::tempdir().unwrap();
    let mut seed = 11u64;
    for round in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let block = (seed >> 40) as usize % (bytes.len() / 512);
            let at = block * 512 + (seed >> 20) as usize % 160;
            bytes[at] = b"./x0\0\xff"[(seed >> 60) as usize % 6];
            fix_checksum(&mut bytes[block * 512..block * 512 + 512]);
        }
        let root = base.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let _ = unpack_layer(&bytes[..], &root, &[]);
        let names: Vec<_> =
            base.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["root"], "round {round}");
        let fd = path::open_root(base.path()).unwrap();
        path::remove_tree(fd.as_fd(), b"root").unwrap();
    }
}

fn fix_checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
