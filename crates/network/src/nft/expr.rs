//! The expressions of a rule.
//!
//! Registers are the sixteen of 32 bits, numbered from 0. The words of a concatenated key lie in
//! registers one behind the other; a field shorter than a word fills the rest with zeros.

use super::kernel as k;
use crate::netlink::message::Writer;

/// One of sixteen 32-bit registers.
pub type Register = u32;

/// Where a packet goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

/// One expression; the ones of a rule run in order until one does not match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expr {
    /// Bytes of the network header.
    Network {
        offset: u32,
        length: u32,
        to: Register,
    },
    /// Bytes of the transport header.
    Transport {
        offset: u32,
        length: u32,
        to: Register,
    },
    Meta {
        key: u32,
        to: Register,
    },
    SetMeta {
        key: u32,
        from: Register,
    },
    Conntrack {
        key: u32,
        to: Register,
    },
    Equal {
        register: Register,
        value: Vec<u8>,
    },
    Unequal {
        register: Register,
        value: Vec<u8>,
    },
    /// `to = from & mask ^ flip`, over whole words.
    Bits {
        from: Register,
        to: Register,
        mask: Vec<u8>,
        flip: Vec<u8>,
    },
    /// Matches where the set has the key.
    In {
        set: &'static str,
        key: Register,
    },
    /// Loads a map's value, and matches where there is one.
    Map {
        map: &'static str,
        key: Register,
        to: Register,
    },
    /// Goes where a verdict map says.
    VerdictMap {
        map: &'static str,
        key: Register,
    },
    Load {
        to: Register,
        value: Vec<u8>,
    },
    Go(Verdict),
    /// A random number below `modulus`, plus `offset`.
    Random {
        to: Register,
        modulus: u32,
        offset: u32,
    },
    Dnat {
        address: Register,
        port: Register,
    },
    Snat {
        address: Register,
    },
    Masquerade,
    /// ICMP port unreachable.
    Reject,
    /// The route type (`RTN_LOCAL` and so on) of the packet's destination or source.
    RouteType {
        source: bool,
        to: Register,
    },
    /// Writes `key → value` into a map, to be forgotten after `timeout` milliseconds of no use.
    Remember {
        map: &'static str,
        key: Register,
        value: Register,
        timeout: u64,
    },
    /// Removes a key that a rule wrote; the kernel wants to be told a register for the value.
    Forget {
        map: &'static str,
        key: Register,
        value: Register,
    },
}

impl Expr {
    /// Writes the expression as one item of a rule's list.
    pub(super) fn write(&self, w: &mut Writer) {
        match self {
            Expr::Network { offset, length, to } => payload(w, 1, *offset, *length, *to),
            Expr::Transport { offset, length, to } => payload(w, 2, *offset, *length, *to),
            Expr::Meta { key, to } => item(w, "meta", |w| {
                w.be32(1, register(*to)).be32(2, *key);
            }),
            Expr::SetMeta { key, from } => item(w, "meta", |w| {
                w.be32(2, *key).be32(3, register(*from));
            }),
            Expr::Conntrack { key, to } => item(w, "ct", |w| {
                w.be32(1, register(*to)).be32(2, *key);
            }),
            Expr::Equal { register: r, value } => compare(w, *r, 0, value),
            Expr::Unequal { register: r, value } => compare(w, *r, 1, value),
            Expr::Bits { from, to, mask, flip } => item(w, "bitwise", |w| {
                w.be32(1, register(*from)).be32(2, register(*to)).be32(3, mask.len() as u32);
                data(w, 4, mask);
                data(w, 5, flip);
            }),
            Expr::In { set, key } => lookup(w, set, *key, None),
            Expr::Map { map, key, to } => lookup(w, map, *key, Some(register(*to))),
            Expr::VerdictMap { map, key } => lookup(w, map, *key, Some(k::VERDICT_REGISTER)),
            Expr::Load { to, value } => item(w, "immediate", |w| {
                w.be32(1, register(*to));
                data(w, 2, value);
            }),
            Expr::Go(to) => item(w, "immediate", |w| {
                w.be32(1, k::VERDICT_REGISTER);
                w.nest(2, |w| verdict(w, to));
            }),
            Expr::RouteType { source, to } => item(w, "fib", |w| {
                w.be32(1, register(*to)).be32(2, 3).be32(3, if *source { 1 } else { 2 });
            }),
            other => other.write_action(w),
        }
    }

    fn write_action(&self, w: &mut Writer) {
        match self {
            Expr::Random { to, modulus, offset } => item(w, "numgen", |w| {
                w.be32(1, register(*to)).be32(2, *modulus).be32(3, 1).be32(4, *offset);
            }),
            Expr::Dnat { address, port } => item(w, "nat", |w| {
                w.be32(1, 1).be32(2, k::FAMILY_V4);
                w.be32(3, register(*address)).be32(5, register(*port));
            }),
            Expr::Snat { address } => item(w, "nat", |w| {
                w.be32(1, 0).be32(2, k::FAMILY_V4).be32(3, register(*address));
                w.be32(7, k::NAT_FULLY_RANDOM);
            }),
            Expr::Masquerade => item(w, "masq", |w| {
                w.be32(1, k::NAT_FULLY_RANDOM);
            }),
            Expr::Reject => item(w, "reject", |w| {
                // ICMP unreachable with code 3, port.
                w.be32(1, 0).attr(2, &[3]);
            }),
            Expr::Remember { map, key, value, timeout } => item(w, "dynset", |w| {
                w.text(1, map).be32(3, 1);
                w.be32(4, register(*key)).be32(5, register(*value));
                w.attr(6, &timeout.to_be_bytes());
            }),
            Expr::Forget { map, key, value } => item(w, "dynset", |w| {
                w.text(1, map).be32(3, 2).be32(4, register(*key)).be32(5, register(*value));
            }),
            _ => unreachable!("written by write()"),
        }
    }
}

/// A verdict inside a data attribute.
pub(super) fn verdict(w: &mut Writer, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3i32, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    w.nest(2, |w| {
        w.be32(1, code as u32);
        if let Some(chain) = chain {
            w.text(2, chain);
        }
    });
}

fn register(number: Register) -> u32 {
    debug_assert!(number < 16);
    k::FIRST_REGISTER + number
}

fn item(w: &mut Writer, name: &str, fill: impl FnOnce(&mut Writer)) {
    w.nest(1, |w| {
        w.text(1, name);
        w.nest(2, fill);
    });
}

fn data(w: &mut Writer, kind: u16, value: &[u8]) {
    w.nest(kind, |w| {
        w.attr(1, value);
    });
}

fn payload(w: &mut Writer, base: u32, offset: u32, length: u32, to: Register) {
    item(w, "payload", |w| {
        w.be32(1, register(to)).be32(2, base).be32(3, offset).be32(4, length);
    });
}

fn compare(w: &mut Writer, from: Register, operator: u32, value: &[u8]) {
    item(w, "cmp", |w| {
        w.be32(1, register(from)).be32(2, operator);
        data(w, 3, value);
    });
}

fn lookup(w: &mut Writer, set: &str, key: Register, to: Option<u32>) {
    item(w, "lookup", |w| {
        w.text(1, set).be32(2, register(key));
        if let Some(to) = to {
            w.be32(3, to);
        }
    });
}
