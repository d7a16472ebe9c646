//! What the integration tests share: stores, a base image, a runner, a registry.
#![allow(dead_code)]

pub mod registry;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use timonier_oci::{
    BuildEvent, BuildOptions, Error, Image, ImageStore, MountKind, OutputFn, Result, RootfsOptions,
    RunStep, Runner,
};

/// Whether the test can run; says why if not.
pub fn root_or_skip(test: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root =
        status.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"));
    if !root {
        eprintln!("{test}: skipped, it needs root");
    }
    root
}

pub fn store() -> (tempfile::TempDir, ImageStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path().join("images")).unwrap();
    (dir, store)
}

/// An image with a shell: the host's busybox and what it links to. `None` where there is none.
pub fn base_image(store: &ImageStore, name: &str) -> Option<Image> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    let Some(busybox) = busybox else {
        eprintln!("skipped: the host has no busybox");
        return None;
    };
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    let ldd = Command::new("ldd").arg(busybox).stderr(Stdio::null()).output().ok()?;
    for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
        if word.starts_with('/') {
            files.insert(word.into());
        }
    }
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, data: &[u8], mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_mtime(1000);
        tar.append_data(&mut header, path, data).unwrap();
    };
    add("bin/busybox", &std::fs::read(busybox).unwrap(), 0o755);
    for file in files {
        let inside = file.to_str().unwrap().trim_start_matches('/').to_owned();
        add(&inside, &std::fs::read(&file).unwrap(), 0o755);
    }
    add("etc/passwd", b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n", 0o644);
    add("etc/group", b"root:x:0:\nweb:x:34:\nlogs:x:50:web\n", 0o644);
    for applet in [
        "sh", "cat", "echo", "mkdir", "rm", "ls", "id", "stat", "touch", "env", "pwd", "ln", "cp",
        "chmod", "sleep", "true", "false", "readlink", "mv", "test",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mtime(1000);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let archive = tar.into_inner().unwrap();
    let options = RootfsOptions {
        name: Some(name.to_owned()),
        changes: vec!["ENV PATH=/bin".into(), "CMD [\"sh\"]".into()],
        ..RootfsOptions::default()
    };
    Some(store.import_rootfs(&archive[..], &options).unwrap())
}

/// Runs steps with the host's `unshare` and `chroot`: enough for a test.
pub struct ChrootRunner;

#[async_trait::async_trait]
impl Runner for ChrootRunner {
    async fn run(&self, step: RunStep, output: OutputFn<'_>) -> Result<i32> {
        let merged = step.work_dir.with_extension("test-merged");
        std::fs::create_dir_all(&merged).unwrap();
        let lower: Vec<&str> = step.lower_dirs.iter().map(|p| p.to_str().unwrap()).collect();
        let root = merged.to_str().unwrap();
        let mut script = format!(
            "mount -t overlay overlay -o lowerdir={},upperdir={},workdir={},redirect_dir=off,index=off,metacopy=off {root}\n",
            lower.join(":"),
            step.upper_dir.display(),
            step.work_dir.display(),
        );
        for mount in &step.mounts {
            let to = format!("{root}{}", mount.target);
            match &mount.kind {
                MountKind::Bind { source } => {
                    script.push_str(&format!("mount --bind {} {to}\n", source.display()));
                    if mount.read_only {
                        script.push_str(&format!("mount -o remount,bind,ro {to}\n"));
                    }
                }
                MountKind::Tmpfs { .. } => script.push_str(&format!("mount -t tmpfs tmpfs {to}\n")),
            }
        }
        let groups: Vec<String> = step.user.groups.iter().map(u32::to_string).collect();
        script.push_str(&format!(
            "exec env -i \"${{E[@]}}\" \"$(command -v chroot)\" --userspec={}:{} --groups={} {root} /bin/sh -c 'cd \"$0\" && exec \"$@\"' {} \"$@\"\n",
            step.user.uid, step.user.gid, groups.join(","), step.cwd
        ));
        let mut envs = String::from("E=(");
        for entry in &step.env {
            envs.push_str(&format!("'{}' ", entry.replace('\'', "'\\''")));
        }
        envs.push_str(")\nset -e\n");
        let result = Command::new("unshare")
            .args([
                "-m",
                "--propagation",
                "private",
                "bash",
                "-c",
                &format!("{envs}{script}"),
                "sh",
            ])
            .args(&step.argv)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Io { context: "unshare".into(), source })?;
        output(false, &result.stdout);
        output(true, &result.stderr);
        let _ = std::fs::remove_dir(&merged);
        Ok(result.status.code().unwrap_or(255))
    }
}

/// What a build told.
#[derive(Default)]
pub struct Log {
    pub events: Vec<BuildEvent>,
}

impl Log {
    pub fn output(&self) -> String {
        let pieces = self.events.iter().filter_map(|e| match e {
            BuildEvent::Output { bytes, .. } => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        pieces.collect()
    }

    pub fn cached(&self) -> usize {
        self.events.iter().filter(|e| matches!(e, BuildEvent::Cached { .. })).count()
    }

    pub fn warnings(&self) -> Vec<(usize, String)> {
        let found = self.events.iter().filter_map(|e| match e {
            BuildEvent::Warning { line, text } => Some((*line, text.clone())),
            _ => None,
        });
        found.collect()
    }
}

/// A context directory from files by path.
pub fn context(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let full = dir.path().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, text).unwrap();
    }
    dir
}

/// A context with nothing but a Dockerfile.
pub fn context_of(dockerfile: &str) -> tempfile::TempDir {
    context(&[("Dockerfile", dockerfile)])
}

pub async fn build_with(store: &ImageStore, options: &BuildOptions) -> (Result<Image>, Log) {
    let mut log = Log::default();
    let result = store.build(options, &ChrootRunner, &mut |e| log.events.push(e)).await;
    (result, log)
}

pub async fn build(store: &ImageStore, dir: &Path, tag: &str) -> (Result<Image>, Log) {
    let options = BuildOptions {
        context: dir.to_owned(),
        tags: vec![tag.to_owned()],
        ..BuildOptions::default()
    };
    build_with(store, &options).await
}

/// The content of a file of an image, found through its layers.
pub fn read(image: &Image, path: &str) -> String {
    String::from_utf8(std::fs::read(find(image, path)).unwrap()).unwrap()
}

/// Where a file of an image really is; panics if it is not there.
pub fn find(image: &Image, path: &str) -> PathBuf {
    find_opt(image, path).unwrap_or_else(|| panic!("{path} is not in the image"))
}

pub fn find_opt(image: &Image, path: &str) -> Option<PathBuf> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    for dir in &image.lower_dirs {
        let full = dir.join(path);
        if let Ok(meta) = full.symlink_metadata() {
            let whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
            return (!whiteout).then_some(full);
        }
    }
    None
}
