//! Bare containers, the limit of starting pods: the image's program in new namespaces, and nothing
//! else. No cluster, no limits, no network, no log.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

/// The program of the measured image.
pub const BUSYBOX: &str = "/bin/busybox";

/// A container that runs; it ends with the value.
struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        // `--kill-child`: the container's first process goes with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A root directory as the measured image has it.
pub fn root(scratch: &Path) -> Result<PathBuf> {
    let root = scratch.join("root");
    for dir in ["bin", "proc"] {
        std::fs::create_dir_all(root.join(dir))?;
    }
    std::fs::copy(BUSYBOX, root.join("bin/busybox"))
        .with_context(|| format!("{BUSYBOX} (Debian's busybox-static)"))?;
    Ok(root)
}

/// Starts so many containers one after the other; the seconds of each.
pub fn one_by_one(root: &Path, count: usize) -> Result<Vec<f64>> {
    let mut running = Vec::new();
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        let mut bare = begin(root)?;
        wait(&mut bare)?;
        times.push(start.elapsed().as_secs_f64());
        running.push(bare);
    }
    Ok(times)
}

/// Starts so many containers at once; the seconds until all run.
pub fn at_once(root: &Path, count: usize) -> Result<f64> {
    let start = Instant::now();
    let mut running = (0..count).map(|_| begin(root)).collect::<Result<Vec<_>>>()?;
    running.iter_mut().try_for_each(wait)?;
    Ok(start.elapsed().as_secs_f64())
}

fn begin(root: &Path) -> Result<Bare> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]);
    command.arg("--root").arg(root).arg("--mount-proc");
    command.args([BUSYBOX, "sh", "-c", "echo; exec /bin/busybox sleep 100000"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(Bare(command.spawn().context("unshare (Debian's util-linux)")?))
}

/// Until the program in the container says a word.
fn wait(bare: &mut Bare) -> Result<()> {
    let out = bare.0.stdout.as_mut().context("a piped output")?;
    out.read_exact(&mut [0]).context("a bare container did not start")
}
