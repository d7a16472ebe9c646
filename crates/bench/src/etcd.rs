//! A bare etcd, the peer of a whole cluster: what upstream needs for its store alone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running etcd; it ends with the value.
pub struct Etcd {
    child: Child,
    /// From its start to its first answer.
    pub started_in: Duration,
}

impl Etcd {
    /// Starts etcd on a directory and waits until it answers. `None` where etcd is not installed.
    pub fn start(dir: &Path) -> Result<Option<Etcd>> {
        let (client, peer) = (free_port()?, free_port()?);
        let (client_url, peer_url) =
            (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(dir);
        command.args(["--log-level", "error", "--listen-client-urls", &client_url]);
        command.args(["--advertise-client-urls", &client_url, "--listen-peer-urls", &peer_url]);
        command.args(["--initial-advertise-peer-urls", &peer_url]);
        command.args(["--initial-cluster", &format!("default={peer_url}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let child = match command.spawn() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            child => child.context("start etcd")?,
        };
        let mut etcd = Etcd { child, started_in: Duration::ZERO };
        while !healthy(client) {
            if let Some(status) = etcd.child.try_wait()? {
                bail!("etcd ended: {status}");
            }
            if start.elapsed() > PATIENCE {
                bail!("etcd does not answer");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        etcd.started_in = start.elapsed();
        Ok(Some(etcd))
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long etcd needs to its first answer on empty directories. `None` where it is not installed.
pub fn starts(scratch: &Path, count: usize) -> Result<Option<Vec<f64>>> {
    let mut times = Vec::new();
    for i in 0..count {
        let dir = Scratch::new(scratch.join(format!("etcd-{i}")));
        let Some(etcd) = Etcd::start(&dir.0)? else { return Ok(None) };
        times.push(etcd.started_in.as_secs_f64());
    }
    Ok(Some(times))
}

/// A directory that goes with the value.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(path: PathBuf) -> Scratch {
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"health\":\"true\""))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
