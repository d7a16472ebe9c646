//! The certificates of a cluster and what they are for.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use timonier_apiserver::{KubeletTls, ServingTls};
use timonier_cli::cluster::{ClusterConfig, Paths};
use timonier_cli::contexts;
use timonier_cli::kubeconfig::{self, Access};
use timonier_cli::pki::{KeyPairPem, Pki, Request};
use timonier_node::server::ServerTls;

/// The certificates that end after a year; the authority lives ten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    ApiServer,
    Kubelet,
    KubeletClient,
    Admin,
}

/// Every certificate that the processes of a cluster show each other.
#[derive(Clone)]
pub struct Certificates {
    /// The authority, PEM.
    pub ca: String,
    /// The authority with its key: it signs what nodes ask for.
    pub authority: KeyPairPem,
    /// The API server's serving side.
    pub apiserver: KeyPairPem,
    /// The API server as a client of kubelets.
    pub kubelet_client: KeyPairPem,
    /// The API server as one that speaks for users, and the authority for that alone.
    pub front_proxy: KeyPairPem,
    pub front_proxy_ca: String,
    /// The kubelet's serving side.
    pub kubelet: KeyPairPem,
    /// The administrator, in `system:masters`.
    pub admin: KeyPairPem,
    /// Signs service account tokens.
    pub service_account_key: String,
}

/// The name of the API server where it speaks for users.
pub const FRONT_PROXY: &str = "front-proxy-client";

impl Certificates {
    /// Reads the certificates, and makes or renews what is missing or old.
    pub fn ensure(paths: &Paths, config: &ClusterConfig) -> Result<Self> {
        let pki = Pki::open(&paths.pki(), &config.name)?;
        let front_proxy = pki.front_proxy(&config.name)?;
        let pair = |which| with_request(which, config, |request| pki.ensure(request));
        Ok(Certificates {
            front_proxy: front_proxy.ensure(&Request {
                file: FRONT_PROXY,
                common_name: FRONT_PROXY,
                organizations: &[],
                dns_names: Vec::new(),
                addresses: Vec::new(),
                server: false,
            })?,
            front_proxy_ca: front_proxy.ca().to_owned(),
            ca: pki.ca().to_owned(),
            authority: pki.authority().clone(),
            apiserver: pair(Which::ApiServer)?,
            kubelet: pair(Which::Kubelet)?,
            kubelet_client: pair(Which::KubeletClient)?,
            admin: pair(Which::Admin)?,
            service_account_key: pki.service_account_key()?,
        })
    }

    /// One of those that end.
    pub fn of(&mut self, which: Which) -> &mut KeyPairPem {
        match which {
            Which::ApiServer => &mut self.apiserver,
            Which::Kubelet => &mut self.kubelet,
            Which::KubeletClient => &mut self.kubelet_client,
            Which::Admin => &mut self.admin,
        }
    }

    /// Makes one anew, here and on the disk.
    pub fn renew(&mut self, which: Which, paths: &Paths, config: &ClusterConfig) -> Result<()> {
        let pki = Pki::open(&paths.pki(), &config.name)?;
        *self.of(which) = with_request(which, config, |request| pki.renew(request))?;
        Ok(())
    }

    /// What the API server serves with.
    pub fn serving_tls(&self) -> ServingTls {
        ServingTls {
            // With the authority behind it: nodes that join know that by its hash.
            certificate_pem: format!("{}{}", self.apiserver.certificate, self.ca).into_bytes(),
            key_pem: self.apiserver.key.clone().into_bytes(),
            client_ca_pem: self.ca.clone().into_bytes(),
        }
    }

    /// What the API server shows kubelets.
    pub fn kubelet_tls(&self) -> KubeletTls {
        KubeletTls {
            certificate_pem: self.kubelet_client.certificate.clone().into_bytes(),
            key_pem: self.kubelet_client.key.clone().into_bytes(),
            ca_pem: self.ca.clone().into_bytes(),
        }
    }

    /// What the kubelet beside the control plane serves with.
    pub fn node_tls(&self) -> ServerTls {
        ServerTls {
            certificate_pem: self.kubelet.certificate.clone().into_bytes(),
            key_pem: self.kubelet.key.clone().into_bytes(),
            client_ca_pem: self.ca.clone().into_bytes(),
        }
    }

    /// Writes the administrator's kubeconfig, and adds its context to the user's. Returns what the
    /// user should know about the latter, if anything.
    pub fn write_kubeconfigs(
        &self,
        paths: &Paths,
        config: &ClusterConfig,
    ) -> Result<Option<String>> {
        let server = config.server_url();
        let access =
            Access { name: &config.name, server: &server, ca: &self.ca, client: &self.admin };
        kubeconfig::write(&paths.kubeconfig(), &access)?;
        contexts::add(paths, &access)
    }
}

fn with_request<T>(
    which: Which,
    config: &ClusterConfig,
    make: impl FnOnce(&Request<'_>) -> Result<T>,
) -> Result<T> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let node_ip = IpAddr::V4(config.node_ip);
    let client = |file, common_name, organizations| Request {
        file,
        common_name,
        organizations,
        dns_names: Vec::new(),
        addresses: Vec::new(),
        server: false,
    };
    match which {
        Which::ApiServer => make(&Request {
            file: "apiserver",
            common_name: "kube-apiserver",
            organizations: &[],
            dns_names: api_names(config),
            addresses: api_addresses(config),
            server: true,
        }),
        Which::Kubelet => make(&Request {
            file: "kubelet",
            common_name: &format!("system:node:{}", config.node_name),
            organizations: &["system:nodes"],
            dns_names: vec![config.node_name.clone(), "localhost".into()],
            addresses: vec![loopback, node_ip],
            server: true,
        }),
        Which::KubeletClient => make(&client(
            "apiserver-kubelet-client",
            "kube-apiserver-kubelet-client",
            &["kubeadm:cluster-admins"],
        )),
        Which::Admin => make(&client("admin", "kubernetes-admin", &["system:masters"])),
    }
}

/// The names under which clients know the API server.
pub fn api_names(config: &ClusterConfig) -> Vec<String> {
    let domain = &config.domain;
    ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        .into_iter()
        .map(str::to_owned)
        .chain([format!("kubernetes.default.svc.{domain}"), config.node_name.clone()])
        .collect()
}

/// The addresses at which clients find it.
pub fn api_addresses(config: &ClusterConfig) -> Vec<IpAddr> {
    [Ipv4Addr::LOCALHOST, config.node_ip, config.api_service_ip()].map(IpAddr::V4).into()
}
