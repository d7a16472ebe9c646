//! Connections that the kernel remembers.
//!
//! A UDP client keeps its port, so the kernel keeps sending it to an endpoint that is gone, or to
//! nowhere, for as long as the client tries. Such entries are deleted when endpoints change.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use timonier_traffic::rules::{Backend, Frontend};

use crate::Result;
use crate::error::Context;
use crate::netlink::message::{Message, attribute, flag};
use crate::netlink::{Socket, is_absent};

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// AF_INET, version, resource.
const BODY: [u8; 4] = [2, 0, 0, 0];
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const UDP: u8 = 17;

/// A connection as the kernel remembers it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    protocol: u8,
    destination: Ipv4Addr,
    port: u16,
    /// Who answers.
    answers: Ipv4Addr,
    answers_port: u16,
    /// The original tuple's attributes, which identify the entry.
    tuple: Vec<u8>,
}

/// Deletes remembered UDP connections to these frontends whose endpoint is not among the present
/// ones. Node ports match whatever the node's address is. Gives how many there were.
pub fn flush_stale(frontends: &BTreeMap<Frontend, Vec<Backend>>) -> Result<usize> {
    if frontends.is_empty() {
        return Ok(0);
    }
    let stale = |entry: &Entry| {
        let by = |address: IpAddr| {
            let protocol = timonier_traffic::Protocol::Udp;
            frontends.get(&Frontend { address, protocol, port: entry.port })
        };
        let wanted = by(entry.destination.into()).or_else(|| {
            // Only what was translated may be taken for a node port's connection.
            let translated = entry.answers != entry.destination;
            by(Ipv4Addr::UNSPECIFIED.into()).filter(|_| translated)
        });
        let now = Backend { address: entry.answers.into(), port: entry.answers_port };
        wanted.is_some_and(|backends| !backends.contains(&now))
    };
    delete_where(|entry| entry.protocol == UDP && stale(entry))
}

/// Deletes what is remembered of connections to addresses.
pub(crate) fn flush_addresses(of: impl Fn(Ipv4Addr) -> bool) -> Result<usize> {
    delete_where(|entry| of(entry.destination) || of(entry.answers))
}

/// Lists what the kernel remembers, to see whether it can.
pub(crate) fn list() -> io::Result<usize> {
    Ok(list_on(&mut Socket::netfilter()?)?.len())
}

fn list_on(socket: &mut Socket) -> io::Result<Vec<Message>> {
    socket.dump(GET, &BODY, |_| {})
}

fn delete_where(doomed: impl Fn(&Entry) -> bool) -> Result<usize> {
    let mut socket = Socket::netfilter().what(|| "netlink socket for connections".into())?;
    let found = list_on(&mut socket).what(|| "list connections".into())?;
    let mut deleted = 0;
    for entry in found.iter().filter_map(|m| entry(m.body.get(4..)?)).filter(&doomed) {
        let done = socket.request(DELETE, flag::ACK, &BODY, |w| {
            w.nest(ORIGINAL, |w| {
                w.raw(&entry.tuple);
            });
        });
        match done {
            // It ended meanwhile.
            Err(e) if is_absent(&e) => {}
            other => {
                other.what(|| "delete a connection".into())?;
                deleted += 1;
            }
        }
    }
    Ok(deleted)
}

fn entry(attrs: &[u8]) -> Option<Entry> {
    let original = attribute(attrs, ORIGINAL)?;
    let reply = attribute(attrs, REPLY)?;
    let (_, destination) = addresses(original)?;
    let (answers, _) = addresses(reply)?;
    let (protocol, _, port) = ports(original)?;
    let (_, answers_port, _) = ports(reply)?;
    let tuple = original.to_vec();
    Some(Entry { protocol, destination, port, answers, answers_port, tuple })
}

/// Source and destination of a tuple.
fn addresses(tuple: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let ip = attribute(tuple, 1)?;
    let read = |kind| -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = attribute(ip, kind)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    };
    Some((read(1)?, read(2)?))
}

/// Protocol, source port and destination port of a tuple; 0 where the protocol has none.
fn ports(tuple: &[u8]) -> Option<(u8, u16, u16)> {
    let proto = attribute(tuple, 2)?;
    let read = |kind| -> u16 {
        let bytes = attribute(proto, kind).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u16::from_be_bytes)
    };
    Some((*attribute(proto, 1)?.first()?, read(2), read(3)))
}
