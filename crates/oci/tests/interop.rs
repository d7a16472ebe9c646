//! Against the field's own programs where the host has them: the reference registry
//! (`docker-registry`) and `skopeo`, both in Debian.

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{base_image, build, context, root_or_skip, store};
use timonier_oci::{ImportOptions, PullOptions, PushOptions};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has(program: &str) -> bool {
    let there =
        ["/usr/bin", "/usr/local/bin", "/bin"].iter().any(|d| Path::new(d).join(program).exists());
    if !there {
        eprintln!("skipped: the host has no {program}");
    }
    there
}

async fn start_registry(dir: &Path) -> (Running, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        dir.join("registry").display()
    );
    let file = dir.join("registry.yml");
    std::fs::write(&file, config).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    let address = format!("127.0.0.1:{port}");
    for _ in 0..300 {
        if tokio::net::TcpStream::connect(&address).await.is_ok() {
            return (running, address);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the registry did not start");
}

fn skopeo(args: &[&str]) -> String {
    let output = Command::new("skopeo").args(["--insecure-policy"]).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "skopeo {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_reference_registry_and_skopeo_agree() {
    if !root_or_skip("the_reference_registry_and_skopeo_agree")
        || !has("docker-registry")
        || !has("skopeo")
    {
        return;
    }
    let (dir, first) = store();
    if base_image(&first, "base:1").is_none() {
        return;
    }
    let context = context(&[
        (
            "Dockerfile",
            "FROM base:1\nRUN echo hi > /hi && rm /etc/group\nCOPY f /f\nUSER 5\nCMD [\"cat\", \"/hi\"]\n",
        ),
        ("f", "content"),
    ]);
    let image = build(&first, context.path(), "app:1").await.0.unwrap();
    let (_registry, address) = start_registry(dir.path()).await;
    let name = format!("{address}/team/app:1");
    first.tag("app:1", &name).unwrap();
    let digest = first.push(&name, &PushOptions::default()).await.unwrap();
    let seen = skopeo(&["inspect", "--tls-verify=false", &format!("docker://{name}")]);
    assert!(seen.contains(digest.as_str()) && seen.contains("sha256"), "{seen}");
    let (_dir, second) = store();
    let pulled = second.pull(&name, &PullOptions::default()).await.unwrap();
    assert_eq!((&pulled.id, &pulled.digest), (&image.id, &image.digest));
    // Docker's manifest form, and both kinds of archive.
    let docker = format!("{address}/team/app:docker");
    skopeo(&[
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--format=v2s2",
        &format!("docker://{name}"),
        &format!("docker://{docker}"),
    ]);
    let (_dir, third) = store();
    let pulled = third.pull(&docker, &PullOptions::default()).await.unwrap();
    assert_eq!(pulled.lower_dirs.len(), image.lower_dirs.len());
    assert_eq!(pulled.config.rootfs, image.config.rootfs);
    for kind in ["docker-archive", "oci-archive"] {
        let file = dir.path().join(kind);
        let target = format!("{kind}:{}:copied/app:2", file.display());
        skopeo(&["copy", "--src-tls-verify=false", &format!("docker://{name}"), &target]);
        let (_dir, fourth) = store();
        let imported = fourth.import_path(&file, &ImportOptions::default()).unwrap();
        assert_eq!(imported[0].config.rootfs, image.config.rootfs, "{kind}");
        assert_eq!(imported[0].repo_tags, ["docker.io/copied/app:2"], "{kind}");
    }
    // What we save, others read.
    let saved = dir.path().join("saved.tar");
    first.save(&["app:1"], &mut std::fs::File::create(&saved).unwrap()).unwrap();
    for kind in ["docker-archive", "oci-archive"] {
        let seen = skopeo(&["inspect", "--config", &format!("{kind}:{}", saved.display())]);
        assert!(seen.contains("/hi"), "{seen}");
    }
}
