//! The certificates of a node that joined: asked for through the API, kept in its data directory.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use timonier_cli::cluster::Paths;
use timonier_cli::files;
use timonier_cli::pki::{self, Request};
use timonier_client::{Client, ListOptions, WatchEvent, WriteOptions};
use timonier_meta::Selector;
use timonier_meta::gvk::resources::CERTIFICATESIGNINGREQUESTS;
use timonier_object::{Value, value};

/// A certificate and its key, PEM.
pub type Pair = (String, String);

/// The node's files below `pki/`.
pub struct Files {
    dir: PathBuf,
}

impl Files {
    pub fn new(paths: &Paths) -> Self {
        Files { dir: paths.pki() }
    }

    /// A file's text, if it is there.
    pub fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(name)).ok()
    }

    /// Writes a file, 0600.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        files::create_private_dir(&self.dir)?;
        files::write_private(&self.dir.join(name), text.as_bytes())
    }

    /// The certificate for a request, if it is there and carries what is asked for.
    pub fn pair(&self, request: &Request<'_>) -> Option<Pair> {
        let certificate = self.read(&format!("{}.crt", request.file))?;
        let key = self.read(&format!("{}.key", request.file))?;
        pki::carries(&certificate, &key, request).then_some((certificate, key))
    }

    /// Asks the API for a certificate, waits until it is signed, and keeps it.
    pub async fn ask(
        &self,
        client: &dyn Client,
        signer: &str,
        request: &Request<'_>,
    ) -> Result<Pair> {
        let (csr, key) = pki::certificate_request(request)?;
        let usage = if request.server { "server auth" } else { "client auth" };
        let object = value!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": { "generateName": "node-csr-" },
            "spec": { "signerName": signer, "request": (STANDARD.encode(csr)),
                "usages": ["digital signature", usage] } });
        let options = WriteOptions { field_manager: "kubelet".into(), ..WriteOptions::default() };
        let resource = &CERTIFICATESIGNINGREQUESTS;
        let made = client.create(resource, "", "", "", object, &options).await?;
        tracing::info!("asked for a certificate: CertificateSigningRequest {}", made.name());
        let certificate = wait(client, made.name()).await?;
        // The key first: a certificate without its key would look complete.
        self.write(&format!("{}.key", request.file), &key)?;
        self.write(&format!("{}.crt", request.file), &certificate)?;
        Ok((certificate, key))
    }
}

/// Waits until a request is signed; gives the certificate. An administrator may have to approve
/// it first, so there is no limit.
async fn wait(client: &dyn Client, name: &str) -> Result<String> {
    let options = ListOptions {
        field_selector: Selector::of_pairs([("metadata.name", name)]),
        ..ListOptions::default()
    };
    loop {
        let mut events = client.watch(&CERTIFICATESIGNINGREQUESTS, "", &options).await?;
        while let Some(event) = events.next().await {
            match event {
                Ok(WatchEvent::Added(csr) | WatchEvent::Modified(csr)) => {
                    if let Some(certificate) = answer(&csr)? {
                        return Ok(certificate);
                    }
                }
                Ok(WatchEvent::Deleted(_)) => bail!("the request {name} was deleted"),
                Ok(WatchEvent::Bookmark { .. }) => {}
                Err(error) => {
                    tracing::warn!("waiting for the request {name}: {error}");
                    break;
                }
            }
        }
    }
}

fn answer(csr: &Value) -> Result<Option<String>> {
    for kind in ["Denied", "Failed"] {
        if let Some(condition) = csr.condition(kind) {
            bail!(
                "the request {} was answered {kind}: {}",
                csr.name(),
                condition.at("message").str()
            );
        }
    }
    let text = csr.at("status.certificate").str();
    if text.is_empty() {
        return Ok(None);
    }
    let pem = STANDARD.decode(text).context("the certificate is not base64")?;
    Ok(Some(String::from_utf8(pem).context("the certificate is not PEM")?))
}
