//! The commands' own way to the API server: the administrator's certificate.

use std::fs;
use std::future::Future;

use anyhow::{Context, Result};
use timonier_client::{HttpsClient, HttpsConfig};

use crate::cluster::{ClusterConfig, Paths};

/// A client with the administrator's certificate from the data directory.
pub fn admin(paths: &Paths, config: &ClusterConfig) -> Result<HttpsClient> {
    let read = |file: &str| {
        let path = paths.pki().join(file);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let https = HttpsConfig {
        server: config.server_url(),
        ca: read("ca.crt")?,
        client: Some((read("admin.crt")?, read("admin.key")?)),
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
