//! The images that the cases run, made from Debian packages by `timonier build`.

use std::fs;
use std::path::Path;

use crate::cluster::Cluster;
use crate::shell::{Result, succeed};

/// Builds `busybox:e2e` from the host's static busybox, and nginx:1.7.9 where nginx is installed.
pub fn build_all(cluster: &Cluster) -> Result {
    busybox(cluster)?;
    let dir = cluster.base().join("build");
    nginx(cluster, &dir.join("nginx"))?;
    fs::remove_dir_all(&dir).map_err(|e| e.to_string())
}

/// Builds `busybox:e2e` alone.
pub fn busybox(cluster: &Cluster) -> Result {
    let dir = &cluster.base().join("build/busybox");
    fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    fs::copy("/bin/busybox", dir.join("busybox"))
        .map_err(|e| format!("/bin/busybox (Debian's busybox-static): {e}"))?;
    let dockerfile = "FROM scratch\n\
        COPY busybox /bin/busybox\n\
        RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
        RUN mkdir -p /tmp /etc /root && chmod 1777 /tmp && echo root:x:0:0:root:/root:/bin/sh >/etc/passwd\n\
        ENV PATH=/bin\n\
        CMD [\"sh\"]\n";
    fs::write(dir.join("Dockerfile"), dockerfile).map_err(|e| e.to_string())?;
    cluster.timonier(&["build", "-t", "busybox:e2e", &dir.to_string_lossy()]).map(drop)
}

/// A base image from Debian's nginx package and what it needs, then the mission's image on top.
fn nginx(cluster: &Cluster, dir: &Path) -> Result {
    let root = dir.join("root");
    fs::create_dir_all(&root).map_err(|e| e.to_string())?;
    let script = crate::shell::tools().join("../../tests/images/debian-rootfs");
    let script = if script.exists() {
        script
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/images/debian-rootfs")
    };
    let mut command = std::process::Command::new(script);
    succeed(command.arg(dir.join("rootfs.tar")).args(["nginx-light"]), "")?;
    let tar = dir.join("rootfs.tar").to_string_lossy().into_owned();
    cluster.timonier(&["image", "import", "--rootfs", "-t", "debian-nginx:12", &tar])?;
    let dockerfile = "FROM debian-nginx:12\n\
        RUN rm -f /etc/nginx/sites-enabled/default && mkdir -p /usr/share/nginx/html\n\
        COPY default.conf /etc/nginx/conf.d/default.conf\n\
        EXPOSE 80\n\
        STOPSIGNAL SIGQUIT\n\
        CMD [\"nginx\", \"-g\", \"daemon off;\"]\n";
    let site = "server { listen 80; location / { default_type text/plain; return 200 \"$hostname\\n\"; } }\n";
    let context = dir.join("context");
    fs::create_dir_all(&context).map_err(|e| e.to_string())?;
    fs::write(context.join("Dockerfile"), dockerfile).map_err(|e| e.to_string())?;
    fs::write(context.join("default.conf"), site).map_err(|e| e.to_string())?;
    cluster.timonier(&["build", "-t", "nginx:1.7.9", &context.to_string_lossy()]).map(drop)
}
