//! Elements as the bytes of keys and values.

use std::net::{IpAddr, Ipv4Addr};

use timonier_traffic::Protocol;
use timonier_traffic::rules::{Block, Element, Frontend};

use super::schema;
use crate::nft::{Data, ElementBytes, Verdict};

/// The set of an element and its bytes there.
pub(super) fn element(element: &Element) -> (&'static str, ElementBytes) {
    match *element {
        Element::Service { frontend, chain } => {
            let verdict = Some(Data::Verdict(Verdict::Goto(chain.name())));
            if frontend.is_node_port() {
                let key = Key::new().protocol(frontend.protocol).port(frontend.port);
                (schema::NODE_PORTS, with(key, verdict))
            } else {
                (schema::SERVICES, with(Key::new().frontend(&frontend), verdict))
            }
        }
        Element::Endpoint { frontend, index, backend } => {
            let value = Key::new().address(backend.address).port(backend.port);
            let key = Key::new().frontend(&frontend).index(index);
            (schema::ENDPOINTS, with(key, Some(Data::Bytes(value.0))))
        }
        Element::Sticky { frontend, backend } => {
            let key = Key::new().frontend(&frontend).address(backend.address).port(backend.port);
            (schema::STICKY, with(key, None))
        }
        Element::Blocked { frontend, block } => {
            let verdict = match block {
                Block::Reject => Verdict::Goto(schema::REJECT.into()),
                Block::Drop => Verdict::Drop,
            };
            (schema::BLOCKED, with(Key::new().frontend(&frontend), Some(Data::Verdict(verdict))))
        }
        Element::ClusterIp(address) => {
            (schema::CLUSTER_IPS, with(Key::new().address(address), None))
        }
        Element::Hairpin(address) => {
            (schema::HAIRPIN, with(Key::new().address(address).address(address), None))
        }
        Element::Guarded(frontend) => (schema::GUARDED, with(Key::new().frontend(&frontend), None)),
        Element::Source { frontend, range } => {
            let first = Key::new().frontend(&frontend).address(range.network());
            let last = Key::new().frontend(&frontend).address(range.last());
            (schema::SOURCES, ElementBytes { key: first.0, end: Some(last.0), value: None })
        }
    }
}

fn with(key: Key, value: Option<Data>) -> ElementBytes {
    ElementBytes { key: key.0, end: None, value }
}

/// The words of a key; a field shorter than a word is filled with zeros.
pub(crate) struct Key(pub Vec<u8>);

impl Key {
    pub fn new() -> Key {
        Key(Vec::with_capacity(20))
    }

    /// An IPv4 address; the rules hold no others.
    pub fn address(mut self, address: IpAddr) -> Key {
        let address = match address {
            IpAddr::V4(a) => a,
            IpAddr::V6(a) => a.to_ipv4().unwrap_or(Ipv4Addr::UNSPECIFIED),
        };
        self.0.extend(address.octets());
        self
    }

    pub fn protocol(mut self, protocol: Protocol) -> Key {
        self.0.extend([protocol.number(), 0, 0, 0]);
        self
    }

    pub fn port(mut self, port: u16) -> Key {
        self.0.extend(port.to_be_bytes());
        self.0.extend([0, 0]);
        self
    }

    /// The kernel's random numbers are in the machine's byte order.
    fn index(mut self, index: u32) -> Key {
        self.0.extend(index.to_ne_bytes());
        self
    }

    fn frontend(self, frontend: &Frontend) -> Key {
        self.address(frontend.address).protocol(frontend.protocol).port(frontend.port)
    }
}
