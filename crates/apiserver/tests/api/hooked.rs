//! A real HTTPS server that answers as a webhook.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use timonier_object::{Value, json};
use tokio::net::TcpListener;

/// A hook's server and the questions that it was asked.
pub struct Hooked {
    pub url: String,
    pub bundle: String,
    pub asked: Arc<Mutex<Vec<Value>>>,
}

/// Makes the answer to a question that came to a path.
pub type Answer = fn(&str, &Value) -> Value;

/// Starts the server. It does not answer on the path `/never`.
pub async fn start(answer: Answer) -> Hooked {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = names.signed_by(&key, &ca).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![certificate.der().clone()],
        PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
    )
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, log) = (acceptor.clone(), log.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| serve(request, log.clone(), answer));
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Hooked { url, bundle: STANDARD.encode(ca.pem()), asked }
}

async fn serve(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Value>>>,
    answer: Answer,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_string();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let question = json::decode(&body).unwrap();
    if path == "/never" {
        std::future::pending::<()>().await;
    }
    let answer = answer(&path, &question);
    log.lock().unwrap().push(question);
    Ok(Response::new(Full::from(json::encode(&answer))))
}
