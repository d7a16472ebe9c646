//! Netlink sockets: one request, one answer, in step.
//!
//! A socket belongs to the network namespace in which it was opened and keeps serving that
//! namespace from any thread.

pub mod message;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};

use message::{Message, Writer, flag};

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Enough for a load of 10,000 Services with 10 endpoints.
const SEND_BUFFER: usize = 64 << 20;
const RECEIVE_BUFFER: usize = 4 << 20;

/// A netlink socket.
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket for interfaces, addresses, routes and neighbours.
    pub fn route() -> io::Result<Socket> {
        Socket::open(SockProtocol::NetlinkRoute)
    }

    /// A socket for nf_tables and connection tracking.
    pub fn netfilter() -> io::Result<Socket> {
        Socket::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> io::Result<Socket> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // Without CAP_NET_ADMIN the kernel's default sizes stay, which serve small requests.
        let _ = setsockopt(&fd, sockopt::SndBufForce, &SEND_BUFFER);
        let _ = setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        Ok(Socket { fd, sequence: 1, buffer: vec![0; 64 << 10] })
    }

    /// A fresh sequence number.
    pub fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    /// Sends one request and waits until the kernel has done it.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        fill: impl FnOnce(&mut Writer),
    ) -> io::Result<()> {
        self.ask(kind, flags | flag::ACK, body, fill).map(drop)
    }

    /// Asks for one thing and gives the messages of the answer.
    pub fn query(
        &mut self,
        kind: u16,
        body: &[u8],
        fill: impl FnOnce(&mut Writer),
    ) -> io::Result<Vec<Message>> {
        self.ask(kind, flag::ACK, body, fill)
    }

    /// Asks for a list and gives its messages.
    pub fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        fill: impl FnOnce(&mut Writer),
    ) -> io::Result<Vec<Message>> {
        self.ask(kind, flag::DUMP, body, fill)
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        fill: impl FnOnce(&mut Writer),
    ) -> io::Result<Vec<Message>> {
        let sequence = self.next();
        let mut w = Writer::default();
        w.begin(kind, flags | flag::REQUEST, sequence, body);
        fill(&mut w);
        w.end();
        self.send(w.bytes())?;
        self.answer(sequence)
    }

    /// Sends bytes that hold several messages.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = send(self.fd.as_raw_fd(), bytes, MsgFlags::empty())?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Messages until the acknowledgement or the list's end. An error of the kernel ends it.
    fn answer(&mut self, sequence: u32) -> io::Result<Vec<Message>> {
        let mut found = Vec::new();
        loop {
            for message in self.receive(MsgFlags::empty())? {
                match message.kind {
                    _ if message.sequence != sequence => {}
                    DONE => return Ok(found),
                    ERROR => return error_of(&message).map_or(Ok(found), Err),
                    _ => found.push(message),
                }
            }
        }
    }

    /// What the kernel answered to a batch: it works on a batch before `send` returns, so
    /// everything is there. The answer is the first error; without one the acknowledgement of
    /// `last` must be among them.
    pub fn batch_answer(
        &mut self,
        first: u32,
        last: u32,
    ) -> io::Result<Result<(), (u32, io::Error)>> {
        let mut error: Option<(u32, io::Error)> = None;
        let mut acknowledged = false;
        loop {
            let messages = match self.receive(MsgFlags::MSG_DONTWAIT) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                other => other?,
            };
            for message in messages {
                let ours = (first..=last).contains(&message.sequence);
                if !ours || message.kind != ERROR {
                    continue;
                }
                match error_of(&message) {
                    Some(e) if error.is_none() => error = Some((message.sequence, e)),
                    Some(_) => {}
                    None => acknowledged |= message.sequence == last,
                }
            }
        }
        match error {
            Some(error) => Ok(Err(error)),
            None if acknowledged => Ok(Ok(())),
            None => Err(io::Error::other("the kernel did not acknowledge a batch")),
        }
    }

    fn receive(&mut self, flags: MsgFlags) -> io::Result<Vec<Message>> {
        let mut size = recv(self.fd.as_raw_fd(), &mut self.buffer, flags | PEEK_LENGTH)?;
        if size > self.buffer.len() {
            self.buffer.resize(size, 0);
        }
        size = recv(self.fd.as_raw_fd(), &mut self.buffer, flags)?;
        Ok(message::messages(&self.buffer[..size.min(self.buffer.len())]))
    }
}

/// Tells the size of the next datagram without taking it.
const PEEK_LENGTH: MsgFlags = MsgFlags::MSG_PEEK.union(MsgFlags::MSG_TRUNC);

/// The error that a message carries; `None` for an acknowledgement.
fn error_of(message: &Message) -> Option<io::Error> {
    match message::native32(&message.body).map(|n| n as i32) {
        Some(0) => None,
        Some(code) => Some(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Some(io::Error::other("a netlink error without a code")),
    }
}

/// Whether an error says that the thing is not there, which a removal takes for done.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL)
    )
}
