//! The commands' own way to the API server: the administrator's certificate, or the node's.

use std::fs;
use std::future::Future;

use anyhow::{Context, Result};
use timonier_client::{HttpsClient, HttpsConfig};

use crate::cluster::{ClusterConfig, Paths};

/// A client with the administrator's certificate from the data directory.
pub fn admin(paths: &Paths, config: &ClusterConfig) -> Result<HttpsClient> {
    with_certificate(paths, config, "admin")
}

/// A client with the certificate of the node that joined, from its data directory.
pub fn node(paths: &Paths, config: &ClusterConfig) -> Result<HttpsClient> {
    with_certificate(paths, config, "client")
}

fn with_certificate(paths: &Paths, config: &ClusterConfig, name: &str) -> Result<HttpsClient> {
    let read = |file: &str| {
        let path = paths.pki().join(file);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let https = HttpsConfig {
        server: config.server_url(),
        ca: read("ca.crt")?,
        client: Some((read(&format!("{name}.crt"))?, read(&format!("{name}.key"))?)),
        token: None,
    };
    Ok(HttpsClient::new(&https)?)
}

/// Runs a command's future to its end.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?
        .block_on(future)
}
