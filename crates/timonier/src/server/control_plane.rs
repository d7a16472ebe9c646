//! Store, API server, controllers and scheduler.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use timonier_apiserver::{ApiServer, Config, FrontProxy};
use timonier_cli::cluster::{ClusterConfig, Paths};
use timonier_cli::port;
use timonier_client::Client;
use timonier_client::cache::Caches;
use timonier_meta::{Environment, SmolStr};
use timonier_policy::User;
use timonier_schema::Catalogue;
use timonier_store::{Location, Options, Store};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::certificates::{Certificates, FRONT_PROXY};
use super::controllers;

/// A running control plane.
pub struct ControlPlane {
    pub api: Arc<ApiServer>,
    /// A client as the administrator.
    pub admin: Arc<dyn Client>,
    /// What the controllers observe; the proxy and the DNS share it.
    pub caches: Arc<Caches>,
    store: Store,
    tasks: JoinSet<()>,
    failure: watch::Receiver<Option<String>>,
}

/// Opens the store and starts everything that needs no node.
pub async fn start(
    paths: &Paths,
    config: &ClusterConfig,
    certificates: &Certificates,
    env: Arc<dyn Environment>,
) -> Result<ControlPlane> {
    let options = Options { stamp: timonier_apiserver::storage::stamp, ..Options::default() };
    let store =
        Store::open(Location::Directory(paths.store()), options).await.context("open the store")?;
    let catalogue = Catalogue::builtin();
    let api =
        ApiServer::new(api_config(config, certificates), store.clone(), catalogue, env.clone())
            .await
            .context("start the API server")?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.api_port)))
        .await
        .map_err(|error| port::refused("the API server's port", config.api_port, &error))?;
    let tls = certificates.serving_tls();
    let (report, failure) = watch::channel(None);
    let mut tasks = JoinSet::new();
    let (watched, disk) = (store.clone(), report.clone());
    tasks.spawn(async move {
        let why = watched.failed().await;
        disk.send_replace(Some(format!("the store's disk failed: {why}")));
    });
    let server = api.clone();
    tasks.spawn(async move {
        if let Err(error) = server.serve(listener, &tls).await {
            report.send_replace(Some(format!("the API server failed: {error}")));
        }
    });
    let admin =
        api.client(User::authenticated("system:admin", [SmolStr::new_static("system:masters")]));
    let settings = controllers::settings(config, certificates)?;
    let caches = controllers::start(&mut tasks, &api, settings, env);
    let maintained = store.clone();
    tasks.spawn(async move { maintained.run_maintenance().await });
    Ok(ControlPlane { api, admin, caches, store, tasks, failure })
}

fn api_config(config: &ClusterConfig, certificates: &Certificates) -> Config {
    let issuer = format!("https://kubernetes.default.svc.{}", config.domain);
    Config {
        audiences: vec![issuer.clone()],
        issuer,
        service_account_key_pem: certificates.service_account_key.clone().into_bytes(),
        service_cidrs: vec![config.service_cidr.to_string()],
        node_ports: 30_000..=32_767,
        advertise: Some((IpAddr::V4(config.node_ip), config.api_port)),
        event_ttl: Duration::from_secs(3600),
        kubelet: Some(certificates.kubelet_tls()),
        front_proxy: Some(FrontProxy {
            certificate_pem: certificates.front_proxy.certificate.clone().into_bytes(),
            key_pem: certificates.front_proxy.key.clone().into_bytes(),
            common_name: FRONT_PROXY.into(),
            ca_pem: certificates.front_proxy_ca.clone().into_bytes(),
            client_ca_pem: certificates.ca.clone().into_bytes(),
        }),
    }
}

impl ControlPlane {
    /// Ends with the reason when the control plane cannot go on.
    pub async fn failed(&self) -> Error {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => anyhow!("{}", reason.as_deref().unwrap_or_default()),
            // The server ended because it was told to.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends watches and requests, then closes the store.
    pub async fn stop(mut self) {
        self.api.shutdown();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.store.close().await;
    }
}
