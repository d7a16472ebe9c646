//! The node's HTTPS server over real TLS, with a runtime that only pretends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName, pem::PemObject};
use timonier_meta::{Environment, Time};
use timonier_node::server::*;
use timonier_object::{Value, value};
use timonier_runtime::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// One container, `id`, that can be ended.
struct Pretend {
    over: watch::Sender<bool>,
    events: broadcast::Sender<Event>,
}

impl Pretend {
    fn exit() -> Exit {
        Exit {
            code: 0,
            signal: None,
            oom_killed: false,
            reason: "Completed".into(),
            message: String::new(),
            finished_at: SystemTime::UNIX_EPOCH,
        }
    }

    fn end(&self) {
        self.over.send_replace(true);
        let _ = self.events.send(Event::ContainerExited {
            sandbox: "s".into(),
            container: "id".into(),
            exit: Self::exit(),
        });
    }
}

fn unused<T>() -> Result<T> {
    Err(Error::Invalid("not part of this test".into()))
}

#[async_trait]
impl Runtime for Pretend {
    fn version(&self) -> Version {
        Version { name: "pretend".into(), version: "0".into() }
    }
    async fn run_sandbox(&self, _: SandboxConfig) -> Result<String> {
        unused()
    }
    async fn stop_sandbox(&self, _: &str) -> Result<()> {
        unused()
    }
    async fn remove_sandbox(&self, _: &str) -> Result<()> {
        unused()
    }
    async fn sandbox_status(&self, _: &str) -> Result<SandboxStatus> {
        unused()
    }
    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        unused()
    }
    async fn update_sandbox(&self, _: &str, _: &Resources) -> Result<()> {
        unused()
    }
    async fn create_container(&self, _: &str, _: ContainerConfig) -> Result<String> {
        unused()
    }
    async fn start_container(&self, _: &str) -> Result<()> {
        unused()
    }
    async fn stop_container(&self, _: &str, _: Duration) -> Result<()> {
        unused()
    }
    async fn signal_container(&self, _: &str, _: i32) -> Result<()> {
        unused()
    }
    async fn remove_container(&self, _: &str) -> Result<()> {
        unused()
    }
    async fn container_status(&self, _: &str) -> Result<ContainerStatus> {
        let started_at = SystemTime::UNIX_EPOCH;
        let state = match *self.over.borrow() {
            true => ContainerState::Exited { started_at: Some(started_at), exit: Self::exit() },
            false => ContainerState::Running { pid: 1, started_at },
        };
        let config = ContainerConfig::default();
        Ok(ContainerStatus {
            id: "id".into(),
            sandbox: "s".into(),
            config,
            state,
            created_at: started_at,
        })
    }
    async fn list_containers(&self, _: Option<&str>) -> Result<Vec<ContainerStatus>> {
        Ok(Vec::new())
    }
    async fn update_container(&self, _: &str, _: &Resources) -> Result<()> {
        unused()
    }
    async fn reopen_log(&self, _: &str) -> Result<()> {
        Ok(())
    }
    async fn exec_sync(&self, _: &str, _: &[String], _: Option<Duration>) -> Result<ExecOutput> {
        unused()
    }
    /// Prints its arguments and ends with 3.
    async fn exec(&self, _: &str, request: ExecRequest) -> Result<Process> {
        let (mut writer, stdout) = tokio::io::duplex(1024);
        let exit = async move {
            writer.write_all(request.argv.join(" ").as_bytes()).await.unwrap();
            Ok(3)
        };
        Ok(Process {
            stdin: None,
            stdout: Some(Box::pin(stdout)),
            stderr: None,
            resize: None,
            exit: exit.boxed(),
        })
    }
    async fn attach(&self, _: &str, _: AttachRequest) -> Result<Process> {
        unused()
    }
    async fn port_forward(&self, _: &str, _: u16) -> Result<Box<dyn Connection>> {
        unused()
    }
    fn events(&self) -> EventStream {
        let receiver = self.events.subscribe();
        Box::pin(futures::stream::unfold(receiver, |mut r| async move {
            r.recv().await.ok().map(|event| (event, r))
        }))
    }
    async fn container_stats(&self, _: &str) -> Result<ContainerStats> {
        let cgroup = CgroupStats { memory_working_set: 4096, ..CgroupStats::default() };
        Ok(ContainerStats { cgroup, ..ContainerStats::default() })
    }
    async fn sandbox_stats(&self, _: &str) -> Result<CgroupStats> {
        Ok(CgroupStats::default())
    }
}

struct One {
    log: PathBuf,
}

impl One {
    fn known(&self) -> KnownPod {
        let pod: Value = value!({ "metadata": { "name": "web", "namespace": "shop", "uid": "u" } });
        let container = KnownContainer { name: "main".into(), id: "id".into() };
        KnownPod {
            pod: Arc::new(pod),
            uid: "u".into(),
            sandbox: Some("s".into()),
            containers: vec![container],
        }
    }

    fn check(&self, pod: &str) -> std::result::Result<(), LookupError> {
        match pod {
            "web" => Ok(()),
            other => {
                Err(LookupError { code: 404, text: format!("pod \"{other}\" does not exist") })
            }
        }
    }
}

impl Lookup for One {
    fn pods(&self) -> Vec<KnownPod> {
        vec![self.known()]
    }
    fn pod(&self, _: &str, name: &str) -> std::result::Result<KnownPod, LookupError> {
        self.check(name).map(|()| self.known())
    }
    fn running(&self, _: &str, pod: &str, _: &str) -> std::result::Result<String, LookupError> {
        self.check(pod).map(|()| "id".into())
    }
    fn log(
        &self,
        _: &str,
        pod: &str,
        _: &str,
        _: bool,
    ) -> std::result::Result<LogSource, LookupError> {
        self.check(pod)?;
        Ok(LogSource { path: self.log.clone(), writer: Some("id".into()) })
    }
}

struct Fixed;

impl Environment for Fixed {
    fn now(&self) -> Time {
        Time::parse("2026-01-01T00:00:00Z").unwrap()
    }
    fn random(&self) -> u64 {
        4
    }
}

struct Fixture {
    issuer: CertifiedIssuer<'static, KeyPair>,
    address: std::net::SocketAddr,
    server: NodeServer,
    runtime: Arc<Pretend>,
    dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let (certificate, key) = issue(&issuer, "node", "system:nodes");
        let tls = ServerTls {
            certificate_pem: certificate.into(),
            key_pem: key.into(),
            client_ca_pem: issuer.pem().into(),
        };
        let dir = tempfile::tempdir().unwrap();
        let runtime =
            Arc::new(Pretend { over: watch::Sender::new(false), events: broadcast::channel(8).0 });
        let lookup = Arc::new(One { log: dir.path().join("0.log") });
        let config = ServerConfig::new("node", tls);
        let server = NodeServer::new(config, lookup, runtime.clone(), Arc::new(Fixed)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(server.clone().serve(listener));
        Self { issuer, address, server, runtime, dir }
    }

    async fn connect(&self, names: Option<(&str, &str)>) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match names {
            Some((user, group)) => {
                let (certificate, key) = issue(&self.issuer, user, group);
                let chain = vec![
                    rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes())
                        .unwrap(),
                ];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("node").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Sends a request and reads to the end of the connection.
    async fn get(&self, path: &str) -> String {
        let mut stream = self.connect(Some(("x", "system:masters"))).await;
        request(&mut stream, path).await.unwrap()
    }

    fn append(&self, text: &str) {
        let path: &Path = &self.dir.path().join("0.log");
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        writeln!(file, "2026-01-01T00:00:00.000000001Z stdout F {text}").unwrap();
    }
}

fn issue(issuer: &CertifiedIssuer<'static, KeyPair>, user: &str, group: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["node".to_string()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, user);
    params.distinguished_name.push(DnType::OrganizationName, group);
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

async fn request(stream: &mut TlsStream<TcpStream>, path: &str) -> std::io::Result<String> {
    let text = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn only_the_right_certificates_are_served() {
    let f = Fixture::new().await;
    assert!(f.get("/healthz").await.ends_with("ok"));
    let mut stream = f.connect(Some(("eve", "developers"))).await;
    let answer = request(&mut stream, "/exec/shop/web/main?command=id&output=1").await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("Forbidden (user=eve"),
        "{answer}"
    );
    let mut stream = f.connect(None).await;
    assert!(request(&mut stream, "/healthz").await.is_err(), "no certificate");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections() {
    let f = Fixture::new().await;
    let master = Some(("x", "system:masters"));
    let shown = |stream: &TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].as_ref().to_vec()
    };
    let mut before = f.connect(master).await;
    let (certificate, key) = issue(&f.issuer, "node", "system:nodes");
    let tls = |certificate: &str| ServerTls {
        certificate_pem: certificate.into(),
        key_pem: key.clone().into(),
        client_ca_pem: f.issuer.pem().into(),
    };
    f.server.set_tls(&tls(&certificate)).unwrap();
    let mut after = f.connect(master).await;
    assert_ne!(shown(&before), shown(&after));
    // One that is broken changes nothing.
    assert!(f.server.set_tls(&tls("")).is_err());
    assert_eq!(shown(&f.connect(master).await), shown(&after));
    for stream in [&mut before, &mut after] {
        assert!(request(stream, "/healthz").await.unwrap().ends_with("ok"));
    }
}

#[tokio::test]
async fn pods_figures_and_unknown_paths() {
    let f = Fixture::new().await;
    assert!(f.get("/pods").await.contains("\"kind\":\"PodList\""));
    let summary = f.get("/stats/summary").await;
    assert!(summary.contains("\"workingSetBytes\":4096"), "{summary}");
    let metrics = f.get("/metrics/resource").await;
    let line = "container_memory_working_set_bytes{container=\"main\",namespace=\"shop\",pod=\"web\"} 4096";
    assert!(metrics.contains(line), "{metrics}");
    assert!(f.get("/metrics/cadvisor").await.contains("machine_cpu_cores"));
    assert!(f.get("/metrics").await.contains("kubelet_running_pods"));
    assert!(f.get("/nonsense").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn logs_are_read_and_followed_to_the_end_of_the_container() {
    let f = Fixture::new().await;
    f.append("one");
    f.append("two");
    let answer = f.get("/containerLogs/shop/web/main?tailLines=1").await;
    assert!(answer.contains("two\n") && !answer.contains("one"), "{answer}");
    let answer = f.get("/containerLogs/shop/gone/main").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("pod \"gone\" does not exist"));
    assert!(f.get("/containerLogs/shop/web/main?tailLines=x").await.starts_with("HTTP/1.1 400"));

    let mut stream = f.connect(Some(("x", "system:masters"))).await;
    let text = "GET /containerLogs/shop/web/main?follow=true HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut seen = String::new();
    for next in ["two\n", "three\n"] {
        while !seen.contains(next) {
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "{seen}");
            seen.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
        f.append("three");
    }
    f.runtime.end();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[tokio::test]
async fn a_command_over_websocket() {
    let f = Fixture::new().await;
    let mut stream = f.connect(Some(("kube-apiserver-kubelet-client", "x"))).await;
    let text = "GET /exec/shop/web/main?command=echo&command=a%20b&output=1 HTTP/1.1\r\nHost: node\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("v5.channel.k8s.io"), "{head}");
    let mut socket =
        tokio_tungstenite::WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    let (mut output, mut status) = (Vec::new(), String::new());
    while let Some(Ok(Message::Binary(bytes))) = socket.next().await {
        match bytes[0] {
            1 => output.extend_from_slice(&bytes[1..]),
            3 => status = String::from_utf8(bytes[1..].to_vec()).unwrap(),
            other => panic!("channel {other}"),
        }
    }
    let _ = socket.close(None).await;
    assert_eq!(output, b"echo a b");
    assert!(status.contains("\"reason\":\"ExitCode\",\"message\":\"3\""), "{status}");
}
