//! The cluster under test.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::Machine;
use crate::shell::{self, Result};

/// A cluster of its own name and data directory, so that it meets no other on this host.
pub struct Cluster {
    pub name: String,
    pub data: PathBuf,
    home: PathBuf,
    /// Where it runs, if not on this host itself.
    machine: Option<Machine>,
}

/// The binary under test: `$TIMONIER_BIN`, else the one that cargo built with this test.
pub fn binary() -> PathBuf {
    match std::env::var_os("TIMONIER_BIN") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_BIN_EXE_timonier")),
    }
}

impl Cluster {
    /// Starts a cluster on an empty data directory and imports the test images.
    pub fn up(name: &str) -> Result<Cluster> {
        let base = base(name);
        let cluster = Cluster::of(name, base.join("data"), base.join("home"))?;
        cluster.start(crate::cases::images::build_all)?;
        Ok(cluster)
    }

    /// A cluster of a user of its own, not there yet.
    pub fn alone(name: &str, machine: Option<Machine>) -> Result<Scratch> {
        let base = base(name);
        let cluster = Cluster::of(name, base.join("data"), base.join("home"))?;
        Ok(Scratch(Cluster { machine, ..cluster }))
    }

    /// A second cluster of the same user, not there yet.
    pub fn neighbour(&self, name: &str) -> Result<Scratch> {
        Cluster::of(name, base(name).join("data"), self.home.clone()).map(Scratch)
    }

    fn of(name: &str, data: PathBuf, home: PathBuf) -> Result<Cluster> {
        let name = format!("{name}-{}", std::process::id());
        std::fs::create_dir_all(&home).map_err(|e| e.to_string())?;
        std::fs::create_dir_all(data.parent().unwrap_or(&data)).map_err(|e| e.to_string())?;
        Ok(Cluster { name, data, home, machine: None })
    }

    /// Brings the cluster up and makes images; what was started goes again where that fails.
    pub fn start(&self, images: fn(&Cluster) -> Result) -> Result {
        let up = self.timonier(&["up"]).and_then(|text| {
            println!("{text}");
            images(self)
        });
        up.map_err(|why| {
            let log = std::fs::read_to_string(self.data.join("server.log"));
            let _ = self.down();
            format!("{why}\n{}", log.unwrap_or_default())
        })
    }

    /// Stops the cluster and deletes its data, and its user's home unless others use it.
    pub fn down(&self) -> Result {
        self.timonier(&["reset"])?;
        if self.data.exists() {
            return Err(format!("{} is still there after reset", self.data.display()));
        }
        std::fs::remove_dir_all(self.base()).map_err(|e| e.to_string())
    }

    /// The directory above everything of this cluster that a test makes.
    pub fn base(&self) -> &Path {
        self.data.parent().unwrap_or(&self.data)
    }

    /// A command of the binary on this cluster.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(&binary());
        command.args(arguments).arg("--data-dir").arg(&self.data);
        if arguments.first() == Some(&"up") {
            command.args(["--name", &self.name]);
        }
        command
    }

    /// A program where the cluster runs, which finds its kubeconfig.
    pub fn program(&self, program: &Path) -> Command {
        let mut command = match &self.machine {
            Some(machine) => machine.program(program),
            None => Command::new(program),
        };
        command.env("HOME", &self.home).env_remove("KUBECONFIG");
        command
    }

    /// The machine on which the cluster runs, if not on this host itself.
    pub fn machine(&mut self) -> Option<&mut Machine> {
        self.machine.as_mut()
    }

    /// Runs a command of the binary that must succeed.
    pub fn timonier(&self, arguments: &[&str]) -> Result<String> {
        shell::succeed(&mut self.command(arguments), "")
    }

    /// A directory for a case's files, which goes with the cluster.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let dir = self.home.join(name);
        std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        Ok(dir)
    }

    /// The user's kubeconfig, into which `up` wrote its context.
    pub fn user_kubeconfig(&self) -> PathBuf {
        self.home.join(".kube/config")
    }

    /// The process of the server.
    pub fn server_pid(&self) -> Result<i32> {
        let text = std::fs::read_to_string(self.data.join("run/server.lock"));
        text.ok().and_then(|t| t.trim().parse().ok()).ok_or_else(|| "no server process".into())
    }

    /// A namespace for one case; it goes when the value is dropped.
    pub fn namespace(&self, name: &str) -> Result<Namespace<'_>> {
        let namespace = Namespace { cluster: self, name: name.into() };
        namespace.kubectl_global(&["create", "namespace", name])?;
        Ok(namespace)
    }

    /// A kubectl on this cluster.
    pub fn kubectl(&self, kubectl: &Path, arguments: &[&str]) -> Command {
        let mut command = self.program(kubectl);
        command.arg("--context").arg(&self.name).args(arguments);
        command
    }
}

fn base(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("timonier-{name}-{}", std::process::id()))
}

/// A cluster of one case: whatever is left of it goes with the value.
pub struct Scratch(Cluster);

impl Deref for Scratch {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.data.exists() {
            let _ = self.0.timonier(&["reset"]);
        }
        let _ = std::fs::remove_dir_all(self.0.base());
    }
}

/// A namespace and the kubectl that works in it.
pub struct Namespace<'a> {
    pub cluster: &'a Cluster,
    pub name: String,
}

impl Namespace<'_> {
    /// kubectl in this namespace.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.cluster.kubectl(&shell::kubectl(), &["-n", &self.name]);
        command.args(arguments);
        command
    }

    /// kubectl in this namespace, which must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        shell::succeed(&mut self.command(arguments), "")
    }

    /// kubectl in this namespace with text on its standard input.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        shell::succeed(&mut self.command(arguments), input)
    }

    /// kubectl in this namespace, which must fail; gives its error text.
    pub fn kubectl_fails(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = shell::run(&mut self.command(arguments), input)?;
        if output.status == 0 {
            return Err(format!("kubectl {arguments:?} succeeded:\n{}", output.stdout));
        }
        Ok(output.stderr)
    }

    /// What a JSONPath finds in an object.
    pub fn value(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={path}")])
    }

    /// Waits until pods are Ready.
    pub fn ready(&self, pods: &[&str]) -> Result {
        let names: Vec<String> = pods.iter().map(|p| format!("pod/{p}")).collect();
        self.wait("condition=Ready", &names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Runs a shell script in a pod's first container; gives what it prints.
    pub fn shell(&self, pod: &str, script: &str) -> Result<String> {
        self.kubectl(&["exec", pod, "--", "sh", "-c", script])
    }

    fn kubectl_global(&self, arguments: &[&str]) -> Result<String> {
        shell::succeed(&mut self.cluster.kubectl(&shell::kubectl(), arguments), "")
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], manifest)
    }

    /// Waits with `kubectl wait`.
    pub fn wait(&self, condition: &str, what: &[&str]) -> Result {
        let condition = format!("--for={condition}");
        let mut arguments = vec!["wait", "--timeout=90s", &condition];
        arguments.extend(what);
        match self.kubectl(&arguments) {
            Ok(_) => Ok(()),
            Err(why) => {
                let pods = self.kubectl(&["get", "pods,events", "-o", "wide"]).unwrap_or_default();
                Err(format!("{why}\n{pods}"))
            }
        }
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = self.kubectl_global(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
