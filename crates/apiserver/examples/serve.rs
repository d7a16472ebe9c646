//! The API server alone on a loopback port, with an authority of its own, for trying a client:
//! `cargo run -p timonier-apiserver --example serve -- 6443 /tmp/serve.kubeconfig`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use timonier_apiserver::{ApiServer, Config, ServingTls, storage};
use timonier_meta::{Environment, Time};
use timonier_schema::Catalogue;
use timonier_store::{Location, MemoryDisk, Options, Store};

struct System;

impl Environment for System {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(since.as_micros() as i64)
    }

    fn random(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    }
}

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().map_or(Ok(6443), |p| p.parse())?;
    let kubeconfig = arguments.next().unwrap_or("/tmp/serve.kubeconfig".into());
    let authority = authority()?;
    let (certificate, key) = leaf(&authority, "kube-apiserver", "", &["127.0.0.1", "localhost"])?;
    let (client, client_key) = leaf(&authority, "kubernetes-admin", "system:masters", &[])?;
    std::fs::write(&kubeconfig, config_file(port, &authority.pem(), &client, &client_key))?;
    let options = Options { stamp: storage::stamp, ..Options::default() };
    let store = Store::open(Location::Memory(MemoryDisk::default()), options).await?;
    let issuer = "https://kubernetes.default.svc.cluster.local".to_string();
    let config = Config {
        audiences: vec![issuer.clone()],
        issuer,
        service_account_key_pem: KeyPair::generate()?.serialize_pem().into_bytes(),
        service_cidrs: vec!["10.96.0.0/16".into()],
        node_ports: 30000..=32767,
        advertise: Some(("127.0.0.1".parse()?, port)),
        event_ttl: Duration::from_secs(3600),
        kubelet: None,
        front_proxy: None,
    };
    let server = ApiServer::new(config, store, Catalogue::builtin(), Arc::new(System)).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on 127.0.0.1:{port}, kubeconfig {kubeconfig}");
    let tls = ServingTls {
        certificate_pem: certificate.into_bytes(),
        key_pem: key.into_bytes(),
        client_ca_pem: authority.pem().into_bytes(),
    };
    Ok(server.serve(listener, &tls).await?)
}

fn authority() -> Fallible<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "example");
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn leaf(
    authority: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    organization: &str,
    names: &[&str],
) -> Fallible<(String, String)> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    if !organization.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}

fn config_file(port: u16, authority: &str, client: &str, key: &str) -> String {
    let [authority, client, key] = [authority, client, key].map(|pem| STANDARD.encode(pem));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
         clusters:\n- name: x\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority-data: {authority}\n\
         users:\n- name: x\n  user:\n    client-certificate-data: {client}\n    client-key-data: {key}\n\
         contexts:\n- name: x\n  context:\n    cluster: x\n    user: x\n"
    )
}
