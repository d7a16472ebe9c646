//! A second node on this host, in a network namespace of its own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::{Cluster, binary};
use crate::shell::{Result, eventually, succeed};

/// A node that joined the cluster. Everything of it goes with the value.
pub struct SecondNode<'a> {
    pub name: String,
    cluster: &'a Cluster,
    dir: PathBuf,
    /// The host's end of the way to the namespace.
    interface: String,
    agent: Option<Child>,
}

impl<'a> SecondNode<'a> {
    /// Makes the namespace, starts the agent, and waits until the node is Ready.
    pub fn join(cluster: &'a Cluster, name: &str) -> Result<SecondNode<'a>> {
        let dir = cluster.data.with_file_name(format!("node-{name}"));
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        let interface = format!("te{}a", std::process::id());
        let mut node = SecondNode { name: name.into(), cluster, dir, interface, agent: None };
        node.network()?;
        let image = node.dir.join("busybox.tar").to_string_lossy().into_owned();
        cluster.timonier(&["image", "save", "-o", &image, "busybox:e2e"])?;
        node.timonier(&["image", "import", &image])?;
        let line = cluster.timonier(&["token"])?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["timonier", "agent", rest @ ..] = &words[..] else {
            return Err(format!("`timonier token` printed {line:?}"));
        };
        node.start(rest)?;
        Ok(node)
    }

    /// Starts the agent with these arguments and waits until the node is Ready.
    pub fn start(&mut self, arguments: &[&str]) -> Result {
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.map_err(|e| e.to_string())?;
        let mut command = Command::new(binary());
        command.arg("agent").args(arguments).args(["--name", &self.name]);
        command.arg("--netns").arg(self.namespace()).arg("--data-dir").arg(self.data());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.agent = Some(command.spawn().map_err(|e| e.to_string())?);
        eventually("the node is Ready", || {
            if let Some(status) = self.agent.as_mut().and_then(|a| a.try_wait().ok()?) {
                return Err(format!("the agent ended: {status}"));
            }
            let node = format!("node/{}", self.name);
            self.kubectl(&["wait", "--for=condition=Ready", &node, "--timeout=5s"]).map(drop)
        })
        .map_err(|why| format!("{why}\n{}", fs::read_to_string(self.log()).unwrap_or_default()))
    }

    /// Kills the agent and waits for its end.
    pub fn kill(&mut self) -> Result {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        let pid = Pid::from_raw(agent.id() as i32);
        kill(pid, Signal::SIGKILL).map_err(|e| e.to_string())?;
        agent.wait().map(drop).map_err(|e| e.to_string())
    }

    /// A command of the binary on the node's data directory, which must succeed.
    pub fn timonier(&self, arguments: &[&str]) -> Result<String> {
        succeed(Command::new(binary()).args(arguments).arg("--data-dir").arg(self.data()), "")
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        succeed(&mut self.cluster.kubectl(&crate::shell::kubectl(), arguments), "")
    }

    /// What the agent has logged.
    fn log(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn namespace(&self) -> PathBuf {
        self.dir.join("network")
    }

    /// A namespace, and the way between it and the host.
    fn network(&self) -> Result {
        let file = self.namespace();
        let namespace = file.to_string_lossy().into_owned();
        File::create(&file).map_err(|e| e.to_string())?;
        succeed(Command::new("unshare").arg(format!("--net={namespace}")).arg("true"), "")?;
        // A range of this process's own, because tests may run beside each other.
        let id = std::process::id();
        let prefix = format!("10.213.{}", id % 256);
        let last = id / 256 % 63 * 4;
        let (here, there) = (format!("{prefix}.{}", last + 1), format!("{prefix}.{}", last + 2));
        let outside = &self.interface;
        let ip = |line: &str| succeed(Command::new("ip").args(line.split(' ')), "").map(drop);
        let inside = |line: &str| {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={namespace}")).arg("ip").args(line.split(' '));
            succeed(&mut command, "").map(drop)
        };
        ip(&format!("link add {outside} type veth peer name uplink netns {namespace}"))?;
        ip(&format!("address add {here}/30 dev {outside}"))?;
        ip(&format!("link set {outside} up"))?;
        inside("link set lo up")?;
        inside(&format!("address add {there}/30 dev uplink"))?;
        inside("link set uplink up")?;
        inside(&format!("route add default via {here}"))
    }
}

impl Drop for SecondNode<'_> {
    fn drop(&mut self) {
        let _ = self.kill();
        if let Err(why) = self.timonier(&["reset"]) {
            println!("reset of the node {}: {why}", self.name);
        }
        let _ = self.kubectl(&["delete", "node", &self.name, "--ignore-not-found"]);
        let _ = Command::new("ip").args(["link", "delete", &self.interface]).status();
        let _ = nix::mount::umount2(&self.namespace(), nix::mount::MntFlags::MNT_DETACH);
        let _ = fs::remove_dir_all(&self.dir);
    }
}
