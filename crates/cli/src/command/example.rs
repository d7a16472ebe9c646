//! `timonier example`: from a Dockerfile to a URL that answers.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use timonier_client::{Client, WriteOptions};
use timonier_meta::GroupVersionResource;
use timonier_meta::gvk::resources::{DEPLOYMENTS, SERVICES};
use timonier_object::Value;
use timonier_oci::{BuildOptions, ImageStore, Runner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::access;
use crate::args::ClusterArgs;
use crate::cluster::{ClusterConfig, Paths};
use crate::command::images;
use crate::run_step::ContainerRunner;

const DOCKERFILE: &str = include_str!("../../../../examples/hello/Dockerfile");
const PAGE: &str = include_str!("../../../../examples/hello/index.html");
const MANIFEST: &str = include_str!("../../../../examples/hello/hello.yaml");
const IMAGE: &str = "timonier/hello:1";
const BUSYBOX: &str = "/bin/busybox";
/// How long the example may take until its URL answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries of the URL.
const PAUSE: Duration = Duration::from_millis(50);

/// Builds the example's image, deploys it, and prints the URL once it answers.
pub fn run(args: &ClusterArgs) -> Result<()> {
    let paths = args.paths();
    let runner = ContainerRunner::prepare(&paths)?;
    let Some(config) = ClusterConfig::load(&paths)? else {
        bail!("there is no cluster in {}; `timonier up` makes one", paths.data.display());
    };
    access::block_on(async {
        build(&paths, &runner).await.context("build the example's image")?;
        let client = access::admin(&paths, &config)?;
        for document in MANIFEST.split("\n---\n") {
            let object: Value =
                serde_saphyr::from_str(document).context("the example's manifest")?;
            apply(&client, object).await?;
        }
        let service = client.get(&SERVICES, "default", "hello").await?;
        let port =
            service.at("spec.ports").items().first().map_or(0, |p| p.at("nodePort").int_or(0));
        let address = format!("{}:{port}", config.node_ip);
        let answer = tokio::time::timeout(PATIENCE, answer(&address))
            .await
            .with_context(|| format!("http://{address}/ did not answer within {PATIENCE:?}"))?;
        println!("http://{address}/ answers: {}", answer.trim());
        Ok(())
    })
}

async fn build(paths: &Paths, runner: &dyn Runner) -> Result<()> {
    let context = paths.run().join("example");
    fs::create_dir_all(&context)?;
    fs::write(context.join("Dockerfile"), DOCKERFILE)?;
    fs::write(context.join("index.html"), PAGE)?;
    fs::copy(BUSYBOX, context.join("busybox"))
        .with_context(|| format!("{BUSYBOX} (Debian's busybox-static)"))?;
    let options = BuildOptions {
        context: context.clone(),
        tags: vec![IMAGE.to_owned()],
        now: images::now(),
        ..BuildOptions::default()
    };
    let store = ImageStore::open(paths.images())?;
    let built = store.build(&options, runner, &mut |_| {}).await;
    remove(&context);
    built?;
    Ok(())
}

fn remove(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir) {
        tracing::warn!("{} stays behind: {error}", dir.display());
    }
}

/// Creates the object, or leaves it as it is where it exists.
async fn apply(client: &dyn Client, object: Value) -> Result<()> {
    let resource: &GroupVersionResource = match object.kind() {
        "Deployment" => &DEPLOYMENTS,
        "Service" => &SERVICES,
        other => bail!("the example has no {other}"),
    };
    let namespace = object.namespace().to_owned();
    let options = WriteOptions { field_manager: "timonier".into(), ..WriteOptions::default() };
    match client.create(resource, &namespace, "", "", object, &options).await {
        Err(error) if !error.is_already_exists() => Err(error.into()),
        _ => Ok(()),
    }
}

/// The page behind an address, asked for until it is there.
async fn answer(address: &str) -> String {
    loop {
        match get(address).await {
            Ok(page) => return page,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn get(address: &str) -> Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    connection.read_to_string(&mut response).await?;
    match response.split_once("\r\n\r\n") {
        Some((head, page))
            if head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200") =>
        {
            Ok(page.to_owned())
        }
        _ => bail!("unexpected answer {response:?}"),
    }
}
