//! Pods in a network namespace of their own.

#![allow(unsafe_code)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Fixture, exited, output, until};
use timonier_runtime::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A network namespace with a loopback interface, kept by a file as the node keeps them.
struct NetworkNamespace(PathBuf);

impl NetworkNamespace {
    fn new(dir: &Path) -> Self {
        let path = dir.join("netns");
        std::fs::write(&path, "").unwrap();
        let file = path.clone();
        let made = std::thread::spawn(move || {
            // SAFETY: changes only this thread, which ends here.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
            let busybox = ["/bin/busybox", "/usr/bin/busybox"];
            let busybox = busybox.into_iter().find(|p| Path::new(p).exists()).unwrap();
            let up = Command::new(busybox).args(["ip", "link", "set", "lo", "up"]).status();
            assert!(up.unwrap().success());
            rustix::mount::mount_bind("/proc/thread-self/ns/net", &file).unwrap();
        });
        made.join().unwrap();
        Self(path)
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_sysctls_and_ports_are_the_pods_own() {
    let Some(f) = Fixture::new().await else { return };
    let namespace = NetworkNamespace::new(f.dir.path());
    let mut config = f.sandbox_config("net");
    config.network = Network::Namespace(namespace.0.clone());
    config.hostname = "web-0".into();
    config.sysctls =
        [("net.ipv4.ip_unprivileged_port_start", "77"), ("kernel.shm_rmid_forced", "1")]
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .into();
    let sandbox = f.runtime.run_sandbox(config).await.unwrap();
    let script = "hostname; echo $HOSTNAME; ls /sys/class/net; cd /proc/sys
        cat net/ipv4/ip_unprivileged_port_start kernel/shm_rmid_forced";
    let id = f.start(&sandbox, f.config(&["sh", "-c", script])).await;
    exited(&f.runtime, &id).await;
    assert_eq!(output(&f.log_path()), "web-0\nweb-0\nlo\n77\n1");
    let host = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    assert_ne!(host.trim(), "77", "the host was changed");

    let refused = f.runtime.port_forward(&sandbox, 8080).await.err().unwrap().to_string();
    assert!(refused.contains("dial tcp4 127.0.0.1:8080: connect: connection refused"), "{refused}");
    f.start(&sandbox, f.config(&["nc", "-l", "-p", "8080", "-e", "/bin/cat"])).await;
    let mut connection = None;
    until(async || {
        connection = f.runtime.port_forward(&sandbox, 8080).await.ok();
        connection.is_some()
    })
    .await;
    let mut connection = connection.unwrap();
    connection.write_all(b"through").await.unwrap();
    connection.shutdown().await.unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "through");
    assert!(tokio::net::TcpStream::connect("127.0.0.1:8080").await.is_err(), "visible on the host");
    f.runtime.remove_sandbox(&sandbox).await.unwrap();
}
