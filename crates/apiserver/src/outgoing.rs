//! Calls to servers that answer for this one: what a `clientConfig` points to.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT, CONTENT_TYPE, HOST};
use ::http::{Request, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use timonier_meta::gvk::resources;
use timonier_object::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::body;
use crate::proxy::endpoints;
use crate::server::ApiServer;

/// A server, by URL or by Service, and whom to believe there.
pub struct Target {
    /// What the certificate must say.
    host: String,
    port: u16,
    path: String,
    /// Namespace and name, where the server is behind a Service.
    service: Option<(String, String)>,
    tls: Arc<ClientConfig>,
}

impl Target {
    /// Reads a `clientConfig`. The error says what is wrong with it.
    pub fn of(config: &Value) -> Result<Self, String> {
        let bundle = config.at("caBundle").str();
        let tls = match bundle {
            "" => timonier_trust::system(None)?,
            encoded => {
                let pem = STANDARD.decode(encoded).map_err(|e| format!("caBundle: {e}"))?;
                timonier_trust::only(timonier_trust::roots(&pem)?)
            }
        };
        let service = config.at("service");
        if service.is_null() {
            let uri: Uri = config.at("url").str().parse().map_err(|e| format!("url: {e}"))?;
            let host = uri.host().ok_or("url: no host")?.to_string();
            let path = uri.path().to_string();
            return Ok(Target {
                host,
                port: uri.port_u16().unwrap_or(443),
                path,
                service: None,
                tls,
            });
        }
        let (namespace, name) = (service.at("namespace").str(), service.at("name").str());
        let port = service.at("port").int_or(443);
        Ok(Target {
            host: format!("{name}.{namespace}.svc"),
            port: u16::try_from(port).map_err(|_| format!("invalid port {port}"))?,
            path: match service.at("path").str() {
                path if path.starts_with('/') => path.to_string(),
                path => format!("/{path}"),
            },
            service: Some((namespace.to_string(), name.to_string())),
            tls,
        })
    }

    /// A Service's port, whose server has a certificate for the Service's name.
    pub fn of_service(namespace: &str, name: &str, port: u16, tls: Arc<ClientConfig>) -> Self {
        Target {
            host: format!("{name}.{namespace}.svc"),
            port,
            path: "/".into(),
            service: Some((namespace.to_string(), name.to_string())),
            tls,
        }
    }

    /// Posts an object and reads the object that comes back. The error is as Go's HTTP client
    /// words it.
    pub async fn post(
        &self,
        server: &ApiServer,
        object: &Value,
        timeout: Duration,
    ) -> Result<Value, String> {
        let path = format!("{}?timeout={}s", self.path, timeout.as_secs());
        let answer = match tokio::time::timeout(timeout, self.exchange(server, &path, object)).await
        {
            Ok(answer) => answer,
            Err(_) => Err("context deadline exceeded".into()),
        };
        answer.map_err(|why| format!("Post \"https://{}:{}{path}\": {why}", self.host, self.port))
    }

    async fn exchange(
        &self,
        server: &ApiServer,
        path: &str,
        object: &Value,
    ) -> Result<Value, String> {
        let stream = self.connect(&self.address(server)?).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|e| e.to_string())?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a call to a server behind");
            }
        });
        let request = Request::post(path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .body(Full::<Bytes>::from(json::encode(object)))
            .map_err(|e| e.to_string())?;
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let bytes = body::read(answer.into_body()).await.map_err(|e| e.message)?;
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&bytes).trim().chars().take(2048).collect();
            return Err(match status.as_u16() {
                404 => "the server could not find the requested resource".into(),
                _ => format!(
                    "an error on the server ({text:?}) has prevented the request from succeeding"
                ),
            });
        }
        json::decode(&bytes)
    }

    /// Opens a connection to an address that [`Target::address`] gave.
    pub async fn connect(&self, address: &(String, u16)) -> Result<TlsStream<TcpStream>, String> {
        let (host, port) = (&address.0, address.1);
        let dial = |e: std::io::Error| format!("dial tcp {host}:{port}: {e}");
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(dial)?;
        let _ = stream.set_nodelay(true);
        let name = self.server_name()?;
        let connector = TlsConnector::from(self.tls.clone());
        connector.connect(name, stream).await.map_err(|e| format!("tls: {e}"))
    }

    /// The host without the brackets that an IPv6 address has in a URL.
    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    fn server_name(&self) -> Result<ServerName<'static>, String> {
        ServerName::try_from(self.bare_host().to_string()).map_err(|e| e.to_string())
    }

    /// Where to connect: an endpoint of the Service, for this server has no proxy before it.
    pub fn address(&self, server: &ApiServer) -> Result<(String, u16), String> {
        let Some((namespace, name)) = &self.service else {
            return Ok((self.bare_host().to_string(), self.port));
        };
        let service = server
            .peek(&resources::SERVICES, namespace, name)
            .ok_or_else(|| format!("service {name:?} not found"))?;
        if service.at("spec.type").str() == "ExternalName" {
            return Ok((service.at("spec.externalName").str().to_string(), self.port));
        }
        let ports = service.at("spec.ports").items();
        let wanted = i64::from(self.port);
        let port = ports
            .iter()
            .find(|p| p.at("port").as_i64() == Some(wanted))
            .ok_or_else(|| format!("no service port {wanted} found for service {name:?}"))?;
        let (address, port) = endpoints::choose(server, &service, port)
            .ok_or_else(|| format!("no endpoints available for service {name:?}"))?;
        Ok((address.to_string(), port))
    }
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn urls_name_their_servers() {
        let own = rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap();
        let bundle = STANDARD.encode(own.cert.pem());
        for (url, host, port, path) in [
            ("https://hooks.example/x", "hooks.example", 443, "/x"),
            ("https://192.0.2.1:8443/", "192.0.2.1", 8443, "/"),
            ("https://[fd00::1]/x", "fd00::1", 443, "/x"),
            ("https://[fd00::1]:8443/x", "fd00::1", 8443, "/x"),
        ] {
            let config = value!({ "url": url, "caBundle": (bundle.as_str()) });
            let target = Target::of(&config).unwrap();
            assert_eq!((target.bare_host(), target.port, target.path.as_str()), (host, port, path));
            assert!(target.server_name().is_ok(), "{url}");
        }
    }
}
