use std::collections::BTreeSet;
use std::io::Write;

use super::*;
use crate::options::{GcLimits, RemoveOptions, Removed, RootfsOptions};
use crate::tar::{Entry, Kind, Writer};
use crate::{Digest, Error};

fn root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("{test}: skipped, it needs root");
    }
    root
}

fn store() -> (tempfile::TempDir, ImageStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path().join("images")).unwrap();
    (dir, store)
}

fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, data) in files {
        writer.append_bytes(path, 5, data).unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn old_docker_archive() -> Vec<u8> {
    let layers =
        [tarball(&[("etc/a", b"1"), ("b", b"22")]), tarball(&[(".wh.b", b""), ("c", b"333")])];
    let diff_ids: Vec<String> = layers.iter().map(|l| Digest::of(l).to_string()).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/a"]}},"rootfs":{{"type":"layers","diff_ids":["{}","{}","{}"]}}}}"#,
        diff_ids[0], diff_ids[1], diff_ids[0]
    );
    let hex = Digest::of(config.as_bytes()).hex().to_owned();
    let manifest = format!(
        r#"[{{"Config":"{hex}.json","RepoTags":["app:1"],"Layers":["0/layer.tar","1/layer.tar","2/layer.tar"]}}]"#
    );
    let mut writer = Writer::new(Vec::new());
    writer.append_bytes("0/layer.tar", 0, &layers[0]).unwrap();
    writer.append_bytes("1/layer.tar", 0, &gzip(&layers[1])).unwrap();
    let link = Entry {
        path: b"2/layer.tar".to_vec(),
        kind: Kind::Symlink,
        link: b"../0/layer.tar".to_vec(),
        ..Entry::default()
    };
    writer.append(&link, &mut std::io::empty()).unwrap();
    writer.append_bytes(&format!("{hex}.json"), 0, config.as_bytes()).unwrap();
    writer.append_bytes("manifest.json", 0, manifest.as_bytes()).unwrap();
    writer.finish().unwrap()
}

#[test]
fn docker_archive_in_oci_layout_out() {
    if !root_or_skip("docker_archive_in_oci_layout_out") {
        return;
    }
    let (_dir, first) = store();
    let images = first.import(&gzip(&old_docker_archive())[..], &ImportOptions::default()).unwrap();
    let image = first.resolve("app:1").unwrap();
    assert_eq!(images[0].id, image.id);
    assert_eq!(image.repo_tags, ["docker.io/library/app:1"]);
    assert_eq!((image.lower_dirs.len(), image.size), (3, 9));
    assert_eq!(image.argv(None, None), ["/a"]);
    assert_eq!(std::fs::read(image.lower_dirs[2].join("etc/a")).unwrap(), b"1");
    assert!(image.lower_dirs[1].join("b").symlink_metadata().is_ok());
    let mut saved = Vec::new();
    first.save(&["app:1"], &mut saved).unwrap();
    let mut again = Vec::new();
    first.save(&["app:1"], &mut again).unwrap();
    assert!(saved == again);
    let (dir, second) = store();
    let options = ImportOptions { name: Some("other:2".into()), ..ImportOptions::default() };
    second.import(&saved[..], &options).unwrap();
    let copy = second.resolve("other:2").unwrap();
    assert_eq!((&copy.id, &copy.digest), (&image.id, &image.digest));
    assert_eq!(copy.repo_tags, ["docker.io/library/app:1", "docker.io/library/other:2"]);
    // The same as a directory.
    let layout = dir.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    crate::unpack::unpack_layer(&saved[..], &layout, &[]).unwrap();
    let (_dir, third) = store();
    assert_eq!(
        third.import_path(&layout, &ImportOptions::default()).unwrap()[0].digest,
        image.digest
    );
}

#[test]
fn names_ids_and_removal() {
    if !root_or_skip("names_ids_and_removal") {
        return;
    }
    let (_dir, store) = store();
    store.import(&old_docker_archive()[..], &ImportOptions::default()).unwrap();
    let id = store.resolve("app:1").unwrap().id;
    store.tag(id.short(), "second").unwrap();
    assert_eq!(store.resolve("docker.io/library/second:latest").unwrap().id, id);
    assert_eq!(store.resolve(id.as_str()).unwrap().repo_tags.len(), 2);
    assert_eq!(store.resolve("nothing").unwrap_err().to_string(), "No such image: nothing:latest");
    assert!(store.tag("app:1", "Bad").is_err());
    let by_id = store.remove(id.hex(), &RemoveOptions::default()).unwrap_err();
    assert!(by_id.to_string().contains("must be forced"), "{by_id}");
    let in_use = RemoveOptions { in_use: BTreeSet::from([id.clone()]), force: false };
    let gone = store.remove("second", &in_use).unwrap();
    assert_eq!(gone, [Removed::Untagged("docker.io/library/second:latest".into())]);
    assert!(matches!(store.remove("app:1", &in_use), Err(Error::Conflict(_))));
    let gone = store.remove("app:1", &RemoveOptions::default()).unwrap();
    assert_eq!(gone.last(), Some(&Removed::Deleted(id)));
    assert!(store.list().unwrap().is_empty());
    for part in ["blobs/sha256", "layers", "tmp"] {
        assert_eq!(store.dir().join(part).read_dir().unwrap().count(), 0, "{part}");
    }
}

#[test]
fn root_filesystem_becomes_an_image() {
    if !root_or_skip("root_filesystem_becomes_an_image") {
        return;
    }
    let (_dir, store) = store();
    let archive = gzip(&tarball(&[("bin/x", b"#!")]));
    let options = RootfsOptions {
        name: Some("base:1".into()),
        changes: vec!["CMD [\"/bin/x\"]".into(), "ENV A=b C=d".into(), "USER 7".into()],
        ..RootfsOptions::default()
    };
    let image = store.import_rootfs(&archive[..], &options).unwrap();
    assert_eq!(image.argv(None, None), ["/bin/x"]);
    assert_eq!(
        (image.config.config.env, image.config.config.user),
        (vec!["A=b".to_owned(), "C=d".to_owned()], "7".to_owned())
    );
    assert_eq!(std::fs::read(image.lower_dirs[0].join("bin/x")).unwrap(), b"#!");
    let again = store.import_rootfs(&archive[..], &options).unwrap();
    assert_eq!(again.id, image.id);
    let bad = RootfsOptions { changes: vec!["RUN x".into()], ..RootfsOptions::default() };
    assert!(store.import_rootfs(&archive[..], &bad).is_err());
}

#[test]
fn collector_keeps_what_is_used() {
    if !root_or_skip("collector_keeps_what_is_used") {
        return;
    }
    let (_dir, store) = store();
    let make = |name: &str, data: &[u8]| {
        let options = RootfsOptions { name: Some(name.into()), ..RootfsOptions::default() };
        store.import_rootfs(&tarball(&[("f", data)])[..], &options).unwrap()
    };
    let (a, b) = (make("a", &[1; 9000]), make("b", &[2; 9000]));
    let later = timonier_meta::Time(a.added.0) + timonier_meta::Duration::from_secs(1000);
    let none = store.gc(&BTreeSet::new(), &GcLimits { now: later, ..GcLimits::default() }).unwrap();
    assert_eq!(none, Default::default());
    let used = BTreeSet::from([a.id.clone()]);
    let limits = GcLimits { now: later, bytes_to_free: u64::MAX, ..GcLimits::default() };
    let report = store.gc(&used, &limits).unwrap();
    assert_eq!(report.deleted, [b.id]);
    assert!(report.freed >= 9000 && !report.deferred);
    assert!(store.resolve("a").unwrap().lower_dirs[0].join("f").exists());
    let busy = store.begin().unwrap();
    let report = store.gc(&BTreeSet::new(), &limits).unwrap();
    assert!(report.deferred && report.deleted.is_empty());
    drop(busy);
    assert!(store.usage().unwrap().layers > 0);
    let report = store.gc(&BTreeSet::new(), &limits).unwrap();
    assert_eq!(report.deleted, [a.id]);
    assert_eq!(store.dir().join("layers").read_dir().unwrap().count(), 0);
}

/// Whatever is wrong with an archive, it leaves nothing behind and says why.
#[test]
fn bad_archives_leave_nothing() {
    let (_dir, store) = store();
    let config = br#"{"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#;
    let manifest = |layers: &str| format!(r#"[{{"Config":"c.json","Layers":[{layers}]}}]"#);
    let index = |digest: &str| {
        format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:{digest}","size":3}}]}}"#)
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (tarball(&[("x", b"y")]), "holds no images"),
        (b"not an archive at all, but long enough to be taken for one".repeat(20), "checksum"),
        (tarball(&[("manifest.json", b"[")]), "malformed manifest.json"),
        (tarball(&[("manifest.json", b"[]")]), "manifest.json is empty"),
        (tarball(&[("manifest.json", manifest("").as_bytes())]), "lacks \"c.json\""),
        (
            tarball(&[("manifest.json", manifest("").as_bytes()), ("c.json", config)]),
            "its configuration has 1",
        ),
        (
            tarball(&[("manifest.json", manifest(r#""l""#).as_bytes()), ("c.json", config)]),
            "lacks \"l\"",
        ),
        (
            tarball(&[
                ("manifest.json", manifest(r#""l""#).as_bytes()),
                ("c.json", config),
                ("l", &tarball(&[])),
            ]),
            "configuration says",
        ),
        (
            tarball(&[
                ("manifest.json", manifest(r#""l""#).as_bytes()),
                ("c.json", config),
                ("l", &tarball(&[("../../x", b"")])),
            ]),
            "leads outside",
        ),
        (tarball(&[("index.json", index(&"0".repeat(64)).as_bytes())]), "lacks"),
        (tarball(&[("index.json", index("../../etc").as_bytes())]), "malformed digest"),
        (tarball(&[("../x", b"y")]), "leads outside"),
    ];
    for (archive, reason) in cases {
        let error = store.import(&archive[..], &ImportOptions::default()).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert_eq!(store.dir().join("tmp").read_dir().unwrap().count(), 0);
        assert_eq!(store.dir().join("layers").read_dir().unwrap().count(), 0);
        assert!(store.list().unwrap().is_empty());
    }
    let truncated = old_docker_archive();
    let error = store.import(&truncated[..2000], &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("ends too early"), "{error}");
}

/// Many processes at once: here threads, which `flock` treats alike.
#[test]
fn concurrent_imports_and_removals() {
    if !root_or_skip("concurrent_imports_and_removals") {
        return;
    }
    let (_dir, store) = store();
    let archive = old_docker_archive();
    std::thread::scope(|scope| {
        for i in 0..4 {
            let (dir, archive) = (store.dir().to_owned(), &archive);
            scope.spawn(move || {
                let mine = ImageStore::open(&dir).unwrap();
                for round in 0..5 {
                    mine.import(&archive[..], &ImportOptions::default()).unwrap();
                    let _ = mine.tag("app:1", &format!("t{i}:{round}"));
                    let _ = mine.remove("app:1", &RemoveOptions::default());
                    mine.list().unwrap();
                }
            });
        }
    });
    store.import(&archive[..], &ImportOptions::default()).unwrap();
    let image = store.resolve("app:1").unwrap();
    assert!(image.lower_dirs.iter().all(|d| d.is_dir()));
    store.save(&["app:1"], &mut std::io::sink()).unwrap();
}

/// Runs one of the `child_…` tests in a process of its own with its own mounts.
fn in_child(test: &str) -> std::process::Command {
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "--propagation", "private"]).arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", &format!("archive::tests::{test}")]);
    command
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    if !root_or_skip("a_full_disk_is_an_error_and_leaves_nothing") {
        return;
    }
    let output = in_child("child_full_disk").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "only for a_full_disk_is_an_error_and_leaves_nothing: it mounts"]
fn child_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let size = std::ffi::CString::new("size=3m").unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", dir.path(), "tmpfs", flags, size.as_c_str()).unwrap();
    let store = ImageStore::open(dir.path().join("images")).unwrap();
    let options = RootfsOptions { name: Some("a".into()), ..RootfsOptions::default() };
    let small = store.import_rootfs(&tarball(&[("f", &[1; 1000])])[..], &options).unwrap();
    let big = tarball(&[("f", &vec![7; 5 << 20])]);
    let error = store.import_rootfs(&big[..], &options).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    assert_eq!(store.dir().join("tmp").read_dir().unwrap().count(), 0);
    assert_eq!(store.resolve("a").unwrap().id, small.id);
    store.import(&old_docker_archive()[..], &ImportOptions::default()).unwrap();
    drop(store);
    rustix::mount::unmount(dir.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
}

/// Processes that are killed at any moment harm neither the store nor those beside them.
#[test]
fn killed_processes_leave_a_whole_store() {
    if !root_or_skip("killed_processes_leave_a_whole_store") {
        return;
    }
    let (_dir, store) = store();
    for round in 0..12u64 {
        let mut children: Vec<_> = (0..2)
            .map(|_| {
                let mut command = in_child("child_import_loop");
                command.env("TIMONIER_TEST_STORE", store.dir()).stdout(std::process::Stdio::null());
                command.spawn().unwrap()
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(40 + round * 17));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for image in store.list().unwrap() {
            assert!(image.lower_dirs.iter().all(|d| d.is_dir()), "round {round}");
            store.save(&[image.id.as_str()], &mut std::io::sink()).unwrap();
        }
    }
    let store = ImageStore::open(store.dir()).unwrap();
    assert_eq!(store.dir().join("tmp").read_dir().unwrap().count(), 0);
    store.import(&old_docker_archive()[..], &ImportOptions::default()).unwrap();
    assert_eq!(
        std::fs::read(store.resolve("app:1").unwrap().lower_dirs[2].join("b")).unwrap(),
        b"22"
    );
}

#[test]
#[ignore = "only for killed_processes_leave_a_whole_store: it runs until it is killed"]
fn child_import_loop() {
    let Some(dir) = std::env::var_os("TIMONIER_TEST_STORE") else { return };
    // Bounded, should the parent be gone.
    for _ in 0..2000 {
        let store = ImageStore::open(&dir).unwrap();
        let _ = store.import(&old_docker_archive()[..], &ImportOptions::default());
        let _ = store.remove("app:1", &RemoveOptions::default());
    }
}
