//! The cluster under measurement: the real binary, in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use timonier_cli::cluster::{ClusterConfig, Paths};
use timonier_cli::{access, host, lock};
use timonier_client::HttpsClient;
use timonier_runtime::Cgroups;

use crate::process;

const NAME: &str = "bench";

/// A cluster that is up or not.
pub struct Cluster {
    pub binary: PathBuf,
    dir: PathBuf,
}

impl Cluster {
    /// A cluster whose files will lie below `dir`; nothing happens yet.
    pub fn new(binary: PathBuf, dir: PathBuf) -> Cluster {
        Cluster { binary, dir }
    }

    pub fn paths(&self) -> Paths {
        Paths { data: self.dir.join("data") }
    }

    pub fn data(&self) -> PathBuf {
        self.paths().data
    }

    /// What was settled at its first start.
    pub fn config(&self) -> Result<ClusterConfig> {
        ClusterConfig::load(&self.paths())?.context("the cluster has not been started")
    }

    /// Runs `timonier up`; how long it took.
    pub fn up(&self) -> Result<Duration> {
        std::fs::create_dir_all(self.dir.join("home"))?;
        let start = Instant::now();
        self.timonier(&["up", "--name", NAME])?;
        Ok(start.elapsed())
    }

    /// Starts it unless it runs.
    pub fn ensure_up(&self) -> Result<()> {
        if lock::running(&self.paths().lock())?.is_none() {
            self.up()?;
        }
        Ok(())
    }

    /// Takes it off the host with its data.
    pub fn clear(&self) -> Result<()> {
        if self.paths().config().exists() {
            self.timonier(&["reset"])?;
        }
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("remove {}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// The server's process.
    pub fn server(&self) -> Result<i32> {
        Ok(lock::running(&self.paths().lock())?.context("the server does not run")?.pid)
    }

    /// Ends the server as a power cut would, and waits until it is gone.
    pub fn kill_server(&self) -> Result<()> {
        let pid = self.server()?;
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while lock::running(&self.paths().lock())?.is_some()
            || kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
        {
            if Instant::now() > deadline {
                bail!("process {pid} does not end");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Seconds of processor time of everything that the cluster runs and ran: the server with its
    /// children, and what is in the cluster's cgroup.
    pub fn processor_time(&self) -> Result<f64> {
        let server = process::processor_time(self.server()?).context("the server is gone")?;
        let group = Cgroups::detect()?.stats(&host::cgroup(&self.config()?));
        Ok(server + group.cpu_usage_ns as f64 / 1e9)
    }

    /// A client with the administrator's certificate.
    pub fn client(&self) -> Result<HttpsClient> {
        access::admin(&self.paths(), &self.config()?)
    }

    /// Runs a command of the binary on this cluster, which must succeed.
    pub fn timonier(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--data-dir").arg(self.data());
        // The user's kubeconfig is left alone.
        command.env("HOME", self.dir.join("home")).env_remove("KUBECONFIG");
        let output = command.stdin(Stdio::null()).output().context("start the binary")?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            let log = last_lines(&self.paths().log());
            bail!("timonier {}: {}\n{log}", arguments.join(" "), String::from_utf8_lossy(&text));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("the measured cluster stays behind: {error:#}");
        }
    }
}

fn last_lines(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
