//! A gate in front of a registry that wants tokens, as public registries do.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `user:password`, as a header has it: `ann:secret`.
const BASIC: &str = "Basic YW5uOnNlY3JldA==";
const TOKEN: &str = "e2e-token";

/// The gate; ends with the process. Its user is `ann`, the password `secret`.
pub struct Gate {
    pub address: SocketAddr,
    tokens: Arc<AtomicUsize>,
}

impl Gate {
    /// Starts in front of the registry at an address.
    pub fn start(registry: String) -> io::Result<Gate> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let gate = Gate { address, tokens: Arc::default() };
        let tokens = gate.tokens.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (registry, tokens) = (registry.clone(), tokens.clone());
                // A client that goes away is no fault of the gate.
                std::thread::spawn(move || answer(client, address, &registry, &tokens));
            }
        });
        Ok(gate)
    }

    /// How many tokens were given.
    pub fn tokens(&self) -> usize {
        self.tokens.load(Ordering::SeqCst)
    }
}

/// Answers one request, which has no body, and closes.
fn answer(
    mut client: TcpStream,
    own: SocketAddr,
    registry: &str,
    tokens: &AtomicUsize,
) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
        // Clients try TLS first, and would wait long for an answer.
        if !head[0].is_ascii_alphabetic() {
            return Err(io::Error::other("no HTTP"));
        }
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let lines: Vec<&str> = head.lines().filter(|l| !l.is_empty()).collect();
    let is =
        |l: &str, name: &str| l.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
    let sent = lines
        .iter()
        .find(|l| is(l, "authorization"))
        .and_then(|l| l.split_once(": "))
        .map_or("", |p| p.1);
    if lines.first().is_some_and(|l| l.starts_with("GET /token")) {
        if sent != BASIC {
            return reply(&mut client, "401 Unauthorized", "", "{}");
        }
        tokens.fetch_add(1, Ordering::SeqCst);
        return reply(&mut client, "200 OK", "", &format!("{{\"token\":\"{TOKEN}\"}}"));
    }
    if sent != format!("Bearer {TOKEN}") {
        let challenge =
            format!("WWW-Authenticate: Bearer realm=\"http://{own}/token\",service=\"e2e\"\r\n");
        return reply(
            &mut client,
            "401 Unauthorized",
            &challenge,
            "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}",
        );
    }
    let mut backend = TcpStream::connect(registry)?;
    for line in lines.iter().filter(|l| !is(l, "authorization") && !is(l, "connection")) {
        write!(backend, "{line}\r\n")?;
    }
    write!(backend, "Connection: close\r\n\r\n")?;
    io::copy(&mut backend, &mut client).map(drop)
}

fn reply(client: &mut TcpStream, status: &str, header: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status}\r\n{header}Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
