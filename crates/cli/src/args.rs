//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::cluster::{DEFAULT_NAME, Paths};
use crate::join::JoinToken;

/// Kubernetes in one binary.
#[derive(Parser)]
#[command(name = "timonier", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked for.
#[derive(Subcommand)]
pub enum Command {
    /// Start the cluster in the background and wait until it is ready
    Up(UpArgs),
    /// Stop the cluster and take everything of it off the host; its data stays
    Down(ClusterArgs),
    /// Say how the cluster is
    Status(ClusterArgs),
    /// Stop the cluster and delete its data
    Reset(ClusterArgs),
    /// Run the control plane and a node in the foreground, for an init system
    Server(ServerArgs),
    /// Run a node of another machine's cluster in the foreground, for an init system
    Agent(AgentArgs),
    /// Print the command with which another machine joins the cluster
    Token(crate::command::token::TokenArgs),
    /// Deploy the example and print the URL that answers
    Example(ClusterArgs),
    /// Build an image from a Dockerfile
    Build(crate::command::build::BuildArgs),
    /// List the images
    Images(ClusterArgs),
    /// Pull an image from a registry
    Pull(crate::command::pull::PullArgs),
    /// Work with images
    Image(crate::command::image::ImageArgs),
    /// Serve a registry of images in the foreground
    Registry(crate::command::registry::RegistryServeArgs),
}

/// Which cluster.
#[derive(Args, Clone)]
pub struct ClusterArgs {
    /// Where the cluster keeps everything [default: /var/lib/timonier, with --name /var/lib/timonier-NAME]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The cluster's name, also of its kubectl context [default: timonier]
    #[arg(long)]
    pub name: Option<String>,
}

impl ClusterArgs {
    /// The cluster's paths; the directory need not exist.
    pub fn paths(&self) -> Paths {
        let data = match &self.data_dir {
            Some(dir) => dir.clone(),
            None => Paths::default_dir(self.name.as_deref().unwrap_or(DEFAULT_NAME)),
        };
        Paths { data: real(&data) }
    }
}

/// The path without links and `..`, as the kernel's table of mounts shows it; what is missing of it
/// stays as it is.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        // It ends in `..`, and what is before that is missing.
        (Some(parent), None) => {
            let mut parent = real(parent);
            parent.pop();
            parent
        }
        (None, _) => path,
    }
}

#[derive(Args, Clone)]
pub struct UpArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// The API server's port, at the first start [default: 6443, or the next that is free]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
}

#[derive(Args, Clone)]
pub struct ServerArgs {
    #[command(flatten)]
    pub up: UpArgs,
    /// Report progress on standard output and leave the terminal's session (used by `up`)
    #[arg(long, hide = true)]
    pub background: bool,
}

#[derive(Args, Clone)]
pub struct AgentArgs {
    /// Where the node keeps everything [default: /var/lib/timonier]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The node's name in the cluster, at the first start [default: the host's name]
    #[arg(long)]
    pub name: Option<String>,
    /// The API server, such as https://192.0.2.2:6443; needed at the first start
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// What `timonier token` printed; needed at the first start [default: $TIMONIER_TOKEN]
    #[arg(long)]
    pub token: Option<JoinToken>,
    /// Run in this network namespace of the host, a name of `ip netns` or a path: for several
    /// nodes on one host
    #[arg(long, value_name = "NAMESPACE")]
    pub netns: Option<String>,
}

impl AgentArgs {
    /// The node's paths; the directory need not exist.
    pub fn paths(&self) -> Paths {
        ClusterArgs { data_dir: self.data_dir.clone(), name: None }.paths()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_data_directory_has_no_links() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("disk")).unwrap();
        std::os::unix::fs::symlink("disk", base.join("link")).unwrap();
        for (given, wanted) in [
            ("link", "disk"),
            ("link/new/data", "disk/new/data"),
            ("link/../disk/./x", "disk/x"),
            ("new/../other", "other"),
        ] {
            let args = ClusterArgs { data_dir: Some(base.join(given)), name: None };
            assert_eq!(args.paths().data, base.join(wanted), "{given}");
        }
    }

    /// Also tells of two arguments of one name, which only a debug build would say.
    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
