//! The smallest gRPC server that health checks can talk to: HTTP/2 over TCP, one method.
//!
//! It answers `grpc.health.v1.Health/Check` and reads no more of HTTP/2 than it needs: a request is
//! over when its stream ends; what it sends needs no compression state.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// On DATA and HEADERS: the last of its stream; on SETTINGS and PING: an acknowledgement.
const END_STREAM_OR_ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A server of health checks; ends with the process.
pub struct Health {
    pub port: u16,
    serving: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Health {
    /// Starts on every address of this host; it serves at first.
    pub fn start() -> io::Result<Health> {
        let listener = TcpListener::bind("0.0.0.0:0")?;
        let port = listener.local_addr()?.port();
        let health =
            Health { port, serving: Arc::new(AtomicBool::new(true)), asked: Arc::default() };
        let (serving, asked) = (health.serving.clone(), health.asked.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (serving, asked) = (serving.clone(), asked.clone());
                // A client that goes away is no fault of the server.
                std::thread::spawn(move || converse(connection, &serving, &asked));
            }
        });
        Ok(health)
    }

    /// Says from now on that it serves, or not.
    pub fn set(&self, serving: bool) {
        self.serving.store(serving, Ordering::SeqCst);
    }

    /// How many checks were answered.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn converse(
    mut connection: TcpStream,
    serving: &AtomicBool,
    asked: &AtomicUsize,
) -> io::Result<()> {
    let mut preface = [0; PREFACE.len()];
    connection.read_exact(&mut preface)?;
    if preface != PREFACE {
        return Err(io::Error::other("no HTTP/2"));
    }
    send(&mut connection, SETTINGS, 0, 0, &[])?;
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        connection.read_exact(&mut payload)?;
        let last = flags & END_STREAM_OR_ACK != 0;
        match kind {
            SETTINGS | PING if !last => {
                let payload = if kind == PING { &payload[..] } else { &[] };
                send(&mut connection, kind, END_STREAM_OR_ACK, 0, payload)?;
            }
            DATA | HEADERS if last => {
                asked.fetch_add(1, Ordering::SeqCst);
                answer(&mut connection, stream, serving.load(Ordering::SeqCst))?;
            }
            _ => {}
        }
    }
}

/// Header, one message, trailer.
fn answer(to: &mut TcpStream, stream: u32, serving: bool) -> io::Result<()> {
    // `:status: 200` from the static table, then a literal field.
    let mut header = vec![0x88];
    header.extend(literal("content-type", "application/grpc"));
    send(to, HEADERS, END_HEADERS, stream, &header)?;
    // Not compressed, two bytes long: field 1 (status), SERVING = 1 or NOT_SERVING = 2.
    send(to, DATA, 0, stream, &[0, 0, 0, 0, 2, 8, if serving { 1 } else { 2 }])?;
    let trailer = literal("grpc-status", "0");
    send(to, HEADERS, END_HEADERS | END_STREAM_OR_ACK, stream, &trailer)
}

/// A header field without indexing and without Huffman's code.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, name.len() as u8];
    field.extend(name.bytes());
    field.push(value.len() as u8);
    field.extend(value.bytes());
    field
}

fn send(to: &mut TcpStream, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    to.write_all(&frame)
}
