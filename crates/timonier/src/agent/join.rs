//! How a node comes to know its cluster and the cluster comes to know it.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::StreamExt;
use http::Uri;
use timonier_cli::args::AgentArgs;
use timonier_cli::cluster::{self, Cidr, ClusterConfig, Joined, Paths};
use timonier_cli::join::JoinToken;
use timonier_cli::pki::Request;
use timonier_cli::{namespaces, pki, teardown};
use timonier_client::{Client, HttpsClient, HttpsConfig, ListOptions, WatchEvent};
use timonier_meta::gvk::resources::{CONFIGMAPS, NODES};
use timonier_meta::{ApiError, Selector};
use timonier_object::Value;

use super::certificates::{Files, Pair};
use crate::server::joining;

pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Between two tries to reach a server that is not there.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a node that knows all it needs waits for the API server before it starts without.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known when the agent starts.
pub struct Joining {
    pub server: String,
    name: String,
    token: Option<JoinToken>,
    /// Of an earlier start.
    known: Option<ClusterConfig>,
}

impl Joining {
    /// Takes what was said and what was kept.
    pub fn new(args: &AgentArgs, paths: &Paths) -> Result<Self> {
        let known = ClusterConfig::load(paths)?;
        let kept = match &known {
            Some(config) => Some(config.joined.as_ref().with_context(|| {
                format!(
                    "{} holds the cluster {}; give the agent a directory of its own with --data-dir",
                    paths.data.display(),
                    config.name
                )
            })?),
            None => None,
        };
        let server = args.server.clone().or_else(|| kept.map(|k| k.server.clone())).context(
            "the first start needs --server and --token; `timonier token` on the cluster's first machine prints them",
        )?;
        let token = match (&args.token, std::env::var("TIMONIER_TOKEN")) {
            (Some(token), _) => Some(token.clone()),
            (None, Ok(text)) => {
                Some(text.parse().map_err(|e| anyhow!("the token in $TIMONIER_TOKEN: {e}"))?)
            }
            (None, Err(_)) => None,
        };
        let name = match (&args.name, &known) {
            (Some(name), Some(known)) if *name != known.node_name => {
                bail!("{} holds the node {}, not {name}", paths.data.display(), known.node_name)
            }
            (Some(name), _) => name.clone(),
            (None, Some(known)) => known.node_name.clone(),
            (None, None) => cluster::host_name().context("the host has no name; give --name")?,
        };
        if !timonier_meta::names::dns1123_subdomain(&name).is_empty() {
            bail!("{name:?} cannot name a node: use lower case letters, digits, '-' and '.'");
        }
        if name == "localhost" {
            bail!("every machine is called localhost to itself; give this one another --name");
        }
        Ok(Joining { server: server.trim_end_matches('/').to_owned(), name, token, known })
    }

    fn token(&self) -> Result<&JoinToken> {
        self.token.as_ref().context(
            "the node has no valid certificate, and no --token to ask for one with; `timonier token` on the cluster's first machine prints one",
        )
    }

    /// The certificate authority of the cluster: the one of before, else the one with the hash in
    /// the token.
    pub async fn authority(&self, files: &Files) -> Result<String> {
        if let Some(ca) = files.read("ca.crt") {
            return Ok(ca);
        }
        let hash = self.token()?.authority;
        let ca = patiently(|| timonier_client::authority_with_hash(&self.server, hash)).await?;
        files.write("ca.crt", &ca)?;
        Ok(ca)
    }

    /// The certificate by which the node is known to the API server.
    pub async fn client_certificate(&self, files: &Files, ca: &str) -> Result<Pair> {
        let user = user(&self.name);
        let request = client_request(&user);
        let old = files.pair(&request);
        if let Some((certificate, key)) = old.filter(|(c, _)| pki::is_valid(c)) {
            if pki::is_young(&certificate) {
                return Ok((certificate, key));
            }
            // It still holds: with it the node asks for the next itself.
            let client = Some((certificate.clone(), key.clone()));
            let client = self.client(ca, client, None)?;
            let asked = files.ask(&client, KUBELET_CLIENT, &request).await;
            return Ok(asked.unwrap_or_else(|error| {
                tracing::warn!("the client certificate was not renewed: {error:#}");
                (certificate, key)
            }));
        }
        let client = self.client(ca, None, Some(self.token()?.bearer()))?;
        let asked = patiently(|| files.ask(&client, KUBELET_CLIENT, &request)).await;
        asked.context("ask for a client certificate")
    }

    fn client(&self, ca: &str, client: Option<Pair>, token: Option<String>) -> Result<HttpsClient> {
        let server = self.server.clone();
        Ok(HttpsClient::new(&HttpsConfig { server, ca: ca.to_owned(), client, token })?)
    }

    /// The settings of the node: the cluster's, and its own part of the pod range. A node that
    /// was here before starts with what it knows where the API server does not answer.
    pub async fn config(&self, paths: &Paths, client: &Arc<dyn Client>) -> Result<ClusterConfig> {
        let Some(known) = &self.known else {
            let config = patiently(|| self.learn(client, 0)).await?;
            config.save(paths)?;
            return Ok(config);
        };
        let mut config = known.clone();
        match tokio::time::timeout(PATIENCE, self.learn(client, known.kubelet_port)).await {
            Ok(Ok(learned)) => config = learned,
            Ok(Err(error)) if is_lasting(&error) => return Err(error.into()),
            Ok(Err(error)) => tracing::warn!("starting with what is known: {error}"),
            Err(_) => tracing::warn!("the API server does not answer; starting with what is known"),
        }
        if config.node_pod_cidr != known.node_pod_cidr {
            tracing::warn!("the Node was made anew with another pod range; removing the old pods");
            let (at, known) = (paths.clone(), known.clone());
            let removed = std::thread::spawn(move || teardown::run(&at, &known)).join();
            removed.map_err(|_| anyhow!("removing the pods panicked"))??;
            namespaces::keep_network(paths)?;
        }
        if config != *known {
            config.save(paths)?;
        }
        Ok(config)
    }

    /// Asks the API for the cluster's settings, and registers the Node.
    async fn learn(
        &self,
        client: &Arc<dyn Client>,
        kubelet_port: u16,
    ) -> Result<ClusterConfig, ApiError> {
        let map = client.get(&CONFIGMAPS, joining::NAMESPACE, joining::NAME).await?;
        let data = |key: &str| map.at("data").get(key).map_or("", Value::str).to_owned();
        let range = |text: String| Cidr::try_from(text).map_err(ApiError::internal);
        let uri: Uri = self.server.parse().map_err(ApiError::internal)?;
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
        let node_ip = cluster::address_towards((host, port)).unwrap_or(Ipv4Addr::LOCALHOST);
        let kubelet_port = match kubelet_port {
            0 => cluster::free_port(10250, &[]).map_err(ApiError::internal)?,
            port => port,
        };
        let node_pod_cidr = range(self.register(client).await?)?;
        Ok(ClusterConfig {
            name: data("name"),
            node_name: self.name.clone(),
            node_ip,
            api_port: port,
            kubelet_port,
            service_cidr: range(data("serviceCIDR"))?,
            pod_cidr: range(data("podCIDR"))?,
            node_pod_cidr,
            domain: data("clusterDomain"),
            joined: Some(Joined {
                server: self.server.clone(),
                overlay_id: data("overlayID").parse().map_err(ApiError::internal)?,
            }),
        })
    }

    /// Registers the Node if it is not there, and waits until it has its pod range.
    async fn register(&self, client: &Arc<dyn Client>) -> Result<String, ApiError> {
        let (node, made) = timonier_node::register(&**client, &self.name).await?;
        if !made && self.known.is_none() && node.condition_is_true("Ready") {
            return Err(ApiError::bad_request(format!(
                "a node {0} is in the cluster already and is Ready; give this one another --name, or `kubectl delete node {0}` if it is gone",
                self.name
            )));
        }
        let options = ListOptions {
            field_selector: Selector::of_pairs([("metadata.name", self.name.as_str())]),
            ..ListOptions::default()
        };
        loop {
            let mut events = client.watch(&NODES, "", &options).await?;
            while let Some(event) = events.next().await {
                if let WatchEvent::Added(node) | WatchEvent::Modified(node) = event?
                    && let range @ [_, ..] = node.at("spec.podCIDR").str().as_bytes()
                {
                    return String::from_utf8(range.to_vec()).map_err(ApiError::internal);
                }
            }
        }
    }

    /// The certificate of the kubelet's server.
    pub async fn serving_certificate(
        &self,
        files: &Files,
        config: &ClusterConfig,
        client: &Arc<dyn Client>,
    ) -> Result<Pair> {
        let user = user(&self.name);
        let request = serving_request(&user, &self.name, config.node_ip);
        let ask = || files.ask(&**client, KUBELET_SERVING, &request);
        let asked = match files.pair(&request).filter(|(c, _)| pki::is_valid(c)) {
            Some(pair) if pki::is_young(&pair.0) => return Ok(pair),
            Some(pair) => match tokio::time::timeout(PATIENCE, ask()).await {
                Ok(Ok(new)) => Ok(new),
                _ => Ok(pair),
            },
            None => patiently(ask).await,
        };
        asked.context("ask for a serving certificate")
    }
}

/// Who a node is to the API server.
pub fn user(node: &str) -> String {
    format!("system:node:{node}")
}

/// The certificate that a node shows the API server.
pub fn client_request(user: &str) -> Request<'_> {
    Request {
        file: "client",
        common_name: user,
        organizations: &["system:nodes"],
        dns_names: Vec::new(),
        addresses: Vec::new(),
        server: false,
    }
}

/// The certificate that a node's kubelet serves with.
pub fn serving_request<'a>(user: &'a str, node: &str, address: Ipv4Addr) -> Request<'a> {
    Request {
        file: "kubelet",
        common_name: user,
        organizations: &["system:nodes"],
        dns_names: vec![node.to_owned()],
        addresses: vec![IpAddr::V4(address)],
        server: true,
    }
}

/// Tries until the server answers: an agent may start before its server does.
async fn patiently<T, E: Into<anyhow::Error>, F: Future<Output = Result<T, E>>>(
    mut call: impl FnMut() -> F,
) -> Result<T> {
    let mut told = String::new();
    loop {
        match call().await.map_err(Into::into) {
            Ok(result) => return Ok(result),
            Err(error) if error.downcast_ref().is_none_or(is_lasting) => return Err(error),
            Err(error) => {
                let text = format!("{error:#}");
                if text != told {
                    tracing::warn!("trying again: {text}");
                    told = text;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a later try would meet the same error.
fn is_lasting(error: &ApiError) -> bool {
    matches!(error.code, 400 | 401 | 403)
}
