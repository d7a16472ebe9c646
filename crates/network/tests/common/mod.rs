//! A node of its own inside a network namespace, with servers in its pods.
#![allow(dead_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use timonier_meta::ObjectKey;
use timonier_network::{NetworkConfig, PodNet, PodNetwork, PodRequest, ServiceTable};
use timonier_object::{Value, value};
use timonier_traffic::rules::{Changes, Frontend};
use timonier_traffic::{Cidr, NodeFacts, Protocol, Proxy, Service, Slice};

/// Runs a test on a thread with a network and mounts of its own; without root it says that it is
/// skipped.
pub fn isolated(work: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("own namespaces");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
        work();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A cluster's part of a node.
pub struct Node {
    pub runtime: tokio::runtime::Runtime,
    pub config: NetworkConfig,
    pub pods: PodNetwork,
    pub table: ServiceTable,
    pub proxy: Proxy,
    pub directory: PathBuf,
}

impl Node {
    /// A node with pods in 10.`range`.0.0/24.
    pub fn new(range: u8) -> Node {
        Node::open(Node::configuration(range))
    }

    pub fn configuration(range: u8) -> NetworkConfig {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("timonier-network-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let shared_dir = std::env::temp_dir().join(format!("{}-shared", directory.display()));
        let v4 = |a, b, c, d, length| Cidr::new(Ipv4Addr::new(a, b, c, d).into(), length).unwrap();
        NetworkConfig {
            state_dir: directory.clone(),
            shared_dir,
            node_name: "n1".into(),
            node_ip: None,
            node_pod_cidr: v4(10, range, 0, 0, 24),
            cluster_pod_cidr: v4(10, range, 0, 0, 16),
            service_cidr: v4(172, range, 0, 0, 16),
            dns_ip: Some(Ipv4Addr::new(172, range, 0, 10)),
            interface_prefix: format!("t{range}x"),
            table: format!("timonier-{range}"),
            mtu: 1500,
        }
    }

    /// Another cluster whose pods play hosts outside: nothing of theirs is masqueraded.
    pub fn outside() -> Node {
        let mut config = Node::configuration(99);
        config.cluster_pod_cidr = Cidr::parse("0.0.0.0/0").unwrap();
        Node::open(config)
    }

    pub fn open(config: NetworkConfig) -> Node {
        lo_up();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pods = runtime.block_on(PodNetwork::open(config.clone())).expect("open");
        let table = ServiceTable::open(&config).expect("table");
        let held = [Protocol::Tcp, Protocol::Udp].map(|protocol| Frontend {
            address: config.dns_ip.unwrap().into(),
            protocol,
            port: 53,
        });
        let proxy = Proxy::new(NodeFacts { name: "n1".into(), zone: "".into() }, held);
        let mut node =
            Node { runtime, directory: config.state_dir.clone(), config, pods, table, proxy };
        node.table.load(&Changes::default()).expect("load");
        node
    }

    pub fn attach(&self, uid: &str) -> PodNet {
        self.request(PodRequest { uid: uid.into(), ..PodRequest::default() }).expect("attach")
    }

    pub fn request(&self, request: PodRequest) -> timonier_network::Result<PodNet> {
        self.runtime.block_on(self.pods.attach(request))
    }

    /// A pod with servers on TCP and UDP port 80.
    pub fn server(&self, uid: &str) -> PodNet {
        let pod = self.attach(uid);
        serve(&pod, 80);
        pod
    }

    /// Puts noted changes into the kernel.
    pub fn sync(&mut self) -> Changes {
        let changes = self.proxy.changes();
        self.table.apply(&changes).expect("apply");
        let stale = changes.stale.iter().map(|f| (*f, self.proxy.backends(f))).collect();
        timonier_network::flush_stale(&stale).expect("flush");
        changes
    }

    /// A Service on TCP and UDP port 8000 with these additions to its spec.
    pub fn service(&mut self, name: &str, ip: &str, extra: Value) {
        let mut v = value!({
            "metadata": { "name": name, "namespace": "d" },
            "spec": { "clusterIP": ip, "clusterIPs": [ip], "type": "ClusterIP", "ports": [
                { "name": "t", "port": 8000, "protocol": "TCP" },
                { "name": "u", "port": 8000, "protocol": "UDP" },
            ] },
        });
        for (key, field) in extra.entries() {
            let place = if key == "status" { &mut v } else { v.entry("spec") };
            place.make_object().insert(key, field.clone());
        }
        self.proxy.set_service(Service::from_value(&v));
    }

    /// The Service's endpoints, as address and node.
    pub fn endpoints(&mut self, service: &str, endpoints: &[(IpAddr, &str)]) {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(ip, node)| value!({ "addresses": [(ip.to_string())], "nodeName": (*node) }))
            .collect();
        let slice = value!({
            "metadata": { "name": (format!("{service}-x")), "namespace": "d",
                          "labels": { "kubernetes.io/service-name": service } },
            "ports": [{ "name": "t", "port": 80, "protocol": "TCP" },
                      { "name": "u", "port": 80, "protocol": "UDP" }],
            "endpoints": endpoints,
        });
        self.proxy.set_slice(Slice::from_value(&slice).unwrap());
    }

    pub fn delete_service(&mut self, name: &str) {
        let key = ObjectKey::new("d", name);
        self.proxy.remove_service(&key);
        self.proxy.remove_slice(&key, &format!("{name}-x"));
    }

    /// Removes the cluster from the host.
    pub fn teardown(&self) {
        self.runtime.block_on(timonier_network::teardown_all(&self.config)).expect("teardown");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(timonier_network::teardown_all(&self.config));
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Moves the calling thread into a namespace.
pub fn enter(path: &std::path::Path) {
    setns(File::open(path).unwrap().as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
}

/// Runs work inside a pod.
pub fn inside<T: Send + 'static>(pod: &PodNet, work: impl FnOnce() -> T + Send + 'static) -> T {
    let path = pod.netns_path.clone();
    let thread = std::thread::spawn(move || {
        enter(&path);
        work()
    });
    thread.join().unwrap()
}

/// Servers that answer with the pod's uid and the address they see.
pub fn serve(pod: &PodNet, port: u16) {
    let uid = pod.uid.clone();
    let (tcp, udp) = inside(pod, move || {
        let any = (Ipv4Addr::UNSPECIFIED, port);
        (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())
    });
    let name = uid.clone();
    std::thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            let mut stream = stream;
            let peer = stream.peer_addr().map(|p| p.ip().to_string()).unwrap_or_default();
            let _ = stream.write_all(format!("{name} {peer}").as_bytes());
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(format!("{uid} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// What a server says: its pod, and the address that it sees.
pub type Answer = io::Result<(String, IpAddr)>;

const PATIENCE: Duration = Duration::from_millis(700);

/// A TCP connection from the calling thread.
pub fn call(to: SocketAddr) -> Answer {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text)
}

/// A TCP connection from a pod.
pub fn call_from(pod: &PodNet, to: SocketAddr) -> Answer {
    inside(pod, move || call(to))
}

/// A UDP question over a socket.
pub fn ask(socket: &UdpSocket) -> Answer {
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let n = socket.recv(&mut buffer)?;
    parse(std::str::from_utf8(&buffer[..n]).unwrap())
}

/// A UDP socket of a pod, connected to an address.
pub fn udp_from(pod: &PodNet, to: SocketAddr) -> UdpSocket {
    inside(pod, move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    })
}

fn parse(text: &str) -> Answer {
    let (name, peer) = text.split_once(' ').ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((name.into(), peer.parse().unwrap()))
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Whether the other side refused, rather than said nothing.
pub fn refused(answer: Answer) -> bool {
    answer.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whether nothing came.
pub fn silent(answer: Answer) -> bool {
    use io::ErrorKind::{TimedOut, WouldBlock};
    answer.is_err_and(|e| matches!(e.kind(), TimedOut | WouldBlock))
}

/// Runs `ip` in the thread's namespace; gives what it prints.
pub fn ip_command(command: &str) -> String {
    let done = std::process::Command::new("ip").args(command.split(' ')).output();
    let output = done.expect("the test needs the program `ip`");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {command}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The MTU of an interface in the thread's namespace.
pub fn mtu_of(interface: &str) -> u32 {
    let text = ip_command(&format!("-o link show {interface}"));
    let after = text.split_once(" mtu ").expect("an MTU").1;
    after.split(' ').next().unwrap().parse().unwrap()
}

/// Brings the loopback interface up, as every host has it.
fn lo_up() {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    use std::os::fd::AsRawFd;
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}
