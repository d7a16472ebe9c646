//! `timonier build`: an image from a Dockerfile.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use timonier_oci::{BuildEvent, BuildOptions, ImageStore, NetworkMode};

use crate::access;
use crate::args::ClusterArgs;
use crate::command::images;
use crate::command::pull::RegistryArgs;
use crate::run_step::ContainerRunner;

#[derive(Args, Clone)]
pub struct BuildArgs {
    /// The directory that COPY and ADD take files from
    pub context: PathBuf,
    /// The Dockerfile [default: CONTEXT/Dockerfile]
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// A name for the image; may be given several times
    #[arg(short, long = "tag", value_name = "NAME")]
    pub tags: Vec<String>,
    /// Stop after this stage
    #[arg(long)]
    pub target: Option<String>,
    /// Set a build argument
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    pub build_args: Vec<String>,
    /// Set a label
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// A file for RUN --mount=type=secret
    #[arg(long = "secret", value_name = "ID=FILE")]
    pub secrets: Vec<String>,
    /// Run every step anew
    #[arg(long)]
    pub no_cache: bool,
    /// Pull base images even if they are here
    #[arg(long)]
    pub pull: bool,
    /// The network of RUN steps
    #[arg(long, value_enum, default_value_t = Network::Default)]
    pub network: Network,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Network {
    Default,
    None,
    Host,
}

/// Splits `NAME=VALUE`; a name alone takes its value from the environment, as Docker does.
fn pairs(list: &[String]) -> Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for item in list {
        match item.split_once('=') {
            Some(("", _)) => bail!("{item:?} has no name"),
            Some((name, value)) => map.insert(name.to_owned(), value.to_owned()),
            None => match std::env::var(item) {
                Ok(value) => map.insert(item.clone(), value),
                Err(_) => continue,
            },
        };
    }
    Ok(map)
}

/// Builds the image into the store of the cluster and prints its id.
pub fn run(args: &BuildArgs) -> Result<()> {
    let paths = args.cluster.paths();
    let runner = ContainerRunner::prepare(&paths)?;
    let options = BuildOptions {
        context: args.context.clone(),
        dockerfile: args.file.clone(),
        tags: args.tags.clone(),
        target: args.target.clone(),
        build_args: pairs(&args.build_args)?,
        labels: pairs(&args.labels)?,
        no_cache: args.no_cache,
        pull: args.pull,
        registry: args.registry.options(args.tags.first().map_or("image", String::as_str))?,
        network: match args.network {
            Network::Default => NetworkMode::Default,
            Network::None => NetworkMode::None,
            Network::Host => NetworkMode::Host,
        },
        secrets: pairs(&args.secrets)?.into_iter().map(|(id, file)| (id, file.into())).collect(),
        source_date_epoch: source_date_epoch()?,
        now: images::now(),
        ..BuildOptions::default()
    };
    let store = ImageStore::open(paths.images())?;
    let image = access::block_on(async { Ok(store.build(&options, &runner, &mut show).await?) })?;
    println!("{}", image.id);
    Ok(())
}

fn source_date_epoch() -> Result<Option<i64>> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => match text.parse() {
            Ok(seconds) => Ok(Some(seconds)),
            Err(_) => bail!("SOURCE_DATE_EPOCH={text:?} is no number of seconds"),
        },
        Err(_) => Ok(None),
    }
}

/// Progress goes to standard error, so that standard output has the id alone.
fn show(event: BuildEvent) {
    let mut out = std::io::stderr().lock();
    let _ = match event {
        BuildEvent::Step { number, total, text, .. } => writeln!(out, "[{number}/{total}] {text}"),
        BuildEvent::Cached { number } => writeln!(out, "[{number}] cached"),
        BuildEvent::Output { bytes, .. } => out.write_all(&bytes),
        BuildEvent::StepDone { number, milliseconds } => {
            writeln!(out, "[{number}] {milliseconds} ms")
        }
        BuildEvent::Warning { line, text } => writeln!(out, "warning: line {line}: {text}"),
        BuildEvent::Tagged { name } => writeln!(out, "tagged {name}"),
    };
}
