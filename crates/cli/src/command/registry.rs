//! `timonier registry`: a registry of images over a directory, in the foreground.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use timonier_meta::Duration;
use timonier_oci::{AccessFn, Decision, RegistryConfig, RegistryServer};
use tokio::net::TcpListener;

use crate::access;
use crate::command::images;

/// Uploads and blobs without a manifest that are older go at the next start.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Args, Clone)]
pub struct RegistryServeArgs {
    /// Where the images are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/timonier-registry")]
    pub dir: PathBuf,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    pub listen: SocketAddr,
    /// Lines of USER:PASSWORD; every request needs one of them
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// The certificate and its chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Serve plain HTTP on an address that is not the loopback
    #[arg(long)]
    pub plain_http: bool,
}

/// Serves until the process ends.
pub fn run(args: &RegistryServeArgs) -> Result<()> {
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => Some(tls(cert, key)?),
        _ => None,
    };
    if tls.is_none() && !args.listen.ip().is_loopback() && !args.plain_http {
        bail!(
            "{} is not a loopback address: give --tls-cert and --tls-key, or --plain-http",
            args.listen
        );
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let access = args.users.as_deref().map(users).transpose()?;
    let config = RegistryConfig { access, tls, ..RegistryConfig::default() };
    let server = RegistryServer::open(&args.dir, config)?;
    server.collect(images::now(), GRACE)?;
    access::block_on(async {
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("listen on {}", args.listen))?;
        println!("the registry listens on {scheme}://{}/", listener.local_addr()?);
        Ok(server.serve(listener).await?)
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn tls(cert: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>> {
    let chain = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{} is no PEM", cert.display()))?;
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .with_context(|| format!("{} holds no private key", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("{} and its key", cert.display()))?;
    Ok(Arc::new(config))
}

fn users(path: &Path) -> Result<AccessFn> {
    let text = String::from_utf8(read(path)?)
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    let known = parse_users(&text).with_context(|| path.display().to_string())?;
    Ok(Arc::new(move |who, _, _| match who {
        Some((user, password)) if known.get(user).is_some_and(|p| same(p, password)) => {
            Decision::Allow
        }
        _ => Decision::Unauthenticated,
    }))
}

fn parse_users(text: &str) -> Result<BTreeMap<String, String>> {
    let mut users = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let Some((user, password)) = line.split_once(':') else {
            bail!("line {}: USER:PASSWORD expected", number + 1);
        };
        ensure!(!user.is_empty() && !password.is_empty(), "line {}: a part is empty", number + 1);
        users.insert(user.to_owned(), password.to_owned());
    }
    ensure!(!users.is_empty(), "there is no user");
    Ok(users)
}

/// Compares without telling by the time it takes where they differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_lines() {
        let users = parse_users("ann:a:b\n\nbob:x\n").unwrap();
        assert_eq!(users["ann"], "a:b");
        assert_eq!(users.len(), 2);
        for (bad, why) in [("ann\n", "line 1"), ("a:b\n:c\n", "line 2"), ("\n", "no user")] {
            assert!(parse_users(bad).unwrap_err().to_string().contains(why), "{bad:?}");
        }
    }

    #[test]
    fn passwords_are_compared_whole() {
        assert!(same("abc", "abc"));
        assert!(!same("abc", "abd") && !same("abc", "ab") && !same("", "a"));
    }
}
