//! `timonier image …`: images in and out of the store.

use std::fs::File;
use std::io::{Write, stdin};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use timonier_oci::{
    GcLimits, ImageStore, ImportOptions, PushOptions, RemoveOptions, Removed, RootfsOptions,
};

use crate::access;
use crate::args::ClusterArgs;
use crate::command::images::{self, human_size};
use crate::command::pull::{self, PullArgs, RegistryArgs};

#[derive(Args, Clone)]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Subcommand, Clone)]
enum ImageCommand {
    /// Import a `docker save` archive or an OCI layout (a file, a directory, or - for standard input)
    Import {
        path: PathBuf,
        /// A further name for the image
        #[arg(short = 't', long = "tag")]
        tag: Option<String>,
        /// The archive is a root filesystem; make an image of one layer from it
        #[arg(long)]
        rootfs: bool,
        /// With --rootfs: apply a Dockerfile instruction, such as 'CMD ["sh"]'
        #[arg(long = "change", value_name = "INSTRUCTION")]
        changes: Vec<String>,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List the images
    #[command(visible_alias = "list")]
    Ls(ClusterArgs),
    /// Pull an image from a registry
    Pull(PullArgs),
    /// Push an image to a registry
    Push {
        image: String,
        #[command(flatten)]
        registry: RegistryArgs,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Give an image a further name
    Tag {
        image: String,
        /// The further name
        #[arg(value_name = "NAME")]
        new: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Remove names, and the images that lose their last one
    Rm {
        #[arg(required = true)]
        images: Vec<String>,
        /// Remove an image by id even if it has several names
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Write images to a `docker load` archive
    Save {
        #[arg(required = true)]
        images: Vec<String>,
        /// The file; standard output without it
        #[arg(short, long)]
        output: Option<PathBuf>,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Delete what no name reaches
    Prune(ClusterArgs),
}

fn open(cluster: &ClusterArgs) -> Result<ImageStore> {
    Ok(ImageStore::open(cluster.paths().images())?)
}

/// Runs one of the subcommands.
pub fn run(args: &ImageArgs) -> Result<()> {
    match &args.command {
        ImageCommand::Import { path, tag, rootfs, changes, cluster } => {
            if *rootfs {
                return import_rootfs(path, tag.clone(), changes.clone(), cluster);
            }
            let options = ImportOptions { name: tag.clone(), platform: None };
            let store = open(cluster)?;
            let images = if path.as_os_str() == "-" {
                store.import(stdin().lock(), &options)?
            } else {
                store.import_path(path, &options)?
            };
            for image in images {
                println!("{} {}", image.repo_tags.join(" "), image.id);
            }
            Ok(())
        }
        ImageCommand::Ls(cluster) => images::run(cluster),
        ImageCommand::Pull(args) => pull::run(args),
        ImageCommand::Push { image, registry, cluster } => {
            let options =
                PushOptions { registry: registry.options(image)?, ..PushOptions::default() };
            let store = open(cluster)?;
            let digest = access::block_on(async { Ok(store.push(image, &options).await?) })?;
            println!("{image} {digest}");
            Ok(())
        }
        ImageCommand::Tag { image, new, cluster } => Ok(open(cluster)?.tag(image, new)?),
        ImageCommand::Rm { images, force, cluster } => remove(images, *force, cluster),
        ImageCommand::Save { images, output, cluster } => {
            let names: Vec<&str> = images.iter().map(String::as_str).collect();
            let store = open(cluster)?;
            match output {
                Some(path) => {
                    let mut file =
                        File::create(path).with_context(|| format!("create {}", path.display()))?;
                    store.save(&names, &mut file)?;
                    Ok(file.sync_all()?)
                }
                None => {
                    let mut out = std::io::stdout().lock();
                    store.save(&names, &mut out)?;
                    Ok(out.flush()?)
                }
            }
        }
        ImageCommand::Prune(cluster) => {
            let limits = GcLimits { now: images::now(), ..GcLimits::default() };
            let report = open(cluster)?.gc(&std::collections::BTreeSet::new(), &limits)?;
            for digest in &report.deleted {
                println!("{digest}");
            }
            println!("freed {}", human_size(report.freed));
            Ok(())
        }
    }
}

fn import_rootfs(
    path: &PathBuf,
    name: Option<String>,
    changes: Vec<String>,
    cluster: &ClusterArgs,
) -> Result<()> {
    let options = RootfsOptions { name, changes, ..RootfsOptions::default() };
    let store = open(cluster)?;
    let image = if path.as_os_str() == "-" {
        store.import_rootfs(stdin().lock(), &options)?
    } else {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        store.import_rootfs(file, &options)?
    };
    println!("{} {}", image.repo_tags.join(" "), image.id);
    Ok(())
}

fn remove(images: &[String], force: bool, cluster: &ClusterArgs) -> Result<()> {
    let store = open(cluster)?;
    let options = RemoveOptions { force, ..RemoveOptions::default() };
    for image in images {
        for removed in store.remove(image, &options)? {
            match removed {
                Removed::Untagged(name) => println!("Untagged: {name}"),
                Removed::Deleted(digest) => println!("Deleted: {digest}"),
            }
        }
    }
    Ok(())
}
